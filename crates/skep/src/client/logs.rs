//! `skep logs`: the end of an instance's log.

use clap::Args;
use serde_json::json;

use super::find;
use super::http::{Http, escape};
use super::settings::Settings;
use crate::exit::{Code, Failure, print};

/// Options of `skep logs`.
#[derive(Args, Debug)]
pub struct Logs {
    /// How many lines; all that the host still gives (64 KiB) if absent
    #[arg(long, short = 'n')]
    lines: Option<u32>,
    #[command(flatten)]
    settings: Settings,
    /// Id, beginning or end of an id, or name
    id: String,
}

impl Logs {
    /// Prints the log as the container wrote it.
    pub async fn run(self) -> Result<Code, Failure> {
        let http = Http::new(&self.settings)?;
        let id = find::one(&http, &self.id).await?;
        let body = json!({"os-getConsoleOutput": {"length": self.lines}});
        let answer = http.post(&format!("/v2.1/servers/{}/action", escape(&id)), &body).await?;
        let text = answer["output"].as_str().unwrap_or_default();
        print(text)?;
        if !text.is_empty() && !text.ends_with('\n') {
            print("\n")?;
        }
        Ok(Code::Done)
    }
}
