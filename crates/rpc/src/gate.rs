//! What a drill does to operations and to consumers.

use std::time::Duration;

use model::Fault;
use model::drill::{Drill, Gate};

/// How often a held consumer looks whether the drill has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Lets an operation through, refuses it, or never returns: the caller's deadline ends the wait.
pub(crate) async fn pass(gate: &Gate) -> Result<(), Fault> {
    match gate.get() {
        Drill::Off => Ok(()),
        Drill::Refuse => Err(Fault::unavailable("the message broker refuses connections; try again later")),
        Drill::Hang => std::future::pending().await,
    }
}

/// Returns once no drill is on.
pub(crate) async fn opened(gate: &Gate) {
    while gate.get() != Drill::Off {
        tokio::time::sleep(LOOK).await;
    }
}

/// The refusal of an operation that nobody waits for.
pub(crate) fn refused() -> Result<(), Fault> {
    Err(Fault::unavailable("the message broker does not answer; try again later"))
}
