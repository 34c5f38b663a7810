//! The roles: what each is started with, and how a process that plays one lives and ends.

pub mod agent;
pub mod api;
pub mod cell;
pub mod conductor;
pub mod database;
pub mod db;
mod descriptors;
mod files;
pub mod identity;
pub mod level;
pub mod policy;
mod process;
mod slots;
pub mod superconductor;
mod tls;

use std::path::PathBuf;

use clap::Args;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use model::Env;

use crate::config::Source;
use crate::config::secret::Secret;
use crate::exit::Failure;
use crate::health::Ready;

pub use process::{DRAIN, Signals, play, runtime};

/// Options of every role.
#[derive(Args, Debug)]
pub struct RoleArgs {
    /// The configuration, a TOML file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the configuration as it is in effect, secrets hidden, and end
    #[arg(long)]
    pub dump_config: bool,
}

/// What roles in one process share: clock, randomness, and the in-process buses behind `local:` URLs.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Clock and randomness.
    pub env: Env,
    /// Makes buses.
    pub connector: rpc::Connector,
    /// Where the configuration came from, to read credentials again; none where they do not change.
    pub source: Option<Source>,
}

impl Ground {
    /// The machine's clock and randomness.
    pub fn system() -> Self {
        let env = Env::system();
        Self { connector: rpc::Connector::new(env.clone()), env, source: None }
    }
}

/// A role that runs.
pub struct Running {
    /// Whether it is ready.
    pub ready: Ready,
    /// Resolves, with the reason, if the role ends by itself, which it never should.
    pub ended: BoxFuture<'static, String>,
    /// Ends it: takes nothing new, finishes what is under way.
    pub drain: Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>,
}

/// The life of a role's loops: over when they have ended, with the reason if nobody had asked for it.
type Life = Shared<BoxFuture<'static, Option<String>>>;

/// Lets `work` live in a task of its own.
fn life(work: impl Future<Output = Option<String>> + Send + 'static) -> Life {
    let task = tokio::spawn(work);
    async move { task.await.unwrap_or_else(|why| Some(format!("a task failed: {why}"))) }.boxed().shared()
}

/// Resolves, with the reason, if a life ends that nobody asked to end.
async fn ended(life: Life) -> String {
    match life.await {
        Some(why) => why,
        None => std::future::pending().await,
    }
}

/// A URL that the role cannot do without.
fn needed<'a>(url: Option<&'a Secret>, key: &str) -> Result<&'a str, Failure> {
    url.map(Secret::reveal).filter(|url| !url.is_empty()).ok_or_else(|| {
        let variable = key.to_ascii_uppercase().replace('.', "__");
        Failure::usage(format!("{key} is not set: put it into the configuration or into SKEP__{variable}"))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_life_that_fails_is_noticed_and_one_that_was_asked_to_end_is_not() {
        let failed = life(async { panic!("a defect, for the test") });
        let why = tokio::time::timeout(WITHIN, ended(failed)).await.expect("is noticed");
        assert!(why.contains("a task failed"), "{why}");
        let told = life(async { Some("a loop returned".to_owned()) });
        assert_eq!(tokio::time::timeout(WITHIN, ended(told)).await.as_deref(), Ok("a loop returned"));
        let asked = life(async { None });
        assert_eq!(tokio::time::timeout(WITHIN, asked.clone()).await, Ok(None));
        assert!(ended(asked).now_or_never().is_none());
    }
}
