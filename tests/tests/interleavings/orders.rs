//! What two transactions in a cell's database do to one instance at a time is what they would have done one after
//! the other, in this order or in that.

use std::sync::Arc;

use cell_db::claims::{self, Claim, Waiting};
use cell_db::instances::{self, New};
use cell_db::{Db, amend, reports};
use model::instance::Action;
use model::sync::{Observation, Observed, Outcome};
use model::{At, CellId, Env, Fault, HostId, InstanceId, Power, RequestSpec, Timestamp};
use sql::{Error, Work};

use crate::below::{bed, register};
use crate::{Bed, End, spec};

/// What a transaction does.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// The API level tells of it, by a lease with this token.
    Insert(i64),
    /// The API level wants it gone, by a lease with this token.
    WantGone(i64),
    /// A conductor takes it to the first or the second host.
    Claim(usize),
    /// A conductor refuses it.
    Refuse,
    /// Its host says so.
    Report(Outcome, Power),
    /// A conductor gives up waiting for its host.
    Expire,
    /// A user asks for it.
    Act(Action),
    /// A user gives it another name.
    Rename,
}

/// How far the instance is when the two begin.
#[derive(Clone, Copy, Debug)]
enum Stand {
    Unheard,
    Unplaced,
    Building,
    Running,
}

struct Ground {
    id: InstanceId,
    hosts: [HostId; 2],
    at: At,
    version: i64,
}

/// What is to be seen when both have ended.
#[derive(Debug, PartialEq)]
struct Outlook {
    ends: [End; 2],
    row: String,
    slots: Vec<(i64, i64)>,
}

fn new(id: InstanceId, saga_token: i64) -> New {
    let spec = RequestSpec { deadline: Timestamp(100), ..spec("p") };
    New { id, epoch: 1, saga_token, spec, asked_by: "req-1".into(), bucket: 7, created: Timestamp(5) }
}

async fn stand(db: &Db, env: &Env, stand: Stand) -> Ground {
    let (id, hosts): (InstanceId, [HostId; 2]) = (env.id(), [env.id(), env.id()]);
    let prepared = db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move {
            for host in hosts {
                register(tx, host, 1).await?;
            }
            Ok(())
        })
    });
    prepared.await.expect("is prepared");
    let mut ground = Ground { id, hosts, at: At { epoch: 1, placement: 0, generation: 1 }, version: 0 };
    let deeds: &[Deed] = match stand {
        Stand::Unheard => &[],
        Stand::Unplaced => &[Deed::Insert(1)],
        Stand::Building => &[Deed::Insert(1), Deed::Claim(0)],
        Stand::Running => &[Deed::Insert(1), Deed::Claim(0), Deed::Report(Outcome::Done, Power::Running)],
    };
    for (n, deed) in deeds.iter().enumerate() {
        carry_out(db.clone(), &ground, *deed, n as i64).await.expect("is prepared");
        ground.at.placement = i64::from(n > 0);
    }
    if !deeds.is_empty() {
        let read = db.read(move |tx| -> Work<'_, Option<(model::Instance, i64)>> {
            Box::pin(async move { amend::get(tx, CellId::ZERO, id).await })
        });
        ground.version = read.await.expect("reads").expect("is there").1;
    }
    ground
}

async fn carry_out(db: Db, ground: &Ground, deed: Deed, seq: i64) -> Result<(), Error> {
    let Ground { id, hosts, at, version } = *ground;
    db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move {
            let now = Timestamp(6);
            let waiting = |spec| Waiting {
                id,
                epoch: 1,
                placement: 0,
                generation: 1,
                spec,
                avoid: Vec::new(),
                fault: None,
            };
            match deed {
                Deed::Insert(token) => instances::insert(tx, &[new(id, token)], now).await,
                Deed::WantGone(token) => instances::want_gone(tx, &[new(id, token)], now).await.map(drop),
                Deed::Claim(which) => {
                    let (host, engine) = (hosts[which], hosts[which].to_string());
                    let claim = Claim { instance: waiting(spec("p")), host, engine };
                    claims::claim(tx, &[claim], now).await.map(drop)
                }
                Deed::Refuse => {
                    let refused = (waiting(spec("p")), Fault::internal("there is no room"));
                    claims::refuse(tx, &[refused], now).await.map(drop)
                }
                Deed::Report(outcome, power) => {
                    let seen = Observation {
                        instance: id,
                        at: At { placement: 1, ..at },
                        seq,
                        outcome,
                        restart_seq: 0,
                        power,
                        observed: Observed::default(),
                        fault: None,
                        request_id: String::new(),
                    };
                    reports::apply(tx, hosts[0], &[seen], now).await.map(drop)
                }
                Deed::Expire => instances::expire(tx, Timestamp(101)).await.map(drop),
                Deed::Act(action) => instances::act(tx, id, at, action, "req-2", now).await.map(drop),
                Deed::Rename => {
                    let mut renamed = spec("p");
                    renamed.name = "renamed".into();
                    amend::amend(tx, id, version, &renamed, now).await.map(drop)
                }
            }
        })
    })
    .await
}

