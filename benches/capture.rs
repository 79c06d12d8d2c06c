//! A capture pauses a thread that computes for at most 30 µs, and takes at most 0.5 ms of one that
//! waits; the record of a stall has its stack within the threshold, one scan and 20 ms; and the
//! watchdog is no later for it.
//!
//! The threads that are looked at have 16 KiB of stack in use.

#[cfg(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "x86_64")))]
#[path = "capture"]
mod linux {
    mod detector;
    mod parts;
    mod pause;
    mod peers;
    mod subject;

    pub(super) fn run() {
        pause::run();
        parts::run();
        detector::run();
    }
}

fn main() {
    tower_stall_benches::print_head("capture");
    #[cfg(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "x86_64")))]
    linux::run();
    #[cfg(not(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "x86_64"))))]
    println!("no stacks are taken on this system");
}
