//! Instances: their numbers, states, and which action is legal in which state.

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::ids::{CellId, HostId, InstanceId};
use crate::phase::Phase;
use crate::spec::RequestSpec;
use crate::sync::Observed;
use crate::time::Timestamp;

/// The three numbers that order everything about an instance, compared in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct At {
    /// Bindings of the instance to a cell; written only by the API level.
    pub epoch: i64,
    /// Host choices within the epoch; written only by the cell.
    pub placement: i64,
    /// Intents within the placement.
    pub generation: i64,
}

/// What should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    /// A container of this instance runs.
    Run,
    /// The container exists and does not run.
    Stop,
    /// Nothing of it exists.
    Gone,
}

impl Intent {
    /// The word stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Stop => "stop",
            Self::Gone => "gone",
        }
    }

    /// Reads the word stored.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Run, Self::Stop, Self::Gone].into_iter().find(|intent| intent.as_str() == word)
    }
}

/// Where the one row of an instance in a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// No host has been chosen yet.
    Unplaced,
    /// A host was claimed; the container has not been observed yet.
    Building,
    /// The host could not make the container; whatever is left of it there is being removed.
    Leaving,
    /// The container was observed as intended (running or stopped).
    Settled,
    /// It could not be built, or its container failed for good.
    Error,
    /// It is gone from this cell; nothing of this epoch or below may live here.
    Tombstone,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 6] =
        [Self::Unplaced, Self::Building, Self::Leaving, Self::Settled, Self::Error, Self::Tombstone];

    /// The word stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unplaced => "unplaced",
            Self::Building => "building",
            Self::Leaving => "leaving",
            Self::Settled => "settled",
            Self::Error => "error",
            Self::Tombstone => "tombstone",
        }
    }

    /// Reads the word stored.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.as_str() == word)
    }
}

/// What is being done to an instance; Nova's `OS-EXT-STS:task_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Waiting for a cell or a host.
    Scheduling,
    /// The host is making the container.
    Spawning,
    /// Being started.
    PoweringOn,
    /// Being stopped.
    PoweringOff,
    /// Being restarted gently.
    Rebooting,
    /// Being restarted by force.
    RebootingHard,
    /// Being deleted.
    Deleting,
    /// Being frozen.
    Pausing,
    /// Being thawed.
    Unpausing,
    /// Being frozen, as a suspension.
    Suspending,
    /// Being thawed after a suspension.
    Resuming,
    /// Its container is being made anew, from another image perhaps.
    Rebuilding,
    /// A claim is being made for another size.
    ResizePrep,
    /// Its container is being made anew, in another size.
    ResizeFinish,
    /// Its container is being made anew, in the size that it had.
    ResizeReverting,
    /// Being stopped, to be set aside.
    Shelving,
    /// Being started after it was set aside.
    Unshelving,
}

/// How an instance that should run is to be frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// Nova's pause.
    Pause,
    /// Nova's suspend. A container has no state to write down, so it is frozen as well.
    Suspend,
}

impl Freeze {
    /// The word stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Suspend => "suspend",
        }
    }

    /// Reads the word stored.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Pause, Self::Suspend].into_iter().find(|freeze| freeze.as_str() == word)
    }
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 17] = [
        Self::Scheduling,
        Self::Spawning,
        Self::PoweringOn,
        Self::PoweringOff,
        Self::Rebooting,
        Self::RebootingHard,
        Self::Deleting,
        Self::Pausing,
        Self::Unpausing,
        Self::Suspending,
        Self::Resuming,
        Self::Rebuilding,
        Self::ResizePrep,
        Self::ResizeFinish,
        Self::ResizeReverting,
        Self::Shelving,
        Self::Unshelving,
    ];

    /// Nova's word, also the one stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduling => "scheduling",
            Self::Spawning => "spawning",
            Self::PoweringOn => "powering-on",
            Self::PoweringOff => "powering-off",
            Self::Rebooting => "rebooting",
            Self::RebootingHard => "rebooting_hard",
            Self::Deleting => "deleting",
            Self::Pausing => "pausing",
            Self::Unpausing => "unpausing",
            Self::Suspending => "suspending",
            Self::Resuming => "resuming",
            Self::Rebuilding => "rebuilding",
            Self::ResizePrep => "resize_prep",
            Self::ResizeFinish => "resize_finish",
            Self::ResizeReverting => "resize_reverting",
            Self::Shelving => "shelving",
            Self::Unshelving => "unshelving",
        }
    }

    /// Reads Nova's word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.as_str() == word)
    }
}

