//! The index that lists are made of: one row beside each mapping, written when the instance is asked for,
//! when its cell tells of it, when it is described anew, and when it is gone.

use std::collections::BTreeSet;

use model::{CellId, Instance, InstanceId, RequestSpec, Stage, Timestamp};
use sql::{Error, Rows, Val, args};
use uuid::Uuid;

use crate::Tx;
use crate::mappings::{Mapping, State};

/// One entry of the index, with where the instance lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The instance.
    pub id: InstanceId,
    /// When it was asked for.
    pub created: Timestamp,
    /// Whose it is.
    pub project: String,
    /// Who asked for it.
    pub user: String,
    /// The region that was asked for; empty means any.
    pub region: String,
    /// Its name.
    pub name: String,
    /// Its description, if it has one.
    pub description: String,
    /// Its image's reference.
    pub image: String,
    /// The id that stands for the image.
    pub image_id: Uuid,
    /// Its flavor's id.
    pub flavor: String,
    /// What the instances of one request have in common.
    pub reservation: String,
    /// Its host name.
    pub hostname: String,
    /// Name of its key pair, if it has one.
    pub key_name: String,
    /// Whether it is locked.
    pub locked: bool,
    /// Its tags.
    pub tags: BTreeSet<String>,
    /// Its cell, once bound.
    pub cell: Option<CellId>,
    /// Bindings so far.
    pub epoch: i64,
    /// Whether it is known to be gone.
    pub deleted: bool,
    /// What was last heard of it.
    pub last: Last,
}

/// What was last heard of an instance. A text that is not known is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// Nova's `status`.
    pub status: String,
    /// Nova's `vm_state`.
    pub vm_state: String,
    /// Nova's `task_state`.
    pub task_state: String,
    /// Nova's number of the power state.
    pub power: i64,
    /// Its host's name.
    pub host: String,
    /// Its availability zone; before it has a host, the one that was asked for.
    pub zone: String,
    /// Its address.
    pub address: String,
    /// When anything visible last changed.
    pub updated: Timestamp,
    /// When it first ran.
    pub launched: Option<Timestamp>,
    /// When it was deleted.
    pub terminated: Option<Timestamp>,
}

/// The columns of an entry; `i` is the index, `m` the mapping.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT i.instance, i.project, i.user_id, i.region, i.created_at, i.name, i.deleted, i.status,
             i.updated_at, i.image, i.image_id, i.flavor, i.description, i.reservation, i.hostname, i.key_name,
             i.locked, i.tags, i.zone, i.vm_state,
             i.task_state, i.power_state, i.host_name, i.address, i.launched_at, i.terminated_at, m.cell, m.epoch
             FROM instance_index i JOIN instance_mapping m ON m.id = i.instance ",
            $rest
        )
    };
}
pub(crate) use select;

#[derive(sqlx::FromRow)]
pub(crate) struct Row {
    instance: Uuid,
    project: String,
    user_id: String,
    region: String,
    created_at: i64,
    name: String,
    deleted: bool,
    status: Option<String>,
    updated_at: Option<i64>,
    image: String,
    image_id: Option<Uuid>,
    flavor: String,
    description: String,
    reservation: String,
    hostname: String,
    key_name: String,
    locked: bool,
    tags: String,
    zone: String,
    vm_state: String,
    task_state: String,
    power_state: i64,
    host_name: String,
    address: String,
    launched_at: i64,
    terminated_at: i64,
    cell: Option<Uuid>,
    epoch: i64,
}

impl From<Row> for Entry {
    fn from(row: Row) -> Self {
        let time = |at: i64| (at != 0).then_some(Timestamp(at));
        Self {
            id: InstanceId(row.instance),
            created: Timestamp(row.created_at),
            project: row.project,
            user: row.user_id,
            region: row.region,
            name: row.name,
            description: row.description,
            image: row.image,
            image_id: row.image_id.unwrap_or_default(),
            flavor: row.flavor,
            reservation: row.reservation,
            hostname: row.hostname,
            key_name: row.key_name,
            locked: row.locked,
            tags: row.tags.split('\n').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            cell: row.cell.map(CellId),
            epoch: row.epoch,
            deleted: row.deleted,
            last: Last {
                status: row.status.unwrap_or_else(|| "BUILD".into()),
                vm_state: row.vm_state,
                task_state: row.task_state,
                power: row.power_state,
                host: row.host_name,
                zone: row.zone,
                address: row.address,
                updated: Timestamp(row.updated_at.unwrap_or(row.created_at)),
                launched: time(row.launched_at),
                terminated: time(row.terminated_at),
            },
        }
    }
}

