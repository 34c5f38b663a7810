//! What agents ask: to be registered, and to sync.

use std::sync::Arc;

use cell_db::{hosts, offers, pulls, reports, restored};
use model::failpoint::SYNC;
use model::sync::Wanted;
use model::{Context, Fault, Incarnation};
use rpc::contract::{Register, Registered, SyncHost, Synced, Verdict, digest};
use rpc::{Bell, Service};
use sql::Work;

use crate::Conductor;

/// Most wishes in one answer, and most bytes of them.
const PAGE: i64 = 64;
const PAGE_BYTES: usize = 256 * 1024;

/// The calls that a conductor answers.
pub(crate) fn service(conductor: &Arc<Conductor>) -> Service {
    let (one, two) = (conductor.clone(), conductor.clone());
    Service::new()
        .on(move |_: Context, call: Register| {
            let conductor = one.clone();
            async move { register(&conductor, call).await }
        })
        .on(move |_: Context, call: SyncHost| {
            let conductor = two.clone();
            async move {
                let call = Arc::new(call);
                conductor.env.step(SYNC, || sync(&conductor, call.clone())).await
            }
        })
}

async fn register(conductor: &Conductor, call: Register) -> Result<Registered, Fault> {
    let host = Arc::new(hosts::Registration {
        id: call.host,
        name: call.name,
        zone: call.zone,
        engine: call.engine,
        address: call.address,
        capacity: call.capacity,
        boot: call.boot,
        session: call.session,
        version: call.version,
        healthy: call.healthy,
    });
    let now = conductor.env.now();
    let stored = host.clone();
    let (first_seq, incarnation) = conductor
        .db
        .write(move |tx| -> Work<'_, (i64, Incarnation)> {
            let host = stored.clone();
            Box::pin(async move {
                let first_seq = hosts::register(tx, &host, now).await?;
                Ok((first_seq, restored::standing(tx).await?.incarnation))
            })
        })
        .await?;
    tracing::info!(host.id = %host.id, host.name = host.name, host.healthy = host.healthy, "host registered");
    conductor.changed.notify_one();
    conductor.place.notify_one();
    Ok(Registered { incarnation, heartbeat_ms: conductor.settings.heartbeat.as_millis() as u64, first_seq })
}

/// What one sync read and did.
struct Done {
    incarnation: Incarnation,
    registered: bool,
    applied: reports::Applied,
    wanted: Vec<Wanted>,
    differs: bool,
}

async fn sync(conductor: &Conductor, call: Arc<SyncHost>) -> Result<Synced, Fault> {
    let (now, asked) = (conductor.env.now(), call.clone());
    let work = sql::work(move |tx: &mut cell_db::Tx| {
        let call = asked.clone();
        Box::pin(async move { exchange(tx, &call, now).await })
    });
    // A sync that changes nothing needs no transaction.
    let writes = call.heartbeat || !call.observations.is_empty() || call.offers.is_some();
    let done = if writes { conductor.db.write(work).await? } else { conductor.db.read(work).await? };
    if done.applied.settled {
        conductor.bus.ring(Bell::Up);
        conductor.changed.notify_one();
    }
    if done.applied.wishes {
        conductor.bus.ring(Bell::Host(call.host));
    }
    if done.applied.unplaced {
        conductor.place.notify_one();
    }
    let mut wanted = done.wanted;
    let mut more = (wanted.len() as i64 == PAGE).then(|| wanted.last().map(|w| w.instance)).flatten();
    if let Some(cut) = cut_at(&wanted) {
        wanted.truncate(cut);
        more = wanted.last().map(|w| w.instance);
    }
    let superseded = done.applied.superseded.into_iter().map(|(id, at)| (id, Verdict::Superseded(at)));
    let unknown = done.applied.unknown.into_iter().map(|id| (id, Verdict::Unknown));
    Ok(Synced {
        incarnation: done.incarnation,
        wanted,
        more,
        verdicts: superseded.chain(unknown).collect(),
        differs: done.differs,
        register: !done.registered,
    })
}

async fn exchange(tx: &mut cell_db::Tx, call: &SyncHost, now: model::Timestamp) -> Result<Done, sql::Error> {
    let restored::Standing { incarnation, since } = restored::standing(tx).await?;
    let registered = match call.heartbeat {
        true => hosts::beat(tx, call.host, call.session, call.healthy, now).await?,
        false => hosts::is_registered(tx, call.host, call.session).await?,
    };
    let mut done = Done {
        incarnation,
        registered,
        applied: reports::Applied::default(),
        wanted: Vec::new(),
        differs: false,
    };
    if !registered {
        return Ok(done);
    }
    if let Some(offered) = &call.offers {
        offers::put(tx, call.host, offered.first, &offered.page, now).await?;
    }
    if since.is_some() {
        // The host knows more than this database: it is heard, and told nothing.
        if call.heard == Some(incarnation) && call.heartbeat {
            restored::heard(tx, call.host, incarnation).await?;
        }
        done.applied = restored::hear(tx, call.host, &call.observations, now).await?;
        return Ok(done);
    }
    if !call.observations.is_empty() {
        done.applied = reports::apply(tx, call.host, &call.observations, now).await?;
    }
    done.wanted = pulls::wanted(tx, call.host, call.full, call.after, PAGE).await?;
    done.differs = match call.digest {
        Some(theirs) => digest(pulls::numbers(tx, call.host).await?) != theirs,
        None => false,
    };
    Ok(done)
}

/// Where to cut a page that is too long for one message; at least one wish always travels.
fn cut_at(wanted: &[Wanted]) -> Option<usize> {
    let mut bytes = 0;
    for (index, one) in wanted.iter().enumerate() {
        // Specs are small unless a user makes them large; only those are measured.
        let large = one.spec.as_ref().map_or(0, |spec| {
            let c = &spec.container;
            c.command.iter().map(String::len).sum::<usize>()
                + c.env.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>()
                + c.labels.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>()
                + spec.metadata.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>()
        });
        bytes += 1_024 + large;
        if bytes > PAGE_BYTES && index > 0 {
            return Some(index);
        }
    }
    None
}
