//! A whole cloud in one process: every role on a runtime of its own, over real databases and the
//! in-process bus, with the scripted engine. Killing a role drops its runtime in the middle of whatever
//! it does, as a kill does a process.

mod role;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::Agent;
use agent::engine::scripted::{Script, Scripted};
use conductor::Join;
use model::drill::Gate;
use model::extra::Extra;
use model::failpoint::Failpoints;
use model::{Caller, Cell, CellId, CellState, ContainerSpec, Context, Env, HostId, Resources};
use router::Router;
use rpc::Connector;
use sql::{Settings, Work};
use tokio_util::sync::CancellationToken;
use verbs::{Boot, Verbs};

use crate::Services;
use crate::check::{Books, Engines, Violations};

pub use role::Role;

/// What a cloud is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Cells beside cell0.
    pub cells: usize,
    /// Hosts in each.
    pub hosts: usize,
    /// Instances that fit on each host.
    pub slots: i64,
    /// How the engines behave.
    pub script: Script,
    /// Whether the databases are on PostgreSQL.
    pub postgres: bool,
    /// How long a worker's beat must stand still.
    pub lease: Duration,
    /// How long an instance may take.
    pub build: Duration,
    /// What hosts need to enrol.
    pub join: Join,
}

impl Default for Plan {
    fn default() -> Self {
        let (postgres, lease, build) = (false, Duration::from_secs(2), Duration::from_secs(600));
        let script = Script::default();
        Self { cells: 3, hosts: 2, slots: 100, script, postgres, lease, build, join: Join::Open }
    }
}

/// A cell as the testbed knows it.
pub struct CellParts {
    /// Its mapping.
    pub cell: Cell,
    /// Its hosts with their engines and where their agents keep their journals.
    pub hosts: Vec<(HostId, Scripted, PathBuf)>,
    /// What is before its database and its broker for all of its own roles; the API level has a gate of its own, the
    /// router's.
    pub gate: Gate,
}

/// A running cloud.
pub struct Cloud {
    /// What it was made of.
    pub plan: Plan,
    /// Clock, randomness, and the failpoints below.
    pub env: Env,
    /// The failpoints of all its roles.
    pub failpoints: Arc<Failpoints>,
    /// The in-process bus.
    pub connector: Connector,
    /// The API database's URL.
    pub api_url: String,
    /// Its cells.
    pub cells: Vec<CellParts>,
    /// cell0.
    pub cell0: Cell,
    /// The verbs, as an API process has them.
    pub verbs: Verbs,
    /// The router behind the verbs, for drills.
    pub router: Router,
    /// Superconductors.
    pub superconductors: Vec<Role>,
    /// Conductors, by cell.
    pub conductors: Vec<Vec<Role>>,
    /// Agents, by cell and host.
    pub agents: Vec<Vec<Option<Role>>>,
    folder: crate::Folder,
    databases: Vec<crate::Database>,
}

/// Who asks in stories.
pub fn caller() -> Caller {
    Caller { user: "u".into(), project: "p".into(), roles: vec!["member".into()] }
}

/// An administrator.
pub fn admin() -> Caller {
    Caller { user: "root".into(), project: "admin".into(), roles: vec!["admin".into()] }
}

/// A server of the smallest flavor.
pub fn wish(name: &str) -> Boot {
    Boot {
        name: name.into(),
        image: "skep/web:1".parse().expect("legal"),
        flavor: "1".into(),
        container: ContainerSpec::default(),
        metadata: BTreeMap::default(),
        zone: None,
        region: String::new(),
        description: None,
        extra: Extra::default(),
        count: 1,
    }
}

/// The context of a story's requests.
pub fn context() -> Context {
    Context { request_id: "req-story".into(), trace_parent: String::new() }
}

fn settings(url: &str) -> Settings {
    Settings { connections: 6, deadline: Duration::from_secs(5), ..Settings::new(url) }
}

impl Cloud {
    /// Starts everything and waits until every host is registered.
    pub async fn start(plan: Plan) -> Self {
        Self::start_apart(plan, &[]).await
    }

