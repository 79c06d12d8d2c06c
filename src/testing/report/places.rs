//! Paths of source files as a forge knows them: from the root of the repository.

use std::env;
use std::path::{Component, Path, PathBuf};

/// Where files are looked for.
#[derive(Debug)]
pub(super) struct Places {
    /// Where the process was started: cargo starts tests in the folder of their package.
    start: PathBuf,
    /// The folder of `Cargo.lock`.
    workspace: PathBuf,
    repository: PathBuf,
}

/// A line of a file in the repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// From the root of the repository, with slashes.
    pub(super) file: String,
    pub(super) line: u32,
}

impl Places {
    pub(super) fn of_process() -> Self {
        let start = env::current_dir().unwrap_or_default();
        Self::new(start, env::var_os("GITHUB_WORKSPACE").map(PathBuf::from))
    }

    /// `checkout` is what a runner says where the repository is.
    fn new(start: PathBuf, checkout: Option<PathBuf>) -> Self {
        let above = |name: &str| {
            let folder = start.ancestors().find(|folder| folder.join(name).exists());
            folder.map(Path::to_path_buf)
        };
        let workspace = above("Cargo.lock").unwrap_or_else(|| start.clone());
        let checkout = checkout.filter(|it| !it.as_os_str().is_empty() && start.starts_with(it));
        let repository = checkout.or_else(|| above(".git")).unwrap_or_else(|| workspace.clone());
        Self { start, workspace, repository }
    }

    /// Where a file is written: relative to the workspace, so that all packages mean the same.
    pub(super) fn output(&self, path: &Path) -> PathBuf {
        self.workspace.join(path)
    }

    /// A line by the path that the compiler or the debug information has; `None` outside of the repository.
    pub(super) fn place(&self, file: &str, line: u32) -> Option<Place> {
        let path = Path::new(file);
        // From the package, or from the workspace: the compiler is started there.
        let folder = self.start.ancestors().find(|folder| folder.join(path).is_file());
        let whole = folder.unwrap_or(&self.repository).join(path);
        let below = without_dots(&whole).strip_prefix(&self.repository).ok()?.to_path_buf();
        let parts: Option<Vec<_>> = below.components().map(|it| it.as_os_str().to_str()).collect();
        Some(Place { file: parts?.join("/"), line: line.max(1) })
    }
}

/// The same path without `.` and `..`, as it is written.
fn without_dots(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    pub(in crate::testing::report) fn places(root: &str) -> Places {
        let root = PathBuf::from(root);
        Places { start: root.clone(), workspace: root.clone(), repository: root }
    }

    #[test]
    fn files_are_told_from_the_root_of_the_repository() {
        let root = env::temp_dir().join(format!("tower-stall-places-{}", std::process::id()));
        let package = root.join("backend/crates/users");
        fs::create_dir_all(package.join("src")).expect("a folder");
        fs::create_dir_all(root.join(".git")).expect("a folder");
        fs::write(root.join("backend/Cargo.lock"), "").expect("a file");
        fs::write(package.join("src/users.rs"), "").expect("a file");
        let file = "backend/crates/users/src/users.rs";
        let of_git = Places::new(package.clone(), None);
        let of_runner = Places::new(package.clone(), Some(root.clone()));
        let elsewhere = Places::new(package.clone(), Some(root.join("other")));
        for places in [of_git, of_runner, elsewhere] {
            let expected = Some(Place { file: file.to_owned(), line: 7 });
            let whole = package.join("src/users.rs");
            let roundabout = package.join("tests/../src/./users.rs");
            let as_text = |path: &Path| path.to_str().expect("text").to_owned();
            for known in [
                "src/users.rs".to_owned(),
                "crates/users/src/users.rs".to_owned(),
                as_text(&whole),
                as_text(&roundabout),
            ] {
                assert_eq!(places.place(&known, 7), expected, "{known}");
            }
            assert_eq!(places.place("/rustc/0a/library/std/src/thread.rs", 7), None);
            assert_eq!(places.place("../elsewhere.rs", 7), None);
            let gone = Some(Place { file: "src/gone.rs".to_owned(), line: 1 });
            assert_eq!(places.place("src/gone.rs", 0), gone);
            let output = root.join("backend/target/stalls.sarif");
            assert_eq!(places.output(Path::new("target/stalls.sarif")), output);
            assert_eq!(places.output(Path::new("/tmp/it.sarif")), Path::new("/tmp/it.sarif"));
        }
        fs::remove_dir_all(root).expect("it is there");
    }
}
