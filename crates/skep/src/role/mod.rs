//! The roles: what each is started with, and how a process that plays one lives and ends.

pub mod agent;
pub mod api;
pub mod cell;
pub mod conductor;
pub mod database;
pub mod db;
mod level;
mod process;
pub mod superconductor;

use std::path::PathBuf;

use clap::Args;
use futures::future::BoxFuture;
use model::Env;

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
}

impl Ground {
    /// The machine's clock and randomness.
    pub fn system() -> Self {
        let env = Env::system();
        Self { connector: rpc::Connector::new(env.clone()), env }
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

/// A URL that the role cannot do without.
fn needed<'a>(url: Option<&'a Secret>, key: &str) -> Result<&'a str, Failure> {
    url.map(Secret::reveal).filter(|url| !url.is_empty()).ok_or_else(|| {
        let variable = key.to_ascii_uppercase().replace('.', "__");
        Failure::usage(format!("{key} is not set: put it into the configuration or into SKEP__{variable}"))
    })
}
