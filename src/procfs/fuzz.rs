//! For the fuzzer: the lines of `/proc` and of control groups.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use procfs_core::process::MountInfos;
use procfs_core::{FromRead, ProcessCGroups};

use super::cgroup::ControlGroups;
use super::fd;
use super::lines::{Schedstat, Stat, Status, ThreadState};
use super::thread::ThreadSample;
use crate::sys::{system_call, waits_for_two};

/// The lines of a thread.
///
/// # Panics
///
/// A parser broke a rule of its own.
pub fn proc_lines(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let ThreadState::Call { number, arguments, .. } = ThreadState::of_syscall(&text) {
        let (name, _) = system_call(number, &arguments);
        assert!(!name.is_empty());
        let _ = waits_for_two(number, &arguments);
    }
    let _ = ThreadState::of_wchan(&text);
    let _ = Stat::parse(&text);
    let schedule = Schedstat::parse(&text);
    let status = Status::parse(&text);
    for signal in 1..=64 {
        let _ = (status.is_pending(signal), status.is_blocked(signal));
    }
    let _ = (status.is_filtered(), fd::object(&text));
    let sample = ThreadSample { cpu: schedule.map(|schedule| schedule.cpu), ..Default::default() };
    assert!(!sample.is_same_wait(&sample), "nothing is known of where it is");
}

/// The files that say which control groups there are, each after a zero byte; and the limits of a group.
///
/// # Panics
///
/// There is no folder for temporary files, or a group has more left than its limit.
pub fn cgroup_lines(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (groups, mounts, limits) = (part(), part(), part());
    if let (Ok(groups), Ok(mounts)) =
        (ProcessCGroups::from_read(groups), MountInfos::from_read(mounts))
    {
        let _ = ControlGroups::of(&groups, &mounts.0);
    }
    let folder = Folder::with(limits);
    let groups = ControlGroups { cpu: vec![folder.0.clone()], memory: vec![folder.0.clone()] };
    let _ = (groups.throttles(), groups.memory_left());
    if let Some(quota) = groups.cpu_quota() {
        assert!(quota.period > 0 && quota.time > 0);
    }
}

/// A folder with the files of a group: each a name, a zero byte, and what is in it, up to the next.
struct Folder(PathBuf);

impl Folder {
    const FILES: [&str; 9] = [
        "cpu.stat",
        "cpu.max",
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "memory.max",
        "memory.limit_in_bytes",
        "memory.current",
        "memory.usage_in_bytes",
        "memory.stat",
    ];

    /// The file of each part is told by its first byte.
    fn with(data: &[u8]) -> Self {
        let folder = std::env::temp_dir().join(format!("tower-stall-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for part in data.split(|byte| *byte == 0) {
            let Some((number, text)) = part.split_first() else { continue };
            let file = Self::FILES[usize::from(*number) % Self::FILES.len()];
            let mut file = File::create(folder.join(file)).expect("a file");
            file.write_all(text).expect("the file takes it");
        }
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
