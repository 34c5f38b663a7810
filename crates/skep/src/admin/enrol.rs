//! `skep host join-token` and `skep host revoke`: which hosts are of a cell.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::confirm;
use super::host::{Which, path};
use super::show::text;
use super::way::{Open, Way, call, value};
use crate::client::escape;
use crate::exit::{Code, Failure, print};

/// For how long a join token is good, in seconds, unless something else is asked for.
pub const LIFETIME: u64 = 3_600;

#[derive(Args, Debug)]
pub struct Join {
    /// Name or id of the cell that the hosts are to enrol in
    #[arg(long)]
    cell: String,
    /// How many: each is for one host
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// For how long they are good, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = LIFETIME)]
    lifetime: u64,
    /// JSON instead of a token a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Revoke {
    #[command(flatten)]
    which: Which,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: Way,
}

/// Makes join tokens; gives what was made.
pub async fn make(way: &Open, cell: &str, count: usize, lifetime: u64) -> Result<Value, Failure> {
    match way {
        Open::Api(http) => {
            let path = format!("/admin/v1/cells/{}/join-tokens", escape(cell));
            call(http, Method::POST, &path, Some(&json!({"count": count, "lifetime_s": lifetime}))).await
        }
        Open::Direct(direct) => {
            let lifetime = Duration::from_secs(lifetime);
            value(None, direct.0.join_tokens(&direct.1, cell, count, lifetime).await)
        }
    }
}

/// The tokens of what was made, one a line.
pub fn lines(made: &Value) -> String {
    let tokens = made["tokens"].as_array().into_iter().flatten().filter_map(Value::as_str);
    tokens.map(|token| format!("{token}\n")).collect()
}

impl Join {
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { cell, count, lifetime, json, way } = self;
        let made = make(&way.open().await?, &cell, count, lifetime).await?;
        print(&if json { format!("{made:#}\n") } else { lines(&made) })?;
        Ok(Code::Done)
    }
}

impl Revoke {
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { which: Which { host, cell }, yes, dry_run, way } = self;
        let way = way.open().await?;
        let revoke = async |host: &str, cell: Option<&str>, dry_run: bool| match &way {
            Open::Api(http) => {
                let body = json!({"cell": cell, "dry_run": dry_run});
                call(http, Method::POST, &format!("{}/revoke", path(host)), Some(&body)).await
            }
            Open::Direct(direct) => {
                value(Some("host"), direct.0.revoke_host(&direct.1, host, cell, dry_run).await)
            }
        };
        let would = revoke(&host, cell.as_deref(), true).await?;
        let (id, cell) = (text(&would["host"], "id"), text(&would["host"], "cell"));
        let what =
            format!("take back the key of host {} ({id}) of cell {cell}", text(&would["host"], "name"));
        if dry_run {
            print(&format!("would {what}\n"))?;
            return Ok(Code::Done);
        }
        confirm(&what, yes)?;
        revoke(&id, Some(&cell), false).await?;
        Ok(Code::Done)
    }
}
