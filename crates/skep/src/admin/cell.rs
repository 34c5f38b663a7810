//! `skep cell`: cell mappings.

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use model::CellState;
use serde_json::{Value, json};
use verbs::admin::{NewCell, Options};

use super::show::{Column, Form, known, list, one, text};
use super::way::{Open, Way, call, value};
use super::{confirm, enrol, keys, life, slots, sync};
use crate::client::escape;
use crate::exit::{Code, Failure, complain, print};

/// `skep cell …`.
#[derive(Debug, Subcommand)]
pub enum CellCommand {
    /// List cells
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one cell
    Show(Show),
    /// Make what a cell needs of a database and a broker, and map it
    Create(Create),
    /// Change a mapping; what is not named stays as it is
    Set(slots::Set),
    /// Change the credentials of a cell's database and broker without an outage
    Rotate(slots::Rotate),
    /// Keep a cell from taking new instances
    Cordon(Act),
    /// Let a cordoned cell take new instances again
    Uncordon(Act),
    /// Let a cell take instances of chosen projects only
    Testing(life::Testing),
    /// Let a cell take instances, once it is ready
    Activate(life::Activate),
    /// Empty a cell: it takes nothing new, and is drained once nothing is left
    Drain(life::Drain),
    /// Put a drained cell out of service for good
    Retire(Act),
    /// Seal every mapping with the first key of the API level's router.keys_file
    RotateKeys(keys::RotateKeys),
    /// Delete a mapping; the cell's database is left as it is
    Delete(Delete),
    /// Bring a cell up to date: its schema, its queues, the mappings of its hosts, its summary
    Sync(sync::Sync),
    /// See whether a cell could take instances; changes nothing
    Test(life::Preflight),
    /// The same, and run a container there and remove it
    Preflight(life::Preflight),
}

#[derive(Args, Debug)]
pub struct List {
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    /// Ask each cell, which -o wide does by itself
    #[arg(long)]
    ask: bool,
    /// Show URLs whole, with their passwords; this is audited
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Show {
    /// Its name or id
    cell: String,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    /// Show URLs whole, with their passwords; this is audited
    #[arg(long)]
    show_secrets: bool,
    #[command(flatten)]
    way: Way,
}

/// The states that a cell may be mapped in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum First {
    New,
    Active,
    Cordoned,
}

#[derive(Args, Debug)]
pub struct Create {
    /// Name, unique
    #[arg(long)]
    name: String,
    /// The region that it lies in; never changes
    #[arg(long)]
    region: String,
    /// How the API level reaches its database; may contain {file:PATH} and {env:NAME}, which each process of
    /// the API level fills in by itself
    #[arg(long, value_name = "URL")]
    database_url: String,
    /// How the API level reaches its broker; may contain {file:PATH} and {env:NAME}
    #[arg(long, value_name = "URL")]
    transport_url: String,
    /// new and cordoned take no instances yet; active takes them as soon as it has hosts
    #[arg(long, value_enum, default_value = "new")]
    state: First,
    /// Only map it: make and ask nothing, neither database nor broker
    #[arg(long)]
    no_prepare: bool,
    /// Succeed if it is mapped already, in this region and with these URLs
    #[arg(long)]
    if_not_exists: bool,
    /// Also make join tokens for so many hosts, good for an hour, and print them
    #[arg(long, value_name = "N", default_value_t = 0)]
    join_tokens: usize,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    /// How to show it [default: its id alone]
    #[arg(long, short, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    way: Way,
}

/// Options of commands that change one cell.
#[derive(Args, Debug)]
pub struct How {
    /// Check everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How to show it afterwards [default: not at all]
    #[arg(long, short, value_enum)]
    pub output: Option<Form>,
    #[command(flatten)]
    pub way: Way,
}

#[derive(Args, Debug)]
pub struct Act {
    /// Its name or id
    cell: String,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
pub struct Delete {
    /// Its name or id
    cell: String,
    /// Also the mappings of its hosts and of instances that are gone; of a cordoned cell that does not answer
    /// also those of living ones
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Tell what would be deleted, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: Way,
}

const COLUMNS: &[Column] = &[
    ("NAME", |cell| text(cell, "name")),
    ("REGION", |cell| text(cell, "region")),
    ("STATE", |cell| text(cell, "state")),
    ("ID", |cell| text(cell, "id")),
];

const WIDE: &[Column] = &[
    ("HEALTH", |cell| match cell["up"].as_bool() {
        Some(true) => "up".to_owned(),
        Some(false) => "DOWN".to_owned(),
        None => "?".to_owned(),
    }),
    ("HOSTS", |cell| format!("{}/{}", known(cell, "hosts_ready"), known(cell, "hosts"))),
    ("INSTANCES", |cell| known(cell, "instances")),
    ("MAPPED", |cell| known(cell, "mapped_instances")),
    ("VERSION", |cell| known(cell, "version")),
    ("DATABASE", |cell| text(cell, "database_url")),
    ("TRANSPORT", |cell| text(cell, "transport_url")),
];

impl CellCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        match self {
            Self::List(it) => it.run().await,
            Self::Show(it) => it.run().await,
            Self::Create(it) => it.run().await,
            Self::Set(it) => it.run().await,
            Self::Rotate(it) => it.run().await,
            Self::Cordon(it) => it.how.act(&it.cell, "cordon").await,
            Self::Uncordon(it) => it.how.act(&it.cell, "uncordon").await,
            Self::Testing(it) => it.run().await,
            Self::Activate(it) => it.run().await,
            Self::Drain(it) => it.run().await,
            Self::Retire(it) => it.how.act(&it.cell, "retire").await,
            Self::RotateKeys(it) => it.run().await,
            Self::Delete(it) => it.run().await,
            Self::Sync(it) => it.run().await,
            Self::Test(it) => it.run("test").await,
            Self::Preflight(it) => it.run("preflight").await,
        }
    }
}

