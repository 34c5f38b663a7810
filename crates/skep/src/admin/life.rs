//! `skep cell activate`, `testing`, `drain`, `retire`, `preflight`: a cell's life.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use model::Env;
use serde_json::{Value, json};

use super::cell::{How, path};
use super::show::{Column, Form, known, list, one, text};
use super::way::{Open, Way, call, value};
use crate::exit::{Code, Failure, complain, print};

/// How often a cell is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
pub struct Activate {
    /// Its name or id
    cell: String,
    /// Even if it is not ready
    #[arg(long, conflicts_with = "timeout")]
    force: bool,
    /// Wait so long for it to be ready, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
pub struct Testing {
    /// Its name or id
    cell: String,
    /// A project whose instances it takes; may be repeated
    #[arg(long = "project", required = true, value_name = "PROJECT")]
    projects: Vec<String>,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
pub struct Drain {
    /// Its name or id
    cell: String,
    /// Wait so long for it to be empty, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    timeout: u64,
    #[command(flatten)]
    how: How,
}

#[derive(Args, Debug)]
pub struct Preflight {
    /// Its name or id
    cell: String,
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Form,
    #[command(flatten)]
    way: Way,
}

/// How long `set` waits for the processes of the API level to switch, in seconds.
const SWITCH: u64 = 5;

/// A limit to waiting, and what is told meanwhile: each thing once.
pub struct Patience {
    env: Env,
    until: Duration,
    told: String,
}

impl Patience {
    /// Patience for so long from now on.
    pub fn new(seconds: u64) -> Self {
        let env = Env::system();
        let until = env.monotonic() + Duration::from_secs(seconds);
        Self { env, until, told: String::new() }
    }

    /// Tells what is waited for, and waits a little; false when the time is over.
    pub async fn wait(&mut self, what: String) -> bool {
        if self.env.monotonic() >= self.until {
            return false;
        }
        if self.told != what {
            complain(&what);
            self.told = what;
        }
        tokio::time::sleep(LOOK).await;
        true
    }
}

impl Activate {
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { cell, force, timeout, how } = self;
        let way = how.way.open().await?;
        let mut patience = Patience::new(timeout);
        if timeout > 0 && !how.dry_run {
            loop {
                let found = check(&way, &cell, "test").await?;
                if found["ok"] == true || !patience.wait(format!("waiting for {}", failed(&found))).await {
                    break;
                }
            }
        }
        let body = json!({"force": force, "dry_run": how.dry_run});
        let done = match &way {
            Open::Api(http) => {
                call(http, Method::POST, &format!("{}/activate", path(&cell)), Some(&body)).await?
            }
            Open::Direct(direct) => {
                value(Some("cell"), direct.0.activate_cell(&direct.1, &cell, force, how.dry_run).await)?
            }
        };
        shown(how.output, &done["cell"])
    }
}

impl Testing {
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { cell, projects, how } = self;
        let body = json!({"projects": projects, "dry_run": how.dry_run});
        let done = match how.way.open().await? {
            Open::Api(http) => {
                call(&http, Method::POST, &format!("{}/testing", path(&cell)), Some(&body)).await?
            }
            Open::Direct(direct) => {
                let (admin, by) = &*direct;
                value(Some("cell"), admin.put_cell_under_test(by, &cell, projects, how.dry_run).await)?
            }
        };
        shown(how.output, &done["cell"])
    }
}

impl Drain {
    pub async fn run(self) -> Result<Code, Failure> {
        let Self { cell, timeout, how } = self;
        let way = how.way.open().await?;
        let mut patience = Patience::new(timeout);
        loop {
            let body = json!({"dry_run": how.dry_run});
            let done = match &way {
                Open::Api(http) => {
                    call(http, Method::POST, &format!("{}/drain", path(&cell)), Some(&body)).await?
                }
                Open::Direct(direct) => {
                    value(Some("cell"), direct.0.drain_cell(&direct.1, &cell, how.dry_run).await)?
                }
            };
            let now = &done["cell"];
            if how.dry_run || now["state"] == "drained" {
                return shown(how.output, now);
            }
            let left = format!(
                "cell {} is draining: {} instances are mapped to it, for their owners to delete",
                text(now, "name"),
                known(now, "mapped_instances")
            );
            if !patience.wait(left.clone()).await {
                shown(how.output, now)?;
                complain(&left);
                return Ok(if timeout > 0 { Code::Timeout } else { Code::Done });
            }
        }
    }
}

impl Preflight {
    /// Runs the checks of that name: `test`, or `preflight`, which also runs a container.
    pub async fn run(self, name: &str) -> Result<Code, Failure> {
        let way = self.way.open().await?;
        let found = check(&way, &self.cell, name).await?;
        let columns: &[Column] = &[
            ("CHECK", |check| text(check, "name")),
            ("RESULT", |check| if check["ok"] == true { "ok" } else { "FAILED" }.to_owned()),
            ("DETAIL", |check| text(check, "detail")),
        ];
        print(&match self.output {
            Form::Json | Form::Yaml => one(self.output, &found),
            form => {
                let checks = found["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
                list(form, checks, columns, &[])
            }
        })?;
        Ok(if found["ok"] == true { Code::Done } else { Code::Failed })
    }
}

/// Waits a little until every process of the API level that lives works with the mapping as it is now, and tells
/// how far that is. Nothing hangs on it: they switch by themselves.
pub async fn switched(way: &Open, cell: &Value) {
    let id = text(cell, "id");
    let mut patience = Patience::new(SWITCH);
    loop {
        let told = match way {
            Open::Api(http) => call(http, Method::GET, &format!("{}/processes", path(&id)), None).await,
            Open::Direct(direct) => value(Some("processes"), direct.0.processes(&direct.1, &id).await),
        };
        let Ok(told) = told else { return };
        let all = told["processes"].as_array().map(Vec::as_slice).unwrap_or_default();
        let alive: Vec<&Value> = all.iter().filter(|process| process["alive"] == true).collect();
        let late: Vec<String> = alive
            .iter()
            .filter(|process| process["current"] == false)
            .map(|process| {
                format!("{} {} {}", text(process, "kind"), text(process, "name"), text(process, "fault"))
            })
            .collect();
        if late.is_empty() {
            if !alive.is_empty() {
                complain(&format!("all {} processes of the API level work with it", alive.len()));
            }
            return;
        }
        let waits = format!("not yet in use by {}", late.join(", "));
        if !patience.wait(waits.clone()).await {
            complain(&format!("{waits}: see 'skep cell show'"));
            return;
        }
    }
}

async fn check(way: &Open, cell: &str, name: &str) -> Result<Value, Failure> {
    match way {
        Open::Api(http) => {
            call(http, Method::POST, &format!("{}/{name}", path(cell)), Some(&json!({}))).await
        }
        Open::Direct(direct) if name == "test" => value(None, direct.0.test_cell(&direct.1, cell).await),
        Open::Direct(direct) => value(None, direct.0.preflight_cell(&direct.1, cell).await),
    }
}

/// What failed, for people.
fn failed(found: &Value) -> String {
    let checks = found["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let failed = checks.iter().filter(|check| check["ok"] == false);
    let failed: Vec<String> =
        failed.map(|check| format!("{} ({})", text(check, "name"), text(check, "detail"))).collect();
    failed.join(", ")
}

fn shown(form: Option<Form>, cell: &Value) -> Result<Code, Failure> {
    if let Some(form) = form {
        print(&one(form, cell))?;
    }
    Ok(Code::Done)
}
