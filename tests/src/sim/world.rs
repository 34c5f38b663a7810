//! The simulated cloud: disks, a bus, engines and journals, which outlive the roles that use them, and the
//! roles, which are started, killed and frozen.

use std::sync::Arc;
use std::time::Duration;

use agent::journal::Memory;
use model::failpoint::Failpoints;
use model::{Cell, CellId, CellState, HostId, InstanceId};
use rpc::{Connector, HostKey};
use sql::simulated::{Disk, Step};
use sql::{Settings, Work};
use uuid::Uuid;

use super::clock::{self, Dice, Skew};
use super::engine::Flaky;
use super::fired::Fired;
use super::history::History;
use super::numbers;
use super::role::Role;
use super::trace::Trace;
use crate::check;

/// How long a slice of a role is. Within it nobody else acts, so that clocks differ by less than this.
pub const SLICE: Duration = Duration::from_millis(10);

/// What a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The API: router and verbs, with the clients in the same process.
    Api,
    /// A superconductor.
    Superconductor(usize),
    /// A conductor of a cell.
    Conductor(usize, usize),
    /// The agent of a cell's host.
    Agent(usize, usize),
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Api => f.write_str("api"),
            Self::Superconductor(n) => write!(f, "super{n}"),
            Self::Conductor(cell, n) => write!(f, "cond{cell}.{n}"),
            Self::Agent(cell, host) => write!(f, "agent{cell}.{host}"),
        }
    }
}

/// A process and what becomes of it.
pub struct Process {
    /// What it plays.
    pub part: Part,
    /// Absent while it is dead.
    pub role: Option<Role>,
    /// Whether it gets no slices.
    pub frozen: bool,
    /// How often it was started.
    starts: u32,
    /// How wrong its wall clock is.
    skew: Skew,
}

/// A host: what is left of it when its agent dies.
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// Its key.
    pub key: HostKey,
    /// Its engine, with the containers.
    pub engine: Flaky,
    /// Its agent's journal.
    pub journal: Memory,
    /// Its boot id.
    pub boot: Uuid,
}

/// A cell with its hosts.
pub struct Site {
    /// Its mapping.
    pub cell: Cell,
    /// Its database.
    pub disk: Arc<Disk>,
    /// Its hosts.
    pub hosts: Vec<Host>,
}

/// How large a cloud is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Cells beside cell0.
    pub cells: usize,
    /// Hosts of each.
    pub hosts: usize,
    /// Conductors of each.
    pub conductors: usize,
    /// Superconductors.
    pub superconductors: usize,
    /// Instances that fit on each host.
    pub slots: i64,
    /// How far wall clocks may be off.
    pub skew: Duration,
    /// How long an instance may take to be built.
    pub build: Duration,
}

/// A whole simulated cloud.
pub struct World {
    /// The seed that everything follows from.
    pub seed: u64,
    /// How large it is.
    pub size: Size,
    /// Time since its beginning.
    pub now: Duration,
    /// The chance of what happens to it.
    pub dice: Dice,
    /// What happened.
    pub trace: Arc<Trace>,
    /// What clients asked for and were told.
    pub history: Arc<History>,
    /// What has gone wrong.
    pub fired: Arc<Fired>,
    /// The failpoints of all its roles.
    pub failpoints: Arc<Failpoints>,
    /// The bus of all its brokers.
    pub connector: Connector,
    /// The API database.
    pub api: Arc<Disk>,
    /// cell0's database.
    pub cell0: Arc<Disk>,
    /// The cells.
    pub sites: Vec<Site>,
    /// The processes.
    pub processes: Vec<Process>,
    keeper: Role,
    order: Vec<usize>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.processes.clear();
        Disk::forget_all();
    }
}

fn settings(name: &str) -> Settings {
    Settings { deadline: Duration::from_secs(3), ..Settings::new(format!("simulated:{name}")) }
}

/// A handle on a simulated database, as a role opens it.
///
/// # Panics
/// If there is none of that name on this thread.
pub fn open<D: 'static>(name: &str) -> sql::Db<D> {
    sql::Db::open(&settings(name)).expect("a simulated database")
}

