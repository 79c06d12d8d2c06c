//! The limits of the control groups that this process is in: CPU time and memory.

use std::fs;
use std::path::{Component, Path, PathBuf};

use procfs_core::process::{MountInfo, MountInfos};
use procfs_core::{ProcessCGroup, ProcessCGroups};

use super::read;
use crate::clock::Nanos;

/// The folders of the process's group and of its ancestors, for each controller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ControlGroups {
    pub(super) cpu: Vec<PathBuf>,
    pub(super) memory: Vec<PathBuf>,
}

/// CPU time that a group may use in each period.
#[allow(dead_code, reason = "asked only where stacks are taken")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuQuota {
    pub(crate) time: Nanos,
    pub(crate) period: Nanos,
}

impl ControlGroups {
    /// Finds the folders, of cgroup v1 or v2; none where there are no groups.
    pub(crate) fn find() -> Self {
        let groups = read::<ProcessCGroups>("/proc/self/cgroup");
        let mounts = read::<MountInfos>("/proc/self/mountinfo");
        match (groups, mounts) {
            (Some(groups), Some(mounts)) => Self::of(&groups, &mounts.0),
            _ => Self::default(),
        }
    }

    pub(super) fn of(groups: &ProcessCGroups, mounts: &[MountInfo]) -> Self {
        Self { cpu: folders("cpu", groups, mounts), memory: folders("memory", groups, mounts) }
    }

    /// How many times the groups were throttled since they exist; `None` if no file shows it.
    pub(crate) fn throttles(&self) -> Option<u64> {
        let stats = self.cpu.iter().filter_map(|group| text(group, "cpu.stat"));
        stats.filter_map(|stat| field(&stat, "nr_throttled")).reduce(u64::saturating_add)
    }

    /// The tightest of the quotas; `None` without one.
    #[allow(dead_code, reason = "asked only where stacks are taken")]
    pub(crate) fn cpu_quota(&self) -> Option<CpuQuota> {
        let quotas = self.cpu.iter().filter_map(|group| match text(group, "cpu.max") {
            Some(both) => {
                let (time, period) = both.trim().split_once(' ')?;
                quota(time, period)
            }
            None => {
                let time = text(group, "cpu.cfs_quota_us")?;
                quota(time.trim(), text(group, "cpu.cfs_period_us")?.trim())
            }
        });
        let share = |quota: &CpuQuota| quota.time.saturating_mul(1_000_000) / quota.period;
        quotas.min_by_key(share)
    }

    /// Bytes that may still be allocated before a limit is reached; `None` without one. Pages of
    /// files that nobody has used lately count as free: the kernel takes them back first.
    #[allow(dead_code, reason = "asked only where stacks are taken")]
    pub(crate) fn memory_left(&self) -> Option<u64> {
        let left = self.memory.iter().filter_map(|group| {
            let number = |names: [&str; 2]| {
                let text = names.into_iter().find_map(|name| text(group, name))?;
                text.trim().parse::<u64>().ok()
            };
            let limit = number(["memory.max", "memory.limit_in_bytes"])?;
            let used = number(["memory.current", "memory.usage_in_bytes"])?;
            let stat = text(group, "memory.stat").unwrap_or_default();
            let unused_files =
                field(&stat, "total_inactive_file").or_else(|| field(&stat, "inactive_file"));
            Some(limit.saturating_sub(used.saturating_sub(unused_files.unwrap_or(0))))
        });
        // Version 1 writes a number near the largest where there is no limit.
        left.min().filter(|left| *left < u64::MAX / 4)
    }
}

fn text(group: &Path, file: &str) -> Option<String> {
    fs::read_to_string(group.join(file)).ok()
}

/// The number behind a name in a `.stat` file.
fn field(stat: &str, name: &str) -> Option<u64> {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(first, _)| *first == name)?.1.trim().parse().ok()
}

/// From microseconds; `None` for `max` and `-1`.
fn quota(time: &str, period: &str) -> Option<CpuQuota> {
    let nanos = |micros: &str| micros.parse::<u64>().ok()?.checked_mul(1_000);
    let (time, period) = (nanos(time)?, nanos(period)?);
    (time > 0 && period > 0).then_some(CpuQuota { time, period })
}

fn folders(controller: &str, groups: &ProcessCGroups, mounts: &[MountInfo]) -> Vec<PathBuf> {
    let has_it = |group: &&ProcessCGroup| group.controllers.iter().any(|name| name == controller);
    let v1 = groups.0.iter().find(has_it);
    let v2 = groups.0.iter().find(|group| group.hierarchy == 0 && group.controllers.is_empty());
    let v1_mount = mounts
        .iter()
        .find(|mount| mount.fs_type == "cgroup" && mount.super_options.contains_key(controller));
    let v2_mount = mounts.iter().find(|mount| mount.fs_type == "cgroup2");
    // On a hybrid of both, the controller is in v1.
    match (v1.zip(v1_mount), v2.zip(v2_mount)) {
        (Some((group, mount)), _) | (None, Some((group, mount))) => up(mount, &group.pathname),
        (None, None) => Vec::new(),
    }
}

