//! The RabbitMQ transport (AMQP 0-9-1): two connections, one to publish and one to consume, because a broker
//! that is short of memory blocks connections that publish.
//!
//! A [`Session`](session::Session) is one pair of connections with its channels; a supervisor makes it, watches
//! it, and makes another when it is lost, for ever. Inboxes declare and consume anew on each session.
//!
//! lapin's own recovery is not used. It has no way to end a connection that is being recovered, so one
//! that was given up and replaced would come back and consume beside its successor; and it leaves the
//! confirms of a lost connection hanging, where this fails them at once.

mod inbox;
mod link;
mod session;

use std::time::Duration;

pub(crate) use inbox::Inbox;
use lapin::options::BasicAckOptions;
pub(crate) use link::Link;

/// How long the broker may take for one operation.
const OPERATION: Duration = Duration::from_secs(5);

/// An operation on the broker with its deadline.
async fn within<T>(operation: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(OPERATION, operation).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {OPERATION:?}")),
    }
}

/// Acknowledges a message. If that fails the connection is gone, and the broker delivers it again.
pub(crate) async fn ack(acker: &lapin::Acker) {
    if let Err(error) = within(acker.ack(BasicAckOptions::default())).await {
        tracing::debug!(error, "a message could not be acknowledged and will be delivered again");
    }
}
