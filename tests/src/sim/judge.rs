//! The judgement: the books of the cloud at rest, and what clients were told, against what is.

use std::collections::{BTreeMap, BTreeSet};

use agent::engine::Container;
use model::instance::{Action, Power, Stage, Task};
use model::{HostId, Phase, instance};
use sql::{Tx, Work};
use uuid::Uuid;

use super::history::{Life, Word};
use super::world::{self, World};
use crate::check::Books;

/// An instance as the API database has it.
#[derive(sqlx::FromRow, Clone, Debug)]
struct Entry {
    id: Uuid,
    name: String,
    state: String,
    deleted: bool,
    status: Option<String>,
}

/// An instance as its cell has it.
#[derive(sqlx::FromRow, Clone, Debug)]
struct Row {
    id: Uuid,
    stage: String,
    task: Option<String>,
    power: String,
    phase: String,
    fault: Option<String>,
    flavor: String,
    /// The one that is kept beside it.
    kept: Option<String>,
}

async fn all<D: 'static, R: sql::Rec + 'static>(name: &str, sql: &'static str) -> Vec<R> {
    let db: sql::Db<D> = world::open(name);
    let read = db.read(move |tx: &mut Tx<D>| -> Work<'_, Vec<R>> {
        Box::pin(async move { tx.all(sql, vec![]).await })
    });
    read.await.expect("the judge reads")
}

/// What does not hold of a cloud that should be at rest.
pub fn judge(world: &mut World) -> Vec<String> {
    let lives = world.history.lives();
    let names: Vec<String> = world.sites.iter().map(|site| site.cell.name.clone()).collect();
    let containers: BTreeMap<HostId, Vec<Container>> =
        world.hosts().map(|host| (host.id, host.engine.scripted.containers())).collect();
    world.observe(async {
        let mut bad = Books::open("simulated:api").await.check(Some(&containers)).await.0;
        let entries: Vec<Entry> = all::<api_db::Api, _>(
            "api",
            "SELECT m.id, i.name, m.state, i.deleted, i.status FROM instance_mapping m
             JOIN instance_index i ON i.instance = m.id ORDER BY i.name",
        )
        .await;
        let audit: Vec<(Uuid, String, i64)> = all::<api_db::Api, _>(
            "api",
            "SELECT target, action, COUNT(*) FROM audit WHERE target IS NOT NULL GROUP BY target, action
             ORDER BY target, action",
        )
        .await;
        let mut rows: BTreeMap<Uuid, Row> = BTreeMap::new();
        let mut actions: BTreeMap<Uuid, i64> = BTreeMap::new();
        for name in names.iter().map(String::as_str).chain(["cell0"]) {
            let here: Vec<Row> = all::<cell_db::Cell, _>(
                name,
                "SELECT id, stage, task, power, phase, CAST(fault AS TEXT) AS fault,
                    spec->'flavor'->>'id' AS flavor, other_size->'flavor'->>'id' AS kept FROM instance
                 WHERE stage <> 'tombstone' ORDER BY id",
            )
            .await;
            rows.extend(here.into_iter().map(|row| (row.id, row)));
            let done: Vec<(Uuid, i64)> =
                all::<cell_db::Cell, _>(name, "SELECT instance, COUNT(*) FROM action GROUP BY instance")
                    .await;
            for (id, count) in done {
                *actions.entry(id).or_default() += count;
            }
        }
        let by_name: BTreeMap<&str, &Entry> = entries.iter().map(|e| (e.name.as_str(), e)).collect();
        for life in &lives {
            let entry = by_name.get(life.name.as_str()).copied();
            held(life, entry, &rows, &mut bad);
            let count = entry.and_then(|entry| actions.get(&entry.id)).copied().unwrap_or_default();
            let mut recorded = |count: i64, (sure, perhaps): (u32, u32), what: &str| {
                if !(i64::from(sure)..=i64::from(sure + perhaps)).contains(&count) {
                    let name = &life.name;
                    bad.push(format!("{name}: {count} {what}, {sure} promised, {perhaps} in doubt"));
                }
            };
            // A deletion may have overtaken the task that would have told the cell of another size.
            let (sure, perhaps) = life.actions;
            let overtaken = if life.delete.is_some() { life.resizes.0 } else { 0 };
            recorded(count, (sure - overtaken, perhaps + overtaken), "actions recorded");
            let mine =
                audit.iter().filter(|(id, word, _)| entry.is_some_and(|e| e.id == *id) && is_of_size(word));
            let count = mine.map(|(.., count)| count).sum();
            recorded(count, life.resizes, "records of changed sizes");
        }
        for pair in entries.windows(2).filter(|pair| pair[0].name == pair[1].name) {
            bad.push(format!("{} was asked for once and exists twice: {pair:?}", pair[0].name));
        }
        let known: BTreeSet<&str> = lives.iter().map(|life| life.name.as_str()).collect();
        for entry in &entries {
            if !known.contains(entry.name.as_str()) {
                bad.push(format!("nobody asked for {}", entry.name));
            }
        }
        bad
    })
}

