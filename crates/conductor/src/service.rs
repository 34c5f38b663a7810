//! What agents ask: to be registered, and to sync.

use std::sync::Arc;

use cell_db::{hosts, keys, offers, pulls, reports, restored};
use model::failpoint::SYNC;
use model::sync::{Outcome, Wanted};
use model::{Context, Fault, Incarnation, Timestamp};
use rpc::contract::{Register, Registered, SyncHost, Synced, Verdict, digest};
use rpc::{Bell, Service, Signed};
use sql::Work;

use crate::enrol::{self, Admitted};
use crate::{Conductor, Settings, users};

/// Most wishes in one answer, and most bytes of them.
const PAGE: i64 = 64;
const PAGE_BYTES: usize = 256 * 1024;

/// The calls that a conductor answers.
pub(crate) fn service(conductor: &Arc<Conductor>) -> Service {
    let (one, two) = (conductor.clone(), conductor.clone());
    Service::new()
        .on_signed(move |_: Context, signed, call: Register| {
            let conductor = one.clone();
            async move { register(&conductor, signed, call).await }
        })
        .on_signed(move |_: Context, signed, call: SyncHost| {
            let conductor = two.clone();
            async move {
                let call = Arc::new((call, signed));
                if call.0.observations.is_empty() {
                    return sync(&conductor, call).await;
                }
                conductor.env.step(SYNC, || sync(&conductor, call.clone())).await
            }
        })
}

async fn register(
    conductor: &Arc<Conductor>,
    signed: Option<Signed>,
    call: Register,
) -> Result<Registered, Fault> {
    let asked = Arc::new((call, signed));
    let (now, stored, conductor) = (conductor.env.now(), asked.clone(), conductor.clone());
    let shared = conductor.clone();
    let done = conductor.db.write(move |tx| -> Work<'_, Result<Registered, Fault>> {
        let (asked, conductor) = (stored.clone(), shared.clone());
        Box::pin(async move { enter(tx, &conductor, &asked.0, asked.1.as_ref(), now).await })
    });
    let (mut done, host) = (done.await?, &asked.0);
    if let Ok(registered) = &mut done
        && registered.sessions.is_none()
        && host.wants_user
        // Its key was looked at.
        && host.key.is_some()
        && asked.1.is_some()
    {
        match users::give(&conductor, host.host).await {
            Ok(user) => registered.user = user,
            Err(fault) => {
                tracing::error!(host.id = %host.host, %fault, "the host gets no user of the broker of its own yet");
                metrics::counter!("skep_conductor_users_failed_total").increment(1);
                registered.user_later = true;
            }
        }
    }
    match &done {
        Ok(Registered { sessions: None, .. }) => {
            tracing::info!(host.id = %host.host, host.name = host.name, host.healthy, "host registered");
            conductor.changed.notify_one();
            conductor.place.notify_one();
        }
        Ok(_) => {}
        Err(fault) => {
            tracing::warn!(host.id = %host.host, host.name = host.name, %fault, "a host is refused");
            metrics::counter!("skep_conductor_hosts_refused_total").increment(1);
        }
    }
    done
}

async fn enter(
    tx: &mut cell_db::Tx,
    conductor: &Conductor,
    call: &Register,
    signed: Option<&Signed>,
    now: Timestamp,
) -> Result<Result<Registered, Fault>, sql::Error> {
    let Settings { join, heartbeat, .. } = conductor.settings;
    let is_still = |beat| conductor.still_for(call.host, beat) >= 2 * heartbeat;
    let admitted = enrol::admit(tx, call, signed, join, is_still, now).await?;
    let (first_seq, sessions) = match admitted {
        Admitted::No(fault) => return Ok(Err(fault)),
        Admitted::Again(sessions) => (0, Some(sessions)),
        Admitted::Yes => {
            let host = hosts::Registration {
                id: call.host,
                name: call.name.clone(),
                zone: call.zone.clone(),
                engine: call.engine.clone(),
                address: call.address.clone(),
                capacity: call.capacity,
                boot: call.boot,
                session: call.session,
                version: call.version.clone(),
                healthy: call.healthy,
            };
            (hosts::register(tx, &host, now).await?, None)
        }
    };
    let incarnation = restored::standing(tx).await?.incarnation;
    let heartbeat_ms = heartbeat.as_millis() as u64;
    Ok(Ok(Registered { incarnation, heartbeat_ms, first_seq, sessions, user: None, user_later: false }))
}

/// What one sync read and did.
struct Done {
    incarnation: Incarnation,
    registered: bool,
    applied: reports::Applied,
    wanted: Vec<Wanted>,
    differs: bool,
}

async fn sync(conductor: &Conductor, signed: Arc<(SyncHost, Option<Signed>)>) -> Result<Synced, Fault> {
    let (now, asked, call) = (conductor.env.now(), signed.clone(), &signed.0);
    let work = sql::work(move |tx: &mut cell_db::Tx| {
        let asked = asked.clone();
        Box::pin(async move { exchange(tx, &asked.0, asked.1.as_ref(), now).await })
    });
    // A sync that changes nothing needs no transaction.
    let writes = call.heartbeat || !call.observations.is_empty() || call.offers.is_some();
    let done = if writes { conductor.db.write(work).await? } else { conductor.db.read(work).await? };
    for told in call.observations.iter().filter(|told| done.registered && !told.request_id.is_empty()) {
        if matches!(told.outcome, Outcome::Done | Outcome::Gone | Outcome::Failed) {
            let (instance, request_id, outcome) = (told.instance, &told.request_id, told.outcome);
            tracing::info!(host.id = %call.host, %instance, request_id, ?outcome, "told by its host");
        }
    }
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

async fn exchange(
    tx: &mut cell_db::Tx,
    call: &SyncHost,
    signed: Option<&Signed>,
    now: Timestamp,
) -> Result<Done, sql::Error> {
    let restored::Standing { incarnation, since } = restored::standing(tx).await?;
    let known = hosts::session(tx, call.host, call.session).await?;
    if let Some(Some(key)) = &known {
        enrol::is_signed(call.host, call.session, key, signed)?;
    }
    let mut registered = known.is_some();
    if registered && call.heartbeat {
        let user = call.connected_as.as_deref();
        registered = hosts::beat(tx, call.host, call.session, call.healthy, user, now).await?;
        // What lies between two signs of life may be heard twice: observations are numbered.
        if let (Some(Some(_)), Some(signed)) = (&known, signed) {
            keys::heard(tx, call.host, signed.session, signed.counter).await?;
        }
    }
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
