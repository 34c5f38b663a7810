//! `skep host`: hosts of all cells.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::confirm;
use super::enrol::{Join, Revoke};
use super::maintenance::Maintenance;
use super::show::{Column, Form, known, list, one, text};
use super::way::{Open, Way, call, value};
use crate::client::escape;
use crate::client::table::clean;
use crate::exit::{Code, Failure, complain, print};

/// `skep host …`.
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// List hosts
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one host
    Show(Show),
    /// Keep a host from taking new instances; what it runs goes on
    Disable(Disable),
    /// Let a host take new instances again
    Enable(Act),
    /// Begin or end maintenance: the host takes nothing new; what it runs goes on
    Maintenance(Maintenance),
    /// Delete a host that no instance is on
    Delete(Delete),
    /// Map the hosts that cells hold
    Discover(Discover),
    /// Make tokens that hosts enrol with, each once
    JoinToken(Join),
    /// Take a host's key back: its agent is not heard until the host has enrolled again
    Revoke(Revoke),
}

/// Which host.
#[derive(Args, Debug)]
pub struct Which {
    /// Its name or id
    pub host: String,
    /// Name or id of its cell, where several hosts have one name
    #[arg(long)]
    pub cell: Option<String>,
}

#[derive(Args, Debug)]
pub struct List {
    /// Only those of this cell, by name or id
    #[arg(long)]
    cell: Option<String>,
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Show {
    #[command(flatten)]
    which: Which,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Disable {
    #[command(flatten)]
    which: Which,
    /// Why, for other operators
    #[arg(long)]
    reason: String,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Act {
    #[command(flatten)]
    which: Which,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Delete {
    #[command(flatten)]
    which: Which,
    /// Although its agent is alive, or although its cell does not answer
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Discover {
    /// Only in this cell, by name or id
    #[arg(long)]
    cell: Option<String>,
    #[command(flatten)]
    way: Way,
}

const COLUMNS: &[Column] = &[
    ("NAME", |host| text(host, "name")),
    ("CELL", |host| text(host, "cell")),
    ("ZONE", |host| known(host, "zone")),
    ("HEALTH", |host| match (host["registered"].as_bool(), host["healthy"].as_bool()) {
        (Some(false), _) => "gone".to_owned(),
        (_, Some(true)) => "up".to_owned(),
        (_, Some(false)) => "DOWN".to_owned(),
        (_, None) => "?".to_owned(),
    }),
    ("ENABLED", |host| match (host["enabled"].as_bool(), host["disabled_reason"].as_str()) {
        (Some(true), _) => "yes".to_owned(),
        // The reason says so already.
        (Some(false), Some(why)) if host["maintenance"] == true => clean(why),
        (Some(false), Some(why)) => format!("no ({})", clean(why)),
        (Some(false), None) => "no".to_owned(),
        (None, _) => "?".to_owned(),
    }),
    ("INSTANCES", |host| known(host, "instances")),
];

const WIDE: &[Column] = &[
    ("VCPUS", |host| amount(host, "vcpus_milli", 1_000.0)),
    ("MEMORY MIB", |host| amount(host, "memory_mib", 1.0)),
    ("SLOTS", |host| amount(host, "slots", 1.0)),
    ("ADDRESS", |host| text(host, "address")),
    ("AGENT", |host| text(host, "version")),
    ("KEY", |host| known(host, "key")),
    ("MAPPED", |host| if host["mapped"] == true { "yes" } else { "no" }.to_owned()),
    ("ID", |host| text(host, "id")),
];

fn amount(host: &Value, key: &str, unit: f64) -> String {
    let of = |kind: &str| host[kind][key].as_f64().map(|amount| amount / unit);
    match (of("used"), of("capacity")) {
        (Some(used), Some(capacity)) => format!("{used}/{capacity}"),
        _ => "?".to_owned(),
    }
}

/// The path of a host in the admin API.
pub fn path(host: &str) -> String {
    format!("/admin/v1/hosts/{}", escape(host))
}

/// `?cell=…`, if one was named.
fn of(cell: Option<&str>) -> String {
    cell.map(|cell| format!("?cell={}", escape(cell))).unwrap_or_default()
}

impl HostCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        match self {
            Self::List(it) => it.run().await,
            Self::Show(it) => it.run().await,
            Self::Disable(it) => switch(it.which, Some(it.reason), it.dry_run, it.way).await,
            Self::Enable(it) => switch(it.which, None, it.dry_run, it.way).await,
            Self::Maintenance(it) => it.run().await,
            Self::Delete(it) => it.run().await,
            Self::Discover(it) => it.run().await,
            Self::JoinToken(it) => it.run().await,
            Self::Revoke(it) => it.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<Code, Failure> {
        let cell = self.cell.as_deref();
        let found = match self.way.open().await? {
            Open::Api(http) => {
                call(&http, Method::GET, &format!("/admin/v1/hosts{}", of(cell)), None).await?
            }
            Open::Direct(direct) => value(None, direct.0.hosts_view(&direct.1, cell).await)?,
        };
        let hosts = found["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
        print(&list(self.output, hosts, COLUMNS, WIDE))?;
        let dark = found["dark"].as_object();
        for (cell, why) in dark.into_iter().flatten() {
            complain(&format!("cell {}: {}", clean(cell), clean(why.as_str().unwrap_or_default())));
        }
        Ok(if dark.is_none_or(serde_json::Map::is_empty) { Code::Done } else { Code::Partial })
    }
}

impl Show {
    async fn run(self) -> Result<Code, Failure> {
        let (host, cell) = (self.which.host.as_str(), self.which.cell.as_deref());
        let found = match self.way.open().await? {
            Open::Api(http) => call(&http, Method::GET, &format!("{}{}", path(host), of(cell)), None).await?,
            Open::Direct(direct) => value(Some("host"), direct.0.host_view(&direct.1, host, cell).await)?,
        };
        let host = &found["host"];
        print(&one(self.output, host))?;
        if host["registered"].is_null() {
            complain(&format!("incomplete: cell {} does not answer", text(host, "cell")));
            return Ok(Code::Partial);
        }
        Ok(Code::Done)
    }
}

async fn switch(which: Which, reason: Option<String>, dry_run: bool, way: Way) -> Result<Code, Failure> {
    let Which { host, cell } = which;
    match way.open().await? {
        Open::Api(http) => {
            let verb = if reason.is_some() { "disable" } else { "enable" };
            let mut body = json!({"cell": cell, "dry_run": dry_run});
            if let Some(reason) = reason {
                body["reason"] = reason.into();
            }
            call(&http, Method::POST, &format!("{}/{verb}", path(&host)), Some(&body)).await?;
        }
        Open::Direct(direct) => {
            let (admin, by) = &*direct;
            let done = match reason {
                Some(reason) => admin.disable_host(by, &host, cell.as_deref(), &reason, dry_run).await,
                None => admin.enable_host(by, &host, cell.as_deref(), dry_run).await,
            };
            value(None, done)?;
        }
    }
    Ok(Code::Done)
}

impl Delete {
    async fn run(self) -> Result<Code, Failure> {
        let Self { which: Which { host, cell }, force, yes, dry_run, way } = self;
        let way = way.open().await?;
        let delete = async |host: &str, cell: Option<&str>, dry_run: bool| match &way {
            Open::Api(http) => {
                let mut query = format!("force={}&dry_run={}", u8::from(force), u8::from(dry_run));
                if let Some(cell) = cell {
                    query += &format!("&cell={}", escape(cell));
                }
                call(http, Method::DELETE, &format!("{}?{query}", path(host)), None).await
            }
            Open::Direct(direct) => {
                let how = (false, force, dry_run);
                value(Some("host"), direct.0.delete_host(&direct.1, host, cell, how).await)
            }
        };
        let would = delete(&host, cell.as_deref(), true).await?;
        let (id, cell) = (text(&would["host"], "id"), text(&would["host"], "cell"));
        let what = format!("delete host {} ({id}) of cell {cell}", text(&would["host"], "name"));
        if dry_run {
            print(&format!("would {what}\n"))?;
            return Ok(Code::Done);
        }
        confirm(&what, yes)?;
        delete(&id, Some(&cell), false).await?;
        Ok(Code::Done)
    }
}

impl Discover {
    async fn run(self) -> Result<Code, Failure> {
        let scan = match self.way.open().await? {
            Open::Api(http) => {
                call(&http, Method::POST, "/admin/v1/hosts", Some(&json!({"cell": self.cell}))).await?
            }
            Open::Direct(direct) => {
                value(None, direct.0.discover_hosts(&direct.1, self.cell.as_deref()).await)?
            }
        };
        let mut code = Code::Done;
        for cell in scan["cells"].as_array().into_iter().flatten() {
            let name = text(cell, "name");
            if let Some(why) = cell["dark"].as_str() {
                complain(&format!("cell {name}: {}", clean(why)));
                code = Code::Partial;
            }
            for host in cell["hosts"].as_array().into_iter().flatten() {
                let shown = clean(host[1].as_str().unwrap_or_default());
                if host[2] == "new" {
                    print(&format!("{shown} of cell {name} is mapped\n"))?;
                } else if let Some(other) = host[2]["elsewhere"].as_str() {
                    complain(&format!(
                        "host {shown} of cell {name} has the id of a host of cell {}: two machines share one id",
                        clean(other)
                    ));
                    code = Code::Failed;
                }
            }
        }
        Ok(code)
    }
}
