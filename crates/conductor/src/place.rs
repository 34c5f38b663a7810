//! Placing: unplaced instances get hosts, or the cell says why it cannot take them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cell_db::claims::{self, Claim, Claimed, Waiting};
use cell_db::instances::BUCKETS;
use cell_db::{Tx, groups, hosts, restored};
use model::bug::{Bug, planted};
use model::failpoint::PLACE;
use model::spec::Protocol;
use model::{Fault, FaultKind, HostId, InstanceId, Timestamp};
use rpc::{Bell, Ringing};
use scheduler::hosts::{Neighbour, Snapshot};
use sql::{Error, Work};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Conductor, resize};

/// What is to be placed within so long of a batch is left to the next one together: a batch costs the same for
/// one instance as for many.
const GATHER: Duration = Duration::from_millis(10);

/// What one batch came to.
#[derive(Default)]
struct Batch {
    seen: usize,
    claimed: Claimed,
    refused: Vec<InstanceId>,
}

/// What a round was: how many instances waited, and whether there may be more to do at once.
struct Done {
    seen: usize,
    more: bool,
}

/// Places whenever the bell rings, something inside asks for it, or a second has passed.
pub(crate) async fn run(conductor: Arc<Conductor>, mut bell: Ringing, shutdown: CancellationToken) {
    loop {
        let mut rung = false;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = bell.rung() => rung = true,
            () = conductor.place.notified() => {}
            () = tokio::time::sleep(Duration::from_secs(1)), if !planted(Bug::DoorbellOnly) => {}
        }
        if let Err(error) = resize::round(&conductor).await {
            tracing::warn!(%error, "a size could not be changed; it will be tried again");
        }
        let mut placed = false;
        while !shutdown.is_cancelled() {
            match batch(&conductor).await {
                Ok(done) => {
                    placed |= done.seen > 0;
                    if !done.more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "placing failed; it will be tried again");
                    break;
                }
            }
        }
        if rung && !placed {
            // Somebody above wants to know what fits here.
            conductor.changed.notify_one();
        }
        if placed {
            let _ = shutdown.run_until_cancelled(tokio::time::sleep(GATHER)).await;
        }
    }
}

/// Places one batch and rings whoever has to know.
async fn batch(conductor: &Arc<Conductor>) -> Result<Done, Error> {
    let (limit, now) = (conductor.settings.batch, conductor.env.now());
    let from = conductor.env.below(BUCKETS) as i64;
    let write = || {
        conductor.db.write(move |tx| -> Work<'_, Batch> {
            Box::pin(async move { place(tx, from, limit, now).await })
        })
    };
    let done = conductor.env.step_of(PLACE, write, |batch| batch.seen > 0).await?;
    let hosts: BTreeSet<HostId> = done.claimed.won.iter().map(|(_, host)| *host).collect();
    for host in hosts {
        conductor.bus.ring(Bell::Host(host));
    }
    if !done.refused.is_empty() {
        conductor.bus.ring(Bell::Up);
    }
    if done.seen > 0 {
        conductor.changed.notify_one();
        metrics::counter!("skep_placed_total").increment(done.claimed.won.len() as u64);
        metrics::counter!("skep_claims_lost_total").increment(done.claimed.lost.len() as u64);
        metrics::counter!("skep_refused_total").increment(done.refused.len() as u64);
    }
    let progress = !done.claimed.won.is_empty() || !done.refused.is_empty();
    let more = progress && (done.seen as i64 == limit || !done.claimed.lost.is_empty());
    Ok(Done { seen: done.seen, more })
}

/// Reads, plans and claims in one transaction: planning awaits nothing, and every claim is conditional.
async fn place(tx: &mut Tx, from: i64, limit: i64, now: Timestamp) -> Result<Batch, Error> {
    let waiting = claims::waiting(tx, from, limit).await?;
    if waiting.is_empty() || restored::is_held(tx).await? {
        return Ok(Batch::default());
    }
    let seen = waiting.len();
    let all = hosts::all(tx).await?;
    let mut ports = BTreeSet::new();
    if waiting.iter().any(|w| w.spec.container.ports.iter().any(|port| port.host != 0)) {
        for (engine, protocol, port) in claims::taken_ports(tx).await? {
            let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
            ports.insert((engine, protocol, u16::try_from(port).unwrap_or_default()));
        }
    }
    let mut grouped: Vec<Uuid> =
        waiting.iter().filter_map(|w| w.spec.extra.group.map(|group| group.id)).collect();
    grouped.sort_unstable();
    grouped.dedup();
    let members = groups::members(tx, &grouped).await?;
    let named =
        waiting.iter().flat_map(|w| w.spec.extra.same_host.union(&w.spec.extra.different_host)).copied();
    let lying = groups::lying(tx, named.collect()).await?;
    let neighbours = lying.into_iter().map(|(id, host, project)| (id, Neighbour { host, project }));
    let snapshot = Snapshot::new(all, ports).with_groups(members).with_neighbours(neighbours.collect());
    let (chosen, refusals) = plan(snapshot, waiting, now);
    let claimed = claims::claim(tx, &chosen, now).await?;
    let refused = claims::refuse(tx, &refusals, now).await?;
    Ok(Batch { seen, claimed, refused })
}

/// Chooses a host for each, or the words of the refusal. Pure.
fn plan(
    mut snapshot: Snapshot,
    waiting: Vec<Waiting>,
    now: Timestamp,
) -> (Vec<Claim>, Vec<(Waiting, Fault)>) {
    let (mut chosen, mut refused) = (Vec::new(), Vec::new());
    for instance in waiting {
        if now > instance.spec.deadline {
            refused.push((instance, Fault::new(FaultKind::Timeout, "no host was found in time")));
            continue;
        }
        match snapshot.select_destinations(&instance.spec, &instance.avoid) {
            Ok(selection) => {
                snapshot.update_resource_stats(selection.host, &instance.spec);
                chosen.push(Claim { instance, host: selection.host, engine: selection.engine });
            }
            Err(why) => {
                // What an engine said is worth more to the user than that no other host is left.
                let fault = instance.fault.clone().unwrap_or_else(|| {
                    Fault::new(FaultKind::NoValidHost, format!("No valid host was found: {why}"))
                });
                refused.push((instance, fault));
            }
        }
    }
    (chosen, refused)
}
