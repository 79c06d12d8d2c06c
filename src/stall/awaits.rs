//! The chain of awaits that led to a stall: the asynchronous side of its stack.

use std::borrow::Cow;
use std::fmt;

/// How the poll of a [`Stall`](crate::Stall) got to the code that blocks, outermost first: `show_order` awaits `load`,
/// which awaits `fetch`. Only what the stack proves is in it.
///
/// Shown with one line for each link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Awaits {
    /// The links: 32 at most. What is left out of a longer chain is a link of the kind
    /// [`Omitted`](AwaitKind::Omitted).
    pub links: Vec<Await>,
    /// What of the chain may not be shown, and why; else `None`.
    pub missing: Option<Cow<'static, str>>,
}

/// One link of [`Awaits`].
///
/// Shown as `app::load at src/main.rs:31`, and foreign code as `… 6 frames of hyper, tower`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Await {
    /// What it is.
    pub kind: AwaitKind,
    /// The function, as people write it: `app::load`, `app::load::{async block}`, `app::load::{closure}`. Of a
    /// combinator its name, `tokio::join!`; of a library the names of its crates, `hyper, tower`.
    pub function: String,
    /// The source file, if the program has debug information; of your own code alone.
    pub file: Option<String>,
    /// The line of the `.await`, or of the call, that leads to the next link; of the innermost link the line that
    /// blocks.
    pub line: Option<u32>,
    /// How many frames of the stack it stands for.
    pub frames: usize,
}

/// What a link of [`Awaits`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AwaitKind {
    /// Your own async function, async block, or `poll`.
    Async,
    /// Your own code that is called and not awaited: a function or a closure.
    Call,
    /// A known future of a library that polls others: `tokio::select!`, `FuturesUnordered`, a future in a box.
    Combinator,
    /// Other code of libraries.
    Library,
    /// Links in the middle of a long chain.
    Omitted,
}

impl AwaitKind {
    /// One word, for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Call => "call",
            Self::Combinator => "combinator",
            Self::Library => "library",
            Self::Omitted => "omitted",
        }
    }
}

/// How many links a short form has at most, and how many of them are the first ones.
const MOST_SHORT: usize = 8;
const FIRST_SHORT: usize = 2;
/// How many characters of a name a short form has.
const LONGEST_SHORT: usize = 60;

impl Awaits {
    /// The chain in one line, for a log: `show_order → tokio::join! → fetch`. `None` where it has no more than one async
    /// link.
    pub(crate) fn short(&self) -> Option<String> {
        let is_shown =
            |link: &&Await| matches!(link.kind, AwaitKind::Async | AwaitKind::Combinator);
        let shown: Vec<String> = self.links.iter().filter(is_shown).map(Await::short).collect();
        let count = |kind| self.links.iter().filter(|link| link.kind == kind).count();
        if count(AwaitKind::Async) < 2 {
            return None;
        }
        let Some(more) = shown.len().checked_sub(MOST_SHORT).filter(|more| *more > 0) else {
            return Some(shown.join(" → "));
        };
        let (first, last) = (&shown[..FIRST_SHORT], &shown[FIRST_SHORT + more..]);
        Some(format!("{} → … {more} more … → {}", first.join(" → "), last.join(" → ")))
    }
}

impl Await {
    /// A link without a place.
    #[allow(dead_code, reason = "called only where stacks are taken")]
    pub(crate) fn new(kind: AwaitKind, function: impl Into<String>, frames: usize) -> Self {
        Self { kind, function: function.into(), file: None, line: None, frames }
    }

    /// The name without its modules; where it is not known, file and line.
    fn short(&self) -> String {
        if self.kind == AwaitKind::Combinator {
            return self.function.clone();
        }
        if let (true, Some(file), Some(line)) = (self.is_vague(), &self.file, self.line) {
            return format!("{}:{line}", file.rsplit('/').next().unwrap_or(file));
        }
        let name = short_name(&self.function);
        match name.char_indices().nth(LONGEST_SHORT) {
            Some((end, _)) => format!("{}…", &name[..end]),
            None => name,
        }
    }

    /// Whether its function has no path, but at most the name of its file.
    fn is_vague(&self) -> bool {
        match self.function.split_once("::") {
            None => true,
            Some((_, rest)) => rest.starts_with('{'),
        }
    }
}