impl World {
    /// A cloud whose databases are migrated and mapped, and whose roles have begun.
    ///
    /// # Panics
    /// If it cannot be made, which is a defect of the simulation.
    pub fn new(seed: u64, size: Size, trace: Arc<Trace>) -> Self {
        clock::set_world(Duration::ZERO);
        Disk::forget_all();
        let dice = Dice::new(seed, "world");
        let fired = Arc::new(Fired::default());
        let disk = |name: &str| {
            let (trace, fired) = (trace.clone(), fired.clone());
            let watch = Box::new(move |step: Step<'_>| {
                let what = if step.write { "writes" } else { "reads" };
                trace.add(format_args!("{what} {}: {}", step.disk, step.outcome));
                match step.outcome {
                    "refuses" => fired.once("a database refuses"),
                    "stalls" => fired.once("a database stalls"),
                    "unknown, committed" => fired.once("a commit is made and not told"),
                    "unknown, lost" => fired.once("a commit is lost and not told"),
                    "waits, as it is frozen" => fired.once("a call waits for a frozen database"),
                    _ => {}
                }
            });
            Disk::create(name, Dice::new(seed, name).below(u64::MAX), watch).expect("a simulated database")
        };
        let ids = clock::env(seed, "ids");
        let mapping = |name: &str, id: CellId| Cell {
            id,
            name: name.into(),
            region: "r".into(),
            transport_url: format!("local:{name}"),
            second_database_url: String::new(),
            second_transport_url: String::new(),
            database_url: format!("simulated:{name}"),
            state: CellState::Active,
            version: 1,
        };
        let (api, cell0) = (disk("api"), disk("cell0"));
        let sites: Vec<Site> = (0..size.cells)
            .map(|at| {
                let name = format!("cell{}", at + 1);
                let host = |n| {
                    let name = format!("engine{at}.{n}");
                    let engine = Flaky::new(clock::env(seed, &name), seed, &name, fired.clone());
                    let (id, boot) = (ids.id(), ids.uuid());
                    let key = HostKey::from_seed(&seed_of(id)).expect("a key");
                    Host { id, key, engine, journal: Memory::default(), boot }
                };
                let hosts = (0..size.hosts).map(host).collect();
                Site { cell: mapping(&name, ids.id()), disk: disk(&name), hosts }
            })
            .collect();
        let keeper = Role::new("world", Duration::ZERO);
        keeper.run(async {
            let db: api_db::Db = open("api");
            api_db::SCHEMA.migrate(&db, &ids).await.expect("migrates");
            numbers::watch_api(&db).await;
            let zero = mapping("cell0", CellId::ZERO);
            for cell in sites.iter().map(|site| &site.cell).chain([&zero]) {
                let here: cell_db::Db = open(&cell.name);
                cell_db::SCHEMA.migrate(&here, &ids).await.expect("migrates");
                numbers::watch_cell(&here).await;
                let (stored, now) = (cell.clone(), ids.now());
                let create = db.write(move |tx| -> Work<'_, bool> {
                    let cell = stored.clone();
                    Box::pin(async move { api_db::cells::create(tx, &cell, now).await })
                });
                create.await.expect("maps");
            }
        });
        let connector = Connector::new(clock::env(seed, "bus"));
        let mut world = Self {
            seed,
            size,
            now: Duration::ZERO,
            dice,
            history: Arc::new(History::new(trace.clone(), fired.clone())),
            trace,
            fired,
            failpoints: Arc::new(Failpoints::default()),
            connector,
            api,
            cell0,
            sites,
            processes: Vec::new(),
            keeper,
            order: Vec::new(),
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let size = self.size;
        let mut parts = vec![Part::Api];
        parts.extend((0..size.superconductors).map(Part::Superconductor));
        for cell in 0..size.cells {
            parts.extend((0..size.conductors).map(|n| Part::Conductor(cell, n)));
            parts.extend((0..size.hosts).map(|host| Part::Agent(cell, host)));
        }
        for part in parts {
            let limit = self.size.skew.as_micros() as u64;
            let skew = self.dice.below(2 * limit + 1) as i64 - limit as i64;
            let skew = Skew::new(skew);
            self.processes.push(Process { part, role: None, frozen: false, starts: 0, skew });
        }
        for at in 0..self.processes.len() {
            self.start(at);
        }
        self.order = (0..self.processes.len()).collect();
    }

    /// Starts a process that is dead.
    pub fn start(&mut self, at: usize) {
        if self.processes[at].role.is_some() {
            return;
        }
        let process = &mut self.processes[at];
        process.starts += 1;
        process.frozen = false;
        let (part, whom) = (process.part, format!("{}-{}", process.part, process.starts));
        let env = clock::env_with(self.seed, &whom, &process.skew).with_failpoints(self.failpoints.clone());
        let role = Role::new(&process.part.to_string(), self.now);
        self.trace.add(format_args!("{part} starts"));
        match part {
            Part::Api => self.start_api(&role, env),
            Part::Superconductor(n) => self.start_superconductor(&role, env, n),
            Part::Conductor(cell, _) => self.start_conductor(&role, env, cell),
            Part::Agent(cell, host) => self.start_agent(&role, env, cell, host),
        }
        self.processes[at].role = Some(role);
    }

    /// Sets a process's wall clock forth or back; it stays so when the process starts again.
    pub fn set_clock(&self, at: usize, by: Duration, forth: bool) {
        let process = &self.processes[at];
        let (micros, way) = (by.as_micros() as i64, if forth { "forth" } else { "back" });
        self.trace.add(format_args!("the clock of {} is set {way} by {by:?}", process.part));
        process.skew.step(if forth { micros } else { -micros });
    }

    /// Kills a process in the middle of whatever it does.
    pub fn kill(&mut self, at: usize) {
        let process = &mut self.processes[at];
        if let Some(role) = process.role.take() {
            self.trace.add(format_args!("{} is killed", process.part));
            drop(role);
        }
    }

    /// Lets every role run for one slice, in any order.
    pub fn turn(&mut self) {
        self.now += SLICE;
        clock::set_world(self.now);
        for at in 0..=self.sites.len() {
            self.connector.hub().carry(&self.vhost(at));
        }
        let mut order = std::mem::take(&mut self.order);
        self.dice.shuffle(&mut order);
        for at in &order {
            let process = &mut self.processes[*at];
            if let Some(role) = process.role.as_mut().filter(|_| !process.frozen) {
                role.step(self.now, SLICE);
            }
        }
        self.order = order;
    }

    /// The vhost of the API level, or that of a cell, counted from 1.
    pub fn vhost(&self, at: usize) -> String {
        match at {
            0 => "api".to_owned(),
            at => self.sites[at - 1].cell.name.clone(),
        }
    }

    /// Runs something outside of the cloud, as an observer, while nothing else happens.
    pub fn observe<T>(&mut self, task: impl Future<Output = T>) -> T {
        self.keeper.step(self.now, SLICE);
        self.keeper.run(task)
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.sites.iter().flat_map(|site| &site.hosts)
    }

    /// Notes what must not be at any moment: two running copies, and one of what was seen to be gone.
    pub fn watch(&self) {
        let running: Vec<InstanceId> =
            self.hosts().flat_map(|host| host.engine.scripted.running()).map(|name| name.instance).collect();
        for id in check::twice(running.iter().copied()) {
            self.history.lie(format!("two containers of {id} run at the same time"));
        }
        let gone = self.history.gone();
        for id in running.iter().filter(|id| gone.contains(id)) {
            self.history.lie(format!("{id} was gone and runs"));
        }
    }
}

/// The seed of a host's key: its id, twice.
fn seed_of(host: HostId) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..16].copy_from_slice(host.uuid().as_bytes());
    seed[16..].copy_from_slice(host.uuid().as_bytes());
    seed
}
