//! `skep doctor` and `skep task`: whether everything fits together, and what is under way.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::show::{Column, Form, known, list, one, text};
use super::way::{Open, Way, call, value};
use crate::exit::{Code, Failure, print};

#[derive(Args, Debug)]
pub struct Doctor {
    /// Mend what can be mended without a doubt
    #[arg(long)]
    fix: bool,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

/// `skep task …`.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// List tasks of the API level, oldest first
    #[command(visible_alias = "ls")]
    List(Tasks),
}

#[derive(Args, Debug)]
pub struct Tasks {
    /// Only those that were set aside, because nobody could read them
    #[arg(long)]
    parked: bool,
    /// Most tasks
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: i64,
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

const FINDINGS: &[Column] = &[
    ("CODE", |finding| text(finding, "code")),
    ("CELL", |finding| text(finding, "cell")),
    ("SUBJECT", |finding| text(finding, "subject")),
    ("FIXED", |finding| if finding["fixed"] == true { "yes" } else { "no" }.to_owned()),
    ("WHAT", |finding| text(finding, "what")),
    ("HOW TO FIX", |finding| {
        let safe = if finding["safe"] == true { " (or --fix)" } else { "" };
        text(finding, "fix") + safe
    }),
];

const TASKS: &[Column] = &[
    ("ID", |task| text(task, "id")),
    ("KIND", |task| text(task, "kind")),
    ("INSTANCE", |task| text(task, "instance")),
    ("ATTEMPT", |task| known(task, "attempt")),
    ("STATE", |task| {
        match (task["parked"] == true, task["held"] == true) {
            (true, _) => "set aside",
            (false, true) => "held",
            (false, false) => "waits",
        }
        .to_owned()
    }),
    ("LAST FAULT", |task| text(task, "fault")),
];

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Doctor {
    /// Runs the command: 0 nothing is wrong, or all of it was mended; 1 something is; 2 something could not be
    /// looked at.
    pub async fn run(self) -> Result<Code, Failure> {
        let look = async {
            match self.way.open().await? {
                Open::Api(http) => {
                    call(&http, Method::POST, "/admin/v1/doctor", Some(&json!({"fix": self.fix}))).await
                }
                Open::Direct(direct) => value(None, direct.0.doctor(&direct.1, self.fix).await),
            }
        };
        // Without the API database nothing could be looked at.
        let found = look.await.map_err(|failure| Failure { code: Code::Usage, ..failure })?;
        let findings = array(&found, "findings");
        print(&match self.output {
            Form::Json | Form::Yaml => one(self.output, &found),
            _ if findings.is_empty() => "nothing is wrong\n".to_owned(),
            form => list(form, findings, FINDINGS, &[]),
        })?;
        Ok(match (found["partial"] == true, findings.iter().all(|finding| finding["fixed"] == true)) {
            (true, _) => Code::Usage,
            (false, true) => Code::Done,
            (false, false) => Code::Failed,
        })
    }
}

impl TaskCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        let Self::List(Tasks { parked, limit, output, way }) = self;
        let limit = limit.clamp(1, 10_000);
        let found = match way.open().await? {
            Open::Api(http) => {
                let path = format!("/admin/v1/tasks?parked={}&limit={limit}", u8::from(parked));
                call(&http, Method::GET, &path, None).await?
            }
            Open::Direct(direct) => value(Some("tasks"), direct.0.tasks(&direct.1, parked, limit).await)?,
        };
        print(&list(output, array(&found, "tasks"), TASKS, &[]))?;
        Ok(Code::Done)
    }
}
