//! `skep cell sync`: bringing a cell up to date with what the API level needs of it.

use clap::Args;
use hyper::Method;
use serde_json::json;

use super::cell::path;
use super::show::{Column, Form, list, one, text};
use super::way::{Open, Way, call, value};
use crate::exit::{Code, Failure, print};

#[derive(Args, Debug)]
pub struct Sync {
    /// Its name or id
    cell: String,
    /// Tell what would be done, change nothing
    #[arg(long)]
    dry_run: bool,
    /// How to show what was done
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

const PARTS: &[Column] = &[
    ("PART", |part| text(part, "name")),
    ("RESULT", |part| {
        match (part["ok"] == true, part["changed"] == true) {
            (false, _) => "FAILED",
            (true, true) => "changed",
            (true, false) => "ok",
        }
        .to_owned()
    }),
    ("DETAIL", |part| text(part, "detail")),
];

impl Sync {
    /// Runs the command: 0 if all is up to date now, 3 if a part failed.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { cell, dry_run, output, way } = self;
        let done = match way.open().await? {
            Open::Api(http) => {
                let body = json!({"dry_run": dry_run});
                call(&http, Method::POST, &format!("{}/sync", path(&cell)), Some(&body)).await?
            }
            Open::Direct(direct) => value(None, direct.0.sync_cell(&direct.1, &cell, dry_run).await)?,
        };
        print(&match output {
            Form::Json | Form::Yaml => one(output, &done),
            form => {
                let parts = done["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
                list(form, parts, PARTS, &[])
            }
        })?;
        Ok(if done["ok"] == true { Code::Done } else { Code::Partial })
    }
}
