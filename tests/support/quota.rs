//! A quota of CPU time, as a container has it.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A control group with a quota, which this process is in.
pub(crate) struct Quota {
    group: PathBuf,
    home: PathBuf,
}

impl Quota {
    /// So much CPU time in each period. `None` where the machine has no group that may be written
    /// to.
    pub(crate) fn join(time: Duration, period: Duration) -> Option<Self> {
        let (time, period) = (time.as_micros().to_string(), period.as_micros().to_string());
        let first = Path::new("/sys/fs/cgroup/cpu");
        let second = Path::new("/sys/fs/cgroup");
        let name = format!("tower-stall-{}", std::process::id());
        let (home, settings) =
            if first.join("cpu.cfs_quota_us").exists() || first.join("cgroup.procs").exists() {
                (first, vec![("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", time)])
            } else {
                (second, vec![("cpu.max", format!("{time} {period}"))])
            };
        let quota = Self { group: home.join(name), home: home.to_owned() };
        fs::create_dir(&quota.group).ok()?;
        let write = |(file, text): &(&str, String)| fs::write(quota.group.join(file), text);
        settings.iter().try_for_each(write).ok()?;
        fs::write(quota.group.join("cgroup.procs"), std::process::id().to_string()).ok()?;
        Some(quota)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // A group can be removed once nobody is in it.
        let _ = fs::write(self.home.join("cgroup.procs"), std::process::id().to_string());
        let _ = fs::remove_dir(&self.group);
    }
}
