//! The models' guards are the code's: every small row meets every small call, in the model and in a real
//! cell database, and both must leave the same.

use std::collections::BTreeMap;

use cell_db::claims::{self, Claim};
use cell_db::instances::{self, New};
use cell_db::{Db, Tx, hosts, reports};
use model::instance::Stage;
use model::sync::{Observation, Observed};
use model::{Env, Fault, FaultKind, HostId, InstanceId, Intent, Power, RequestSpec, Resources, Timestamp};
use sql::{Work, args};
use uuid::Uuid;

use crate::mutant::Mutant;
use crate::row::{At, Cell, Outcome, Row, Seen};

/// One call of `cell_db`, with small numbers.
#[derive(Clone, Copy, Debug)]
enum Call {
    Insert(u8, u8),
    Bury(u8, u8),
    WantGone(u8, u8),
    Claim,
    Refuse,
    Report { place: (u8, u8), generation: u8, seq: u8, outcome: Outcome },
}

fn rows() -> Vec<Option<Row>> {
    let mut rows = vec![None];
    let stages = [Stage::Unplaced, Stage::Building, Stage::Settled, Stage::Error, Stage::Tombstone];
    for (stage, epoch) in stages.into_iter().flat_map(|stage| [(stage, 1), (stage, 2)]) {
        for (saga_token, generation) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            for (intent, tries) in
                [Intent::Run, Intent::Stop, Intent::Gone].into_iter().flat_map(|i| [(i, 0), (i, 1)])
            {
                let placed = matches!(stage, Stage::Building | Stage::Settled);
                let at = At { epoch, placement: u8::from(placed || stage == Stage::Error), generation };
                let host = (placed || stage == Stage::Error).then_some(0);
                let possible = match stage {
                    Stage::Unplaced => intent == Intent::Run,
                    Stage::Tombstone => intent == Intent::Gone,
                    _ => true,
                };
                let (power, done) = (Power::None, !matches!(stage, Stage::Unplaced | Stage::Building));
                let row = Row {
                    at,
                    saga_token,
                    intent,
                    stage,
                    power,
                    host,
                    obs_seq: 1,
                    tries,
                    done,
                    leaving: false,
                };
                rows.extend(possible.then_some(Some(row)));
            }
        }
    }
    rows
}

fn calls() -> Vec<Call> {
    let mut calls = vec![Call::Claim, Call::Refuse];
    for (epoch, token) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 3)] {
        calls.extend([Call::Insert(epoch, token), Call::Bury(epoch, token), Call::WantGone(epoch, token)]);
    }
    for outcome in [Outcome::Done, Outcome::Failed, Outcome::Gone] {
        for (place, generation) in [((1, 1), 1), ((1, 1), 2), ((2, 1), 1), ((2, 1), 2), ((1, 2), 1)] {
            calls.extend([1, 2].map(|seq| Call::Report { place, generation, seq, outcome }));
        }
    }
    calls
}

fn in_the_model(row: Option<Row>, call: Call) -> Cell {
    let mut cell = Cell { row, allocation: row.and_then(|row| row.host), marker: 0 };
    let none = Mutant::None;
    match call {
        Call::Insert(epoch, token) => cell.insert(epoch, token, Intent::Run, none),
        Call::Bury(epoch, token) => cell.bury(epoch, token, none),
        Call::WantGone(epoch, token) => cell.want_gone(epoch, token, none),
        Call::Claim => cell.claim(0),
        Call::Refuse => cell.refuse(none),
        Call::Report { place: (epoch, placement), generation, seq, outcome } => {
            let at = At { epoch, placement, generation };
            cell.apply(Seen { host: 0, at, seq, outcome, power: power(outcome) }, none);
        }
    }
    cell
}

fn power(outcome: Outcome) -> Power {
    if outcome == Outcome::Done { Power::Running } else { Power::None }
}

fn spec() -> RequestSpec {
    let flavor = model::Flavor { memory_mib: 1, pids: 9, ..model::testing::spec().flavor };
    RequestSpec { flavor, ..model::testing::spec() }
}

