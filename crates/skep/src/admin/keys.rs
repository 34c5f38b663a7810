//! `skep cell rotate-keys`: sealing every mapping with the first key.

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::show::{Column, Form, list, text};
use super::way::{Open, Way, call, value};
use crate::exit::{Code, Failure, complain, print};

#[derive(Args, Debug)]
pub struct RotateKeys {
    /// Tell what would be done, change nothing
    #[arg(long)]
    dry_run: bool,
    /// How to show what was done
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

const COLUMNS: &[Column] = &[
    ("CELL", |cell| text(cell, "name")),
    ("SEALED ANEW", |cell| if cell["changed"] == true { "yes" } else { "no" }.to_owned()),
];

impl RotateKeys {
    /// Runs the command: done, or partial if a mapping could not be opened.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { dry_run, output, way } = self;
        let done = match way.open().await? {
            Open::Api(http) => {
                let body = json!({"dry_run": dry_run});
                call(&http, Method::POST, "/admin/v1/keys/rotate", Some(&body)).await?
            }
            Open::Direct(direct) => value(Some("cells"), direct.0.rotate_keys(&direct.1, dry_run).await)?,
        };
        let cells = done["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        print(&list(output, cells, COLUMNS, &[]))?;
        let failed: Vec<&Value> = cells.iter().filter(|cell| cell["why"].is_string()).collect();
        for cell in &failed {
            complain(&text(cell, "why"));
        }
        Ok(if failed.is_empty() { Code::Done } else { Code::Partial })
    }
}
