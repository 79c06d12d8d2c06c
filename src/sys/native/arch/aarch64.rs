//! aarch64.

/// Bytes of code that a breakpoint is on.
pub(in crate::sys::native) const BREAKPOINT_LENGTH: u64 = 4;

/// The registers that unwinding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registers {
    /// The instruction pointer.
    pub(crate) ip: u64,
    /// The stack pointer.
    pub(crate) sp: u64,
    /// The frame pointer, x29; `None` where it is not known.
    pub(crate) fp: Option<u64>,
    /// The link register, x30; `None` where it is not known.
    pub(crate) lr: Option<u64>,
}

impl Registers {
    /// What the kernel shows of a thread that waits.
    pub(crate) const fn at(ip: u64, sp: u64) -> Self {
        Self { ip, sp, fp: None, lr: None }
    }

    /// The registers of a thread that a signal has interrupted. Async-signal-safe: it only reads
    /// `context`.
    pub(crate) fn of(context: &libc::ucontext_t) -> Self {
        let machine = &context.uc_mcontext;
        Self {
            ip: machine.pc,
            sp: machine.sp,
            fp: Some(machine.regs[29]),
            lr: Some(machine.regs[30]),
        }
    }
}

/// The address of libc's data about the calling thread, which lies at the outer end of a stack that
/// libc has made. Async-signal-safe: one instruction.
pub(crate) fn thread_area() -> u64 {
    let area: u64;
    // SAFETY: reads a register that every program may read. It is the thread pointer by the ABI for
    // thread-local storage.
    unsafe {
        std::arch::asm!(
            "mrs {}, tpidr_el0",
            out(reg) area,
            options(nostack, preserves_flags, nomem)
        );
    }
    area
}
