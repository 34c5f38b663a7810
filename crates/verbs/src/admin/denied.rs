//! Refusals of the operator's verbs: each with the reason that exit codes and statuses are made of.

use std::fmt;

use model::{Fault, FaultKind};
use sql::Error;

/// Why an operator's verb was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no such cell.
    NoCell,
    /// There is no such host.
    NoHost,
    /// Several hosts have that name.
    Ambiguous,
    /// The host is in another cell.
    OtherCell,
    /// Another cell has that name.
    NameTaken,
    /// Another cell has one of these URLs.
    UrlTaken,
    /// A name, region or URL cannot be used.
    Bad,
    /// cell0 is not for that.
    Cell0,
    /// The cell's state does not allow it.
    State,
    /// Hosts are mapped to the cell.
    HasHosts,
    /// Instances live there.
    HasInstances,
    /// Mappings of instances that are gone are left.
    HasDead,
    /// The host's agent is alive.
    Alive,
    /// The cell does not answer.
    Dark,
    /// A preflight check failed.
    NotReady,
    /// Another kind of failure.
    Fault(FaultKind),
}

/// A refusal: why, and one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why.
    pub why: Why,
    /// What was wrong and what to do.
    pub message: String,
}

impl Denied {
    /// A refusal.
    pub fn new(why: Why, message: impl Into<String>) -> Self {
        Self { why, message: message.into() }
    }

    /// The cell does not answer.
    pub(crate) fn dark(cell: &str, error: &Error) -> Self {
        Self::new(Why::Dark, format!("cell {cell}: {}", super::reason(error)))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Denied {}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Self::new(Why::Fault(fault.kind), fault.message)
    }
}

impl From<Error> for Denied {
    /// What the API database said.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Fault(fault) => fault.kind,
            Error::Stale => FaultKind::Stale,
            Error::Down(_) | Error::Contended(_) => FaultKind::Unavailable,
            Error::Unknown(_) => FaultKind::Timeout,
            Error::Corrupt(_) | Error::Statement(_) => FaultKind::Internal,
        };
        Self::new(Why::Fault(kind), format!("API database: {error}"))
    }
}

impl From<Denied> for Fault {
    fn from(denied: Denied) -> Self {
        let kind = match denied.why {
            Why::NoCell | Why::NoHost => FaultKind::NotFound,
            Why::Bad => FaultKind::Invalid,
            Why::Dark => FaultKind::Unavailable,
            Why::Fault(kind) => kind,
            Why::Ambiguous
            | Why::OtherCell
            | Why::NameTaken
            | Why::UrlTaken
            | Why::Cell0
            | Why::State
            | Why::HasHosts
            | Why::HasInstances
            | Why::HasDead
            | Why::Alive
            | Why::NotReady => FaultKind::Conflict,
        };
        Fault::new(kind, denied.message)
    }
}