/// `load` of `app::orders::load`, `Store::get` of `<app::Store<T> as app::Repository>::get`.
fn short_name(function: &str) -> String {
    let (path, kind) = match function.find("::{") {
        Some(at) => function.split_at(at),
        None => (function, ""),
    };
    let parts = match path.strip_prefix('<') {
        Some(rest) => {
            let of_type = rest.split([' ', '<', '>']).next().unwrap_or(rest);
            let method = path.rsplit("::").next().unwrap_or_default();
            vec![of_type.rsplit("::").next().unwrap_or(of_type), method]
        }
        None => {
            let mut last = path.rsplit("::");
            let name = last.next().unwrap_or(path);
            let of_type = last.next().filter(|part| part.starts_with(char::is_uppercase));
            of_type.into_iter().chain([name]).collect()
        }
    };
    parts.join("::") + kind
}

impl fmt::Display for Await {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.frames == 1 { "" } else { "s" };
        match self.kind {
            AwaitKind::Library => {
                return write!(f, "… {} frame{plural} of {}", self.frames, self.function);
            }
            AwaitKind::Omitted => return write!(f, "… {}", self.function),
            _ => f.write_str(&self.function)?,
        }
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, " at {file}:{line}"),
            (Some(file), None) => write!(f, " at {file}"),
            (None, _) => Ok(()),
        }
    }
}

impl fmt::Display for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.links.iter().try_for_each(|link| writeln!(f, "{link}"))?;
        self.missing.as_ref().map_or(Ok(()), |why| writeln!(f, "({why})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(kind: AwaitKind, function: &str, at: Option<(&str, u32)>) -> Await {
        let (file, line) = at.map(|(file, line)| (file.to_owned(), line)).unzip();
        Await { file, line, ..Await::new(kind, function, 1) }
    }

    fn chain(functions: &[&str]) -> Awaits {
        let links = functions.iter().map(|name| link(AwaitKind::Async, name, None)).collect();
        Awaits { links, missing: None }
    }

    #[test]
    fn a_short_chain_has_names_without_modules() {
        for (functions, short) in [
            (&["app::show_order", "app::orders::load"][..], Some("show_order → load")),
            (
                &["app::Store::get", "app::load::{async block}"],
                Some("Store::get → load::{async block}"),
            ),
            (&["<app::db::Store<T> as app::Find>::find", "a::b"], Some("Store::find → b")),
            (&["app::load"], None),
            (&[], None),
        ] {
            assert_eq!(chain(functions).short().as_deref(), short);
        }
    }

    #[test]
    fn a_short_chain_stays_short() {
        let names: Vec<String> = (0..20).map(|number| format!("app::f{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let short = chain(&names).short().expect("more than one");
        assert_eq!(short, "f0 → f1 → … 12 more … → f14 → f15 → f16 → f17 → f18 → f19");
        let long = format!("app::{}", "x".repeat(500));
        assert!(chain(&[&long, &long]).short().expect("two").len() < 200);
    }

    #[test]
    fn a_function_without_a_name_is_told_by_its_line() {
        let vague = link(AwaitKind::Async, "routes::{async fn}", Some(("/app/src/routes.rs", 7)));
        let links = vec![
            vague.clone(),
            link(AwaitKind::Combinator, "tokio::join!", None),
            link(AwaitKind::Library, "hyper", None),
            vague,
            link(AwaitKind::Call, "app::parse", None),
        ];
        let chain = Awaits { links, missing: None };
        assert_eq!(chain.short().as_deref(), Some("routes.rs:7 → tokio::join! → routes.rs:7"));
    }

    #[test]
    fn links_are_shown_as_people_read_them() {
        let links = vec![
            Await { frames: 6, ..link(AwaitKind::Library, "hyper, tower", None) },
            link(AwaitKind::Async, "app::load", Some(("src/main.rs", 31))),
            link(AwaitKind::Library, "std", None),
        ];
        let chain = Awaits { links, missing: Some("outer frames are missing".into()) };
        let shown = "… 6 frames of hyper, tower\napp::load at src/main.rs:31\n… 1 frame of std\n\
            (outer frames are missing)\n";
        assert_eq!(chain.to_string(), shown);
    }
}
