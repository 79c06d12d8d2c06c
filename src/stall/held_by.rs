//! Who keeps a stalled thread waiting: the thread that has what it waits for.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::frames::{Site, Stack};

/// Who has what a stalled thread waits for: a lock, the end of another thread, a value that is being
/// initialised.
///
/// In a [`Stall`](crate::Stall) whose cause is [`Cause::Lock`](crate::Cause::Lock), where it was looked for.
/// Shown as a sentence: `held by GET /report at src/report.rs:40 in report::render, which waits in
/// clock_nanosleep, 5 s`. `docs/fix/lock.md` says what it is read from, and what it cannot know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBy {
    /// Who it is.
    pub holder: Holder,
    /// How far that is known.
    pub degree: Degree,
    /// The threads: the first has what the stalled thread waits for, each further one has what the one
    /// before it waits for. Of a pool of threads, those that work. At most four. Empty where no thread is
    /// known to.
    pub threads: Vec<HoldingThread>,
    /// How many threads of the process could not be looked at: they were computing, did not stand still,
    /// or there was no time left for them.
    pub threads_left_out: usize,
}

/// Who has what a stalled thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Holder {
    /// Another thread: the first of [`HeldBy::threads`].
    OtherThread,
    /// The stalled thread itself, which holds the lock already and waits for itself.
    SameThread,
    /// Threads that wait for one another, the stalled one among them or not.
    Deadlock,
    /// No thread that runs: a guard is kept across an `.await`, or was leaked.
    NoThread,
    /// It is not known.
    Unknown,
}

/// How far it is known who has what a stalled thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Degree {
    /// The program's own data says so: the compiler's code that would clean the holder's frame up
    /// releases this lock, or the system names the thread that is waited for.
    Certain,
    /// All that was seen speaks for it, but something else is possible.
    Likely,
    /// Nothing speaks for anybody.
    Unknown,
}

/// What a thread has to do with the one that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HoldingRole {
    /// It holds the lock.
    Holds,
    /// It initialises the value: a `Once`, `OnceLock` or `LazyLock`.
    Initialises,
    /// Its end is waited for.
    IsJoined,
    /// It is a thread of rayon that has work to do, and a pool of rayon is waited for.
    Works,
}

/// A thread that others wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HoldingThread {
    /// The kernel's id of the thread.
    pub thread: u32,
    /// The name of the thread.
    pub name: Option<String>,
    /// What it has to do with the one before it.
    pub role: HoldingRole,
    /// What it polls, if that is marked.
    pub handler: Option<Cow<'static, str>>,
    /// Where it is in your own code.
    pub site: Option<Site>,
    /// The system call that it waits in; `None` if it computes.
    pub waits_in: Option<String>,
    /// Its stack.
    pub stack: Option<Arc<Stack>>,
}

impl HeldBy {
    pub(crate) fn new(holder: Holder, degree: Degree) -> Self {
        Self { holder, degree, threads: Vec::new(), threads_left_out: 0 }
    }

    /// The fix, where it is closer than that of the cause.
    pub(crate) fn fix(&self) -> Option<&'static str> {
        match self.holder {
            Holder::SameThread => Some(
                "drop the first guard before the lock is taken again: this thread holds it already",
            ),
            Holder::Deadlock => Some("take the locks in the same order everywhere"),
            Holder::NoThread => Some(
                "drop the guard before each `.await`: no running thread holds the lock; or use tokio::sync",
            ),
            Holder::OtherThread | Holder::Unknown => None,
        }
    }
}

impl Holder {
    /// As in the log and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OtherThread => "other_thread",
            Self::SameThread => "same_thread",
            Self::Deadlock => "deadlock",
            Self::NoThread => "no_thread",
            Self::Unknown => "unknown",
        }
    }
}

impl Degree {
    /// As in the log and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Unknown => "unknown",
        }
    }
}

