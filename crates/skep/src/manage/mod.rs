//! `skep-manage`: Nova's administrative command line, straight on the databases, so that runbooks work on.
//!
//! The same binary under a second name, or `skep manage …`. Verbs, options, columns and exit codes are
//! Nova's (`nova/cmd/manage.py`); what differs is listed in `docs/compatibility.md`.

mod archive;
mod cell_v2;
mod date;
mod hosts;
mod instances;
mod pretty;
mod restored;
mod schema;
mod setup;
mod status;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use model::{Cell, CellState, Env};
use router::Which;
use verbs::admin::{Admin, By, Denied, Why};

use crate::admin::operator;
use crate::config::{self, Config, Source};
use crate::exit::{Failure, complain, print};
use crate::role::{database, level};

/// Read if no file is named and it is there.
const DEFAULT: &str = "/etc/skep/api.toml";

/// What Nova ends with when it cannot work at all, and we also when a cell that is needed does not answer.
const CANNOT: u8 = 255;

/// Nova's administrative commands.
#[derive(Debug, Parser)]
#[command(name = "skep-manage", version, about, arg_required_else_help = true)]
struct Standalone {
    #[command(flatten)]
    manage: Manage,
}

/// Options and commands of `skep-manage`.
#[derive(Args, Debug)]
pub struct Manage {
    /// The configuration, a TOML file [default: /etc/skep/api.toml, if it is there]
    #[arg(long, visible_alias = "config", alias = "config_file", value_name = "FILE", global = true)]
    config_file: Option<PathBuf>,
    #[command(subcommand)]
    category: Category,
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
enum Category {
    /// Cell, host and instance mappings
    #[command(name = "cell_v2", subcommand)]
    CellV2(cell_v2::CellV2),
    /// The API database
    #[command(name = "api_db", subcommand)]
    ApiDb(schema::ApiDb),
    /// The configured cell's database, and cell0's
    #[command(subcommand)]
    Db(schema::Db),
    /// Allocations
    #[command(subcommand)]
    Placement(archive::Placement),
    /// Nova's nova-status
    #[command(subcommand)]
    Status(status::Status),
}

/// Whether the process was called by the second name.
pub fn is_called() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    Path::new(&name).file_name().is_some_and(|name| name.to_string_lossy().starts_with("skep-manage"))
}

/// Runs the process's command line.
pub fn main() -> ExitCode {
    Standalone::parse().manage.run()
}

impl Manage {
    /// Runs the command; the exit code is that which Nova documents.
    pub fn run(self) -> ExitCode {
        let code = self.try_run().unwrap_or_else(|failure| {
            complain(&failure.message);
            CANNOT
        });
        ExitCode::from(code)
    }

    fn try_run(self) -> Result<u8, Failure> {
        let file = self.config_file.or_else(|| Some(PathBuf::from(DEFAULT)).filter(|path| path.exists()));
        let config = config::load(&Source::new(file))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|why| Failure::new(format!("cannot start: {why}")))?;
        let code = runtime.block_on(async {
            match self.category {
                Category::CellV2(command) => command.run(&Ground::open(config)?).await,
                Category::ApiDb(command) => command.run(config).await,
                Category::Db(command) => command.run(config).await,
                Category::Placement(command) => command.run(&Ground::open(config)?).await,
                Category::Status(command) => command.run(&Ground::open(config)?).await,
            }
        });
        // What hangs is not waited for.
        runtime.shutdown_background();
        code
    }
}

/// What the commands work on.
struct Ground {
    config: Config,
    admin: Admin,
    by: By,
}

impl Ground {
    fn open(config: Config) -> Result<Self, Failure> {
        let db: api_db::Db = database::open(&config.api_database, "api_database")?;
        let env = Env::system();
        let by = operator(&env);
        let admin = Admin::new(env, db, level::secrets(&config));
        Ok(Self { config, admin, by })
    }

    /// The broker's URL that was given or that the configuration names; told and nothing if there is none.
    fn transport(&self, given: Option<String>) -> Result<Option<String>, Failure> {
        let configured = self.config.cell.transport.url.as_ref().map(|url| url.reveal().to_owned());
        let url = given.or(configured).filter(|url| !url.is_empty());
        if url.is_none() {
            say("Must specify --transport-url if cell.transport.url is not set in the configuration file.")?;
        }
        Ok(url)
    }

    /// The database's URL that was given or that the configuration names; told and nothing if there is none.
    fn database(&self, given: Option<String>) -> Result<Option<String>, Failure> {
        let configured = self.config.cell.database.url.as_ref().map(|url| url.reveal().to_owned());
        let url = given.or(configured).filter(|url| !url.is_empty());
        if url.is_none() {
            say(
                "Must specify --database_connection if cell.database.url is not set in the configuration file.",
            )?;
        }
        Ok(url)
    }

    /// Whether a mapping leads to that database, as far as it can be opened here.
    fn leads_to(&self, cell: &Cell, database_url: &str) -> bool {
        let ways = self.admin.secrets().ways(cell, Which::Database);
        ways.is_ok_and(|(theirs, _)| theirs.iter().any(|theirs| theirs == database_url))
    }

    /// The region that was given, or the API's.
    fn region(&self, given: Option<String>) -> String {
        given.unwrap_or_else(|| self.config.api.region.clone())
    }

    /// A name that no cell has: Nova's cells need none, ours do.
    async fn free_name(&self) -> Result<String, Denied> {
        let all = self.admin.mappings().await?;
        let free = |n: &usize| !all.iter().any(|cell| cell.name == format!("cell{n}"));
        Ok(format!("cell{}", (1..).find(free).unwrap_or_default()))
    }
}

/// Tells one line.
fn say(line: &str) -> Result<(), Failure> {
    print(&format!("{line}\n"))
}

/// Tells why, and ends with the code that the table gives for it, or as Nova ends when it cannot work.
fn refuse(denied: &Denied, table: &[(Why, u8)]) -> Result<u8, Failure> {
    match table.iter().find(|(why, _)| *why == denied.why) {
        Some((_, code)) => {
            say(&denied.message)?;
            Ok(*code)
        }
        None => Err(Failure::new(denied.message.clone())),
    }
}

/// Whether Nova would call the cell disabled.
fn is_disabled(state: CellState) -> bool {
    state != CellState::Active
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Standalone::command().debug_assert();
    }

    #[test]
    fn both_spellings_are_taken() {
        for line in [
            "cell_v2 list_hosts --cell_uuid x --config c",
            "--config-file c cell_v2 delete_host --cell-uuid x --host h",
            "cell_v2 create_cell --transport_url x --database-connection y",
            "cell_v2 create_cell --transport-url x --database_connection y",
            "cell_v2 map_instances --cell-uuid x --max_count 5",
            "cell_v2 discover_hosts --by_service",
            "db sync --local-cell 3",
            "db archive_deleted_rows --max-rows 5 --until_complete --all_cells --task_log --sleep 1",
            "db archive_deleted_rows --max_rows 5 --until-complete --all-cells --task-log --purge",
            "placement audit --resource-provider x --delete",
            "api_db rotate_keys --dry-run",
            "api_db restored --confirm --force",
            "db restored --cell-uuid x --confirm --force",
            "status upgrade check",
        ] {
            let words = std::iter::once("skep-manage").chain(line.split(' '));
            assert!(Standalone::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
