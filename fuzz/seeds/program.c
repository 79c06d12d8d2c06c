// A small program with what debug information and unwind information have: functions that are inlined,
// with a frame pointer and without, in several ranges. scripts/fuzz builds it in some ways; the files are
// where the fuzzer begins.

static inline __attribute__((always_inline)) int innermost(int number) { return number * 3 + 1; }

static inline __attribute__((always_inline)) int inner(int number) {
    int sum = 0;
    for (int at = 0; at < number; at++) sum += innermost(at);
    return sum;
}

__attribute__((noinline, optimize("no-omit-frame-pointer"))) int with_pointer(int *place) {
    volatile int room[8];
    room[*place & 7] = inner(*place);
    return room[1];
}

__attribute__((noinline)) int without_pointer(int number) {
    if (__builtin_expect(number > 1000, 0)) __builtin_trap();
    return with_pointer(&number) + 1;
}

__attribute__((noinline)) int main(int count) {
    int (*volatile call)(int) = without_pointer;
    return call(count) + inner(count);
}

#ifdef CLEANUP
// What has to be cleaned up if a call does not return: its code is found by the table of the function.
void may_not_return(int *);

static void release(int *lock) { *lock = 0; }

__attribute__((noinline)) int with_cleanup(int number) {
    int lock __attribute__((cleanup(release))) = number;
    may_not_return(&lock);
    may_not_return(&number);
    return lock + number;
}
#endif

__attribute__((naked, noreturn)) void _start(void) {
    __asm__("xor %ebp, %ebp; call main; mov %eax, %edi; mov $60, %eax; syscall; hlt");
}
