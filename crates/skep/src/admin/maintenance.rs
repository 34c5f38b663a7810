//! `skep host maintenance`: a host that takes nothing new while somebody works on it.

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::show::{known, text};
use super::way::{Open, Way, call, value};
use crate::client::escape;
use crate::exit::{Code, Failure, complain};

#[derive(Args, Debug)]
#[group(id = "what", required = true, multiple = false, args = ["reason", "off"])]
pub struct Maintenance {
    /// Its name or id
    host: String,
    /// Name or id of its cell, where several hosts have one name
    #[arg(long)]
    cell: Option<String>,
    /// Begin it, and why, for other operators. What runs there goes on and is not moved
    #[arg(long)]
    reason: Option<String>,
    /// End it
    #[arg(long)]
    off: bool,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: Way,
}

impl Maintenance {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { host, cell, reason, dry_run, way, .. } = self;
        let done = match way.open().await? {
            Open::Api(http) => {
                let body =
                    json!({"cell": cell, "reason": reason, "off": reason.is_none(), "dry_run": dry_run});
                let path = format!("/admin/v1/hosts/{}/maintenance", escape(&host));
                call(&http, Method::POST, &path, Some(&body)).await?
            }
            Open::Direct(direct) => {
                let ((admin, by), cell) = (&*direct, cell.as_deref());
                let done = match &reason {
                    Some(reason) => admin.maintain_host(by, &host, cell, reason, dry_run).await,
                    None => admin.end_maintenance(by, &host, cell, dry_run).await,
                };
                value(Some("host"), done)?
            }
        };
        if reason.is_some() && !dry_run {
            let (name, instances) = (text(&done["host"], "name"), known(&done["host"], "instances"));
            complain(&format!(
                "host {name} takes nothing new; its {instances} instances stay there: stop or delete them if they are \
                 not to run meanwhile"
            ));
        }
        Ok(Code::Done)
    }
}
