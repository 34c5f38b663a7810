//! Hosts: registration, signs of life, amounts.

use std::collections::BTreeMap;

use model::host::Host;
use model::{HostId, Resources, Timestamp};
use sql::{Error, Rows, args};
use uuid::Uuid;

use crate::Tx;
use crate::keys::Key;

/// What an agent says of its host when it registers.
#[derive(Clone, Debug)]
pub struct Registration {
    /// The host's id.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its availability zone.
    pub zone: String,
    /// Names its engine.
    pub engine: String,
    /// Where published ports are reached.
    pub address: String,
    /// Declared amounts.
    pub capacity: Resources,
    /// The machine's boot id.
    pub boot: Uuid,
    /// Random for each start of the agent.
    pub session: Uuid,
    /// Version of the agent.
    pub version: String,
    /// Whether its engine ran a probe container.
    pub healthy: bool,
}

/// Observations of one session are numbered below the first of the next: 2^40 of them are decades of work.
const SESSION_SHIFT: u32 = 40;

/// Stores a host or what is new about it. Whether it is `enabled` is an operator's and kept. Returns the number that its
/// session's observations begin above, which is higher than all of any session before.
pub async fn register(tx: &mut Tx, host: &Registration, now: Timestamp) -> Result<i64, Error> {
    const SQL: &str = "INSERT INTO host (id, name, zone, engine, address, enabled, healthy, session, boot,
            version, beat, silent, seen_at, cap_vcpus_milli, cap_memory_mib, cap_slots,
            used_vcpus_milli, used_memory_mib, used_slots, shrunk)
        VALUES ($1, $2, $3, $4, $5, NOT EXISTS (SELECT 1 FROM host_disabled WHERE host = $1), $6, $7, $8, $9, 1, false, $10, $11, $12, $13, 0, 0, 0, false)
        ON CONFLICT (id) DO UPDATE SET name = excluded.name, zone = excluded.zone,
            engine = excluded.engine, address = excluded.address, healthy = excluded.healthy,
            session = excluded.session, boot = excluded.boot, version = excluded.version,
            beat = host.beat + 1, silent = false, seen_at = excluded.seen_at,
            cap_vcpus_milli = excluded.cap_vcpus_milli, cap_memory_mib = excluded.cap_memory_mib,
            cap_slots = excluded.cap_slots,
            shrunk = host.used_vcpus_milli > excluded.cap_vcpus_milli
                OR host.used_memory_mib > excluded.cap_memory_mib OR host.used_slots > excluded.cap_slots,
            session_before = CASE WHEN host.session = excluded.session THEN host.session_before
                ELSE host.session END,
            sessions = host.sessions + CASE WHEN host.session = excluded.session THEN 0 ELSE 1 END
        RETURNING sessions";
    let cap = host.capacity;
    let args = args![
        host.id,
        host.name.as_str(),
        host.zone.as_str(),
        host.engine.as_str(),
        host.address.as_str(),
        host.healthy,
        host.session,
        host.boot,
        host.version.as_str(),
        now,
        cap.vcpus_milli,
        cap.memory_mib,
        cap.slots
    ];
    let sessions: Option<(i64,)> = tx.opt(SQL, args).await?;
    let (sessions,) = sessions.ok_or_else(|| Error::corrupt("host.sessions", "none"))?;
    Ok(sessions << SESSION_SHIFT)
}

/// Records a sign of life, and by which user of the broker it came. False if the host is not registered with this session.
pub async fn beat(
    tx: &mut Tx,
    host: HostId,
    session: Uuid,
    healthy: bool,
    connected_as: Option<&str>,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "UPDATE host SET beat = beat + 1, silent = false, seen_at = $4, healthy = $3,
            connected_as = $5 WHERE id = $1 AND session = $2";
    Ok(tx.exec(SQL, args![host, session, healthy, now, connected_as]).await? == 1)
}

