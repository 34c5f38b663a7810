//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::Failure;
use crate::{admin, client, dev, manage, role};

/// One API over many container cells.
#[derive(Debug, Parser)]
#[command(name = "skep", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make instances of an image
    Run(client::run::Run),
    /// List instances
    #[command(visible_alias = "list")]
    Ps(client::ps::Ps),
    /// Show one instance
    Show(client::show::Show),
    /// Show the end of an instance's log
    Logs(client::logs::Logs),
    /// Start stopped instances
    Start(client::act::Start),
    /// Stop instances
    Stop(client::act::Stop),
    /// Stop and start instances
    Reboot(client::act::Reboot),
    /// Delete instances
    Rm(client::act::Rm),
    /// Sizes on offer
    #[command(subcommand)]
    Flavor(client::flavor::Flavor),
    /// Images on offer
    #[command(subcommand)]
    Image(client::image::Image),
    /// Cells and hosts, for administrators
    Status(client::status::Status),
    /// Play the API
    Api(role::RoleArgs),
    /// Play the superconductor: the API level's worker
    Superconductor(role::RoleArgs),
    /// Play the conductor: one cell's brain
    Conductor(role::RoleArgs),
    /// Play the agent: one host's hands
    Agent(role::RoleArgs),
    /// Databases
    #[command(subcommand)]
    Db(role::db::Db),
    /// Cells, for administrators
    #[command(subcommand)]
    Cell(admin::cell::CellCommand),
    /// Hosts, for administrators
    #[command(subcommand)]
    Host(admin::host::HostCommand),
    /// Instances as cells and hosts have them, for administrators
    #[command(subcommand)]
    Instance(admin::instance::InstanceCommand),
    /// Tasks of the API level, for administrators
    #[command(subcommand)]
    Task(admin::task::TaskCommand),
    /// See whether everything fits together, and mend what can be mended
    Doctor(admin::doctor::Doctor),
    /// The index that lists are made of, for administrators
    #[command(subcommand)]
    Index(admin::index::IndexCommand),
    /// Nova's administrative commands; the same as skep-manage
    #[command(arg_required_else_help = true)]
    Manage(manage::Manage),
    /// Who may do what
    #[command(subcommand)]
    Policy(role::policy::PolicyCommand),
    /// Users, where they are kept here
    #[command(subcommand)]
    Identity(role::identity::IdentityCommand),
    /// Play all roles in one process, for development
    Dev(dev::Dev),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let done = match self.command {
            Command::Run(it) => client::block_on(it.run()),
            Command::Ps(it) => client::block_on(it.run()),
            Command::Show(it) => client::block_on(it.run()),
            Command::Logs(it) => client::block_on(it.run()),
            Command::Start(it) => client::block_on(it.run()),
            Command::Stop(it) => client::block_on(it.run()),
            Command::Reboot(it) => client::block_on(it.run()),
            Command::Rm(it) => client::block_on(it.run()),
            Command::Flavor(it) => client::block_on(it.run()),
            Command::Image(it) => client::block_on(it.run()),
            Command::Status(it) => client::block_on(it.run()),
            Command::Api(args) => role::play(args, "api", role::api::start),
            Command::Superconductor(args) => role::play(args, "superconductor", role::superconductor::start),
            Command::Conductor(args) => role::play(args, "conductor", role::conductor::start),
            Command::Agent(args) => role::play(args, "agent", role::agent::start),
            Command::Db(it) => client::block_on(it.run()),
            Command::Cell(it) => client::block_on(it.run()),
            Command::Host(it) => client::block_on(it.run()),
            Command::Instance(it) => client::block_on(it.run()),
            Command::Task(it) => client::block_on(it.run()),
            Command::Doctor(it) => client::block_on(it.run()),
            Command::Index(it) => client::block_on(it.run()),
            // Its exit codes are Nova's.
            Command::Manage(it) => return Ok(it.run()),
            Command::Policy(it) => it.run(),
            Command::Identity(it) => client::block_on(it.run()),
            Command::Dev(it) => it.run(),
        };
        done.map(ExitCode::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