/// The path of a cell in the admin API.
pub fn path(cell: &str) -> String {
    format!("/admin/v1/cells/{}", escape(cell))
}

impl List {
    async fn run(self) -> Result<Code, Failure> {
        let (ask, secrets) = (self.ask || self.output == Form::Wide, self.show_secrets);
        let found = match self.way.open().await? {
            Open::Api(http) => {
                let path =
                    format!("/admin/v1/cells?ask={}&show_secrets={}", u8::from(ask), u8::from(secrets));
                call(&http, Method::GET, &path, None).await?
            }
            Open::Direct(direct) => value(Some("cells"), direct.0.cells_view(&direct.1, ask, secrets).await)?,
        };
        let cells = found["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        print(&list(self.output, cells, COLUMNS, WIDE))?;
        Ok(told(cells))
    }
}

/// Tells which cells did not answer; partial if any.
fn told(cells: &[Value]) -> Code {
    let dark: Vec<&Value> = cells.iter().filter(|cell| cell["up"] == false).collect();
    for cell in &dark {
        complain(&format!("cell {}: {}", text(cell, "name"), text(cell, "why")));
    }
    if dark.is_empty() { Code::Done } else { Code::Partial }
}

impl Show {
    async fn run(self) -> Result<Code, Failure> {
        let secrets = self.show_secrets;
        let found = match self.way.open().await? {
            Open::Api(http) => {
                let path = format!("{}?show_secrets={}", path(&self.cell), u8::from(secrets));
                call(&http, Method::GET, &path, None).await?
            }
            Open::Direct(direct) => {
                value(Some("cell"), direct.0.cell_view(&direct.1, &self.cell, secrets).await)?
            }
        };
        let cell = &found["cell"];
        print(&one(self.output, cell))?;
        Ok(told(std::slice::from_ref(cell)))
    }
}

impl Create {
    async fn run(self) -> Result<Code, Failure> {
        let prepare = !self.no_prepare;
        let Self { name, region, database_url, transport_url, if_not_exists, dry_run, join_tokens, .. } =
            self;
        let state = match self.state {
            First::New => CellState::New,
            First::Active => CellState::Active,
            First::Cordoned => CellState::Cordoned,
        };
        let way = self.way.open().await?;
        let made = match &way {
            Open::Api(http) => {
                let body = json!({"name": name, "region": region, "database_url": database_url,
                    "transport_url": transport_url, "state": state, "prepare": prepare,
                    "if_not_exists": if_not_exists, "dry_run": dry_run});
                call(http, Method::POST, "/admin/v1/cells", Some(&body)).await?
            }
            Open::Direct(direct) => {
                let new = NewCell { name, region, database_url, transport_url, state };
                let options = Options { dry_run, if_not_exists, prepare };
                value(None, direct.0.create_cell(&direct.1, new, options).await)?
            }
        };
        let cell = &made["cell"];
        match self.output {
            Some(form) => print(&one(form, cell))?,
            None if dry_run => {}
            None => print(&format!("{}\n", text(cell, "id")))?,
        }
        if join_tokens > 0 && !dry_run {
            let made = enrol::make(&way, &text(cell, "id"), join_tokens, enrol::LIFETIME).await?;
            print(&enrol::lines(&made))?;
        }
        Ok(Code::Done)
    }
}

impl How {
    async fn act(self, cell: &str, verb: &str) -> Result<Code, Failure> {
        let dry_run = self.dry_run;
        let done = match self.way.open().await? {
            Open::Api(http) => {
                let body = json!({"dry_run": dry_run});
                call(&http, Method::POST, &format!("{}/{verb}", path(cell)), Some(&body)).await?
            }
            Open::Direct(direct) => {
                let (admin, by) = &*direct;
                let done = match verb {
                    "cordon" => admin.cordon_cell(by, cell, dry_run).await,
                    "uncordon" => admin.uncordon_cell(by, cell, dry_run).await,
                    _ => admin.retire_cell(by, cell, dry_run).await,
                };
                value(Some("cell"), done)?
            }
        };
        done_with(self.output, &done["cell"])
    }
}

/// Shows a cell that was changed, if that was asked for.
pub fn done_with(form: Option<Form>, cell: &Value) -> Result<Code, Failure> {
    if let Some(form) = form {
        print(&one(form, cell))?;
    }
    Ok(Code::Done)
}

impl Delete {
    async fn run(self) -> Result<Code, Failure> {
        let Self { cell, force, yes, dry_run, way } = self;
        let way = way.open().await?;
        let delete = async |cell: &str, dry_run: bool| match &way {
            Open::Api(http) => {
                let query = format!("force={}&dry_run={}", u8::from(force), u8::from(dry_run));
                call(http, Method::DELETE, &format!("{}?{query}", path(cell)), None).await
            }
            Open::Direct(direct) => {
                value(Some("removed"), direct.0.delete_cell(&direct.1, cell, force, dry_run).await)
            }
        };
        let would = delete(&cell, true).await?;
        let removed = &would["removed"];
        let (name, count) = (text(removed, "cell"), |key: &str| removed[key].as_i64().unwrap_or_default());
        let mut what = format!(
            "delete the mapping of cell {name}, {} mapped hosts and {} mappings of deleted instances",
            count("hosts"),
            count("dead")
        );
        if count("lost") > 0 {
            what += &format!(", and give up {} instances that it may still run", count("lost"));
        }
        if dry_run {
            print(&format!("would {what}\n"))?;
            return Ok(Code::Done);
        }
        confirm(&what, yes)?;
        delete(&name, false).await?;
        Ok(Code::Done)
    }
}
