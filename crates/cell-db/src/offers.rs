//! Containers that hosts have and that this database does not know as they are: kept there, listed here, and taken
//! back when the API level's mapping says that they belong here.

use model::instance::{Freeze, Power};
use model::sync::{Offer, Wanted};
use model::{At, HostId, InstanceId, Intent, RequestSpec, Resources, Timestamp};
use serde::Serialize;
use serde_json::Value;
use sql::{Error, Json, Rows, args};
use uuid::Uuid;

use crate::instances::json;
use crate::{Tx, actions, claims, dirty, groups};

/// A version that is above all that was heard of a row which is not there any more.
const FIRST_VERSION: i64 = 1 << 32;

/// A container that is offered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offered {
    /// The instance.
    pub instance: InstanceId,
    /// The host that has it.
    pub host: HostId,
    /// The host's name, empty if it is not registered.
    pub host_name: String,
    /// Epoch, placement and generation.
    pub at: At,
    /// Whose it is, as far as that is known.
    pub project: String,
    /// The cell that it was made for, by its label.
    pub cell: String,
    /// The hash of what was asked for, by its label.
    pub spec_hash: String,
    /// What the container does.
    pub power: String,
    /// Whether the host knows what was asked for, without which it cannot be taken back.
    pub has_spec: bool,
    /// When the host last told of it.
    pub told: Timestamp,
    /// What the host was to do about it.
    #[serde(skip)]
    pub wish: Option<Wanted>,
}

#[derive(sqlx::FromRow)]
struct Row {
    instance: Uuid,
    host: Uuid,
    host_name: Option<String>,
    epoch: i64,
    placement: i64,
    generation: i64,
    project: String,
    cell: String,
    spec_hash: String,
    power: String,
    wish: Option<Json<Wanted>>,
    told_at: i64,
}

/// Stores what a host offers: in place of all that it offered before, or in addition.
pub async fn put(
    tx: &mut Tx,
    host: HostId,
    first: bool,
    offers: &[Offer],
    now: Timestamp,
) -> Result<(), Error> {
    const PUT: Rows = Rows {
        head: "INSERT INTO offered (instance, host, epoch, placement, generation, project, cell, spec_hash, power,
            wish, told_at) VALUES",
        tail: "ON CONFLICT (instance, host) DO NOTHING",
    };
    if first {
        tx.exec("DELETE FROM offered WHERE host = $1", args![host]).await?;
    }
    let rows = offers
        .iter()
        .map(|offer| {
            let wish = offer.wish.as_ref().map(json).transpose()?;
            Ok(args![
                offer.instance,
                host,
                offer.at.epoch,
                offer.at.placement,
                offer.at.generation,
                offer.project.as_str(),
                offer.cell.as_str(),
                offer.spec_hash.as_str(),
                offer.power.as_str(),
                wish,
                now
            ])
        })
        .collect::<Result<_, Error>>()?;
    tx.exec_rows(PUT, rows).await.map(drop)
}

/// All that is offered, by instance; of copies of one instance the newest comes first.
pub async fn all(tx: &mut Tx) -> Result<Vec<Offered>, Error> {
    some(tx, None).await
}

/// What is offered of one instance; the newest copy comes first.
pub async fn of(tx: &mut Tx, instance: InstanceId) -> Result<Vec<Offered>, Error> {
    some(tx, Some(instance)).await
}

async fn some(tx: &mut Tx, instance: Option<InstanceId>) -> Result<Vec<Offered>, Error> {
    const SQL: &str =
        "SELECT o.instance, o.host, h.name AS host_name, o.epoch, o.placement, o.generation, o.project,
            o.cell, o.spec_hash, o.power, o.wish, o.told_at
        FROM offered o LEFT JOIN host h ON h.id = o.host WHERE $1 OR o.instance = $2
        ORDER BY o.instance, o.epoch DESC, o.placement DESC, o.generation DESC, o.host";
    let id = instance.map_or(Uuid::nil(), InstanceId::uuid);
    let rows: Vec<Row> = tx.all(SQL, args![instance.is_none(), id]).await?;
    let offered = |row: Row| Offered {
        instance: InstanceId(row.instance),
        host: HostId(row.host),
        host_name: row.host_name.unwrap_or_default(),
        at: At { epoch: row.epoch, placement: row.placement, generation: row.generation },
        project: row.project,
        cell: row.cell,
        spec_hash: row.spec_hash,
        power: row.power,
        has_spec: row.wish.as_ref().is_some_and(|wish| wish.0.spec.is_some()),
        told: Timestamp(row.told_at),
        wish: row.wish.map(|wish| wish.0),
    };
    Ok(rows.into_iter().map(offered).collect())
}

/// What the API level knows of an instance whose container is taken back.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The fencing counter of API-level tasks on it.
    pub saga_token: i64,
    /// Hash bucket below [`crate::instances::BUCKETS`].
    pub bucket: i64,
    /// When it was asked for.
    pub created: Timestamp,
}

