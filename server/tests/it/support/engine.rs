//! What a case runs on: an engine, and where the descriptors of its connections live.

use std::fmt;

use finwait_server::engine::{Descriptors, EngineKind};

/// An engine as the suite counts them: one with direct descriptors has other calls for nearly everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    pub(crate) kind: EngineKind,
    pub(crate) descriptors: Descriptors,
}

impl Engine {
    /// What says so on the command line.
    pub(crate) fn args(self) -> [&'static str; 4] {
        ["--engine", self.kind.name(), "--descriptors", self.descriptors.name()]
    }
}

impl From<EngineKind> for Engine {
    fn from(kind: EngineKind) -> Self {
        Self { kind, descriptors: Descriptors::Normal }
    }
}

impl From<(EngineKind, Descriptors)> for Engine {
    fn from((kind, descriptors): (EngineKind, Descriptors)) -> Self {
        Self { kind, descriptors }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.descriptors {
            Descriptors::Normal => self.kind.fmt(f),
            Descriptors::Direct => write!(f, "{}-direct", self.kind),
        }
    }
}