/// Whether it is the word for a change of a size.
fn is_of_size(word: &str) -> bool {
    [Action::Resize, Action::ConfirmResize, Action::RevertResize].iter().any(|action| action.word() == word)
}

/// Holds what a client was told of one instance against what is.
fn held(life: &Life, entry: Option<&Entry>, rows: &BTreeMap<Uuid, Row>, bad: &mut Vec<String>) {
    let name = &life.name;
    let Some(entry) = entry else {
        if life.create == Word::Yes {
            bad.push(format!("{name} was promised and is nowhere"));
        }
        return;
    };
    if life.id.is_some_and(|id| id.uuid() != entry.id) {
        bad.push(format!("{name} is {}, its client was told {:?}", entry.id, life.id));
    }
    if life.create == Word::No {
        bad.push(format!("{name} was refused and exists"));
    }
    match (life.delete, entry.state.as_str()) {
        (Some(Word::Yes), "deleted") | (Some(Word::Perhaps), "live" | "deleted") | (None, "live") => {}
        (said, is) => bad.push(format!("{name}: of its deletion was said {said:?}, and it is {is}")),
    }
    if (entry.state == "deleted") != entry.deleted {
        bad.push(format!("{name} is {} and its index entry says deleted: {}", entry.state, entry.deleted));
    }
    if entry.state != "live" {
        return;
    }
    let Some(row) = rows.get(&entry.id) else { return };
    let (Some(stage), Some(power)) = (Stage::parse(&row.stage), Power::parse(&row.power)) else {
        bad.push(format!("{name} has a state that nobody knows: {row:?}"));
        return;
    };
    let task = row.task.as_deref().and_then(Task::parse);
    let phase = Phase::parse(&row.phase).filter(|phase| phase.is_at_rest());
    let status = instance::status(stage, power, task, phase.unwrap_or_default());
    let size = (row.flavor.clone(), row.kept.clone());
    let waits = phase == Some(Phase::Resized);
    if phase.is_none() || waits != row.kept.is_some() || (stage != Stage::Error && !life.sizes.may_be(&size))
    {
        bad.push(format!("{name} has the size {size:?} ({}); said was {:?}", row.phase, life.sizes));
    }
    if entry.status.as_deref() != Some(status) && row.stage != "error" {
        bad.push(format!("{name} is {status}, the index says {:?}", entry.status));
    }
    let right = match (status, life.run) {
        ("ERROR", _) => row.fault.is_some(),
        ("ACTIVE", Some(run)) => run,
        ("SHUTOFF", Some(run)) => !run,
        ("VERIFY_RESIZE", Some(run)) => run == (power == Power::Running),
        ("ACTIVE" | "SHUTOFF" | "VERIFY_RESIZE", None) => true,
        _ => false,
    };
    if !right {
        bad.push(format!("{name} is {status}; that it should run was said: {:?} ({row:?})", life.run));
    }
}