/// What the container was last seen doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Nothing was observed.
    #[default]
    None,
    /// The container runs.
    Running,
    /// The container exists and does not run.
    Stopped,
    /// The container is frozen.
    Paused,
    /// The container is frozen, because it was suspended.
    Suspended,
}

impl Power {
    /// Every power state.
    pub const ALL: [Self; 5] = [Self::None, Self::Running, Self::Stopped, Self::Paused, Self::Suspended];

    /// Nova's number for `OS-EXT-STS:power_state`.
    pub fn nova(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Running => 1,
            Self::Paused => 3,
            Self::Stopped => 4,
            Self::Suspended => 7,
        }
    }

    /// The word stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Suspended => "suspended",
        }
    }

    /// Reads the word stored.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|power| power.as_str() == word)
    }
}

/// An instance as a caller sees it, wherever its facts came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Who owns it and what was asked for.
    pub spec: RequestSpec,
    /// Its cell, once bound.
    pub cell: Option<CellId>,
    /// Its host's id and name, once placed.
    pub host: Option<(HostId, String)>,
    /// The host's availability zone, once placed.
    pub zone: Option<String>,
    /// Its numbers.
    pub at: At,
    /// What should be.
    pub intent: Intent,
    /// Where it stands.
    pub stage: Stage,
    /// What is being done to it.
    pub task: Option<Task>,
    /// What the container was last seen doing.
    pub power: Power,
    /// What it undergoes beyond its container.
    pub phase: Phase,
    /// What the host last told of the container.
    pub observed: Observed,
    /// Why it is in error.
    pub fault: Option<(Fault, Timestamp)>,
    /// When it was asked for.
    pub created: Timestamp,
    /// When anything visible last changed.
    pub updated: Timestamp,
    /// When it first ran.
    pub launched: Option<Timestamp>,
    /// When it was deleted.
    pub terminated: Option<Timestamp>,
}

impl Instance {
    /// Nova's `vm_state`.
    pub fn vm_state(&self) -> &'static str {
        vm_state(self.stage, self.power, self.phase)
    }

    /// Nova's `status`, by the table of `nova/api/openstack/common.py`.
    pub fn status(&self) -> &'static str {
        status(self.stage, self.power, self.task, self.phase)
    }
}

/// Nova's `vm_state` of what stands at `stage` and in `phase` and was seen as `power`.
pub fn vm_state(stage: Stage, power: Power, phase: Phase) -> &'static str {
    if let Some(word) = phase.vm_state(stage) {
        return word;
    }
    match (stage, power) {
        (Stage::Tombstone, _) => "deleted",
        (Stage::Error, _) => "error",
        (Stage::Unplaced | Stage::Building | Stage::Leaving, _) => "building",
        (Stage::Settled, Power::Paused) => "paused",
        (Stage::Settled, Power::Suspended) => "suspended",
        (Stage::Settled, Power::Running) => "active",
        (Stage::Settled, Power::Stopped | Power::None) => "stopped",
    }
}

/// Nova's `status` of what stands at `stage` and in `phase`, was seen as `power` and undergoes `task`.
pub fn status(stage: Stage, power: Power, task: Option<Task>, phase: Phase) -> &'static str {
    match (stage, power, task) {
        (Stage::Tombstone, ..) => "DELETED",
        (Stage::Settled | Stage::Error, _, Some(Task::Rebuilding)) => "REBUILD",
        (Stage::Settled, _, Some(Task::ResizePrep | Task::ResizeFinish)) => "RESIZE",
        (Stage::Settled, _, Some(Task::ResizeReverting)) => "REVERT_RESIZE",
        (Stage::Error, ..) => "ERROR",
        (Stage::Unplaced | Stage::Building | Stage::Leaving, ..) => "BUILD",
        _ if phase.vm_state(stage) == Some("resized") => "VERIFY_RESIZE",
        _ if phase.vm_state(stage) == Some("shelved") => "SHELVED",
        (_, _, Some(Task::Rebooting)) => "REBOOT",
        (_, _, Some(Task::RebootingHard)) => "HARD_REBOOT",
        (_, Power::Running, _) => "ACTIVE",
        (_, Power::Paused, _) => "PAUSED",
        (_, Power::Suspended, _) => "SUSPENDED",
        (_, Power::Stopped | Power::None, _) => "SHUTOFF",
    }
}

