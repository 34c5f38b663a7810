//! What a host and its cell tell each other about containers. The messages around these are in `rpc`.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::ids::InstanceId;
use crate::instance::{At, Freeze, Intent, Power};
use crate::spec::{Protocol, RequestSpec};

/// A published port as it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortBinding {
    /// Port inside the container.
    pub container: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Address on the host.
    pub address: String,
    /// Port on the host.
    pub host: u16,
}

/// What a host saw of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// The engine's id of the container, empty if there is none.
    pub container: String,
    /// Address on the project's bridge, empty if there is none.
    pub address: String,
    /// MAC address on the project's bridge, empty if there is none.
    pub mac: String,
    /// Published ports.
    pub ports: Vec<PortBinding>,
    /// Exit code of the last run that ended.
    pub exit_code: Option<i64>,
    /// How often the agent restarted it.
    pub restarts: i64,
}

/// What a host should run: one instance in one placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The instance.
    pub instance: InstanceId,
    /// Epoch, placement and generation of this wish.
    pub at: At,
    /// What should be.
    pub intent: Intent,
    /// Grows with each reboot asked for.
    #[serde(default)]
    pub restart_seq: i64,
    /// Whether the newest reboot asked for is by force.
    #[serde(default)]
    pub restart_hard: bool,
    /// How it is to be frozen, if it should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// What was asked for; absent where the intent is [`Intent::Gone`].
    pub spec: Option<Box<RequestSpec>>,
    /// The request that asked for it; empty if that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The host has journaled it and works on it.
    Taken,
    /// The container is as wished.
    Done,
    /// The engine refused or failed for good; see the fault.
    Failed,
    /// Nothing of this instance is on the host, and nothing up to this placement ever will be.
    Gone,
    /// Nothing was asked; the container changed by itself.
    Changed,
}

/// An observation: ordered for each instance by epoch, placement and the agent's own counter, and
/// resent until acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The instance.
    pub instance: InstanceId,
    /// The newest wish that the host has journaled.
    pub at: At,
    /// The agent's counter: higher than in all it told before, of this session or of any earlier one.
    pub seq: i64,
    /// What became of that wish.
    pub outcome: Outcome,
    /// The newest reboot that was carried out.
    #[serde(default)]
    pub restart_seq: i64,
    /// What the container does.
    pub power: Power,
    /// Details.
    #[serde(default)]
    pub observed: Observed,
    /// Why it failed, in the engine's words.
    #[serde(default)]
    pub fault: Option<Fault>,
    /// The request that asked for that wish; empty if that is not known, or if nothing was asked.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

/// A container that a host has and that its cell says it does not know: it is kept, and told of with what its labels
/// and the host's journal say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The instance.
    pub instance: InstanceId,
    /// Epoch, placement and generation: the journal's, otherwise the labels'.
    pub at: At,
    /// Whose it is.
    #[serde(default)]
    pub project: String,
    /// The cell that it was made for.
    #[serde(default)]
    pub cell: String,
    /// The hash of what was asked for.
    #[serde(default)]
    pub spec_hash: String,
    /// What the container does.
    pub power: Power,
    /// The newest wish that the host has journaled, if it knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wish: Option<Wanted>,
}
