//! `skep task`: what the API level's workers have to do.

use clap::{Args, Subcommand};
use hyper::Method;
use model::TaskId;
use serde_json::json;

use super::show::{Column, Form, known, list, one, text};
use super::way::{Open, Way, call, value};
use crate::exit::{Code, Failure, print};

/// `skep task …`.
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// List tasks of the API level, oldest first
    #[command(visible_alias = "ls")]
    List(Tasks),
    /// Show one task
    Show(Show),
    /// Have a task tried again at once, also one that was set aside
    Retry(Retry),
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

#[derive(Args, Debug)]
pub struct Show {
    /// Its id
    task: String,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

#[derive(Args, Debug)]
pub struct Retry {
    /// Its id
    task: String,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    way: Way,
}

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

fn id(text: &str) -> Result<TaskId, Failure> {
    text.parse().map_err(|_| Failure::usage(format!("'{text}' is no task's id")))
}

impl TaskCommand {
    /// Runs the command.
    pub async fn run(self) -> Result<Code, Failure> {
        match self {
            Self::List(it) => it.run().await,
            Self::Show(it) => it.run().await,
            Self::Retry(it) => it.run().await,
        }
    }
}

impl Tasks {
    async fn run(self) -> Result<Code, Failure> {
        let Self { parked, limit, output, way } = self;
        let limit = limit.clamp(1, 10_000);
        let found = match way.open().await? {
            Open::Api(http) => {
                let path = format!("/admin/v1/tasks?parked={}&limit={limit}", u8::from(parked));
                call(&http, Method::GET, &path, None).await?
            }
            Open::Direct(direct) => value(Some("tasks"), direct.0.tasks(&direct.1, parked, limit).await)?,
        };
        let tasks = found["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
        print(&list(output, tasks, TASKS, &[]))?;
        Ok(Code::Done)
    }
}

impl Show {
    async fn run(self) -> Result<Code, Failure> {
        let task = id(&self.task)?;
        let found = match self.way.open().await? {
            Open::Api(http) => call(&http, Method::GET, &format!("/admin/v1/tasks/{task}"), None).await?,
            Open::Direct(direct) => value(Some("task"), direct.0.task(&direct.1, task).await)?,
        };
        print(&one(self.output, &found["task"]))?;
        Ok(Code::Done)
    }
}

impl Retry {
    async fn run(self) -> Result<Code, Failure> {
        let (task, dry_run) = (id(&self.task)?, self.dry_run);
        match self.way.open().await? {
            Open::Api(http) => {
                let body = json!({"dry_run": dry_run});
                call(&http, Method::POST, &format!("/admin/v1/tasks/{task}/retry"), Some(&body)).await?
            }
            Open::Direct(direct) => value(Some("task"), direct.0.retry_task(&direct.1, task, dry_run).await)?,
        };
        Ok(Code::Done)
    }
}
