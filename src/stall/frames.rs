//! The parts of a stack: frames, and the one of the user's own code.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// One frame of a [`Stack`].
///
/// Shown as `app::handler at src/main.rs:31`; without symbols as
/// `module+0xoffset (build id …)`, which a debugger finds the line by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Frame {
    /// The function, if the program has symbols.
    pub function: Option<String>,
    /// The source file, if the program has debug information.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
    /// Address in memory; of an outer frame, the return address.
    pub address: u64,
    /// The file name of the program or library the code belongs to.
    pub module: Option<Arc<str>>,
    /// Module-relative address, for `addr2line -e`.
    pub offset: u64,
    /// The build id of that file, in hexadecimal digits.
    pub build_id: Option<Arc<str>>,
    /// Whether the function was inlined into the next frame.
    pub inlined: bool,
    /// Whether it is your own code, as opposed to the standard library's and other crates'.
    pub own: bool,
    /// Whether it was found by a look at the stack: the function inside has no unwind information. It is
    /// what a call of that function returns to, as far as can be seen.
    pub guessed: bool,
}

/// The stack of a thread, innermost frame first.
///
/// Shown with one line for each frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stack {
    /// The frames. Stacks that pass the same place share its frame.
    pub frames: Vec<Arc<Frame>>,
    /// Whether outer frames are missing.
    pub partial: bool,
    /// The kernel's id of the thread.
    pub thread: u32,
    /// Whether a signal stopped the thread for a moment; else the stack was read from outside.
    pub by_signal: bool,
}

/// Where in the user's own code a thread was.
///
/// Shown as `src/main.rs:31 in app::handler`, or the function alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Site {
    /// The function, as a label: without the closures in it.
    pub function: String,
    /// The source file, if the program has debug information: the path at build time, without
    /// the directory that the process was started in.
    pub file: Option<String>,
    /// The line in that file.
    pub line: Option<u32>,
}

#[cfg(any(feature = "admin", feature = "profile"))]
impl Stack {
    /// The frames of the poll itself: not those of the runtime and the services around it.
    ///
    /// The poll begins at the first frame of this crate. Frames further out are not the handler's.
    pub(crate) fn of_poll(&self) -> &[Arc<Frame>] {
        let is_ours = |frame: &Arc<Frame>| {
            let function = frame.function.as_deref().unwrap_or_default();
            function.starts_with("tower_stall::") || function.starts_with("<tower_stall::")
        };
        let end = self.frames.iter().position(is_ours).unwrap_or(self.frames.len());
        let poll = &self.frames[..end];
        match poll.iter().rposition(|frame| frame.own) {
            Some(outermost) => &poll[..=outermost],
            None => poll,
        }
    }
}

impl Site {
    /// Strips a directory from the name of the file.
    pub(crate) fn leave_out(&mut self, directory: &Path) {
        let short = |file: &String| {
            Path::new(file).strip_prefix(directory).ok()?.to_str().map(str::to_owned)
        };
        if let Some(short) = self.file.as_ref().and_then(short) {
            self.file = Some(short);
        }
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            Some(function) => f.write_str(function)?,
            None => {
                write!(f, "{}+{:#x}", self.module.as_deref().unwrap_or("?"), self.offset)?;
                if let Some(id) = &self.build_id {
                    write!(f, " (build id {id})")?;
                }
            }
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            (None, _) => Ok(()),
        }?;
        if self.guessed { f.write_str(" (guessed)") } else { Ok(()) }
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frames.iter().try_for_each(|frame| writeln!(f, "{frame}"))?;
        if self.partial { f.write_str("(outer frames are missing)\n") } else { Ok(()) }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}:{line} in ")?,
            (Some(file), None) => write!(f, "{file} in ")?,
            (None, _) => {}
        }
        f.write_str(&self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_say_what_is_known_of_them() {
        let bare = Frame { address: 0x5234, offset: 0x234, ..Frame::default() };
        assert_eq!(bare.to_string(), "?+0x234");
        let stripped = Frame { module: Some("app".into()), ..bare };
        assert_eq!(stripped.to_string(), "app+0x234");
        let stripped = Frame { build_id: Some("dead01".into()), ..stripped };
        assert_eq!(stripped.to_string(), "app+0x234 (build id dead01)");
        let named = Frame { function: Some("app::handler".into()), ..stripped };
        assert_eq!(named.to_string(), "app::handler");
        let full = Frame { file: Some("src/main.rs".into()), line: Some(31), ..named.clone() };
        assert_eq!(full.to_string(), "app::handler at src/main.rs:31");
        let guessed = Frame { guessed: true, ..full.clone() };
        assert_eq!(guessed.to_string(), "app::handler at src/main.rs:31 (guessed)");
        let stack =
            Stack { frames: vec![full.into(), named.into()], partial: true, ..Stack::default() };
        assert_eq!(
            stack.to_string(),
            "app::handler at src/main.rs:31\napp::handler\n(outer frames are missing)\n"
        );
    }

    #[test]
    fn a_site_is_shown_as_people_write_it() {
        let site = Site { function: "app::handler".into(), file: None, line: None };
        assert_eq!(site.to_string(), "app::handler");
        let site = Site { file: Some("src/main.rs".into()), line: Some(31), ..site };
        assert_eq!(site.to_string(), "src/main.rs:31 in app::handler");
    }

    #[test]
    fn a_site_leaves_out_the_directory_of_the_process() {
        let mut site = Site {
            function: "app::handler".into(),
            file: Some("/build/app/src/main.rs".into()),
            line: Some(31),
        };
        for (directory, file) in [
            ("/build/ap", "/build/app/src/main.rs"),
            ("/srv", "/build/app/src/main.rs"),
            ("/build/app", "src/main.rs"),
            ("/build/app", "src/main.rs"),
        ] {
            site.leave_out(Path::new(directory));
            assert_eq!(site.file.as_deref(), Some(file));
        }
    }

    #[cfg(any(feature = "admin", feature = "profile"))]
    fn stack(functions: &[&str]) -> Stack {
        let frame = |function: &&str| {
            let (function, own) = ((*function).to_owned(), function.starts_with("app::"));
            Arc::new(Frame { function: Some(function), own, ..Frame::default() })
        };
        Stack { frames: functions.iter().map(frame).collect(), ..Stack::default() }
    }

    #[cfg(any(feature = "admin", feature = "profile"))]
    #[test]
    fn a_poll_ends_at_its_outermost_frame_of_the_users_inside_ours() {
        let all = ["nanosleep", "std::sleep", "app::load", "app::hello", "axum::call"];
        let outer = ["<tower_stall::layer::Future as F>::poll", "tokio::run", "app::main"];
        let whole = stack(&[&all[..], &outer[..]].concat());
        assert_eq!(whole.of_poll(), &whole.frames[..4]);
        let others = stack(&["nanosleep", "axum::call", "tower_stall::Watched::poll", "app::main"]);
        assert_eq!(others.of_poll(), &others.frames[..2]);
        let unmarked = stack(&["nanosleep", "app::task", "tokio::run"]);
        assert_eq!(unmarked.of_poll(), &unmarked.frames[..2]);
        assert_eq!(Stack::default().of_poll(), []);
    }
}
