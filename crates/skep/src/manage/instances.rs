//! The verbs of `skep-manage cell_v2` that are about instances.

use clap::Args;
use model::InstanceId;
use verbs::admin::Verdict;

use super::{Ground, refuse, say};
use crate::exit::Failure;

#[derive(Args, Debug)]
pub struct MapInstances {
    /// Id or name of the cell
    #[arg(long = "cell_uuid", alias = "cell-uuid", value_name = "CELL")]
    cell_uuid: String,
    /// Most instances to map
    #[arg(long, alias = "max_count", value_name = "N", allow_hyphen_values = true)]
    max_count: Option<String>,
    /// Nova's way to begin anew; here every run looks at all instances
    #[arg(long)]
    reset: bool,
}

#[derive(Args, Debug)]
pub struct VerifyInstance {
    /// Id of the instance
    #[arg(long)]
    uuid: String,
    /// Tell nothing
    #[arg(long)]
    quiet: bool,
}

impl MapInstances {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let _ = self.reset;
        let most = self.max_count.as_deref().map(|text| text.parse::<u64>().ok().filter(|n| *n > 0));
        if most == Some(None) {
            say("Must supply a positive number for max_count")?;
            return Ok(127);
        }
        map(ground, &self.cell_uuid, most.flatten()).await
    }
}

/// Maps all instances of a cell.
pub async fn map_all(ground: &Ground, cell: &str) -> Result<u8, Failure> {
    map(ground, cell, None).await
}

/// The limits of projects that are first heard of by an instance of theirs.
pub fn limits(ground: &Ground) -> api_db::quotas::Limits {
    let quota = &ground.config.api.quota;
    api_db::quotas::Limits { instances: quota.instances, cores: quota.vcpus, memory_mib: quota.memory_mib }
}

async fn map(ground: &Ground, cell: &str, most: Option<u64>) -> Result<u8, Failure> {
    match ground.admin.map_instances(&ground.by, cell, most, limits(ground)).await {
        Ok(done) => Ok(u8::from(done.more)),
        Err(denied) => refuse(&denied, &[]),
    }
}

impl VerifyInstance {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let uuid = &self.uuid;
        let verdict = match uuid.parse::<InstanceId>() {
            Ok(id) => ground.admin.verify_instance(&ground.by, id).await,
            Err(_) => Ok(Verdict::Unmapped),
        };
        let (text, code) = match verdict {
            Ok(Verdict::Unmapped) => (
                format!(
                    "Instance {uuid} is not mapped to a cell (upgrade is incomplete) or instance does not exist"
                ),
                1,
            ),
            Ok(Verdict::NoCell) => (format!("Instance {uuid} is not mapped to a cell"), 2),
            Ok(Verdict::Deleted(..)) => (format!("The instance with uuid {uuid} has been deleted."), 3),
            Ok(Verdict::Missing(..)) => (format!("The instance with uuid {uuid} has been archived."), 4),
            Ok(Verdict::InCell(name, id)) => (format!("Instance {uuid} is in cell: {name} ({id})"), 0),
            Err(denied) => return refuse(&denied, &[]),
        };
        if !self.quiet {
            say(&text)?;
        }
        Ok(code)
    }
}
