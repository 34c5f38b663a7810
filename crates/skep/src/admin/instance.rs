//! `skep instance`: instances as an operator who repairs something sees them.

use clap::{Args, Subcommand};
use hyper::Method;
use model::InstanceId;
use serde_json::Value;

use super::show::{Column, Form, known, list, one, text};
use super::way::{Open, Way, call, value};
use crate::client::escape;
use crate::exit::{Code, Failure, complain, print};

/// `skep instance …`.
#[derive(Debug, Subcommand)]
pub enum InstanceCommand {
    /// List what cells hold, with the mappings, or what hosts have and cells do not know
    #[command(visible_alias = "ls")]
    List(List),
    /// Show one instance: its mapping, its row in every cell that has one, and what hosts offer of it
    Show(Show),
}

#[derive(Args, Debug)]
pub struct List {
    /// Only those of this cell, by name or id
    #[arg(long)]
    cell: Option<String>,
    /// Only those on this host, by name or id
    #[arg(long, conflicts_with = "offered")]
    host: Option<String>,
    /// Containers that hosts have and their cells do not know
    #[arg(long)]
    offered: bool,
    /// Most instances
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: i64,
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Show {
    /// Its id
    id: String,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

fn numbers(at: &Value) -> String {
    format!("{}/{}/{}", known(at, "epoch"), known(at, "placement"), known(at, "generation"))
}

const ROWS: &[Column] = &[
    ("ID", |row| text(row, "id")),
    ("NAME", |row| text(row, "name")),
    ("CELL", |row| text(row, "cell")),
    ("HOST", |row| text(row, "host")),
    ("STATUS", |row| text(row, "status")),
    ("EPOCH/PLACEMENT/GENERATION", |row| numbers(&row["at"])),
    ("MAPPED", |row| match &row["mapping"] {
        Value::Null => "no".to_owned(),
        mapping => {
            format!("{} {} ({})", text(mapping, "cell"), known(mapping, "epoch"), text(mapping, "state"))
        }
    }),
];

const MORE: &[Column] = &[
    ("PROJECT", |row| text(row, "project")),
    ("STAGE", |row| text(row, "stage")),
    ("INTENT", |row| text(row, "intent")),
    ("POWER", |row| text(row, "power")),
    ("FAULT", |row| text(row, "fault")),
];

const OFFERS: &[Column] = &[
    ("INSTANCE", |offer| text(offer, "instance")),
    ("IN CELL", |offer| text(offer, "in_cell")),
    ("HOST", |offer| text(offer, "host_name")),
    ("POWER", |offer| text(offer, "power")),
    ("EPOCH/PLACEMENT/GENERATION", |offer| numbers(&offer["at"])),
    ("PROJECT", |offer| text(offer, "project")),
    ("MADE FOR", |offer| text(offer, "cell")),
    ("CAN BE TAKEN BACK", |offer| if offer["has_spec"] == true { "yes" } else { "no" }.to_owned()),
];

const OFFERS_MORE: &[Column] =
    &[("HOST ID", |offer| text(offer, "host")), ("SPEC HASH", |offer| text(offer, "spec_hash"))];

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Tells which cells did not answer: 3 if any.
fn code(found: &Value) -> Code {
    let dark = array(found, "dark");
    for cell in dark {
        complain(&format!("cell {} does not answer", cell.as_str().unwrap_or_default()));
    }
    if dark.is_empty() { Code::Done } else { Code::Partial }
}

impl InstanceCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        match self {
            Self::List(it) if it.offered => it.offers().await,
            Self::List(it) => it.rows().await,
            Self::Show(it) => it.run().await,
        }
    }
}

impl List {
    async fn rows(self) -> Result<Code, Failure> {
        let found = match self.way.open().await? {
            Open::Api(http) => {
                let mut path = format!("/admin/v1/instances?limit={}", self.limit);
                for (key, word) in [("cell", &self.cell), ("host", &self.host)] {
                    if let Some(word) = word {
                        path += &format!("&{key}={}", escape(word));
                    }
                }
                call(&http, Method::GET, &path, None).await?
            }
            Open::Direct(direct) => {
                let (cell, host) = (self.cell.as_deref(), self.host.as_deref());
                value(None, direct.0.instances_view(&direct.1, cell, host, self.limit).await)?
            }
        };
        print(&list(self.output, array(&found, "instances"), ROWS, MORE))?;
        if found["more"] == true {
            complain("there are more: name a cell or a host, or raise --limit (at most 1000)");
        }
        Ok(code(&found))
    }

    async fn offers(self) -> Result<Code, Failure> {
        let found = match self.way.open().await? {
            Open::Api(http) => {
                let cell = self.cell.as_ref().map(|cell| format!("?cell={}", escape(cell)));
                let path = format!("/admin/v1/offers{}", cell.unwrap_or_default());
                call(&http, Method::GET, &path, None).await?
            }
            Open::Direct(direct) => value(None, direct.0.offered(&direct.1, self.cell.as_deref()).await)?,
        };
        print(&list(self.output, array(&found, "offers"), OFFERS, OFFERS_MORE))?;
        Ok(code(&found))
    }
}

impl Show {
    async fn run(self) -> Result<Code, Failure> {
        let id: InstanceId =
            self.id.parse().map_err(|_| Failure::usage(format!("'{}' is no instance's id", self.id)))?;
        let found = match self.way.open().await? {
            Open::Api(http) => {
                let found = call(&http, Method::GET, &format!("/admin/v1/instances/{id}"), None).await?;
                found["instance"].clone()
            }
            Open::Direct(direct) => value(None, direct.0.instance_view(&direct.1, id).await)?,
        };
        print(&match self.output {
            Form::Table | Form::Wide => {
                let mapped = match &found["mapping"] {
                    Value::Null => "not mapped\n".to_owned(),
                    mapping => one(self.output, mapping),
                };
                let rows = list(Form::Wide, array(&found, "rows"), &ROWS[2..6], MORE);
                let offers = array(&found, "offers");
                let offers = match offers.is_empty() {
                    true => String::new(),
                    false => format!("\n{}", list(Form::Wide, offers, OFFERS, OFFERS_MORE)),
                };
                format!("{mapped}\n{rows}{offers}")
            }
            form => one(form, &found),
        })?;
        Ok(code(&found))
    }
}
