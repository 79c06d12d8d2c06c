//! How many times the CPU quota of this process was used up: the throttling of its control groups.

use std::fs;
use std::path::{Component, Path, PathBuf};

use procfs_core::ProcessCGroups;
use procfs_core::process::{MountInfo, MountInfos};

use super::read;

/// The `cpu.stat` files of the process's group and of those above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    files: Vec<PathBuf>,
}

impl Quota {
    /// Finds the files, of cgroup v1 or v2; none without quotas.
    pub(crate) fn find() -> Self {
        let groups = read::<ProcessCGroups>("/proc/self/cgroup");
        let mounts = read::<MountInfos>("/proc/self/mountinfo");
        match (groups, mounts) {
            (Some(groups), Some(mounts)) => Self { files: files(&groups, &mounts.0) },
            _ => Self::default(),
        }
    }

    /// How many times the groups were throttled since they exist; `None` if no file shows it.
    pub(crate) fn throttles(&self) -> Option<u64> {
        let counts =
            self.files.iter().filter_map(|file| throttles(&fs::read_to_string(file).ok()?));
        counts.reduce(u64::saturating_add)
    }
}

/// `nr_throttled` of a `cpu.stat`.
fn throttles(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok())
}

fn files(groups: &ProcessCGroups, mounts: &[MountInfo]) -> Vec<PathBuf> {
    let has_cpu = |controllers: &[String]| controllers.iter().any(|name| name == "cpu");
    let v1 = groups.0.iter().find(|group| has_cpu(&group.controllers));
    let v2 = groups.0.iter().find(|group| group.hierarchy == 0 && group.controllers.is_empty());
    let v1_mount = mounts
        .iter()
        .find(|mount| mount.fs_type == "cgroup" && mount.super_options.contains_key("cpu"));
    let v2_mount = mounts.iter().find(|mount| mount.fs_type == "cgroup2");
    // On a hybrid of both, the CPU controller is in v1.
    match (v1.zip(v1_mount), v2.zip(v2_mount)) {
        (Some((group, mount)), _) | (None, Some((group, mount))) => up(mount, &group.pathname),
        (None, None) => Vec::new(),
    }
}

/// The files of a group and of its ancestors, as far as this mount shows them.
fn up(mount: &MountInfo, group: &str) -> Vec<PathBuf> {
    // In a container the path of the group may begin outside of the mount.
    let below = Path::new(group).strip_prefix(&mount.root).unwrap_or(Path::new(""));
    let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
    let below = if is_plain { below } else { Path::new("") };
    below.ancestors().map(|group| mount.mount_point.join(group).join("cpu.stat")).collect()
}

#[cfg(test)]
mod tests {
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
        assert_eq!(files(&groups, &mounts), expected);
    }

    #[test]
    fn the_files_of_both_versions_are_found() {
        check(FIRST, &[FIRST_MOUNT], &["/sys/fs/cgroup/cpu,cpuacct/cpu.stat"]);
        check(
            SECOND,
            &[SECOND_MOUNT],
            &[
                "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope/cpu.stat",
                "/sys/fs/cgroup/user.slice/user-0.slice/cpu.stat",
                "/sys/fs/cgroup/user.slice/cpu.stat",
                "/sys/fs/cgroup/cpu.stat",
            ],
        );
        check(CONTAINER, &[SECOND_MOUNT], &["/sys/fs/cgroup/cpu.stat"]);
        check("0::/../../other\n", &[SECOND_MOUNT], &["/sys/fs/cgroup/cpu.stat"]);
        let hybrid = format!("{FIRST}{CONTAINER}");
        check(&hybrid, &[SECOND_MOUNT, FIRST_MOUNT], &["/sys/fs/cgroup/cpu,cpuacct/cpu.stat"]);
        check(CONTAINER, &[], &[]);
    }

    #[test]
    fn throttling_is_counted_alike_in_both_versions() {
        let first = "nr_periods 69\nnr_throttled 52\nthrottled_time 4273894721\n";
        let second = "usage_usec 1394\nuser_usec 1211\nsystem_usec 183\nnr_periods 8\n\
                      nr_throttled 5\nthrottled_usec 381240\nnr_bursts 0\nburst_usec 0\n";
        assert_eq!(throttles(first), Some(52));
        assert_eq!(throttles(second), Some(5));
        assert_eq!(throttles("usage_usec 1394\n"), None, "the root group has none");
        assert_eq!(throttles(""), None);
    }
}
