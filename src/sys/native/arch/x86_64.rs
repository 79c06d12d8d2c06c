//! x86_64.

/// Bytes of code that a breakpoint is on. The kernel wants the size of a word here.
pub(in crate::sys::native) const BREAKPOINT_LENGTH: u64 = 8;

/// The registers that unwinding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    /// The instruction pointer.
    pub(crate) ip: u64,
    /// The stack pointer.
    pub(crate) sp: u64,
    /// The frame pointer; `None` where it is not known.
    pub(crate) fp: Option<u64>,
    /// The others that calls keep: rbx, r12 to r15; `None` where they are not known.
    pub(crate) kept: Option<[u64; 5]>,
}

impl Registers {
    /// What the kernel shows of a thread that waits.
    pub(crate) const fn at(ip: u64, sp: u64) -> Self {
        Self { ip, sp, fp: None, kept: None }
    }

    /// The registers of a thread that a signal has interrupted. Async-signal-safe: it only reads
    /// `context`.
    pub(crate) fn of(context: &libc::ucontext_t) -> Self {
        let register = |index: libc::c_int| context.uc_mcontext.gregs[index as usize] as u64;
        let kept = [libc::REG_RBX, libc::REG_R12, libc::REG_R13, libc::REG_R14, libc::REG_R15];
        Self {
            ip: register(libc::REG_RIP),
            sp: register(libc::REG_RSP),
            fp: Some(register(libc::REG_RBP)),
            kept: Some(kept.map(register)),
        }
    }
}

/// The address of libc's data about the calling thread, which lies at the outer end of a stack that
/// libc has made. Async-signal-safe: one instruction.
pub(crate) fn thread_area() -> u64 {
    let area: u64;
    // SAFETY: reads one word. The word at fs:0 is its own address on every x86_64 Linux, as the
    // ABI for thread-local storage has it.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) area, options(nostack, preserves_flags, readonly));
    }
    area
}