/// Who is registered as a host, as far as it matters to whoever says to be it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Registered {
    /// The session of its agent.
    pub session: Uuid,
    /// The session before that.
    pub session_before: Option<Uuid>,
    /// How many sessions there were.
    pub sessions: i64,
    /// The boot id of its machine.
    pub boot: Uuid,
    /// Rises with each sign of life.
    pub beat: i64,
    /// Its beat has stood still.
    pub silent: bool,
}

/// Who is registered as this host, if anybody.
pub async fn registered(tx: &mut Tx, host: HostId) -> Result<Option<Registered>, Error> {
    const SQL: &str = "SELECT session, session_before, sessions, boot, beat, silent FROM host WHERE id = $1";
    tx.opt(SQL, args![host]).await
}

/// Whether the host is registered with this session, and the key that it has to sign with, if it has enrolled.
pub async fn session(tx: &mut Tx, host: HostId, session: Uuid) -> Result<Option<Option<Key>>, Error> {
    const SQL: &str = "SELECT k.public_key, k.revoked, k.session, k.counter
        FROM host h LEFT JOIN host_key k ON k.host = h.id WHERE h.id = $1 AND h.session = $2";
    type Row = (Option<String>, Option<bool>, Option<Uuid>, Option<i64>);
    let row: Option<Row> = tx.opt(SQL, args![host, session]).await?;
    Ok(row.map(|(public_key, revoked, session, counter)| {
        let (public_key, revoked) = (public_key?, revoked?);
        Some(Key { public_key, revoked, session: session?, counter: counter? })
    }))
}

/// The beat of every host, for whoever watches which stand still.
pub async fn beats(tx: &mut Tx) -> Result<Vec<(HostId, i64, bool)>, Error> {
    let rows: Vec<(Uuid, i64, bool)> =
        tx.all("SELECT id, beat, silent FROM host ORDER BY id", vec![]).await?;
    Ok(rows.into_iter().map(|(id, beat, silent)| (HostId(id), beat, silent)).collect())
}

/// Marks a host as silent if its beat is still the one seen; it gets nothing new until it is heard again.
pub async fn mark_silent(tx: &mut Tx, host: HostId, beat: i64) -> Result<bool, Error> {
    const SQL: &str = "UPDATE host SET silent = true WHERE id = $1 AND beat = $2 AND NOT silent";
    Ok(tx.exec(SQL, args![host, beat]).await? == 1)
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    name: String,
    zone: String,
    engine: String,
    enabled: bool,
    healthy: bool,
    silent: bool,
    cap_vcpus_milli: i64,
    cap_memory_mib: i64,
    cap_slots: i64,
    used_vcpus_milli: i64,
    used_memory_mib: i64,
    used_slots: i64,
    disabled_reason: Option<String>,
}

impl From<Row> for Host {
    fn from(row: Row) -> Self {
        Self {
            id: HostId(row.id),
            name: row.name,
            zone: row.zone,
            engine: row.engine,
            enabled: row.enabled && row.disabled_reason.is_none(),
            healthy: row.healthy && !row.silent,
            capacity: Resources {
                vcpus_milli: row.cap_vcpus_milli,
                memory_mib: row.cap_memory_mib,
                slots: row.cap_slots,
            },
            used: Resources {
                vcpus_milli: row.used_vcpus_milli,
                memory_mib: row.used_memory_mib,
                slots: row.used_slots,
            },
        }
    }
}

/// All hosts, by id.
pub async fn all(tx: &mut Tx) -> Result<Vec<Host>, Error> {
    const SQL: &str =
        "SELECT h.id, h.name, COALESCE(z.zone, h.zone) AS zone, h.engine, h.enabled, h.healthy, h.silent,
            h.cap_vcpus_milli, h.cap_memory_mib, h.cap_slots, h.used_vcpus_milli, h.used_memory_mib,
            h.used_slots, d.reason AS disabled_reason
        FROM host h LEFT JOIN host_disabled d ON d.host = h.id
            LEFT JOIN host_zone z ON z.host = h.id ORDER BY h.id";
    Ok(tx.all::<Row>(SQL, vec![]).await?.into_iter().map(Host::from).collect())
}