/// What a user may ask of an instance that is bound to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Start what is stopped.
    Start,
    /// Stop what runs.
    Stop,
    /// Stop and start; by force if `hard`.
    Reboot {
        /// Kill instead of asking.
        hard: bool,
    },
    /// Freeze what runs.
    Pause,
    /// Thaw what is paused.
    Unpause,
    /// Freeze what runs, as a suspension.
    Suspend,
    /// Thaw what is suspended.
    Resume,
    /// Make its container anew, from the image that its spec has then.
    Rebuild,
    /// Make its container anew, in another size, and keep the old size claimed.
    Resize,
    /// Keep the new size, and give the old one back.
    ConfirmResize,
    /// Make its container anew, in the size that it had.
    RevertResize,
    /// Stop it, and set it aside.
    Shelve,
    /// Start what was set aside.
    Unshelve,
}

impl Action {
    /// Nova's word in "Cannot '…' instance … while it is in vm_state …".
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Reboot { .. } => "reboot",
            Self::Pause => "pause",
            Self::Unpause => "unpause",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Rebuild => "rebuild",
            Self::Resize => "resize",
            Self::ConfirmResize => "confirmResize",
            Self::RevertResize => "revertResize",
            Self::Shelve => "shelve",
            Self::Unshelve => "unshelve",
        }
    }

    /// The phase that it begins; a start, a stop and the like end what was.
    pub fn phase(self) -> Phase {
        match self {
            Self::Resize => Phase::ResizeWanted,
            Self::ConfirmResize => Phase::Confirming,
            Self::RevertResize => Phase::RevertWanted,
            Self::Shelve => Phase::Shelving,
            _ => Phase::Plain,
        }
    }

    /// How the instance is to be frozen from then on, if it should run.
    pub fn freeze(self) -> Option<Freeze> {
        match self {
            Self::Pause => Some(Freeze::Pause),
            Self::Suspend => Some(Freeze::Suspend),
            _ => None,
        }
    }

    /// The `task_state` while it is under way; a confirmation has none.
    pub fn task(self) -> Option<Task> {
        Some(match self {
            Self::Start => Task::PoweringOn,
            Self::Stop => Task::PoweringOff,
            Self::Reboot { hard: false } => Task::Rebooting,
            Self::Reboot { hard: true } => Task::RebootingHard,
            Self::Pause => Task::Pausing,
            Self::Unpause => Task::Unpausing,
            Self::Suspend => Task::Suspending,
            Self::Resume => Task::Resuming,
            Self::Rebuild => Task::Rebuilding,
            Self::Resize => Task::ResizePrep,
            Self::ConfirmResize => return None,
            Self::RevertResize => Task::ResizeReverting,
            Self::Shelve => Task::Shelving,
            Self::Unshelve => Task::Unshelving,
        })
    }

    /// Refuses what Nova refuses with 409 (`nova/compute/api.py`, `check_instance_state`).
    pub fn check(
        self,
        id: InstanceId,
        (stage, power, phase): (Stage, Power, Phase),
        task: Option<Task>,
    ) -> Result<(), Fault> {
        let vm_state = vm_state(stage, power, phase);
        let legal = match self {
            Self::Start => vm_state == "stopped",
            Self::Stop => matches!(vm_state, "active" | "error"),
            Self::Reboot { hard: false } => vm_state == "active",
            Self::Reboot { hard: true } => {
                matches!(vm_state, "active" | "stopped" | "paused" | "suspended" | "error")
            }
            Self::Pause | Self::Suspend => vm_state == "active",
            Self::Unpause => vm_state == "paused",
            Self::Resume => vm_state == "suspended",
            Self::Rebuild => matches!(vm_state, "active" | "stopped" | "error"),
            Self::Resize => matches!(vm_state, "active" | "stopped"),
            // A confirmation that is under way has no task, but is over as far as the user can tell.
            Self::ConfirmResize | Self::RevertResize => vm_state == "resized" && phase != Phase::Confirming,
            Self::Shelve => matches!(vm_state, "active" | "stopped" | "paused" | "suspended"),
            Self::Unshelve => vm_state == "shelved",
        };
        if !legal {
            return Err(Fault::conflict(format!(
                "Cannot '{}' instance {id} while it is in vm_state {vm_state}",
                self.word()
            )));
        }
        // A hard reboot may interrupt a soft one; everything else waits for its predecessor.
        match (self, task) {
            (_, None) => Ok(()),
            (
                Self::Reboot { hard: true },
                Some(Task::Rebooting | Task::Pausing | Task::Unpausing | Task::Suspending | Task::Resuming),
            ) => Ok(()),
            (_, Some(task)) => Err(Fault::conflict(format!(
                "Cannot '{}' instance {id} while it is in task_state {}",
                self.word(),
                task.as_str()
            ))),
        }
    }
}
