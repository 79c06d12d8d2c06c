//! What the frames of stacks show.

/// What frames show in this build and under these settings, and why it is no more.
#[allow(dead_code, reason = "some of it is so only where stacks are taken")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackDetail {
    /// Functions, files and lines.
    Lines,
    /// Functions alone.
    Functions(&'static str),
    /// Modules and offsets alone.
    Offsets(&'static str),
    /// No stacks are taken.
    Nothing(&'static str),
}

impl StackDetail {
    /// One word, for programs.
    #[cfg(feature = "admin")]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "lines",
            Self::Functions(_) => "functions",
            Self::Offsets(_) => "offsets",
            Self::Nothing(_) => "nothing",
        }
    }

    /// Why it is no more.
    pub(crate) const fn why(self) -> Option<&'static str> {
        match self {
            Self::Lines => None,
            Self::Functions(why) | Self::Offsets(why) | Self::Nothing(why) => Some(why),
        }
    }
}