/// The folders of a group and of its ancestors, as far as this mount shows them.
fn up(mount: &MountInfo, group: &str) -> Vec<PathBuf> {
    // In a container the path of the group may begin outside of the mount.
    let below = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    let below = if is_plain { below } else { Path::new("") };
    below.ancestors().map(|group| mount.mount_point.join(group)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use procfs_core::FromRead;

    use super::*;

    // As read from kernels 5.10 (first version), 6.1 (second), and a hybrid of both.
    const FIRST: &str = "11:cpu,cpuacct:/kubepods/burstable/pod1/abc\n1:name=systemd:/init.scope\n";
    const FIRST_MOUNT: &str = "33 31 0:30 /kubepods/burstable/pod1/abc /sys/fs/cgroup/cpu,cpuacct \
                               ro,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct";
    const SECOND: &str = "0::/user.slice/user-0.slice/session-1.scope\n";
    const SECOND_MOUNT: &str =
        "26 23 0:24 / /sys/fs/cgroup rw,nosuid,nodev,noexec - cgroup2 cgroup2 rw,nsdelegate";
    const CONTAINER: &str = "0::/\n";

    fn check(groups: &str, mounts: &[&str], expected: &[&str]) {
        let groups = ProcessCGroups::from_read(groups.as_bytes()).expect("as the kernel writes");
        let mounts: Vec<_> = mounts
            .iter()
            .map(|line| MountInfo::from_line(line).expect("as the kernel writes"))
            .collect();
        let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(ControlGroups::of(&groups, &mounts).cpu, expected);
    }

    #[test]
    fn the_files_of_both_versions_are_found() {
        check(FIRST, &[FIRST_MOUNT], &["/sys/fs/cgroup/cpu,cpuacct"]);
        check(
            SECOND,
            &[SECOND_MOUNT],
            &[
                "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope",
                "/sys/fs/cgroup/user.slice/user-0.slice",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup",
            ],
        );
        check(CONTAINER, &[SECOND_MOUNT], &["/sys/fs/cgroup"]);
        check("0::/../../other\n", &[SECOND_MOUNT], &["/sys/fs/cgroup"]);
        let hybrid = format!("{FIRST}{CONTAINER}");
        check(&hybrid, &[SECOND_MOUNT, FIRST_MOUNT], &["/sys/fs/cgroup/cpu,cpuacct"]);
        check(CONTAINER, &[], &[]);
    }

    /// A group with these files.
    fn group(files: &[(&str, &str)]) -> (ControlGroups, TestFolder) {
        let folder = TestFolder::new();
        for (name, text) in files {
            fs::write(folder.0.join(name), text).expect("a folder of this test");
        }
        let folders = vec![folder.0.clone()];
        (ControlGroups { cpu: folders.clone(), memory: folders }, folder)
    }

    struct TestFolder(PathBuf);

    impl TestFolder {
        fn new() -> Self {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("tower-stall-cgroup-{}-{number}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).expect("a new folder");
            Self(folder)
        }
    }

    impl Drop for TestFolder {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn throttling_is_counted_alike_in_both_versions() {
        let first = "nr_periods 69\nnr_throttled 52\nthrottled_time 4273894721\n";
        let second = "usage_usec 1394\nuser_usec 1211\nsystem_usec 183\nnr_periods 8\n\
                      nr_throttled 5\nthrottled_usec 381240\nnr_bursts 0\nburst_usec 0\n";
        let throttles = |stat| {
            let (group, _folder) = group(&[("cpu.stat", stat)]);
            group.throttles()
        };
        assert_eq!((throttles(first), throttles(second)), (Some(52), Some(5)));
        assert_eq!(throttles("usage_usec 1394\n"), None, "the root group has none");
    }

    #[test]
    fn quotas_are_read_alike_in_both_versions() {
        let quota = |files: &[(&str, &str)]| {
            let (group, _folder) = group(files);
            group.cpu_quota().map(|quota| (quota.time, quota.period))
        };
        let tenth = Some((10_000_000, 100_000_000));
        assert_eq!(quota(&[("cpu.max", "10000 100000\n")]), tenth);
        assert_eq!(quota(&[("cpu.max", "max 100000\n")]), None);
        let v1 = |time| [("cpu.cfs_quota_us", time), ("cpu.cfs_period_us", "100000\n")];
        assert_eq!(quota(&v1("10000\n")), tenth);
        assert_eq!(quota(&v1("-1\n")), None);
        assert_eq!(quota(&[]), None);
    }

    #[test]
    fn memory_that_is_left_is_read_alike_in_both_versions() {
        let left = |files: &[(&str, &str)]| {
            let (group, _folder) = group(files);
            group.memory_left()
        };
        let v2 = |max| {
            [
                ("memory.max", max),
                ("memory.current", "3000\n"),
                ("memory.stat", "anon 1\ninactive_file 500\nactive_file 700\n"),
            ]
        };
        assert_eq!(left(&v2("10000\n")), Some(7500));
        assert_eq!(left(&v2("max\n")), None);
        assert_eq!(left(&v2("2000\n")), Some(0), "the limit was lowered");
        let v1 = |limit| {
            [
                ("memory.limit_in_bytes", limit),
                ("memory.usage_in_bytes", "3000\n"),
                ("memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
            ]
        };
        assert_eq!(left(&v1("10000\n")), Some(7500));
        assert_eq!(left(&v1("9223372036854771712\n")), None);
        assert_eq!(left(&[]), None);
    }

    #[test]
    fn the_tightest_group_counts() {
        let (loose, _loose) = group(&[
            ("cpu.max", "50000 100000"),
            ("memory.max", "9000"),
            ("memory.current", "1000"),
        ]);
        let (tight, _tight) =
            group(&[("cpu.max", "2000 10000"), ("memory.max", "8000"), ("memory.current", "1000")]);
        let both = ControlGroups {
            cpu: [loose.cpu, tight.cpu].concat(),
            memory: [loose.memory, tight.memory].concat(),
        };
        let quota = CpuQuota { time: 2_000_000, period: 10_000_000 };
        assert_eq!((both.cpu_quota(), both.memory_left()), (Some(quota), Some(7000)));
    }

    /// Where a group for each controller was made, for the child of the test.
    const GROUPS: &str = "STALL_TEST_GROUPS";
    const MIB: u64 = 1 << 20;

    /// Control groups of this machine, of whichever version it has, with a fifth of a core and 64 MiB.
    struct RealGroups(Vec<PathBuf>);

    impl RealGroups {
        /// `None` where this process may make none.
        fn new() -> Option<Self> {
            let name = format!("tower-stall-groups-{}", std::process::id());
            let root = Path::new("/sys/fs/cgroup");
            let group = |controller: &str| root.join(controller).join(&name);
            let first = vec![
                (group("cpu"), "cpu.cfs_period_us", "100000".to_owned()),
                (group("cpu"), "cpu.cfs_quota_us", "20000".to_owned()),
                (group("memory"), "memory.limit_in_bytes", (64 * MIB).to_string()),
            ];
            let second = vec![
                (group(""), "cpu.max", "20000 100000".to_owned()),
                (group(""), "memory.max", (64 * MIB).to_string()),
            ];
            let is_first = root.join("cpu").is_dir() && root.join("memory").is_dir();
            let limits = if is_first { first } else { second };
            let mut groups: Vec<_> = limits.iter().map(|(group, ..)| group.clone()).collect();
            groups.dedup();
            let groups = Self(groups);
            groups.0.iter().try_for_each(fs::create_dir).ok()?;
            let mut limits = limits.iter();
            limits.try_for_each(|(group, file, limit)| fs::write(group.join(file), limit)).ok()?;
            Some(groups)
        }
    }

    impl Drop for RealGroups {
        fn drop(&mut self) {
            for group in &self.0 {
                // The kernel takes a moment to notice that nobody is in it.
                for _ in 0..1000 {
                    if fs::remove_dir(group).is_ok() || !group.exists() {
                        break;
                    }
                    std::thread::sleep(std::time::Duration::from_millis(10));
                }
            }
        }
    }

    #[test]
    fn real_groups_show_quota_throttling_and_the_memory_that_is_left() {
        if let Ok(groups) = std::env::var(GROUPS) {
            return in_groups(&groups);
        }
        let Some(groups) = RealGroups::new() else {
            let required = std::env::var_os("STALL_REQUIRE_REAL").is_some();
            assert!(!required, "no control group for CPU and memory can be made");
            return eprintln!(
                "skipped: no control group for CPU and memory can be made (root can)"
            );
        };
        let paths: Vec<_> = groups.0.iter().map(|group| group.to_str().expect("ASCII")).collect();
        let name =
            "procfs::cgroup::tests::real_groups_show_quota_throttling_and_the_memory_that_is_left";
        let child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--nocapture"])
            .env(GROUPS, paths.join(":"))
            .output()
            .expect("it is started");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{child:#?}");
    }

    fn in_groups(groups: &str) {
        for group in groups.split(':') {
            let file = Path::new(group).join("cgroup.procs");
            fs::write(file, std::process::id().to_string()).expect("a group of this test");
        }
        let found = ControlGroups::find();
        let quota = CpuQuota { time: 20_000_000, period: 100_000_000 };
        assert_eq!(found.cpu_quota(), Some(quota), "{found:?}");
        let before = found.throttles().expect("a group with a quota counts them");
        while found.throttles().expect("as before") < before + 2 {
            std::hint::spin_loop();
        }
        let left = || found.memory_left().expect("a group with a limit");
        let before = left();
        assert!((16 * MIB..=64 * MIB).contains(&before), "{before}");
        let taken = std::hint::black_box(vec![1_u8; 16 << 20]);
        let now = left();
        assert!(now + 15 * MIB <= before && now + 18 * MIB >= before, "{before}, {now}");
        drop(taken);
    }
}
