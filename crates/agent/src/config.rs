//! What an agent is told at its start, and the two ids that it reads from its machine.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::{Env, Fault, HostId, Resources};
use uuid::Uuid;

/// Everything that an agent is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The host's id; see [`host_id`].
    pub host: HostId,
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

/// Reads the host's id from the file `host-id` in `dir`, or makes one and keeps it there. A host is
/// known by this id alone; its name may change.
pub fn host_id(dir: &Path, env: &Env) -> Result<HostId, Fault> {
    let path = dir.join("host-id");
    let fault = |what: &str, why: &dyn std::fmt::Display| {
        Fault::internal(format!("cannot {what} {}: {why}", path.display()))
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|why| fault("understand the host id in", &why)),
        Err(why) if why.kind() == ErrorKind::NotFound => {
            std::fs::create_dir_all(dir).map_err(|why| fault("make the directory of", &why))?;
            let id: HostId = env.id();
            // Written aside and moved, so that a crash leaves either no id or a whole one.
            let aside = dir.join("host-id.new");
            let mut file = std::fs::File::create(&aside).map_err(|why| fault("write", &why))?;
            writeln!(file, "{id}").and_then(|()| file.sync_all()).map_err(|why| fault("write", &why))?;
            std::fs::rename(&aside, &path).map_err(|why| fault("write", &why))?;
            std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(|why| fault("write", &why))?;
            Ok(id)
        }
        Err(why) => Err(fault("read", &why)),
    }
}

/// Reads the machine's boot id, which is new after each boot (`random(4)`, `/proc/sys/kernel/random`).
pub fn boot_id() -> Result<Uuid, Fault> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text =
        std::fs::read_to_string(path).map_err(|why| Fault::internal(format!("cannot read {path}: {why}")))?;
    Uuid::parse_str(text.trim()).map_err(|why| Fault::internal(format!("cannot understand {path}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_id_stays() {
        let dir = std::env::temp_dir().join(format!("skep-host-id-{}", Env::system().uuid()));
        let first = host_id(&dir, &Env::system()).expect("an id is made");
        assert_eq!(host_id(&dir, &Env::system()).expect("the id is read"), first);
        std::fs::write(dir.join("host-id"), "rubbish").expect("writes");
        assert!(host_id(&dir, &Env::system()).is_err(), "rubbish must not become a new identity");
        std::fs::remove_dir_all(dir).expect("cleans up");
    }
}
