//! Who is compared.

use std::path::{Path, PathBuf};

/// The service in its two builds.
pub(crate) struct Programs {
    /// As `cargo build` makes it.
    pub(crate) stable: PathBuf,
    /// With `--cfg tokio_unstable`.
    pub(crate) unstable: PathBuf,
    /// What the compiler says where dial9 does not build.
    pub(crate) no_dial9: Option<String>,
}

/// One tool in one build.
#[derive(Clone, Copy)]
pub(crate) struct Contender {
    /// For the tables.
    pub(crate) name: &'static str,
    /// What the service calls it.
    pub(crate) tool: &'static str,
    pub(crate) is_unstable: bool,
}

impl Contender {
    pub(crate) const ALL: [Self; 6] = [
        Self { name: "tower-stall", tool: "stall", is_unstable: false },
        Self { name: "tower-stall with hooks", tool: "hooks", is_unstable: true },
        Self { name: "tokio-metrics", tool: "metrics", is_unstable: false },
        Self { name: "console-subscriber", tool: "console", is_unstable: true },
        Self { name: "tokio-blocked", tool: "blocked", is_unstable: true },
        Self { name: "dial9", tool: "dial9", is_unstable: true },
    ];

    pub(crate) fn program<'a>(&self, programs: &'a Programs) -> &'a Path {
        if self.is_unstable { &programs.unstable } else { &programs.stable }
    }

    /// Whether the service was built with it.
    pub(crate) fn is_built(&self, programs: &Programs) -> bool {
        !self.tool.starts_with("dial9") || programs.no_dial9.is_none()
    }
}
