//! Typed ids. Each is a UUID made by us (version 7 from the injected clock and randomness), so that
//! an id is chosen before the transaction which first stores it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $word:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id as a plain UUID.
            pub fn uuid(self) -> Uuid { self.0 }
        }
        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self { Self(uuid) }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { self.0.fmt(f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($word, ":{}"), self.0) }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> { Uuid::parse_str(text).map(Self) }
        }
    )*};
}

ids! {
    /// What the user owns: one server, one container.
    InstanceId = "instance";
    /// A shard of the cloud with its own database, broker, conductors and hosts.
    CellId = "cell";
    /// A machine that runs an agent.
    HostId = "host";
    /// A durable task.
    TaskId = "task";
    /// One run of one worker process: its lease name.
    WorkerId = "worker";
    /// A database's incarnation, new after a restore.
    Incarnation = "incarnation";
}

impl CellId {
    /// The cell of what could not be built. The id is Nova's.
    pub const ZERO: CellId = CellId(Uuid::nil());
}
