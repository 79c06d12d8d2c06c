//! Which core a thread runs on.

/// Keeps this thread and those it starts on one core: the cores of a shared machine differ in
/// speed from one moment to the next, by more than what is measured. Where it cannot, it says so.
pub fn stay_on_one_core() {
    stay_on_core(cores() - 1);
}

/// The same, on the core with that number.
pub fn stay_on_core(core: usize) {
    if !move_to_core(0, core) {
        println!("not pinned to core {core}: expect noise");
    }
}

/// Moves a thread, of whichever process, to the core with that number. Whether it could. Thread 0 is this one.
pub fn move_to_core(thread: i32, core: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a set of cores is plain bits, all zero for none.
        let mut cores: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `cores` is ours and `core` is below its 1,024 bits on any machine we know.
        unsafe { libc::CPU_SET(core, &mut cores) };
        let size = std::mem::size_of_val(&cores);
        // SAFETY: `cores` lives through the call and `size` is its size; a thread that is not there is an error.
        unsafe { libc::sched_setaffinity(thread, size, &raw const cores) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _elsewhere = (thread, core);
        false
    }
}

/// How many cores this thread may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
