//! The messages. Each call is one struct with its reply; a doorbell has no body.
//!
//! These are wire types: fields are added with defaults and never change their meaning; one release of
//! skew is carried in both directions.

use std::time::Duration;

use crate::signing::JoinToken;
use crate::user::BrokerUser;
use model::hash::fnv64;
use model::sync::{Observation, Offer, Wanted};
use model::{At, HostId, Incarnation, InstanceId, Resources};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A typed call: request and reply. Every call is idempotent, because delivery is at least once.
pub trait Call: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name on the wire.
    const NAME: &'static str;
    /// How long a caller waits, and how long the message may lie in a queue.
    const DEADLINE: Duration;
    /// What is answered.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// Who answers calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// Any conductor of the cell whose bus this is.
    Conductors,
    /// One host's agent.
    Host(HostId),
}

/// Who can be woken. A doorbell means "look"; it may be lost, doubled or late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bell {
    /// Any one conductor of the cell: there are instances to place or to converge.
    Conductors,
    /// One host's agent: there is something new for it.
    Host(HostId),
    /// Every superconductor, through the cell's bus: instances have settled.
    Up,
    /// Any one superconductor, through the API level's bus: there are new tasks.
    Superconductors,
}

/// Agent to conductors, at start and whenever its facts change: this host exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Register {
    /// The host's id, from a file of its own.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// Its availability zone.
    pub zone: String,
    /// Names the engine, so that hosts which share one share its ports.
    pub engine: String,
    /// The address where published ports are reached.
    pub address: String,
    /// Declared amounts.
    pub capacity: Resources,
    /// The machine's boot id.
    pub boot: Uuid,
    /// Random for each start of the agent: two agents with one host id are told apart by it.
    pub session: Uuid,
    /// Version of the agent.
    pub version: String,
    /// Whether its engine ran a probe container.
    pub healthy: bool,
    /// The public half of the host's own key, which the call is signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A join token, which makes that key the host's; only where the cell does not know the key yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinToken>,
    /// How many sessions of this host the cell has told of ([`Registered::sessions`]): what was signed for an
    /// earlier one is not taken again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<i64>,
    /// The agent has no user of the broker of its own, or the broker refuses that one: it asks for one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wants_user: bool,
}

/// Answer to [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// The cell database's incarnation.
    pub incarnation: Incarnation,
    /// How often to sync at least, in milliseconds.
    pub heartbeat_ms: u64,
    /// This session's observations are numbered above this, which is above those of all sessions before;
    /// 0 if the cell does not say.
    #[serde(default)]
    pub first_seq: i64,
    /// The host is not registered yet: the same is to be asked again, signed with this as
    /// [`Register::sessions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<i64>,
    /// The host's own user of the broker, if it asked for one and the cell makes such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<BrokerUser>,
    /// The cell makes such users, but could not at this moment: the host may ask again in a while.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user_later: bool,
}

impl Call for Register {
    const NAME: &'static str = "register";
    const DEADLINE: Duration = Duration::from_secs(10);
    type Reply = Registered;
}

/// Agent to conductors: what it saw, and a request for what it should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncHost {
    /// Who asks.
    pub host: HostId,
    /// As in [`Register`].
    pub session: Uuid,
    /// Observations since the last acknowledged sync; all of them are acknowledged by the answer.
    pub observations: Vec<Observation>,
    /// Ask for everything on the host instead of what it has not acknowledged yet.
    pub full: bool,
    /// Continue after this instance.
    pub after: Option<InstanceId>,
    /// Digest of everything that the agent has journaled for this host, every 30 s; see [`digest`].
    #[serde(default)]
    pub digest: Option<u64>,
    /// Whether this sync is also a sign of life that must be recorded.
    #[serde(default)]
    pub heartbeat: bool,
    /// Whether the engine works.
    #[serde(default)]
    pub healthy: bool,
    /// Containers that the cell said it does not know; left out if they are what they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offers: Option<Offers>,
    /// Everything that is on the host was told in this incarnation of the cell's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Incarnation>,
    /// With a sign of life: the user by which the agent is connected to the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_as: Option<String>,
}

/// A page of what a host offers back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offers {
    /// It replaces all that was offered before; otherwise it is added.
    pub first: bool,
    /// At most about 64 KiB of them, but one at least if there is any.
    pub page: Vec<Offer>,
}

/// What the cell says of an observation that does not match its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The cell has a tombstone or a newer placement: positive evidence that this copy must go.
    Superseded(At),
    /// The cell has no row at all: keep the container, report it as an orphan, never kill it.
    Unknown,
}

/// Answer to [`SyncHost`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// The cell database's incarnation; when it changed, the agent syncs in full and reaps nothing.
    pub incarnation: Incarnation,
    /// Wishes, at most 256 KiB of them.
    pub wanted: Vec<Wanted>,
    /// The page was cut: ask again with `after` set to this.
    pub more: Option<InstanceId>,
    /// Verdicts on observations that match no row.
    pub verdicts: Vec<(InstanceId, Verdict)>,
    /// The digest differs from the cell's: sync in full.
    pub differs: bool,
    /// The host is not registered (or with another session): register again first.
    #[serde(default)]
    pub register: bool,
}

impl Call for SyncHost {
    const NAME: &'static str = "sync-host";
    const DEADLINE: Duration = Duration::from_secs(5);
    type Reply = Synced;
}

/// API level to a host: the last lines of a container's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleTail {
    /// The instance.
    pub instance: InstanceId,
    /// How many lines at most; all if absent.
    pub lines: Option<u32>,
}

/// Answer to [`ConsoleTail`]: at most 64 KiB of UTF-8, invalid bytes replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// The log's end.
    pub text: String,
}

impl Call for ConsoleTail {
    const NAME: &'static str = "console-tail";
    const DEADLINE: Duration = Duration::from_secs(5);
    type Reply = Tail;
}

/// A digest of what a host should run, order-independent: the wrapping sum over its instances of a
/// 64-bit FNV-1a hash of id, epoch, placement and generation. Tombstones do not count.
pub fn digest(items: impl IntoIterator<Item = (InstanceId, At)>) -> u64 {
    items.into_iter().fold(0, |sum, (id, at)| {
        let numbers = [at.epoch, at.placement, at.generation].map(i64::to_be_bytes);
        sum.wrapping_add(fnv64(id.uuid().as_bytes().iter().chain(numbers.as_flattened())))
    })
}