    /// The same on PostgreSQL, with the databases of these cells on servers that a story may hurt.
    pub async fn start_apart(plan: Plan, apart: &[(&str, Arc<Services>)]) -> Self {
        let failpoints = Arc::new(Failpoints::default());
        let env = Env::system().with_failpoints(failpoints.clone());
        let folder = crate::Folder::new("cloud");
        let mut databases = Vec::new();
        let mut url = |name: &str| match plan.postgres {
            true => {
                let own = apart.iter().find(|(cell, _)| *cell == name);
                let server = own.map_or_else(crate::postgres, |(_, services)| services.postgres());
                let database = server.database(name);
                let url = database.url().to_owned();
                databases.push(database);
                url
            }
            false => format!("sqlite:{}", folder.join(format!("{name}.db")).display()),
        };
        let api_url = url("api");
        let mapping = |name: &str, id: CellId, database_url: String| Cell {
            id,
            name: name.into(),
            region: "r".into(),
            transport_url: format!("local:{name}"),
            second_database_url: String::new(),
            second_transport_url: String::new(),
            database_url,
            state: CellState::Active,
            version: 1,
        };
        let cell0 = mapping("cell0", CellId::ZERO, url("cell0"));
        let cells: Vec<Cell> = (1..=plan.cells)
            .map(|n| mapping(&format!("cell{n}"), env.id(), url(&format!("cell{n}"))))
            .collect();
        let api: api_db::Db = sql::Db::open(&settings(&api_url)).expect("opens");
        api_db::SCHEMA.migrate(&api, &env).await.expect("migrates");
        for cell in cells.iter().chain([&cell0]) {
            let db: cell_db::Db = sql::Db::open(&settings(&cell.database_url)).expect("opens");
            cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
            let (stored, now) = (cell.clone(), env.now());
            api.write(move |tx| -> Work<'_, bool> {
                let cell = stored.clone();
                Box::pin(async move { api_db::cells::create(tx, &cell, now).await })
            })
            .await
            .expect("maps");
        }
        let connector = Connector::new(env.clone());
        let router = Router::start(
            router::Settings::default(),
            env.clone(),
            api.clone(),
            connector.clone(),
            CancellationToken::new(),
        )
        .await;
        let bus = connector.connect("local:api", Gate::default()).expect("connects");
        let verb_settings = verbs::Settings { build_deadline: plan.build, ..Default::default() };
        let verbs = Verbs::new(verb_settings, env.clone(), api, router.clone(), Some(bus));
        let mut cloud = Self {
            plan,
            env,
            failpoints,
            connector,
            api_url,
            cells: Vec::new(),
            cell0,
            verbs,
            router,
            superconductors: Vec::new(),
            conductors: Vec::new(),
            agents: Vec::new(),
            folder,
            databases,
        };
        for cell in cells {
            cloud.add_cell(cell);
        }
        cloud.add_superconductor();
        cloud.ready().await;
        cloud
    }

    fn add_cell(&mut self, cell: Cell) {
        let script = self.plan.script;
        let hosts = (1..=self.plan.hosts)
            .map(|n| {
                let place = self.folder.join(format!("{}-h{n}", cell.name));
                std::fs::create_dir_all(&place).expect("a folder");
                (self.env.id(), Scripted::new(self.env.clone(), script), place)
            })
            .collect();
        self.cells.push(CellParts { cell, hosts, gate: Gate::default() });
        let at = self.cells.len() - 1;
        self.conductors.push(Vec::new());
        self.add_conductor(at);
        self.agents.push(Vec::new());
        for host in 0..self.plan.hosts {
            let agent = self.start_agent(at, host);
            self.agents[at].push(Some(agent));
        }
    }

    /// One more API process: verbs with connections and a router of their own.
    pub async fn another_api(&self) -> Verbs {
        let api: api_db::Db = sql::Db::open(&settings(&self.api_url)).expect("opens");
        let (reach, token) = (router::Settings::default(), CancellationToken::new());
        let router = Router::start(reach, self.env.clone(), api.clone(), self.connector.clone(), token).await;
        let bus = self.connector.connect("local:api", Gate::default()).expect("connects");
        let settings = verbs::Settings { build_deadline: self.plan.build, ..Default::default() };
        Verbs::new(settings, self.env.clone(), api, router, Some(bus))
    }

    /// What is counted of a project: instances, cores and memory (MiB).
    pub async fn quota(&self, project: &'static str) -> [i64; 3] {
        let api: api_db::Db = sql::Db::open(&settings(&self.api_url)).expect("opens");
        let read = api.read(move |tx| -> Work<'_, BTreeMap<&'static str, i64>> {
            Box::pin(async move { api_db::quotas::used(tx, project).await })
        });
        let used = read.await.expect("reads");
        ["instances", "cores", "ram"].map(|resource| used[resource])
    }

    /// Starts one more superconductor.
    pub fn add_superconductor(&mut self) {
        let (env, connector, url) = (self.env.clone(), self.connector.clone(), self.api_url.clone());
        let lease = self.plan.lease;
        let (role, ()) = Role::run(move |token| async move {
            let db: api_db::Db = sql::Db::open(&settings(&url)).expect("opens");
            let reach = router::Settings::default();
            let router =
                Router::start(reach, env.clone(), db.clone(), connector.clone(), token.clone()).await;
            let bus = connector.connect("local:api", Gate::default()).expect("connects");
            let settings = superconductor::Settings { lease, ..Default::default() };
            let running =
                superconductor::start(settings, env, db, router, Some(bus), token).await.expect("starts");
            // It runs until its runtime is dropped.
            std::mem::forget(running);
        });
        self.superconductors.push(role);
    }

    /// Starts one more conductor in a cell.
    pub fn add_conductor(&mut self, cell: usize) {
        let (mapping, gate) = (self.cells[cell].cell.clone(), self.cells[cell].gate.clone());
        let (env, connector, join) = (self.env.clone(), self.connector.clone(), self.plan.join);
        let (role, ()) = Role::run(move |token| async move {
            let reach = Settings { gate: gate.clone(), ..settings(&mapping.database_url) };
            let db: cell_db::Db = sql::Db::open(&reach).expect("opens");
            let bus = connector.connect(&mapping.transport_url, gate).expect("connects");
            let settings = conductor::Settings { join, ..conductor::Settings::default() };
            let running = conductor::start(settings, env, db, bus, token).await.expect("starts");
            std::mem::forget(running);
        });
        self.conductors[cell].push(role);
    }

    /// Starts the agent of a host, on what its predecessor left.
    pub fn start_agent(&self, cell: usize, host: usize) -> Role {
        let parts = &self.cells[cell];
        let (id, engine, place) = parts.hosts[host].clone();
        let slots = self.plan.slots;
        let config = agent::Config {
            host: id,
            key: agent::host_key(&place, &self.env).expect("a key"),
            join_token_file: None,
            name: format!("{}-h{}", parts.cell.name, host + 1),
            zone: "nova".into(),
            engine_name: id.to_string(),
            address: "127.0.0.1".into(),
            capacity: Resources { vcpus_milli: slots * 1_000, memory_mib: slots * 64, slots },
            cell_name: parts.cell.name.clone(),
            heartbeat: Duration::from_secs(5),
            parallel_starts: 8,
            state_dir: place,
            stop_grace: Duration::from_secs(1),
            boot: uuid::Uuid::nil(),
        };
        let (env, connector, url) =
            (self.env.clone(), self.connector.clone(), parts.cell.transport_url.clone());
        let gate = parts.gate.clone();
        let (role, ()) = Role::run(move |token| async move {
            let bus = connector.connect(&url, gate).expect("connects");
            let agent = Agent::start(config, env, bus, Arc::new(engine), token).await.expect("starts");
            std::mem::forget(agent);
        });
        role
    }

    /// Waits until every host is registered and healthy.
    pub async fn ready(&self) {
        crate::eventually(Duration::from_secs(60), "every host is registered", async || {
            let cells = self.verbs.cells(&admin()).await.map_err(|fault| fault.message)?;
            let healthy = cells.iter().flat_map(|cell| &cell.hosts).filter(|host| host.healthy).count();
            let wanted = self.plan.cells * self.plan.hosts;
            if healthy == wanted { Ok(()) } else { Err(format!("{healthy} of {wanted} hosts are healthy")) }
        })
        .await;
    }

    /// Which hosts the API level has mapped to which cells, by host.
    pub async fn mapped_hosts(&self) -> Vec<(HostId, CellId)> {
        let api: api_db::Db = sql::Db::open(&settings(&self.api_url)).expect("opens");
        let read = api.read(|tx| -> Work<'_, Vec<api_db::hosts::Mapping>> {
            Box::pin(async move { api_db::hosts::all(tx).await })
        });
        let mut mapped: Vec<_> = read.await.expect("reads").into_iter().map(|m| (m.host, m.cell)).collect();
        mapped.sort();
        mapped
    }

    /// Containers of every host, as the engines have them.
    pub fn engines(&self) -> Engines {
        let hosts = self.cells.iter().flat_map(|cell| &cell.hosts);
        hosts.map(|(id, engine, _)| (*id, engine.containers())).collect()
    }

    /// What does not hold of it; it must be at rest.
    pub async fn check(&self) -> Violations {
        Books::open(&self.api_url).await.check(Some(&self.engines())).await
    }

    /// How many databases on PostgreSQL belong to it.
    pub fn databases(&self) -> usize {
        self.databases.len()
    }
}
