//! What can go wrong with a database call, told by what it means for the caller.

use std::fmt;

use model::{Fault, FaultKind};

/// The outcome of a database call that was not done.
#[derive(Debug)]
pub enum Error {
    /// The closure refused: nothing was committed, the caller gets this fault.
    Fault(Fault),
    /// A compare-and-swap found other numbers than expected: nothing was committed.
    Stale,
    /// The database cannot be reached or missed the deadline: nothing was committed.
    Down(String),
    /// The connection broke, or the deadline passed, while COMMIT was under way: read again by id.
    Unknown(String),
    /// A transaction lost against another and may be run again; `write` does so by itself.
    Contended(String),
    /// A stored value does not make sense.
    Corrupt(String),
    /// A defect of ours: the engine refused the statement.
    Statement(String),
}

impl Error {
    /// A stored value in `place` does not make sense.
    pub fn corrupt(place: &str, value: impl fmt::Debug) -> Self {
        Self::Corrupt(format!("{place} holds {value:?}"))
    }

    /// Whether nothing is wrong with the request and trying later may help.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Down(_) | Self::Unknown(_) | Self::Contended(_) | Self::Stale)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Stale => f.write_str("somebody else changed it first"),
            Self::Down(why) => write!(f, "database does not answer: {why}"),
            Self::Unknown(why) => write!(f, "outcome of the commit is unknown: {why}"),
            Self::Contended(why) => write!(f, "lost against other transactions: {why}"),
            Self::Corrupt(what) => write!(f, "stored value makes no sense: {what}"),
            Self::Statement(why) => write!(f, "statement refused: {why}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Fault {
    /// What the user is told. Causes that name hosts or statements are logged here and not passed on.
    fn from(error: Error) -> Self {
        match error {
            Error::Fault(fault) => fault,
            Error::Stale => Fault::new(FaultKind::Stale, "it was changed at the same time; try again"),
            Error::Down(why) | Error::Contended(why) => {
                tracing::warn!(cause = why, "database does not answer");
                Fault::unavailable("a database that is needed does not answer; try again")
            }
            Error::Unknown(why) => {
                tracing::warn!(cause = why, "commit with unknown outcome");
                Fault::new(
                    FaultKind::Timeout,
                    "the database did not confirm in time; look again before you repeat",
                )
            }
            error @ (Error::Corrupt(_) | Error::Statement(_)) => {
                tracing::error!(cause = %error, "database defect");
                Fault::internal("an internal error was logged under this request's id")
            }
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let text = error.to_string();
        match error {
            sqlx::Error::Database(db) => match db.code().as_deref() {
                // PostgreSQL: serialization_failure, deadlock_detected, lock_not_available.
                Some("40001" | "40P01" | "55P03") => Self::Contended(text),
                // PostgreSQL: shutting down, starting up, too many connections, connection classes; a user or
                // password that it refuses.
                Some(code)
                    if ["57P", "08", "28"].iter().any(|class| code.starts_with(class)) || code == "53300" =>
                {
                    Self::Down(text)
                }
                // SQLite: BUSY, LOCKED and their extended codes.
                Some("5" | "6" | "261" | "517" | "262") => Self::Contended(text),
                // SQLite: IOERR, FULL, CANTOPEN and extended IOERR codes; PostgreSQL: disk full.
                Some("10" | "13" | "14" | "53100") => Self::Down(text),
                Some(code) if code.parse::<u32>().is_ok_and(|n| n & 0xff == 10) => Self::Down(text),
                _ => Self::Statement(text),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Down(text),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt(text),
            _ => Self::Statement(text),
        }
    }
}
