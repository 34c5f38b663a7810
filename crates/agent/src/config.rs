//! What an agent is told at its start, and what it reads from its machine.

use std::path::PathBuf;
use std::time::Duration;

use model::{Fault, HostId, Resources};
use rpc::HostKey;
use uuid::Uuid;

/// Everything that an agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The host's id; see [`crate::host_id`].
    pub host: HostId,
    /// The host's own key; see [`crate::host_key`].
    pub key: HostKey,
    /// Where the join token lies, until the host has enrolled.
    pub join_token_file: Option<PathBuf>,
    /// The host's name.
    pub name: String,
    /// Its availability zone.
    pub zone: String,
    /// Names the engine, so that hosts which share one share its ports.
    pub engine_name: String,
    /// The address where published ports are reached.
    pub address: String,
    /// Declared amounts; never probed.
    pub capacity: Resources,
    /// The name of the cell, for the label `skep.cell`.
    pub cell_name: String,
    /// How often to sync at least. The cell may ask for less time, not for more.
    pub heartbeat: Duration,
    /// How many containers may be created or started at the same time; about twice the cores.
    pub parallel_starts: usize,
    /// Where the journal lies.
    pub state_dir: PathBuf,
    /// How long a container may take to end after TERM before it is killed.
    pub stop_grace: Duration,
    /// The machine's boot id; see [`boot_id`]. With another one than the journal's nothing is started
    /// before a full sync.
    pub boot: Uuid,
}

/// Reads the machine's boot id, which is new after each boot (`random(4)`, `/proc/sys/kernel/random`).
pub fn boot_id() -> Result<Uuid, Fault> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text =
        std::fs::read_to_string(path).map_err(|why| Fault::internal(format!("cannot read {path}: {why}")))?;
    Uuid::parse_str(text.trim()).map_err(|why| Fault::internal(format!("cannot understand {path}: {why}")))
}
