//! `skep dev`: a whole cloud in one process, for development and for a first look.

mod cells;
mod cloud;
mod control;
mod dir;
mod docker;
mod engine;
mod life;
mod papers;
mod plan;
mod probed;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

pub use cloud::reachable;

use crate::exit::{Code, Failure};

/// Where a cloud lies if nothing is said.
const DIR: &str = "skep-dev";

/// Options of `skep dev`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Dev {
    #[command(subcommand)]
    command: Option<DevCommand>,
    #[command(flatten)]
    options: Options,
}

/// What cloud to start.
#[derive(Args, Debug)]
pub struct Options {
    /// Where databases, journals and credentials lie
    #[arg(long, default_value = DIR)]
    dir: PathBuf,
    /// Address and port of the API
    #[arg(long, default_value = "127.0.0.1:8774")]
    listen: SocketAddr,
    /// How many regions [default: 2]
    #[arg(long)]
    regions: Option<usize>,
    /// How many cells [default: 3]
    #[arg(long)]
    cells: Option<usize>,
    /// How many hosts in each cell [default: 2]
    #[arg(long)]
    hosts: Option<usize>,
    /// What runs containers
    #[arg(long, value_enum, default_value_t)]
    engine: Wanted,
    /// Where Docker Engine listens [environment: DOCKER_HOST]
    #[arg(long, value_name = "URL")]
    engine_url: Option<String>,
    /// An image on offer; may be given again. With Docker those that it has are added
    #[arg(long = "image", value_name = "IMAGE", default_values = ["nginx", "busybox"])]
    images: Vec<String>,
    /// What is logged: a level, or directives such as info,router=debug
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log: String,
    /// Address and port of the health service; none if absent
    #[arg(long, value_name = "ADDR:PORT")]
    health: Option<SocketAddr>,
    /// Keep the containers and the directory at the end; a second start resumes
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// Docker Engine if it can run a container, otherwise none
    #[default]
    Auto,
    /// Docker Engine
    Docker,
    /// No containers at all, only their bookkeeping
    Scripted,
}

#[derive(Debug, Subcommand)]
enum DevCommand {
    /// Drills: make cells of a running cloud dark, and light again
    #[command(subcommand)]
    Cell(cells::Cells),
}

impl Dev {
    /// Runs the command.
    pub fn run(self) -> Result<Code, Failure> {
        match self.command {
            Some(DevCommand::Cell(cells)) => crate::client::block_on(cells.run()),
            None => life::live(&self.options),
        }
    }
}
