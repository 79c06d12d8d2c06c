# Code as compilers write it to clean a frame up: each kind of instruction that it uses. scripts/fuzz makes
# a file of it, where the fuzzer begins.

    mov %rax, %r12
    lea 16(%rsp), %rdi
    call drop
    cmpb $0, 8(%rsp)
    jne 1f
    movups 16(%rsp), %xmm0
    movups %xmm0, 32(%rsp)
    movzbl 9(%rsp), %ecx
    movslq %ecx, %rdx
    cltq
    imul $24, %rdx, %rdx
    add %rdx, %rbp
    sub $8, %rbp
    shl $3, %rcx
    sar $1, %rcx
    and $-16, %rcx
    not %ecx
    neg %rcx
    bt $3, %rcx
    setb %dl
    cmovb %rbp, %rcx
    bts $1, %rcx
    xadd %ecx, 12(%rsp)
    mov $1, %eax
    lock cmpxchg %ecx, 12(%rsp)
1:  xor %eax, %eax
    xchg %eax, (%rbx)
    lock decl (%rbx)
    mov %r12, %rdi
    jmp *8(%rbp)

drop:
    push %rbp
    mov %rsp, %rbp
    mov (%rdi), %rax
    test %rax, %rax
    je 2f
    pxor %xmm0, %xmm0
    movq %xmm0, (%rdi)
    inc %rax
2:  leave
    ret
