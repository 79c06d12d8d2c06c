//! The program in its builds.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Case;

/// How a program is built and run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// `debug = "limited"`, as the documentation says.
    Limited,
    /// `debug = "line-tables-only"`.
    LineTables,
    /// `opt-level = "z"`.
    Size,
    /// `lto = "fat"` and `strip = "debuginfo"`.
    Fat,
    /// As `Limited`, on one CPU.
    OneCpu,
}

/// A program that was built.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) build: Build,
    path: PathBuf,
}

/// Where cargo compiles, so that the names of files are short.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("it lies in it")
}

impl Build {
    /// Every build, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Limited, Self::LineTables, Self::Size, Self::Fat, Self::OneCpu];

    /// The name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::LineTables => "line tables",
            Self::Size => "size",
            Self::Fat => "fat",
            Self::OneCpu => "one CPU",
        }
    }

    /// What stands in `Cargo.toml`.
    #[must_use]
    pub const fn settings(self) -> &'static str {
        match self {
            Self::Limited => "`debug = \"limited\"`",
            Self::LineTables => "`debug = \"line-tables-only\"`",
            Self::Size => "`debug = \"limited\"`, `opt-level = \"z\"`",
            Self::Fat => "`lto = \"fat\"`, `strip = \"debuginfo\"`",
            Self::OneCpu => "as *limited*, bound to one CPU",
        }
    }

    /// Whether a program has no debug information.
    #[must_use]
    pub const fn is_stripped(self) -> bool {
        matches!(self, Self::Fat)
    }

    const fn profile(self) -> &'static str {
        match self {
            Self::Limited | Self::OneCpu => "release",
            Self::LineTables => "release-lines",
            Self::Size => "corpus-size",
            Self::Fat => "corpus-fat",
        }
    }

    /// Builds the program.
    ///
    /// # Panics
    ///
    /// It does not build.
    #[must_use]
    pub fn make(self) -> Program {
        let package = env!("CARGO_PKG_NAME");
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--package", package, "--bin", package]);
        cargo.args(["--profile", self.profile(), "--message-format=json-render-diagnostics"]);
        let output = cargo.current_dir(workspace()).stderr(Stdio::inherit()).output();
        let output = output.expect("cargo runs");
        assert!(output.status.success(), "the build {} builds", self.name());
        let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
        let mut messages =
            messages.lines().map(|line| serde_json::from_str::<Value>(line).expect("a message"));
        let path = messages.find_map(|message| Some(message["executable"].as_str()?.into()));
        Program { build: self, path: path.expect("a program was built") }
    }
}

impl Program {
    /// How it was built.
    #[must_use]
    pub const fn build(&self) -> Build {
        self.build
    }

    /// The cases that it has.
    ///
    /// # Panics
    ///
    /// It does not run.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        let output = Command::new(&self.path).output().expect("the program runs");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        printed.lines().map(Case::read).collect()
    }

    /// A command that runs it, with settings of the detector from nowhere.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        for (inherited, _) in std::env::vars_os() {
            if inherited.to_string_lossy().starts_with("TOWER_STALL") {
                command.env_remove(inherited);
            }
        }
        // A panic with a backtrace is a stall of its own.
        command.env_remove("RUST_BACKTRACE");
        if self.build == Build::OneCpu {
            command.env("STALL_CORPUS_ONE_CPU", "1");
        }
        command.current_dir(workspace()).stdin(Stdio::null());
        command
    }
}