pub(crate) async fn create(
    tx: &mut Tx,
    id: InstanceId,
    spec: &RequestSpec,
    created: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO instance_index
        (instance, name, description, image, image_id, flavor, hostname, key_name, locked, tags,
         project, user_id, region, created_at, updated_at, reservation, zone,
         deleted, epoch, version, status, task_state)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $14, $15, $16,
         false, 0, 0, 'BUILD', 'scheduling')";
    let mut args = described(id, spec);
    args.extend(args![
        spec.project.as_str(),
        spec.user.as_str(),
        spec.region.as_str(),
        created,
        spec.reservation(),
        spec.zone.as_deref().unwrap_or_default()
    ]);
    tx.exec(SQL, args).await.map(drop)
}

/// Writes what the API level has changed of an instance's request spec, in the transaction that changes it:
/// name, description, image, flavor, host name, key pair, lock and tags.
pub async fn describe(tx: &mut Tx, id: InstanceId, spec: &RequestSpec) -> Result<(), Error> {
    const SQL: &str = "UPDATE instance_index SET name = $2, description = $3, image = $4, image_id = $5,
        flavor = $6, hostname = $7, key_name = $8, locked = $9, tags = $10 WHERE instance = $1";
    tx.exec(SQL, described(id, spec)).await.map(drop)
}

/// Makes entries anew from mappings and request specs, as far as the API level itself knows, and lets them
/// take whatever their cell says next: what a rebuild does before it has the cell say everything again. What
/// was last heard stays until then. Of what is gone no spec is left, and nothing is made anew.
pub async fn renew(tx: &mut Tx, mappings: &[Mapping], now: Timestamp) -> Result<u64, Error> {
    const LOST: Rows =
        Rows { head: "SELECT instance FROM instance_index WHERE instance IN (VALUES", tail: ")" };
    const OPEN: &str = "UPDATE instance_index SET project = $2, user_id = $3, region = $4, created_at = $5,
        reservation = $6, deleted = false, terminated_at = 0, epoch = 0, version = 0,
        status = CASE WHEN deleted THEN 'BUILD' ELSE status END,
        vm_state = CASE WHEN deleted THEN 'building' ELSE vm_state END
        WHERE instance = $1";
    let (living, gone): (Vec<_>, Vec<_>) = mappings.iter().partition(|m| m.state != State::Deleted);
    let known = living.iter().map(|m| args![m.id]).collect();
    let known: Vec<(Uuid,)> = tx.all_keys(LOST, known).await?;
    let known: BTreeSet<InstanceId> = known.into_iter().map(|(id,)| InstanceId(id)).collect();
    let mut renewed = 0;
    for (mapping, spec) in living.into_iter().filter_map(|m| Some((m, m.spec.as_ref()?))) {
        let (id, project, user) = (mapping.id, spec.project.as_str(), spec.user.as_str());
        renewed += 1;
        if !known.contains(&id) {
            create(tx, id, spec, mapping.created).await?;
            continue;
        }
        let region = spec.region.as_str();
        tx.exec(OPEN, args![id, project, user, region, mapping.created, spec.reservation()]).await?;
        describe(tx, id, spec).await?;
    }
    let gone: Vec<InstanceId> = gone.iter().map(|m| m.id).collect();
    delete(tx, &gone, now).await?;
    Ok(renewed)
}

fn described(id: InstanceId, spec: &RequestSpec) -> Vec<Val> {
    let tags: String = spec.extra.tags.iter().map(|tag| format!("\n{tag}")).collect();
    args![
        id,
        spec.name.as_str(),
        spec.description.as_deref().unwrap_or_default(),
        spec.image.as_str(),
        spec.image_id(),
        spec.flavor.id.as_str(),
        spec.hostname(),
        spec.extra.key_name.as_deref().unwrap_or_default(),
        spec.extra.locked.is_some(),
        if tags.is_empty() { tags } else { tags + "\n" }
    ]
}

