//! Filters of system calls, applied for real, and those that containers and services usually have.

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::{BpfProgram, SeccompCondition, SeccompFilter, SeccompRule, TargetArch};
pub(crate) use seccompiler::{SeccompAction as Answer, SeccompCmpOp as Compare};
use syscalls::Sysno;

/// A call of the filter fails with EPERM.
pub(crate) const REFUSE: Answer = Answer::Errno(libc::EPERM as u32);
/// A call of the filter ends the process.
pub(crate) const KILL: Answer = Answer::KillProcess;

/// Names of system calls.
pub(crate) type Names = BTreeSet<&'static str>;

/// Answers some calls so, and all others otherwise.
pub(crate) struct Filter {
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    answer: Answer,
    otherwise: Answer,
}

impl Filter {
    /// Answers these calls so, and allows all others.
    pub(crate) fn answering(answer: Answer) -> Self {
        Self { calls: BTreeMap::new(), answer, otherwise: Answer::Allow }
    }

    /// Allows these calls, and answers all others so.
    pub(crate) fn allowing(otherwise: Answer) -> Self {
        Self { calls: BTreeMap::new(), answer: Answer::Allow, otherwise }
    }

    pub(crate) fn calls<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        self.calls.extend(names.into_iter().map(|name| (number(name), Vec::new())));
        self
    }

    /// A call, if that argument compares so. Given again, either may be.
    pub(crate) fn call_with(mut self, name: &str, argument: u8, is: Compare, value: u64) -> Self {
        let length = if matches!(is, Compare::MaskedEq(_)) { Qword } else { Dword };
        let condition = SeccompCondition::new(argument, length, is, value).expect("an argument");
        let rule = SeccompRule::new(vec![condition]).expect("a condition");
        self.calls.entry(number(name)).or_default().push(rule);
        self
    }

    fn program(self) -> BpfProgram {
        let Self { calls, answer, otherwise } = self;
        let filter = SeccompFilter::new(calls, otherwise, answer, TargetArch::x86_64);
        filter.and_then(BpfProgram::try_from).expect("a filter")
    }

    /// For all threads of this process, for ever.
    pub(crate) fn apply(self) {
        seccompiler::apply_filter_all_threads(&self.program()).expect("the kernel has seccomp");
    }

    /// For this thread and those that it starts, for ever.
    pub(crate) fn apply_here(self) {
        seccompiler::apply_filter(&self.program()).expect("the kernel has seccomp");
    }
}

fn number(name: &str) -> i64 {
    let call: Sysno = name.parse().unwrap_or_else(|_| panic!("{name} is no system call here"));
    i64::from(call.id())
}

/// What Docker's default profile allows to a process without capabilities, but for these calls.
pub(crate) fn apply_docker(without: &[&str]) {
    let names = include_str!("filters/docker.txt").lines().filter(|line| !line.starts_with('#'));
    let names = names.flat_map(str::split_whitespace).filter(|name| !without.contains(name));
    let vsock = libc::AF_VSOCK as u64;
    let namespaces = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    let namespaces = namespaces.into_iter().fold(0, |all, one| all | one as u64);
    let mut filter = Filter::allowing(REFUSE)
        .calls(names)
        .call_with("socket", 0, Compare::Ne, vsock)
        .call_with("clone", 0, Compare::MaskedEq(namespaces), 0)
        // The next filter has another answer.
        .calls(["clone3"]);
    for personality in [0, 8, 0x20000, 0x20008, 0xffff_ffff] {
        filter = filter.call_with("personality", 0, Compare::Eq, personality);
    }
    filter.apply();
    // So that the C library takes `clone`.
    Filter::answering(Answer::Errno(libc::ENOSYS as u32)).calls(["clone3"]).apply();
}

/// The names of one of systemd's sets, with those of the sets in it.
pub(crate) fn systemd(set: &str) -> Names {
    let mut lines = include_str!("filters/systemd.txt").lines().skip_while(|line| *line != set);
    assert_eq!(lines.next(), Some(set), "no such set");
    let names = lines.take_while(|line| line.starts_with(' ')).flat_map(str::split_whitespace);
    let mut all = Names::new();
    for name in names {
        match name.starts_with('@') {
            true => all.extend(systemd(name)),
            false => drop(all.insert(name)),
        }
    }
    all
}

/// The names of all of systemd's sets.
pub(crate) fn systemd_sets() -> Names {
    include_str!("filters/systemd.txt").lines().filter(|line| line.starts_with('@')).collect()
}
