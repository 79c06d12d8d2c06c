//! Why a thread did not return: the causes, each declared in one place.

use std::fmt;

/// Makes [`Cause`] and all that is known of each: its doc, its label, its fix, and whether it lies
/// outside the program. What is forgotten does not compile. Tests compare the table of `docs/causes.md` and
/// the pages in `docs/fix/` with the labels.
macro_rules! causes {
    ($($(#[doc = $doc:literal])+ $variant:ident $label:literal $where:ident $fix:literal,)+) => {
        /// Why a thread did not return from a poll, or why a runtime was frozen.
        ///
        /// [`_documentation::causes`](crate::_documentation::causes) says what each is read from.
        /// Serialized as the value of the `cause` label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Cause {
            $(
                $(#[doc = $doc])+
                $variant,
            )+
        }

        impl Cause {
            /// Every cause, in the order of the documentation.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            const fn row(self) -> Row {
                match self {
                    $(Self::$variant => Row { label: $label, place: Place::$where, fix: $fix },)+
                }
            }
        }
    };
}

/// What is known of a cause.
struct Row {
    label: &'static str,
    place: Place,
    fix: &'static str,
}

/// Where a cause lies.
enum Place {
    Program,
    Environment,
}

causes! {
    /// It computed.
    Cpu "cpu" Program
        "move the computation to tokio::task::spawn_blocking(..), or let others run with tokio::task::yield_now().await",
    /// It slept.
    Sleep "sleep" Program
        "use tokio::time::sleep(..).await",
    /// It waited for a lock.
    Lock "lock" Program
        "hold the lock for less, take a tokio::sync lock with .await, or move the work to tokio::task::spawn_blocking(..)",
    /// It waited for the network.
    NetworkIo "network_io" Program
        "use an async client or tokio::net, or move the call to tokio::task::spawn_blocking(..)",
    /// It waited for a file.
    FileIo "file_io" Program
        "use tokio::fs, or move the work to tokio::task::spawn_blocking(..)",
    /// It waited for a child process.
    ProcessWait "process_wait" Program
        "use tokio::process::Command",
    /// It waited in the kernel for something else.
    Blocked "blocked" Program
        "await the async counterpart of the blocking call, or move the work to tokio::task::spawn_blocking(..)",
    /// Nothing could be read.
    Unknown "unknown" Program
        "await the async counterpart of the blocking call, or move the work to tokio::task::spawn_blocking(..)",
    /// The control group had used up its CPU quota.
    Throttled "throttled" Environment
        "raise the CPU limit, or run fewer threads than it has CPUs",
    /// The process was stopped, frozen or suspended.
    Suspended "suspended" Environment
        "nothing in the program: it was stopped, frozen or suspended",
    /// Other threads had the CPU.
    Starved "starved" Environment
        "give the process more CPU: others on the machine had it",
}

impl Cause {
    /// The value of the `cause` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.row().label
    }

    /// One line on how to fix it.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        self.row().fix
    }

    /// How the time that a thread lost to it is told, before "for …".
    pub(crate) const fn lost(self) -> &'static str {
        match self {
            Self::Starved => "without a CPU",
            other => other.as_str(),
        }
    }

    /// Whether it lies outside the program.
    #[must_use]
    pub const fn is_environment(self) -> bool {
        matches!(self.row().place, Place::Environment)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_label() {
        let labels: std::collections::BTreeSet<_> =
            Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(labels.len(), Cause::ALL.len());
    }

    #[test]
    fn the_documentation_has_a_row_for_each_cause_in_this_order() {
        let rows = include_str!("../../docs/causes.md").lines();
        // The rows of the table, as far as they name a cause.
        let rows = rows.filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let labels: Vec<_> = rows.map(|(label, _)| label).collect();
        assert_eq!(labels, Cause::ALL.map(Cause::as_str));
    }
}
