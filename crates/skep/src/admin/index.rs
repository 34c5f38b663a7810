//! `skep index`: the index that lists are made of.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::show::{Column, Form, known, list, text};
use super::way::{Open, Way, call, value};
use crate::exit::{Code, Failure, complain, print};

/// `skep index …`.
#[derive(Debug, Subcommand)]
pub enum IndexCommand {
    /// Rebuild it from the cells, while it is in use; may be repeated
    Rebuild(Rebuild),
}

#[derive(Args, Debug)]
pub struct Rebuild {
    /// Of this cell alone, by name or id
    #[arg(long)]
    cell: Option<String>,
    /// How to show what was done
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

impl IndexCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self::Rebuild(Rebuild { cell, output, way }) = self;
        let done = match way.open().await? {
            Open::Api(http) => {
                call(&http, Method::POST, "/admin/v1/index/rebuild", Some(&json!({"cell": cell}))).await?
            }
            Open::Direct(direct) => {
                value(Some("rebuilt"), direct.0.rebuild_index(&direct.1, cell.as_deref()).await)?
            }
        };
        let cells = done["rebuilt"].as_array().map(Vec::as_slice).unwrap_or_default();
        let columns: &[Column] = &[
            ("CELL", |cell| text(cell, "cell")),
            ("ENTRIES", |cell| known(cell, "entries")),
            ("ROWS TO BE TOLD AGAIN", |cell| known(cell, "marked")),
        ];
        print(&list(output, cells, columns, &[]))?;
        let dark: Vec<&Value> = cells.iter().filter(|cell| cell["why"].is_string()).collect();
        for cell in &dark {
            complain(&format!(
                "cell {}: {}; repeat this when it is back",
                text(cell, "cell"),
                text(cell, "why")
            ));
        }
        Ok(if dark.is_empty() { Code::Done } else { Code::Partial })
    }
}