/// The zones that were given to hosts, by host.
pub async fn zones(tx: &mut Tx) -> Result<BTreeMap<HostId, String>, Error> {
    let rows: Vec<(Uuid, String)> = tx.all("SELECT host, zone FROM host_zone", vec![]).await?;
    Ok(rows.into_iter().map(|(host, zone)| (HostId(host), zone)).collect())
}

/// Gives hosts these zones, and their own back to all others.
pub async fn set_zones(tx: &mut Tx, wanted: &BTreeMap<HostId, String>) -> Result<(), Error> {
    const PUT: Rows = Rows {
        head: "INSERT INTO host_zone (host, zone) VALUES",
        tail: "ON CONFLICT (host) DO UPDATE SET zone = excluded.zone",
    };
    for host in zones(tx).await?.into_keys().filter(|host| !wanted.contains_key(host)) {
        tx.exec("DELETE FROM host_zone WHERE host = $1", args![host]).await?;
    }
    let rows = wanted.iter().map(|(host, zone)| args![*host, zone.as_str()]).collect();
    tx.exec_rows(PUT, rows).await.map(drop)
}

/// Why an operator keeps a host from taking new instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    /// The operator's words.
    pub reason: String,
    /// Who did it.
    pub user: String,
    /// The request that did it.
    pub request_id: String,
    /// Since when.
    pub since: Timestamp,
}

/// Keeps a host from taking new instances; what it runs goes on. A repeat replaces the reason. Once this is committed,
/// no claim follows that was planned before: `enabled` is on the row that claims update.
pub async fn disable(tx: &mut Tx, host: HostId, why: &Disabled) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO host_disabled (host, reason, user_id, request_id, since)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (host) DO UPDATE SET reason = excluded.reason,
            user_id = excluded.user_id, request_id = excluded.request_id, since = excluded.since";
    let Disabled { reason, user, request_id, since } = why;
    let args = args![host, reason.as_str(), user.as_str(), request_id.as_str(), *since];
    tx.exec(SQL, args).await?;
    // Last, so that the row is held no longer than it takes to commit.
    tx.exec("UPDATE host SET enabled = false WHERE id = $1", args![host]).await.map(drop)
}

/// Lets a host take new instances again. False if it was not disabled.
pub async fn enable(tx: &mut Tx, host: HostId) -> Result<bool, Error> {
    let was = tx.exec("DELETE FROM host_disabled WHERE host = $1", args![host]).await? == 1;
    tx.exec("UPDATE host SET enabled = true WHERE id = $1 AND NOT enabled", args![host]).await?;
    Ok(was)
}

/// Takes over into hosts' rows which of them are disabled, where a release that did not do so itself has switched
/// them. Gives how many that were.
pub async fn take_over_switches(tx: &mut Tx) -> Result<u64, Error> {
    const SQL: &str = "UPDATE host SET enabled = NOT enabled
        WHERE enabled = EXISTS (SELECT 1 FROM host_disabled d WHERE d.host = host.id)";
    tx.exec(SQL, vec![]).await
}

/// Removes a host that nothing is claimed on and nothing is placed on, with its key. False if something is, or if
/// there is no such host. An agent that still runs has to enrol it again.
pub async fn delete(tx: &mut Tx, host: HostId) -> Result<bool, Error> {
    // The amounts are on the row itself, so a claim at the same moment makes this find nothing.
    const SQL: &str = "DELETE FROM host WHERE id = $1 AND used_slots = 0 AND used_memory_mib = 0
        AND used_vcpus_milli = 0 AND NOT EXISTS (SELECT 1 FROM instance WHERE host = $1)
        AND NOT EXISTS (SELECT 1 FROM allocation WHERE host = $1)";
    let gone = tx.exec(SQL, args![host]).await? == 1;
    if gone {
        enable(tx, host).await?;
        tx.exec("DELETE FROM host_key WHERE host = $1", args![host]).await?;
    }
    Ok(gone)
}
