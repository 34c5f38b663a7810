//! The user's commands. They speak HTTP to the API and nothing else, so they work from any machine.

pub mod act;
mod age;
mod find;
pub mod flavor;
mod http;
pub mod image;
pub mod logs;
pub mod ps;
pub mod run;
mod server;
mod settings;
pub mod show;
pub mod status;
pub mod table;
pub mod tls;
mod wait;

use std::future::Future;

use crate::exit::{Code, Failure};

pub use http::{Http, escape};
pub use settings::Settings;

/// Runs a command on a runtime of this one thread, which starts in well under a millisecond.
pub fn block_on(command: impl Future<Output = Result<Code, Failure>>) -> Result<Code, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|why| Failure::new(format!("cannot start: {why}")))?
        .block_on(command)
}

/// How a command shows what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Columns.
    #[default]
    Table,
    /// JSON as the API sent it.
    Json,
}
