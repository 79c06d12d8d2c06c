//! x86_64.

/// The registers that unwinding needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    /// Of the instruction to come.
    pub(crate) ip: u64,
    /// The stack pointer.
    pub(crate) sp: u64,
    /// The frame pointer, where the code keeps one in its register.
    pub(crate) fp: u64,
}

impl Registers {
    /// For a place that is filled in later.
    pub(crate) const NONE: Self = Self::at(0, 0);

    /// Of a thread of which the kernel tells no more.
    pub(crate) const fn at(ip: u64, sp: u64) -> Self {
        Self { ip, sp, fp: 0 }
    }

    /// Of a thread that a signal has interrupted. Async-signal-safe: it only reads `context`.
    pub(crate) fn of(context: &libc::ucontext_t) -> Self {
        let register = |index: libc::c_int| context.uc_mcontext.gregs[index as usize] as u64;
        Self {
            ip: register(libc::REG_RIP),
            sp: register(libc::REG_RSP),
            fp: register(libc::REG_RBP),
        }
    }
}

/// Where libc keeps what it knows of the calling thread: at the outer end of a stack that libc has
/// made. Async-signal-safe: one instruction.
pub(crate) fn thread_area() -> u64 {
    let area: u64;
    // SAFETY: reads one word. The word at fs:0 is its own address on every x86_64 Linux, as the
    // ABI for thread-local storage has it.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) area, options(nostack, preserves_flags, readonly));
    }
    area
}
