//! Drills: making a cell dark on purpose, below `sql` and `rpc`, so that nothing above can tell the
//! drill from the real thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What a connection does while a drill is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drill {
    /// It works.
    Off,
    /// It fails at once, like a port that nobody listens on.
    Refuse,
    /// It hangs until the caller's deadline, like a frozen server.
    Hang,
}

/// A switch shared between whoever drills and the connections that it concerns.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<AtomicU8>);

impl Gate {
    /// Starts or ends a drill.
    pub fn set(&self, drill: Drill) {
        self.0.store(drill as u8, Ordering::SeqCst);
    }

    /// What connections should do now.
    pub fn get(&self) -> Drill {
        match self.0.load(Ordering::SeqCst) {
            0 => Drill::Off,
            1 => Drill::Refuse,
            _ => Drill::Hang,
        }
    }
}
