//! A cloud of separate processes: each role a `skep` process of its own, over PostgreSQL, RabbitMQ and
//! Docker Engine, as an operator would run it. What is killed here is killed with SIGKILL.
//!
//! Everything that an estate makes goes with it: processes, databases, containers and networks.

mod chance;
mod config;
mod containers;
mod grow;
mod ledger;
mod logs;
mod proxies;
mod reboot;
mod rest;
mod user;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use model::HostId;

use crate::check::Books;
use crate::services::{Database, Docker, Part, Services, Vhost};
use crate::{Client, Folder, OpenStack, Process, Signal, clients, eventually, free_port, skep};
use config::{Papers, Ways, must, prepare};
use containers::Containers;
use ledger::Ledger;

pub use chance::Chance;
pub use config::token;
pub use grow::Site;
pub use proxies::Proxies;
pub use user::{Published, User, id, server};

/// The longest that roles may take to be ready.
const READY: Duration = Duration::from_secs(60);
/// What runs containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The Docker Engine of the run, shared by all hosts.
    Docker,
    /// Nothing: each agent pretends, and forgets its containers when it ends.
    Scripted,
}

/// What an estate is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Cells beside cell0.
    pub cells: usize,
    /// API processes.
    pub apis: usize,
    /// Superconductors.
    pub superconductors: usize,
    /// Conductors of each cell.
    pub conductors: usize,
    /// Hosts in each cell.
    pub hosts: usize,
    /// Instances that fit on each host.
    pub slots: i64,
    /// What runs containers.
    pub engine: Engine,
    /// Whether there are proxies before the API database and all that the first cell has.
    pub proxied: bool,
    /// Whether each cell is a region of its own, `region1` and so on, with an endpoint of its own.
    pub regions: bool,
}

impl Default for Plan {
    fn default() -> Self {
        let (apis, superconductors, engine) = (1, 1, Engine::Docker);
        let (conductors, proxied, regions) = (1, false, false);
        Self { cells: 3, apis, superconductors, conductors, hosts: 1, slots: 100, engine, proxied, regions }
    }
}

impl Plan {
    /// The region of a cell, counted from 1.
    pub fn region(&self, cell: usize) -> String {
        if self.regions { format!("region{cell}") } else { "here".to_owned() }
    }
}

/// What is apart from the shared services, for a story that hurts it.
#[derive(Clone, Copy, Default)]
pub struct Apart<'a> {
    /// Where the vhosts and the engine are, as far as it has them.
    pub rabbit: Option<&'a Services>,
    /// Where the first cell's database is.
    pub cell1: Option<&'a Services>,
    /// Where cell0's database is.
    pub cell0: Option<&'a Services>,
    /// The host and port by which the API level reaches the first cell's database, and cell0's.
    pub by: Option<(&'a str, &'a str)>,
}

/// One of its processes: how it is started, and the process while it is not dead.
struct Role {
    verb: &'static str,
    config: String,
    /// Variables that override the file.
    variables: Vec<(&'static str, String)>,
    health: u16,
    process: Option<Process>,
}

/// A running estate.
pub struct Estate {
    // Dropped in this order: processes, then what they made, then where it lay.
    roles: BTreeMap<String, Role>,
    ledger: Option<Ledger>,
    containers: Option<Containers>,
    proxies: Option<Proxies>,
    /// What it was made of.
    pub plan: Plan,
    apis: Vec<u16>,
    regions: Vec<u16>,
    books: Books,
    api: Database,
    cells: Vec<Database>,
    vhosts: Vec<Vhost>,
    cell0: Database,
    folder: Folder,
}

impl Estate {
    /// Starts one on the services of the run and waits until every role is ready.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start(plan: Plan) -> Self {
        Self::start_on(plan, None).await
    }

