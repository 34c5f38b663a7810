//! The checker: what must hold of a cloud at rest, counted in its databases and engines.

mod copies;
mod counted;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent::engine::Container;
use model::{Cell, CellId, HostId, InstanceId, Power};
use sql::{Settings, Tx, Work};
use uuid::Uuid;

pub use copies::{copies, twice};

/// Containers of every host.
pub type Engines = BTreeMap<HostId, Vec<Container>>;

/// What does not hold, in words; empty is good.
#[derive(Debug, Default)]
pub struct Violations(pub Vec<String>);

#[derive(sqlx::FromRow, Clone, Debug)]
struct Mapping {
    id: Uuid,
    project: String,
    cell: Option<Uuid>,
    epoch: i64,
    state: String,
}

#[derive(sqlx::FromRow, Clone, Debug)]
struct Row {
    id: Uuid,
    epoch: i64,
    placement: i64,
    stage: String,
    task: Option<String>,
    intent: String,
    /// How one that should run is to be frozen, if it is.
    frozen: String,
    power: String,
    host: Option<Uuid>,
    project: String,
    phase: String,
    /// Of the larger of the size that it has and the one that is kept for it.
    cores: i64,
    memory_mib: i64,
}

/// Only for what is told when one is left.
#[derive(sqlx::FromRow, Debug)]
#[expect(dead_code, reason = "read by Debug")]
struct Task {
    kind: String,
    subject: Uuid,
    owner: Option<Uuid>,
    /// The owner's name, if it is registered.
    name: Option<String>,
    attempt: i64,
    parked: bool,
    last_fault: Option<String>,
}

async fn all<D: 'static, R: sql::Rec + 'static>(
    db: &sql::Db<D>,
    sql: &'static str,
) -> Result<Vec<R>, sql::Error> {
    db.read(move |tx: &mut Tx<D>| -> Work<'_, Vec<R>> { Box::pin(async move { tx.all(sql, vec![]).await }) })
        .await
}

/// The databases of a cloud, opened by the checker for itself.
pub struct Books {
    api: api_db::Db,
    cells: Vec<(Cell, cell_db::Db)>,
}

fn open<D: 'static>(url: &str) -> sql::Db<D> {
    let settings = Settings { connections: 2, deadline: Duration::from_secs(5), ..Settings::new(url) };
    sql::Db::open(&settings).expect("opens")
}