fn new(id: InstanceId, epoch: u8, saga_token: u8) -> New {
    let (epoch, saga_token) = (i64::from(epoch), i64::from(saga_token));
    New { id, epoch, saga_token, spec: spec(), asked_by: "req-1".into(), bucket: 7, created: Timestamp(5) }
}

/// Puts a row into the database as the model has it.
async fn put(tx: &mut Tx, host: HostId, id: InstanceId, row: Row) -> Result<(), sql::Error> {
    const SET: &str =
        "UPDATE instance SET epoch = $2, placement = $3, generation = $4, intent = $5, stage = $6,
        host = $7, obs_seq = $8, tries = $9, task = $10, power = 'none' WHERE id = $1";
    const ALLOCATE: &str =
        "INSERT INTO allocation (instance, host, epoch, placement, vcpus_milli, memory_mib, slots)
        VALUES ($1, $2, 1, 1, 1000, 1, 1)";
    instances::insert(tx, &[new(id, 1, row.saga_token)], Timestamp(1)).await?;
    let [epoch, placement, generation, seen, tries] =
        [row.at.epoch, row.at.placement, row.at.generation, row.obs_seq, row.tries].map(i64::from);
    let (at, task) = (row.host.map(|_| host), (!row.done).then_some("spawning"));
    let words = (row.intent.as_str(), row.stage.as_str());
    tx.exec(SET, args![id, epoch, placement, generation, words.0, words.1, at, seen, tries, task]).await?;
    if row.host.is_some() {
        tx.exec(ALLOCATE, args![id, host]).await?;
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Stored {
    id: Uuid,
    epoch: i64,
    placement: i64,
    generation: i64,
    saga_token: i64,
    intent: String,
    stage: String,
    task: Option<String>,
    power: String,
    host: Option<Uuid>,
    obs_seq: i64,
    tries: i64,
    allocated: Option<Uuid>,
}

impl Stored {
    fn cell(&self) -> Cell {
        let small = |number: i64| u8::try_from(number).expect("small");
        // The model says of a building row that it leaves; the code has a stage for it.
        let stage = Stage::parse(&self.stage).expect("known");
        let (stage, leaving) = if stage == Stage::Leaving { (Stage::Building, true) } else { (stage, false) };
        let row = Row {
            at: At {
                epoch: small(self.epoch),
                placement: small(self.placement),
                generation: small(self.generation),
            },
            saga_token: small(self.saga_token),
            intent: Intent::parse(&self.intent).expect("known"),
            stage,
            power: Power::parse(&self.power).expect("known"),
            host: self.host.map(|_| 0),
            obs_seq: small(self.obs_seq),
            tries: small(self.tries),
            done: self.task.is_none(),
            leaving,
        };
        Cell { row: Some(row), allocation: self.allocated.map(|_| 0), marker: 0 }
    }
}

async fn call(tx: &mut Tx, host: HostId, ids: &[InstanceId], call: Call) -> Result<(), sql::Error> {
    let now = Timestamp(9);
    let all = |epoch, token| ids.iter().map(|id| new(*id, epoch, token)).collect::<Vec<_>>();
    let waiting = claims::waiting(tx, 0, 10_000).await?;
    match call {
        Call::Insert(epoch, token) => instances::insert(tx, &all(epoch, token), now).await,
        Call::Bury(epoch, token) => {
            let fault = Fault::new(FaultKind::NoValidHost, "no");
            let dead: Vec<_> = all(epoch, token).into_iter().map(|new| (new, fault.clone())).collect();
            instances::bury(tx, &dead, now).await
        }
        Call::WantGone(epoch, token) => instances::want_gone(tx, &all(epoch, token), now).await.map(drop),
        Call::Claim => {
            let claims: Vec<_> =
                waiting.into_iter().map(|instance| Claim { instance, host, engine: "e".into() }).collect();
            claims::claim(tx, &claims, now).await.map(drop)
        }
        Call::Refuse => {
            let fault = Fault::new(FaultKind::NoValidHost, "no");
            let refused: Vec<_> = waiting.into_iter().map(|waiting| (waiting, fault.clone())).collect();
            claims::refuse(tx, &refused, now).await.map(drop)
        }
        Call::Report { place: (epoch, placement), generation, seq, outcome } => {
            let at = [epoch, placement, generation].map(i64::from);
            let at = model::At { epoch: at[0], placement: at[1], generation: at[2] };
            let told = match outcome {
                Outcome::Done => model::sync::Outcome::Done,
                Outcome::Failed => model::sync::Outcome::Failed,
                Outcome::Gone => model::sync::Outcome::Gone,
            };
            let seen = |id: &InstanceId| Observation {
                instance: *id,
                at,
                seq: i64::from(seq),
                outcome: told,
                restart_seq: 0,
                power: power(outcome),
                observed: Observed::default(),
                fault: None,
                request_id: String::new(),
            };
            let all: Vec<_> = ids.iter().map(seen).collect();
            reports::apply(tx, host, &all, now).await.map(drop)
        }
    }
}

async fn in_the_database(
    db: &Db,
    host: HostId,
    given: Vec<(InstanceId, Option<Row>)>,
    asked: Call,
) -> BTreeMap<Uuid, Cell> {
    const USED: &str =
        "UPDATE host SET used_vcpus_milli = 1000000, used_memory_mib = 1000, used_slots = 1000";
    const READ: &str =
        "SELECT i.id, i.epoch, i.placement, i.generation, i.saga_token, i.intent, i.stage, i.task,
        i.power, i.host, i.obs_seq, i.tries, a.host AS allocated
        FROM instance i LEFT JOIN allocation a ON a.instance = i.id";
    const CLEAR: [&str; 3] = ["DELETE FROM allocation", "DELETE FROM dirty", "DELETE FROM instance"];
    let given = std::sync::Arc::new(given);
    let stored = db
        .write(move |tx| -> Work<'_, Vec<Stored>> {
            let given = given.clone();
            Box::pin(async move {
                tx.exec(USED, vec![]).await?;
                for (id, row) in given.iter() {
                    if let Some(row) = row {
                        put(tx, host, *id, *row).await?;
                    }
                }
                let ids: Vec<InstanceId> = given.iter().map(|(id, _)| *id).collect();
                call(tx, host, &ids, asked).await?;
                let stored = tx.all::<Stored>(READ, vec![]).await?;
                for clear in CLEAR {
                    tx.exec(clear, vec![]).await?;
                }
                Ok(stored)
            })
        })
        .await
        .expect("the database does what it is asked");
    stored.into_iter().map(|stored| (stored.id, stored.cell())).collect()
}

#[tokio::test]
async fn the_models_guards_are_the_databases() {
    let env = Env::system();
    let folder = tests::Folder::new("agree");
    let url = format!("sqlite:{}", folder.path().join("cell.db").display());
    let db: Db = Db::open(&sql::Settings::new(&url)).expect("opens");
    cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
    let (host, session): (HostId, Uuid) = (env.id(), env.uuid());
    let registered = db.write(move |tx| -> Work<'_, ()> {
        Box::pin(async move {
            let capacity = Resources { vcpus_milli: 9_000_000, memory_mib: 9_000, slots: 9_000 };
            let host = hosts::Registration {
                id: host,
                name: "h".into(),
                zone: "z".into(),
                engine: "e".into(),
                address: "127.0.0.1".into(),
                capacity,
                boot: session,
                session,
                version: "0".into(),
                healthy: true,
            };
            hosts::register(tx, &host, Timestamp(1)).await.map(drop)
        })
    });
    registered.await.expect("registers");
    let mut compared = 0;
    for call in calls() {
        let given: Vec<(InstanceId, Option<Row>)> = rows().into_iter().map(|row| (env.id(), row)).collect();
        let found = in_the_database(&db, host, given.clone(), call).await;
        for (id, row) in given {
            let model = in_the_model(row, call);
            let real = found.get(&id.uuid()).copied().unwrap_or_default();
            assert_eq!(model, real, "{call:?} on {row:?}: the model stands left, the database right");
            compared += 1;
        }
    }
    eprintln!("{compared} calls leave in the model what they leave in the database");
}
