//! Which core a thread runs on.

/// Keeps this thread and those it starts on one core: the cores of a shared machine differ in
/// speed from one moment to the next, by more than what is measured. Where it cannot, it says so.
pub fn stay_on_one_core() {
    stay_on_core(cores() - 1);
}

/// The same, on the core with that number.
pub fn stay_on_core(core: usize) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a set of cores is plain bits, all zero for none.
        let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `cores` is ours and `core` is below its 1,024 bits on any machine we know.
        unsafe { libc::CPU_SET(core, &mut cores) };
        let size = std::mem::size_of_val(&cores);
        // SAFETY: 0 is this thread; `cores` lives through the call and `size` is its size.
        if unsafe { libc::sched_setaffinity(0, size, &raw const cores) } == 0 {
            return;
        }
    }
    println!("not pinned to core {core}: expect noise");
}

/// How many cores this thread may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
