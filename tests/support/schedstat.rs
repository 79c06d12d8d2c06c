//! How long threads were ready to run and others had the CPU. Needs nothing else, so that tests of other packages
//! share it.

use std::fs;
use std::time::Duration;

/// Of the calling thread.
pub(crate) fn waited_for_cpu() -> Duration {
    parse(&fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default())
}

/// The same of another thread.
pub(crate) fn waited(thread: u32) -> Duration {
    let file = format!("/proc/self/task/{thread}/schedstat");
    parse(&fs::read_to_string(file).unwrap_or_default())
}

fn parse(times: &str) -> Duration {
    let waited = times.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

/// The threads of detectors, by number.
pub(crate) fn detector_threads() -> Vec<u32> {
    let is_ours = |id: &u32| {
        let name = fs::read_to_string(format!("/proc/self/task/{id}/comm"));
        name.is_ok_and(|name| name.starts_with("stall-"))
    };
    let all = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let all = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(is_ours).collect()
}
