//! The clouds that are measured: separate processes over PostgreSQL and RabbitMQ, and `skep dev`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use model::Env;
use tests::estate::{Engine, Plan};
use tests::{Estate, Folder, Process, free_port};

use crate::cost::{Meter, pid_in};
use crate::figures::ms;
use crate::http::{Connection, Target};
use crate::table::line;

/// The longest that `skep dev` may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// The operator's token in an estate.
const TOKEN: &str = "token-of-operator-0123456789";
/// What one small instance takes of a host's memory, in MiB: flavor 1.
const MEMORY_MIB: i64 = 64;

/// Separate processes: one api, one superconductor, and for each cell a conductor and its agents.
pub async fn processes(plan: Plan) -> anyhow::Result<(Estate, Target, Meter)> {
    let mut estate = Estate::start(plan).await;
    let address = estate.url(0).trim_start_matches("http://").to_owned();
    let target = Target::api(address, TOKEN);
    let skep = estate.names("").iter().map(|name| estate.process(name).pid()).collect();
    let services = services().context("SKEP_TEST_SERVICES is not set: see docs/benchmarks.md")?;
    let database = pid_in(&services.join("pg/data/postmaster.pid"));
    let broker = pid_in(&services.join("rabbit/pid"));
    Ok((estate, target, Meter { skep, database, broker }))
}

/// The usual plan: two cells of two hosts, nothing really run.
pub fn two_cells() -> Plan {
    Plan { cells: 2, hosts: 2, slots: 20_000, engine: Engine::Scripted, ..Plan::default() }
}

/// Runs separate processes until Ctrl-C, and says how to reach them and which they are.
pub async fn hold() -> anyhow::Result<()> {
    let (mut estate, target, _) = processes(two_cells()).await?;
    line(&format!("url http://{}/v2.1\ntoken {TOKEN}", target.address));
    let images = Connection::new(&target).get("/v2/images").await?;
    line(&format!("image {}\nflavor 1", images["images"][0]["id"].as_str().unwrap_or("none")));
    for name in estate.names("") {
        line(&format!("pid {} {name}", estate.process(&name).pid()));
    }
    line(&format!("api database {}", estate.api_database().url()));
    for cell in 1..=estate.plan.cells {
        line(&format!("cell database {}", estate.cell_database(cell).url()));
    }
    line("Ctrl-C ends it");
    tokio::signal::ctrl_c().await?;
    drop(estate);
    Ok(())
}

/// `skep dev` with its directory.
pub struct Dev {
    /// The process.
    pub process: Process,
    /// Its API.
    pub target: Target,
    /// Time from its start until it said that it is ready, in milliseconds.
    pub ready_ms: f64,
    /// Where it lies; after the process, so that it is removed when that is dead.
    pub folder: Folder,
}

impl Dev {
    /// Starts one with these further arguments.
    pub async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = Folder::new("desk");
        let (address, home) = (format!("127.0.0.1:{}", free_port()), folder.join("home"));
        let mut command = Command::new(tests::skep());
        command.args(["dev", "--listen", &address, "--dir"]).arg(&home).args(arguments);
        let env = Env::system();
        let start = env.monotonic();
        let mut process = Process::spawn("dev", folder.path(), command);
        loop {
            if process.log().contains("\nready in ") {
                break;
            }
            if process.ended().is_some() || env.monotonic() - start > READY {
                bail!("skep dev is not ready:\n{}", process.log());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ready_ms = ms(env.monotonic() - start);
        let token = std::fs::read_to_string(home.join("token"))?;
        Ok(Self { process, target: Target::api(address, token.trim()), ready_ms, folder })
    }

    /// What it costs.
    pub fn meter(&self) -> Meter {
        Meter { skep: vec![self.process.pid()], ..Meter::default() }
    }

    /// Ends it in an orderly way, so that its containers go.
    pub fn end(mut self) {
        self.process.terminate(Duration::from_secs(60));
    }
}

/// How many more small instances fit.
pub async fn room(target: &Target) -> anyhow::Result<usize> {
    let status = Connection::new(target).get("/admin/v1/status").await?;
    let free = |what: &str| {
        let of = |part: &str| status["totals"][part][what].as_i64().unwrap_or(0);
        of("capacity") - of("used")
    };
    let room = (free("vcpus_milli") / 1_000).min(free("memory_mib") / MEMORY_MIB).min(free("slots"));
    Ok(room.max(0) as usize)
}

/// The folder of the services, as `deploy/services.sh` tells it.
#[expect(clippy::disallowed_methods, reason = "the suite is told by its environment where services are")]
pub fn services() -> Option<std::path::PathBuf> {
    let folder = std::env::var("SKEP_TEST_SERVICES").ok().filter(|value| !value.is_empty())?;
    Some(Path::new(&folder).to_owned())
}

/// Whether a Docker Engine was started for the run, and where.
#[expect(clippy::disallowed_methods, reason = "the suite is told by its environment where services are")]
pub fn docker() -> Option<String> {
    std::env::var("SKEP_TEST_DOCKER").ok().filter(|value| !value.is_empty())
}
