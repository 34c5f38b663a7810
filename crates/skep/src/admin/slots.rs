//! `skep cell set` and `skep cell rotate`: the URLs of a mapping, and other credentials in them.

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use verbs::admin::{Change, Rotation};

use super::cell::{How, done_with, path};
use super::life::{Patience, switched};
use super::show::text;
use super::way::{Open, call, value};
use crate::exit::{Code, Failure, complain};

#[derive(Args, Debug)]
#[group(id = "change", required = true, multiple = true, args = ["name", "database_url", "transport_url", "second_database_url", "second_transport_url"])]
pub struct Set {
    /// Its name or id
    cell: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new URL of its database
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// A new URL of its broker
    #[arg(long, value_name = "URL")]
    transport_url: Option<String>,
    /// A second URL of its database, used where the first is refused; empty to forget it
    #[arg(long, value_name = "URL")]
    second_database_url: Option<String>,
    /// A second URL of its broker; empty to forget it
    #[arg(long, value_name = "URL")]
    second_transport_url: Option<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
#[group(id = "credentials", required = true, multiple = true, args = ["new_database_url", "new_transport_url"])]
pub struct Rotate {
    /// Its name or id
    cell: String,
    /// The URL of its database with the new credentials; may contain {file:PATH} and {env:NAME}
    #[arg(long = "database-url", value_name = "URL")]
    new_database_url: Option<String>,
    /// The URL of its broker with the new credentials; may contain {file:PATH} and {env:NAME}
    #[arg(long = "transport-url", value_name = "URL")]
    new_transport_url: Option<String>,
    /// The servers do not take them yet, as a user keeps its name: change them there when this says so
    #[arg(long)]
    pending: bool,
    /// Forget the old ones although somebody in the cell still uses them
    #[arg(long)]
    force: bool,
    /// Wait at most so long for each step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    #[command(flatten)]
    how: How,
}

impl Set {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { cell, name, database_url, transport_url, second_database_url, second_transport_url, how } =
            self;
        let dry_run = how.dry_run;
        let way = how.way.open().await?;
        let done = match &way {
            Open::Api(http) => {
                let body = json!({"name": name, "database_url": database_url,
                    "transport_url": transport_url, "second_database_url": second_database_url,
                    "second_transport_url": second_transport_url, "dry_run": dry_run});
                call(http, Method::PUT, &path(&cell), Some(&body)).await?
            }
            Open::Direct(direct) => {
                let change = Change {
                    name,
                    database_url,
                    transport_url,
                    second_database_url,
                    second_transport_url,
                    state: None,
                };
                value(Some("cell"), direct.0.change_cell(&direct.1, &cell, change, dry_run).await)?
            }
        };
        if !dry_run {
            switched(&way, &done["cell"]).await;
        }
        done_with(how.output, &done["cell"])
    }
}

impl Rotate {
    /// Goes on from wherever an earlier run stopped, step by step: 4 if a step had to be waited for too long.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { cell, new_database_url, new_transport_url, pending, force, timeout, how } = self;
        let How { dry_run, output, way } = how;
        let way = way.open().await?;
        let (database_url, transport_url) = (new_database_url, new_transport_url);
        let body = json!({"database_url": database_url, "transport_url": transport_url, "pending": pending,
            "force": force, "dry_run": dry_run});
        let moved = transport_url.is_some();
        let wanted = Rotation { database_url, transport_url, pending, force };
        let mut patience = Patience::new(timeout);
        loop {
            let done = match &way {
                Open::Api(http) => {
                    let path = format!("{}/rotate", path(&cell));
                    call(http, Method::POST, &path, Some(&body)).await?["rotation"].clone()
                }
                Open::Direct(direct) => {
                    value(None, direct.0.rotate_cell(&direct.1, &cell, &wanted, dry_run).await)?
                }
            };
            let name = text(&done["cell"], "name");
            let waits: Vec<String> = done["waits_for"].as_array().into_iter().flatten().map(plain).collect();
            if done["changed"] == true {
                complain(&format!("cell {name}: {}", told(&done)));
                patience = Patience::new(timeout);
                continue;
            }
            if dry_run {
                complain(&format!("cell {name}: {}; nothing was changed", told(&done)));
            }
            if dry_run || done["step"] == "done" {
                if moved && !dry_run {
                    complain(
                        "a broker does not tell cells who uses it: see that 'rabbitmqctl list_connections' shows \
                         nobody by the old name before it is dropped",
                    );
                }
                return done_with(output, &done["cell"]);
            }
            let waits = format!("waiting for {}", waits.join(", "));
            if !patience.wait(waits.clone()).await {
                let why = format!("cell {name}: {}, and {waits}: repeat this command to go on", told(&done));
                return Err(Failure::timeout(why));
            }
        }
    }
}

fn plain(text: &Value) -> String {
    crate::client::table::clean(text.as_str().unwrap_or_default())
}

/// How far it is, for people.
fn told(done: &Value) -> String {
    let step = match done["step"].as_str().unwrap_or_default() {
        "new" => "[0/3] the new credentials may be stored",
        "stored" => "[1/3] the new credentials are stored beside the old",
        "switched" => "[2/3] the new credentials are used first, the old where they are refused",
        _ => "[3/3] the old credentials are forgotten",
    };
    format!("{step} (version {})", done["cell"]["version"])
}