async fn look(db: &Db, ground: &Ground, ends: [End; 2]) -> Outlook {
    let (id, hosts) = (ground.id, ground.hosts);
    let read = db.read(move |tx| -> Work<'_, (String, Vec<(i64, i64)>)> {
        Box::pin(async move {
            let row = match instances::get(tx, CellId::ZERO, id).await? {
                None => "none".to_owned(),
                Some(i) => format!(
                    "{} {:?} {:?} {:?} {:?} at {:?} on {:?}, failed {}",
                    i.spec.name,
                    i.intent,
                    i.stage,
                    i.task,
                    i.power,
                    i.at,
                    i.host.map(|(host, _)| hosts.iter().position(|known| *known == host)),
                    i.fault.is_some()
                ),
            };
            let token =
                tx.opt::<(i64,)>("SELECT saga_token FROM instance WHERE id = $1", sql::args![id]).await?;
            let row = format!("{row}, token {}", token.map_or(-1, |(n,)| n));
            let mut slots = Vec::new();
            for host in hosts {
                let used = tx.opt::<(i64,)>("SELECT used_slots FROM host WHERE id = $1", sql::args![host]);
                let used = used.await?.map_or(-1, |(n,)| n);
                let sum = "SELECT COUNT(*) FROM allocation WHERE host = $1";
                slots.push((used, tx.opt::<(i64,)>(sum, sql::args![host]).await?.map_or(-1, |(n,)| n)));
            }
            Ok((row, slots))
        })
    });
    let (row, slots) = read.await.expect("reads");
    Outlook { ends, row, slots }
}

/// One after the other, those of the two that are named.
async fn in_turn(bed: &Bed<cell_db::Cell>, start: Stand, deeds: [Deed; 2], order: &[usize]) -> Outlook {
    let ground = stand(&bed.db, &bed.env, start).await;
    let mut ends: [End; 2] = [Ok(()), Ok(())];
    for &side in order {
        let end = carry_out(bed.db.clone(), &ground, deeds[side], 9 + side as i64).await;
        ends[side] = crate::text(end);
    }
    look(&bed.db, &ground, ends).await
}

async fn pairs(start: Stand, pairs: &[[Deed; 2]]) {
    let bed = bed().await;
    for deeds in pairs {
        let untouched = in_turn(&bed, start, *deeds, &[]).await;
        for alone in [0, 1] {
            let changed = in_turn(&bed, start, *deeds, &[alone]).await;
            assert_ne!(changed, untouched, "{:?} does nothing by itself", deeds[alone]);
        }
        let legal =
            [in_turn(&bed, start, *deeds, &[0, 1]).await, in_turn(&bed, start, *deeds, &[1, 0]).await];
        let [one, two] = *deeds;
        let side = |deed: Deed, seq: i64| {
            move |db: Db, ground: Arc<Ground>| async move { carry_out(db, &ground, deed, seq).await }
        };
        let seen = async |db: &Db, ground: &Ground, ends: [End; 2], when: &str| {
            let seen = look(db, ground, ends).await;
            assert!(legal.contains(&seen), "{deeds:?}, {when}: {seen:?} is none of {legal:?}");
        };
        let prepare = async |db: &Db, env: &Env| stand(db, env, start).await;
        bed.interleave(prepare, side(one, 9), side(two, 10), seen).await;
    }
}

const STOP: Deed = Deed::Act(Action::Stop);
const REBOOT: Deed = Deed::Act(Action::Reboot { hard: true });
const REBUILD: Deed = Deed::Act(Action::Rebuild);
const RUNS: Deed = Deed::Report(Outcome::Done, Power::Running);
const FAILS: Deed = Deed::Report(Outcome::Failed, Power::None);
const EXITED: Deed = Deed::Report(Outcome::Changed, Power::Stopped);
const GONE: Deed = Deed::WantGone(2);

#[tokio::test(flavor = "multi_thread")]
async fn of_what_the_cell_has_not_heard_of() {
    pairs(Stand::Unheard, &[[Deed::Insert(1), Deed::Insert(2)], [Deed::WantGone(1), GONE]]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_has_no_host() {
    let all = [
        [Deed::Claim(0), Deed::Claim(1)],
        [Deed::Claim(0), Deed::Refuse],
        [Deed::Refuse, GONE],
        [Deed::Rename, Deed::Claim(0)],
        [Deed::Insert(2), Deed::Claim(0)],
    ];
    pairs(Stand::Unplaced, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_is_being_built() {
    let all = [
        [Deed::Expire, RUNS],
        [Deed::Expire, FAILS],
        [Deed::Expire, GONE],
        [STOP, RUNS],
        [Deed::Rename, FAILS],
    ];
    pairs(Stand::Building, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_what_runs() {
    let all = [
        [STOP, STOP],
        [STOP, REBOOT],
        [STOP, GONE],
        [STOP, EXITED],
        [REBUILD, STOP],
        [REBUILD, EXITED],
        [REBUILD, GONE],
        [Deed::Rename, STOP],
        [Deed::Rename, EXITED],
        [GONE, Deed::WantGone(3)],
    ];
    pairs(Stand::Running, &all).await;
}
