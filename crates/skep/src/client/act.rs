//! `skep start`, `stop`, `reboot` and `rm`: one thing done to several instances.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::find::find;
use super::http::{Http, escape};
use super::settings::Settings;
use super::wait::{Goal, wait};
use crate::exit::{Code, Failure, complain, print};

#[derive(Args, Debug)]
struct Several {
    /// Wait until it is done
    #[arg(long, short)]
    wait: bool,
    /// How long to wait, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    settings: Settings,
    /// Ids, beginnings or ends of ids, or names
    #[arg(required = true)]
    id: Vec<String>,
}

/// Options of `skep start`.
#[derive(Args, Debug)]
pub struct Start {
    #[command(flatten)]
    several: Several,
}

/// Options of `skep stop`.
#[derive(Args, Debug)]
pub struct Stop {
    #[command(flatten)]
    several: Several,
}

/// Options of `skep reboot`.
#[derive(Args, Debug)]
pub struct Reboot {
    /// Kill it instead of asking it to end
    #[arg(long)]
    hard: bool,
    #[command(flatten)]
    several: Several,
}

/// Options of `skep rm`.
#[derive(Args, Debug)]
pub struct Rm {
    #[command(flatten)]
    several: Several,
}

impl Start {
    /// Starts the instances.
    pub async fn run(self) -> Result<Code, Failure> {
        self.several.each(Some(json!({"os-start": null})), Goal::Active).await
    }
}

impl Stop {
    /// Stops the instances.
    pub async fn run(self) -> Result<Code, Failure> {
        self.several.each(Some(json!({"os-stop": null})), Goal::Stopped).await
    }
}

impl Reboot {
    /// Reboots the instances.
    pub async fn run(self) -> Result<Code, Failure> {
        let kind = if self.hard { "HARD" } else { "SOFT" };
        self.several.each(Some(json!({"reboot": {"type": kind}})), Goal::Active).await
    }
}

impl Rm {
    /// Deletes the instances.
    pub async fn run(self) -> Result<Code, Failure> {
        self.several.each(None, Goal::Gone).await
    }
}

impl Several {
    /// Sends `action` (or a DELETE) for each; prints what was accepted in the user's own words.
    async fn each(&self, action: Option<Value>, goal: Goal) -> Result<Code, Failure> {
        let http = Http::new(&self.settings)?;
        let (mut accepted, mut failed) = (Vec::new(), None);
        for (text, found) in self.id.iter().zip(find(&http, &self.id).await?) {
            let done = match found {
                Ok(id) => send(&http, &id, action.as_ref()).await.map(|()| id),
                Err(why) => Err(why),
            };
            match done {
                Ok(id) => {
                    accepted.push(id);
                    if !self.wait {
                        print(&format!("{text}\n"))?;
                    }
                }
                Err(why) => {
                    complain(&why.message);
                    failed = Some(why.code);
                }
            }
        }
        if self.wait && !accepted.is_empty() {
            let code = wait(&http, &accepted, goal, Duration::from_secs(self.timeout)).await?;
            if code != Code::Done {
                failed = Some(code);
            }
        }
        Ok(failed.unwrap_or(Code::Done))
    }
}

async fn send(http: &Http, id: &str, action: Option<&Value>) -> Result<(), Failure> {
    let path = format!("/v2.1/servers/{}", escape(id));
    let reply = match action {
        Some(action) => http.call(Method::POST, &format!("{path}/action"), Some(action)).await?,
        None => http.call(Method::DELETE, &path, None).await?,
    };
    reply.ok().map(drop)
}