    /// The same with all vhosts, the database of the first cell, and the engine, on services that a story
    /// may hurt, as far as it has them.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start_on(plan: Plan, hurt: Option<&Services>) -> Self {
        Self::start_apart(plan, Apart { rabbit: hurt, cell1: hurt, ..Apart::default() }).await
    }

    /// The same with some of it apart.
    ///
    /// # Panics
    /// If something does not start.
    pub async fn start_apart(plan: Plan, apart: Apart<'_>) -> Self {
        let shared = Services::shared();
        let of = |part| apart.rabbit.filter(|hurt| hurt.has(part)).unwrap_or(&shared);
        let folder = Folder::new("estate");
        let api = shared.postgres().database("api");
        let cell0 = apart.cell0.unwrap_or(&shared).postgres().database("cell0");
        let cells: Vec<Database> = (1..=plan.cells)
            .map(|n| match apart.cell1 {
                Some(hurt) if n == 1 && hurt.has(Part::Postgres) => hurt.postgres().database("cell1"),
                _ => shared.postgres().database(&format!("cell{n}")),
            })
            .collect();
        let (mut zero, mut mapped) = (cell0.url().to_owned(), Vec::new());
        if let Some((by_one, by_zero)) = apart.by {
            mapped.push(at(cells[0].url(), by_one));
            zero = at(&zero, by_zero);
        }
        let names: Vec<String> = (0..=plan.cells).map(|n| format!("v{n}")).collect();
        let vhosts = of(Part::Rabbit).rabbit().vhosts_of(&names);
        let docker = (plan.engine == Engine::Docker).then(|| of(Part::Docker).docker());
        let mut ways = Ways {
            api: with_password(api.url()),
            cell0: with_password(&zero),
            cells: cells.iter().map(|cell| with_password(cell.url())).collect(),
            mapped,
            regions: (0..plan.cells).filter(|_| plan.regions).map(|_| free_port()).collect(),
            vhosts: vhosts.iter().map(|vhost| vhost.url().to_owned()).collect(),
            engines: docker.iter().map(|docker| docker.url().to_owned()).cycle().take(plan.cells).collect(),
        };
        let proxies = match plan.proxied {
            true => Some(Proxies::before(&mut ways, docker.as_ref(), &folder).await),
            false => None,
        };
        let papers = Papers { folder: &folder, plan: &plan };
        papers.write(&ways);
        // The commands run beside the proxies, which are tasks of this runtime.
        tokio::task::block_in_place(|| prepare(&folder, &plan, &ways));
        let apis: Vec<u16> = (0..plan.apis).map(|_| free_port()).collect();
        let regions = ways.regions;
        let ledger = docker.as_ref().map(|docker| Ledger::new(docker, folder.path()));
        let containers = docker.map(|docker| {
            let hosts = papers.hosts().map(|(name, _)| papers.host_id(&name)).collect();
            Containers { docker, hosts }
        });
        let roles = papers.roles(&apis);
        let books = Books::open(api.url()).await;
        let mut estate = Self {
            roles,
            ledger,
            containers,
            proxies,
            plan,
            apis,
            regions,
            books,
            api,
            cells,
            vhosts,
            cell0,
            folder,
        };
        for name in estate.names("") {
            estate.run(&name);
        }
        estate.ready("").await;
        estate
    }

    /// The names of processes that begin with `prefix`: `api1`, `superconductor1`, `conductor-cell1`,
    /// `conductor-cell1-2` where a cell has two, `agent-cell1-h1`, and so on.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.roles.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    /// Starts a process that is dead. It is not waited for.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn run(&mut self, name: &str) {
        self.run_by(name, Command::new(skep()));
    }

    /// Starts a process by a command, the arguments of `skep` added.
    fn run_by(&mut self, name: &str, mut command: Command) {
        let path = self.folder.path().to_owned();
        if let Some(ledger) = &self.ledger {
            ledger.listen();
        }
        let role = self.role(name);
        command.arg(role.verb).arg("--config").arg(path.join(&role.config)).env_clear();
        for (variable, value) in &role.variables {
            command.env(variable, value);
        }
        role.process = Some(Process::spawn(name, &path, command));
    }

    /// Kills a process with SIGKILL.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self, name: &str) {
        let mut process = self.role(name).process.take().unwrap_or_else(|| panic!("{name} does not run"));
        assert!(process.ended().is_none(), "{name} had ended by itself:\n{}", process.tail(20));
        process.kill();
    }

    /// Kills a process and starts it again at once.
    ///
    /// # Panics
    /// If it does not run, or does not start.
    pub fn bounce(&mut self, name: &str) {
        self.kill(name);
        self.run(name);
    }

    /// A process that runs.
    ///
    /// # Panics
    /// If it does not run.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.role(name).process.as_mut().unwrap_or_else(|| panic!("{name} does not run"))
    }

    /// The id of a process that runs.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self, name: &str) -> u32 {
        let process = self.roles.get(name).and_then(|role| role.process.as_ref());
        process.unwrap_or_else(|| panic!("{name} does not run")).pid()
    }

    /// What all processes whose names begin with `prefix` have logged.
    pub fn logs(&self, prefix: &str) -> String {
        let ours = self.roles.iter().filter(|(name, _)| name.starts_with(prefix));
        ours.filter_map(|(_, role)| role.process.as_ref()).map(|process| process.log()).collect()
    }

    /// Sends a signal to all processes whose names begin with `prefix`.
    ///
    /// # Panics
    /// If one of them does not run.
    pub fn signal(&mut self, prefix: &str, signal: Signal) {
        for name in self.names(prefix) {
            self.process(&name).signal(signal);
        }
    }

    /// Waits until every process whose name begins with `prefix` says that it is ready, and every API
    /// process sees every host.
    ///
    /// # Panics
    /// If one is not, at the deadline.
    pub async fn ready(&mut self, prefix: &str) {
        for name in self.names(prefix) {
            let port = self.role(&name).health;
            let health = Client::new(format!("http://127.0.0.1:{port}")).deadline(Duration::from_secs(3));
            eventually(READY, &format!("{name} is ready"), async || {
                if let Some(status) = self.process(&name).ended() {
                    panic!("{name} ended ({status}):\n{}", self.process(&name).tail(20));
                }
                match health.get("/readyz").await {
                    Ok(reply) if reply.status.is_success() => Ok(()),
                    Ok(reply) => Err(reply.body.to_string()),
                    Err(error) => Err(format!("{error:#}")),
                }
            })
            .await;
        }
        let wanted = (self.plan.cells * self.plan.hosts) as u64;
        for at in 0..self.apis.len() {
            let operator = self.user_at("operator", at);
            eventually(READY, "every host is ready", async || {
                let status = operator.get("/admin/v1/status").await?;
                match status["totals"]["hosts_ready"].as_u64() {
                    Some(ready) if ready == wanted => Ok(()),
                    _ => Err(status["totals"].to_string()),
                }
            })
            .await;
        }
    }

    /// Where a process tells its operator of itself.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn health(&self, name: &str) -> String {
        let role = self.roles.get(name).unwrap_or_else(|| panic!("there is no process {name}"));
        format!("http://127.0.0.1:{}", role.health)
    }

    /// What a process counts, as it tells its operator: the sum over all labels.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn metric(&self, name: &str, metric: &str) -> Result<f64, String> {
        let client = Client::new(self.health(name)).deadline(Duration::from_secs(3));
        let reply = client.get("/metrics").await.map_err(|error| format!("{error:#}"))?;
        let text = reply.body.as_str().unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric));
        let values =
            lines.filter(|rest| rest.starts_with(['{', ' '])).filter_map(|rest| rest.rsplit(' ').next());
        Ok(values.filter_map(|value| value.parse::<f64>().ok()).sum())
    }

    /// A caller of the first API process: `operator` (who administers), `alice` (project web) or `bob`
    /// (project db).
    pub fn user(&self, name: &str) -> User {
        self.user_at(name, 0)
    }

    /// A caller of one of the API processes, counted from 0.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn user_at(&self, name: &str, api: usize) -> User {
        User::new(&self.url(api), &config::token(name))
    }

    /// The OpenStack client in the hands of a caller of the first API process.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn openstack(&self, name: &str) -> OpenStack {
        let text = config::clouds(&self.url(0), name);
        OpenStack::new(&self.put(&format!("clouds-{name}.yaml"), &text), name)
    }

    /// Has a user's script of the SDK run.
    ///
    /// # Panics
    /// If it fails.
    pub fn sdk(&self, name: &str) {
        let text = config::clouds(&self.url(0), name);
        crate::clients::sdk(&self.put(&format!("clouds-{name}.yaml"), &text), name, "skep/web:1");
    }

    /// The OpenStack client in the hands of an administrator, made by the command that makes the first; by
    /// password. Once for each estate.
    ///
    /// # Panics
    /// If the command fails.
    pub fn administrator(&self) -> OpenStack {
        OpenStack::new(&self.bootstrap(), "skep")
    }

    /// Makes the first administrator; the `clouds.yaml` that the command writes, whose cloud is called `skep`.
    fn bootstrap(&self) -> PathBuf {
        let file = self.folder.join("clouds.yaml");
        let (config, clouds) = (self.folder.join("api.toml"), file.display().to_string());
        let config = config.display().to_string();
        must(&[
            "identity",
            "bootstrap",
            "--config",
            &config,
            "--auth-url",
            &self.url(0),
            "--clouds",
            &clouds,
        ]);
        file
    }

    /// Holds tempest against the cloud: all of its tests, or those that a file of `tests/tempest` chooses. Blocks. Once
    /// for each estate, instead of [`Estate::administrator`].
    ///
    /// # Panics
    /// If the outcome is not what `tests/tempest/excluded.txt` says.
    pub fn tempest(&self, image: &str, workers: usize, only: Option<&str>) {
        clients::tempest(&self.bootstrap(), image, workers, only);
    }

    /// The administrator with a token for the cloud itself; after [`Estate::administrator`].
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn on_system(&self) -> OpenStack {
        let clouds = std::fs::read_to_string(self.folder.join("clouds.yaml")).unwrap_or_default();
        let without =
            clouds.lines().filter(|line| !line.contains("project_")).map(|line| format!("{line}\n"));
        let text = without.collect::<String>() + "      system_scope: all\n";
        OpenStack::new(&self.put("clouds-system.yaml", &text), "skep")
    }

    /// The OpenStack client of a user of the default domain.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn by_password(&self, user: &str, password: &str, project: &str) -> OpenStack {
        let text = config::clouds_by_password(&self.url(0), user, password, project);
        OpenStack::new(&self.put(&format!("clouds-{user}-{}.yaml", crate::unique("p")), &text), user)
    }

    /// The OpenStack client of a program with an application credential.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn by_credential(&self, id: &str, secret: &str) -> OpenStack {
        let text = config::clouds_by_credential(&self.url(0), id, secret);
        OpenStack::new(&self.put(&format!("clouds-{id}.yaml"), &text), "program")
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.join(name);
        if let Err(error) = std::fs::write(&file, text) {
            panic!("cannot write {}: {error}", file.display());
        }
        file
    }

    /// The address of one of the API processes, counted from 0.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn url(&self, api: usize) -> String {
        format!("http://127.0.0.1:{}", self.apis[api])
    }

    /// A caller at the endpoint of a cell's region, where each cell is one; counted from 1.
    ///
    /// # Panics
    /// If there is no such cell.
    pub fn user_in(&self, name: &str, cell: usize) -> User {
        User::new(&format!("http://127.0.0.1:{}", self.regions[cell - 1]), &config::token(name))
    }

    /// The database of cell0.
    pub fn cell0_database(&self) -> &Database {
        &self.cell0
    }

    /// The API database.
    pub fn api_database(&self) -> &Database {
        &self.api
    }

    /// The database of a cell, counted from 1.
    ///
    /// # Panics
    /// If there is no such cell.
    pub fn cell_database(&self, cell: usize) -> &Database {
        &self.cells[cell - 1]
    }

    /// Its vhosts: that of the API level, then those of the cells.
    pub fn vhosts(&self) -> &[Vhost] {
        &self.vhosts
    }

    /// Its proxies.
    ///
    /// # Panics
    /// If its plan asks for none.
    pub fn proxies(&self) -> &Proxies {
        self.proxies.as_ref().unwrap_or_else(|| panic!("this estate has no proxies"))
    }

    /// The engine under its hosts, if it has one.
    ///
    /// # Panics
    /// If it is scripted.
    pub fn docker(&self) -> &Docker {
        &self.containers().docker
    }

    fn containers(&self) -> &Containers {
        self.containers.as_ref().unwrap_or_else(|| panic!("this estate pretends its containers"))
    }

    /// Its hosts by the names of their agents' processes.
    pub fn hosts(&self) -> BTreeMap<String, HostId> {
        let names = self.names("agent-");
        names.into_iter().zip(self.containers().hosts.iter().copied()).collect()
    }

    fn role(&mut self, name: &str) -> &mut Role {
        self.roles.get_mut(name).unwrap_or_else(|| panic!("there is no process {name}"))
    }
}

/// A database's URL with a password, that is not asked for.
pub fn with_password(url: &str) -> String {
    url.replacen("postgres@", &format!("postgres:{}@", logs::PASSWORD), 1)
}

/// A database's URL with another host and port.
fn at(url: &str, address: &str) -> String {
    let (head, name) = url.rsplit_once('/').unwrap_or((url, ""));
    let head = head.rsplit_once('@').map_or(head, |(head, _)| head);
    format!("{head}@{address}/{name}")
}

/// Whether nobody listens on a port of 127.0.0.1.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
