//! A user of the broker for each host, where the broker's management API is configured: made when the host asks for
//! one with its key, removed when that key is revoked or the host is deleted.

use std::sync::Arc;
use std::time::Duration;

use cell_db::{Tx, users};
use model::{Fault, HostId};
use rpc::BrokerUser;
use sql::Work;
use tokio_util::sync::CancellationToken;

use crate::Conductor;

/// How often it is looked whether a host has lost its key.
const LOOK: Duration = Duration::from_secs(2);

/// Makes a host's user, or gives the one that is there another password; none where no such users are made.
pub(crate) async fn give(conductor: &Conductor, host: HostId) -> Result<Option<BrokerUser>, Fault> {
    let Some(name) = conductor.bus.user_of(host) else { return Ok(None) };
    let now = conductor.env.now();
    let recorded = conductor.db.write(move |tx: &mut Tx| -> Work<'_, ()> {
        let name = name.clone();
        Box::pin(async move { users::put(tx, host, &name, now).await })
    });
    recorded.await?;
    let user = conductor.bus.make_user(host).await?;
    tracing::info!(host.id = %host, user = user.name, "the host has a user of the broker of its own");
    Ok(Some(user))
}

/// Removes the users of hosts without a key until the token is cancelled.
pub(crate) async fn run(conductor: Arc<Conductor>, shutdown: CancellationToken) {
    if !conductor.bus.makes_users() {
        return shutdown.cancelled().await;
    }
    let mut complained = false;
    while shutdown.run_until_cancelled(tokio::time::sleep(conductor.env.jitter(LOOK / 2))).await.is_some() {
        match look(&conductor).await {
            Ok(()) => complained = false,
            Err(fault) => {
                if !std::mem::replace(&mut complained, true) {
                    tracing::error!(%fault, "users of the broker that hosts had are not removed; trying again");
                }
            }
        }
    }
}

async fn look(conductor: &Conductor) -> Result<(), Fault> {
    let left = conductor.db.read(|tx: &mut Tx| -> Work<'_, Vec<(HostId, String)>> {
        Box::pin(async move { users::left(tx).await })
    });
    for (host, name) in left.await? {
        conductor.bus.remove_user(&name).await?;
        tracing::info!(host.id = %host, user = name, "the host's user of the broker was removed");
        let forgotten = conductor.db.write(move |tx: &mut Tx| -> Work<'_, ()> {
            let name = name.clone();
            Box::pin(async move { users::forget(tx, host, &name).await })
        });
        forgotten.await?;
    }
    Ok(())
}