/// Marks entries of instances that are gone. They stay, for lists of what was deleted and as markers, until
/// they are archived.
pub(crate) async fn delete(tx: &mut Tx, ids: &[InstanceId], now: Timestamp) -> Result<(), Error> {
    const SQL: Rows = Rows {
        head: "UPDATE instance_index SET deleted = true, status = 'DELETED', vm_state = 'deleted',
            task_state = '', power_state = 0, host = NULL, host_name = '', address = '',
            updated_at = v.column2,
            terminated_at = CASE WHEN terminated_at = 0 THEN v.column2 ELSE terminated_at END FROM (VALUES",
        tail: ") AS v WHERE instance = v.column1 AND NOT deleted",
    };
    tx.exec_rows(SQL, ids.iter().map(|id| args![*id, now]).collect()).await.map(drop)
}

/// One entry.
pub async fn get(tx: &mut Tx, id: InstanceId) -> Result<Option<Entry>, Error> {
    Ok(tx.opt::<Row>(select!("WHERE i.instance = $1"), args![id]).await?.map(Entry::from))
}

/// What a cell said of one of its instances.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The instance as its row has it.
    pub instance: Instance,
    /// The row's version.
    pub version: i64,
}

impl Heard {
    /// The instance's id.
    pub fn id(&self) -> InstanceId {
        self.instance.id
    }
}

/// Applies what cells said, where it is newer than what the index holds. Repeats are harmless.
///
/// A tombstone brings its numbers only: it is either a refusal, after which the instance is bound elsewhere,
/// or the end, which the mapping tells of when it is closed.
pub async fn apply(tx: &mut Tx, heard: &[Heard]) -> Result<u64, Error> {
    const FACTS: Rows = Rows {
        head: "UPDATE instance_index SET epoch = v.column2, version = v.column3, status = v.column4,
            host = v.column5, updated_at = v.column6, vm_state = v.column7, task_state = v.column8,
            power_state = v.column9, host_name = v.column10, zone = v.column11, address = v.column12,
            launched_at = v.column13, name = v.column14, description = v.column15, image = v.column16,
            image_id = v.column17, flavor = v.column18, hostname = v.column19, key_name = v.column20,
            locked = v.column21, tags = v.column22 FROM (VALUES",
        tail: ") AS v WHERE instance = v.column1 AND (epoch, version) < (v.column2, v.column3) AND NOT deleted",
    };
    const NUMBERS: Rows = Rows {
        head: "UPDATE instance_index SET epoch = v.column2, version = v.column3 FROM (VALUES",
        tail: ") AS v WHERE instance = v.column1 AND (epoch, version) < (v.column2, v.column3)",
    };
    let (gone, here): (Vec<&Heard>, Vec<&Heard>) =
        heard.iter().partition(|heard| heard.instance.stage == Stage::Tombstone);
    let numbers = gone.iter().map(|h| args![h.id(), h.instance.at.epoch, h.version]).collect();
    let applied = tx.exec_rows(NUMBERS, numbers).await?;
    Ok(applied + tx.exec_rows(FACTS, here.into_iter().map(facts).collect()).await?)
}

fn facts(heard: &Heard) -> sql::Args {
    let Heard { instance, version } = heard;
    let spec = &instance.spec;
    let (host, host_name) = match &instance.host {
        Some((host, name)) => (Some(*host), name.as_str()),
        None => (None, ""),
    };
    let mut facts = args![
        instance.id,
        instance.at.epoch,
        *version,
        instance.status(),
        host,
        instance.updated,
        instance.vm_state(),
        instance.task.map_or("", model::Task::as_str),
        instance.power.nova(),
        host_name,
        instance.zone.as_deref().or(spec.zone.as_deref()).unwrap_or_default(),
        instance.observed.address.as_str(),
        instance.launched.map_or(0, |at| at.0)
    ];
    facts.extend(described(instance.id, spec).into_iter().skip(1));
    facts
}
