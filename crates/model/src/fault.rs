//! Faults: the closed list of what can go wrong, as users and callers see it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it is. Handlers branch on it; each protocol's table renders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The request itself is wrong.
    Invalid,
    /// No credential, or one that is not known.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// It does not exist, or is not the caller's.
    NotFound,
    /// The state that it is in forbids it.
    Conflict,
    /// It would exceed a quota.
    OverQuota,
    /// No host can take it.
    NoValidHost,
    /// The engine refused or failed.
    Engine,
    /// Somebody else changed it first, or a newer worker took over.
    Stale,
    /// A cell, broker, database or host that is needed does not answer.
    Unavailable,
    /// It was not done in the time allowed; it may or may not have happened.
    Timeout,
    /// What skep does not do.
    Unsupported,
    /// A defect of ours.
    Internal,
}

/// A failure: its kind and one sentence for the user. Causes are logged where the fault is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What kind it is.
    pub kind: FaultKind,
    /// What was wrong and what to do, for the user.
    pub message: String,
}

impl Fault {
    /// A fault of `kind` that tells the user `message`.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Invalid, message)
    }

    /// It does not exist, or is not the caller's.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FaultKind::NotFound, message)
    }

    /// The state that it is in forbids it.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Conflict, message)
    }

    /// Something that is needed does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Unavailable, message)
    }

    /// A defect of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FaultKind::Internal, message)
    }

    /// Whether trying the same again later may help.
    pub fn is_passing(&self) -> bool {
        matches!(self.kind, FaultKind::Unavailable | FaultKind::Timeout | FaultKind::Stale)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