impl HoldingRole {
    /// As in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Initialises => "initialises",
            Self::IsJoined => "is_joined",
            Self::Works => "works",
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Holds => "held by",
            Self::Initialises => "being initialised by",
            Self::IsJoined => "until the end of",
            Self::Works => "for work on",
        }
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.degree == Degree::Likely {
            f.write_str("likely ")?;
        }
        match self.holder {
            Holder::SameThread => {
                return f.write_str("held by this thread already: it waits for itself");
            }
            Holder::NoThread => {
                return f
                    .write_str("held by no running thread: a guard is kept across an `.await`");
            }
            Holder::Unknown => return f.write_str("not known who holds it"),
            Holder::Deadlock => f.write_str("a deadlock: ")?,
            Holder::OtherThread => {}
        }
        // Threads that work for the same beside one another are one, as far as they do the same.
        let are_alike = |one: &HoldingThread, next: &HoldingThread| {
            let both_work = one.role == HoldingRole::Works && next.role == HoldingRole::Works;
            both_work && one.site == next.site && one.waits_in == next.waits_in
        };
        let mut before = None;
        for alike in self.threads.chunk_by(are_alike) {
            let thread = &alike[0];
            match before {
                None => write!(f, "{} ", thread.role.verb())?,
                Some(HoldingRole::Works) => f.write_str(", and on ")?,
                Some(_) => write!(f, ", {} ", thread.role.verb())?,
            }
            match alike.len() {
                1 => write!(f, "{thread}")?,
                count => {
                    write!(f, "{count} threads")?;
                    thread.write_what(f, true)?;
                }
            }
            before = Some(thread.role);
        }
        Ok(())
    }
}

impl HoldingThread {
    /// Where it is and what it does, of one or of `many` who do the same.
    fn write_what(&self, f: &mut fmt::Formatter<'_>, many: bool) -> fmt::Result {
        if let Some(site) = &self.site {
            write!(f, " at {site}")?;
        }
        let s = if many { "" } else { "s" };
        match &self.waits_in {
            Some(call) => write!(f, ", which wait{s} in {call}"),
            None => write!(f, ", which compute{s}"),
        }
    }
}

impl fmt::Display for HoldingThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.handler, &self.name) {
            (Some(handler), _) => f.write_str(handler)?,
            (None, Some(name)) => write!(f, "thread {name:?}")?,
            (None, None) => write!(f, "thread {}", self.thread)?,
        }
        self.write_what(f, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(handler: Option<&'static str>, waits_in: Option<&str>) -> HoldingThread {
        HoldingThread {
            thread: 7,
            name: Some("worker".into()),
            role: HoldingRole::Holds,
            handler: handler.map(Into::into),
            site: Some(Site {
                function: "report::render".into(),
                file: Some("src/report.rs".into()),
                line: Some(40),
            }),
            waits_in: waits_in.map(str::to_owned),
            stack: None,
        }
    }

    #[test]
    fn each_answer_is_a_sentence() {
        let mut held = HeldBy::new(Holder::OtherThread, Degree::Certain);
        held.threads.push(thread(Some("GET /report"), Some("clock_nanosleep, 5 s")));
        assert_eq!(
            held.to_string(),
            "held by GET /report at src/report.rs:40 in report::render, which waits in \
             clock_nanosleep, 5 s"
        );
        held.holder = Holder::Deadlock;
        held.threads.push(HoldingThread {
            role: HoldingRole::IsJoined,
            site: None,
            ..thread(None, None)
        });
        assert_eq!(
            held.to_string(),
            "a deadlock: held by GET /report at src/report.rs:40 in report::render, which waits in \
             clock_nanosleep, 5 s, until the end of thread \"worker\", which computes"
        );
        held.holder = Holder::OtherThread;
        let works = |handler| HoldingThread { role: HoldingRole::Works, ..thread(handler, None) };
        held.threads = vec![works(None); 3];
        assert_eq!(
            held.to_string(),
            "for work on 3 threads at src/report.rs:40 in report::render, which compute"
        );
        let waits = HoldingThread { site: None, ..thread(None, Some("futex")) };
        held.threads =
            vec![works(Some("GET /report")), HoldingThread { role: HoldingRole::Works, ..waits }];
        assert_eq!(
            held.to_string(),
            "for work on GET /report at src/report.rs:40 in report::render, which computes, \
             and on thread \"worker\", which waits in futex"
        );
        let none = HeldBy::new(Holder::NoThread, Degree::Likely);
        assert_eq!(
            none.to_string(),
            "likely held by no running thread: a guard is kept across an `.await`"
        );
        assert!(none.fix().is_some_and(|fix| fix.contains("`.await`")));
        let own = HeldBy::new(Holder::SameThread, Degree::Certain);
        assert_eq!(own.to_string(), "held by this thread already: it waits for itself");
        assert_eq!(HeldBy::new(Holder::Unknown, Degree::Unknown).fix(), None);
    }
}