impl Books {
    /// Opens the API database and those of all cells that it maps, cell0 among them.
    ///
    /// # Panics
    /// If the API database cannot be read.
    pub async fn open(api_url: &str) -> Self {
        let api: api_db::Db = open(api_url);
        let mapped = api.read(|tx| -> Work<'_, Vec<Cell>> { Box::pin(api_db::cells::all(tx)) }).await;
        let cells = mapped.expect("the mappings are read").into_iter();
        Self { api, cells: cells.map(|cell| (cell.clone(), open(&cell.database_url))).collect() }
    }

    /// Holds the whole cloud against the invariants of `docs/guarantees.md`. It must be at rest. Without
    /// `engines`, where nobody but the agents can see them, the containers are not looked at. A database
    /// that cannot be read is a violation too.
    pub async fn check(&self, engines: Option<&Engines>) -> Violations {
        let mut bad = Violations(engines.map(copies).unwrap_or_default());
        if let Err(error) = self.look(engines, &mut bad).await {
            bad.0.push(format!("a database cannot be read: {error}"));
        }
        bad
    }

    async fn look(&self, engines: Option<&Engines>, bad: &mut Violations) -> Result<(), sql::Error> {
        let api = &self.api;
        let mappings: Vec<Mapping> =
            all(api, "SELECT id, project, cell, epoch, state FROM instance_mapping").await?;
        let tasks: Vec<Task> = all(
            api,
            "SELECT t.kind, t.subject, t.owner, w.name, t.attempt, t.parked, t.last_fault
             FROM task t LEFT JOIN worker w ON w.id = t.owner ORDER BY t.id",
        )
        .await?;
        bad.unless(tasks.is_empty(), || format!("API-level tasks are left: {tasks:?}"));
        let unsettled: Vec<(i64,)> =
            all(api, "SELECT CAST(COALESCE(SUM(unsettled), 0) AS BIGINT) FROM cell_load").await?;
        bad.unless(unsettled[0].0 == 0, || format!("{} bindings count as unsettled", unsettled[0].0));
        let mut homes: BTreeMap<Uuid, Vec<(CellId, Row)>> = BTreeMap::new();
        for (cell, db) in &self.cells {
            let sql = "SELECT id, epoch, placement, stage, task, intent, frozen, power, host, phase, spec->>'project' AS project,
                CASE WHEN COALESCE(CAST(other_size->'flavor'->>'vcpus' AS BIGINT), 0) > CAST(spec->'flavor'->>'vcpus' AS BIGINT)
                    THEN CAST(other_size->'flavor'->>'vcpus' AS BIGINT) ELSE CAST(spec->'flavor'->>'vcpus' AS BIGINT) END AS cores,
                CASE WHEN COALESCE(CAST(other_size->'flavor'->>'memory_mib' AS BIGINT), 0) > CAST(spec->'flavor'->>'memory_mib' AS BIGINT)
                    THEN CAST(other_size->'flavor'->>'memory_mib' AS BIGINT) ELSE CAST(spec->'flavor'->>'memory_mib' AS BIGINT) END AS memory_mib FROM instance";
            let rows: Vec<Row> = all(db, sql).await?;
            check_cell(&cell.name, db, &rows, engines, bad).await?;
            for row in rows.into_iter().filter(|row| row.stage != "tombstone") {
                homes.entry(row.id).or_default().push((cell.id, row));
            }
        }
        counted::quotas(api, &mappings, homes.values().flatten().map(|(_, row)| row), bad).await?;
        let waiting = homes.values().flatten().map(|(_, row)| (row.id, row.phase == "resized"));
        counted::resizes(api, &waiting.collect(), bad).await?;
        counted::audit(api, &mappings, bad).await?;
        for mapping in &mappings {
            let rows = homes.remove(&mapping.id).unwrap_or_default();
            let right = match mapping.state.as_str() {
                "deleted" => rows.is_empty(),
                _ => {
                    rows.len() == 1
                        && Some(rows[0].0.uuid()) == mapping.cell
                        && rows[0].1.epoch == mapping.epoch
                }
            };
            bad.unless(right, || format!("mapping {mapping:?} stands against {rows:?}"));
        }
        bad.unless(homes.is_empty(), || format!("rows without a mapping: {homes:?}"));
        Ok(())
    }
}

async fn check_cell(
    name: &str,
    db: &cell_db::Db,
    rows: &[Row],
    engines: Option<&Engines>,
    bad: &mut Violations,
) -> Result<(), sql::Error> {
    for row in rows.iter().filter(|row| row.task.is_some()) {
        bad.0.push(format!("{name}: {} still undergoes {:?} ({})", row.id, row.task, row.stage));
    }
    let dirty: Vec<(i64,)> = all(db, "SELECT COUNT(*) FROM dirty").await?;
    bad.unless(dirty[0].0 == 0, || format!("{name}: the index has not heard of {} rows", dirty[0].0));
    type Used = (Uuid, i64, i64, i64);
    let used: Vec<Used> =
        all(db, "SELECT id, used_vcpus_milli, used_memory_mib, used_slots FROM host ORDER BY id").await?;
    let summed: Vec<Used> = all(
        db,
        "SELECT h.id, CAST(COALESCE(SUM(a.vcpus_milli), 0) AS BIGINT),
            CAST(COALESCE(SUM(a.memory_mib), 0) AS BIGINT), CAST(COALESCE(SUM(a.slots), 0) AS BIGINT)
         FROM host h LEFT JOIN allocation a ON a.host = h.id GROUP BY h.id ORDER BY h.id",
    )
    .await?;
    bad.unless(used == summed, || format!("{name}: hosts count {used:?}, allocations sum to {summed:?}"));
    let over: Vec<(i64,)> = all(
        db,
        "SELECT COUNT(*) FROM host WHERE used_vcpus_milli > cap_vcpus_milli
            OR used_memory_mib > cap_memory_mib OR used_slots > cap_slots",
    )
    .await?;
    bad.unless(over[0].0 == 0, || format!("{name}: {} hosts are over-allocated", over[0].0));
    type Claim = (Uuid, Uuid, i64, i64);
    let allocated: Vec<Claim> =
        all(db, "SELECT instance, host, vcpus_milli, memory_mib FROM allocation").await?;
    let allocated: BTreeSet<Claim> = allocated.into_iter().collect();
    let placed: BTreeSet<Claim> = rows
        .iter()
        .filter_map(|row| row.host.map(|host| (row.id, host, row.cores * 1_000, row.memory_mib)))
        .collect();
    bad.unless(allocated == placed, || {
        let leaked: Vec<_> = allocated.difference(&placed).collect();
        let missing: Vec<_> = placed.difference(&allocated).collect();
        format!("{name}: allocations without an instance {leaked:?}, instances without one {missing:?}")
    });
    if let Some(engines) = engines {
        for (host, ..) in used {
            let containers = engines.get(&HostId(host)).map(Vec::as_slice).unwrap_or_default();
            check_host(name, host, rows, containers, bad);
        }
    }
    Ok(())
}

/// Each settled row has its one container, in the state that it should be in, and there is no other.
fn check_host(name: &str, host: Uuid, rows: &[Row], containers: &[Container], bad: &mut Violations) {
    let mut wanted: BTreeMap<InstanceId, &Row> = rows
        .iter()
        .filter(|row| row.host == Some(host) && row.stage == "settled")
        .map(|row| (InstanceId(row.id), row))
        .collect();
    for container in containers {
        let id = container.name.instance;
        match wanted.remove(&id) {
            Some(row) => {
                let same = (row.epoch, row.placement) == (container.name.epoch, container.name.placement);
                bad.unless(same, || format!("{name}: {id} runs as {:?}", container.name));
                let (power, told) = match (row.intent.as_str(), row.frozen.as_str()) {
                    ("run", "") => (Some(Power::Running), "running"),
                    ("run", "pause") => (Some(Power::Paused), "paused"),
                    ("run", _) => (Some(Power::Paused), "suspended"),
                    _ => (None, ""),
                };
                let holds = match power {
                    Some(power) => container.power == power && row.power == told,
                    None => container.power != Power::Running && row.power != "running",
                };
                bad.unless(holds, || {
                    let (is, frozen) = (container.power, &row.frozen);
                    format!("{name}: {id} is {is:?}, intent {} {frozen}, seen {}", row.intent, row.power)
                });
            }
            None => bad.0.push(format!("{name}: a container of {id} that no settled row wants")),
        }
    }
    for id in wanted.keys() {
        bad.0.push(format!("{name}: {id} is settled and has no container"));
    }
}

impl Violations {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    /// Fails the story unless everything holds.
    ///
    /// # Panics
    /// If something does not hold.
    pub fn assert_none(&self) {
        assert!(self.0.is_empty(), "{} violations:\n{}", self.0.len(), self.0.join("\n"));
    }
}