/// Takes a container back: its instance's row says from now on what its host says. False if the row says something
/// newer, is a tombstone of that binding, or there is no row and the host does not know what was asked for.
pub async fn take_back(tx: &mut Tx, offered: &Offered, terms: Terms, now: Timestamp) -> Result<bool, Error> {
    type Here = (i64, i64, i64, String, Json<RequestSpec>, i64);
    const HERE: &str =
        "SELECT epoch, placement, generation, stage, spec, version FROM instance WHERE id = $1";
    const HOST: &str = "SELECT name, engine FROM host WHERE id = $1";
    let id = offered.instance;
    let here: Option<Here> = tx.opt(HERE, args![id]).await?;
    let host: Option<(String, String)> = tx.opt(HOST, args![offered.host]).await?;
    let Some((_, engine)) = host else { return Ok(false) };
    let asked = offered.wish.as_ref().and_then(|wish| wish.spec.as_deref().cloned());
    let (spec, version) = match here {
        None => match asked {
            None => return Ok(false),
            Some(spec) => (spec, FIRST_VERSION),
        },
        Some((epoch, placement, generation, stage, spec, version)) => {
            let known = At { epoch, placement, generation };
            if epoch != offered.at.epoch || known >= offered.at || stage == "tombstone" {
                return Ok(false);
            }
            claims::release(tx, &[id]).await?;
            (asked.unwrap_or(spec.0), version + 1)
        }
    };
    write(tx, offered, &spec, (terms, version), now).await?;
    claim(tx, offered, &spec, &engine).await?;
    // Whatever was under way when the backup was made has come to what the host has.
    actions::finish(tx, &[(id, None)], now).await?;
    tx.exec("DELETE FROM offered WHERE instance = $1 AND host = $2", args![id, offered.host]).await?;
    dirty::mark(tx, &[(id, version)], now).await?;
    Ok(true)
}

/// Writes the row as the host has it.
async fn write(
    tx: &mut Tx,
    offered: &Offered,
    spec: &RequestSpec,
    (terms, version): (Terms, i64),
    now: Timestamp,
) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO instance (id, epoch, placement, generation, saga_token, op_token, version,
            project, name, spec, intent, stage, task, power, host, bucket, tries, avoid, restart_seq, restart_hard,
            restart_done, agent_generation, obs_seq, observed, fault, fault_at, deadline, created_at, updated_at,
            frozen)
        VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, $10, 'settled', NULL, $11, $12, $13, 0, $14, $15, $16, $15,
            $4, 0, $17, NULL, NULL, NULL, $18, $19, $20)
        ON CONFLICT (id) DO UPDATE SET placement = excluded.placement, generation = excluded.generation,
            saga_token = CASE WHEN instance.saga_token > excluded.saga_token THEN instance.saga_token
                ELSE excluded.saga_token END,
            op_token = instance.op_token + 1, version = excluded.version, name = excluded.name,
            spec = excluded.spec, intent = excluded.intent, stage = 'settled', task = NULL, power = excluded.power,
            host = excluded.host, restart_seq = excluded.restart_seq, restart_hard = excluded.restart_hard,
            restart_done = excluded.restart_done, agent_generation = excluded.agent_generation, obs_seq = 0,
            fault = NULL, fault_at = NULL, deadline = NULL, updated_at = excluded.updated_at,
            frozen = excluded.frozen, phase = '', other_size = NULL";
    let wish = offered.wish.as_ref();
    let power = Power::parse(&offered.power).unwrap_or(Power::None);
    // A host that has lost its journal tells what its container does.
    let intent =
        wish.map_or(if power == Power::Stopped { Intent::Stop } else { Intent::Run }, |wish| wish.intent);
    let frozen = wish.and_then(|wish| wish.freeze).map_or("", Freeze::as_str);
    let args = args![
        offered.instance,
        offered.at.epoch,
        offered.at.placement,
        offered.at.generation,
        terms.saga_token,
        version,
        spec.project.as_str(),
        spec.name.as_str(),
        json(spec)?,
        intent.as_str(),
        power.as_str(),
        offered.host,
        terms.bucket,
        Value::Array(Vec::new()),
        wish.map_or(0, |wish| wish.restart_seq),
        wish.is_some_and(|wish| wish.restart_hard),
        json(&model::sync::Observed::default())?,
        terms.created,
        now,
        frozen
    ];
    tx.exec(SQL, args).await.map(drop)
}

/// Claims what the container has already: nobody is asked whether it fits.
async fn claim(tx: &mut Tx, offered: &Offered, spec: &RequestSpec, engine: &str) -> Result<(), Error> {
    const USE: &str = "UPDATE host SET used_vcpus_milli = used_vcpus_milli + $2,
            used_memory_mib = used_memory_mib + $3, used_slots = used_slots + $4,
            shrunk = used_vcpus_milli + $2 > cap_vcpus_milli OR used_memory_mib + $3 > cap_memory_mib
                OR used_slots + $4 > cap_slots
        WHERE id = $1";
    const ALLOCATE: &str =
        "INSERT INTO allocation (instance, host, epoch, placement, vcpus_milli, memory_mib, slots)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    const PORT: &str = "INSERT INTO port_claim (engine, protocol, port, instance) VALUES ($1, $2, $3, $4)
        ON CONFLICT (engine, protocol, port) DO NOTHING";
    let (id, host, at) = (offered.instance, offered.host, offered.at);
    let Resources { vcpus_milli, memory_mib, slots } = spec.resources();
    tx.exec(USE, args![host, vcpus_milli, memory_mib, slots]).await?;
    tx.exec(ALLOCATE, args![id, host, at.epoch, at.placement, vcpus_milli, memory_mib, slots]).await?;
    for port in spec.container.ports.iter().filter(|port| port.host != 0) {
        tx.exec(PORT, args![engine, port.protocol.as_str(), i64::from(port.host), id]).await?;
    }
    if let Some(group) = &spec.extra.group {
        groups::claim(tx, group, host, id).await?;
    }
    Ok(())
}
