//! What goes wrong, and when, from the seed. Each seed has its own selection of evils, so that rare
//! combinations are not drowned by frequent ones.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use agent::engine::scripted::Verb;
use model::drill::Drill;
use model::failpoint::{self, Mode};
use model::{CellState, Fault, FaultKind};

use super::engine;
use super::evil::{self, Evil};
use super::operator::Bound;
use super::world::{Part, World};

/// What ends an evil.
#[derive(Clone, Copy, Debug)]
enum Cure {
    Start(usize),
    Thaw(usize),
    Disk(usize),
    Mail(usize),
    Engine(usize, usize),
    Journal(usize, usize),
    Open(usize),
}

/// Who does it.
pub struct Nemesis {
    evils: Vec<Evil>,
    next: Duration,
    pause: Duration,
    cures: Vec<(Duration, Cure)>,
    /// Cells that are cordoned, with what was bound to them when they were.
    cordoned: BTreeMap<usize, Bound>,
    /// How many evils there were.
    pub done: u64,
}

impl Nemesis {
    /// The evils of a world's seed.
    pub fn new(world: &World) -> Self {
        let share = 20 + world.dice.below(80);
        let mut evils: Vec<Evil> = evil::ALL.into_iter().filter(|_| world.dice.percent(share)).collect();
        if evils.is_empty() {
            evils.push(Evil::Kill);
        }
        let pause = Duration::from_millis(300 + world.dice.below(2_500));
        world.trace.add(format_args!("evils {evils:?} about every {pause:?}"));
        Self {
            evils,
            next: Duration::from_secs(1),
            pause,
            cures: Vec::new(),
            cordoned: BTreeMap::new(),
            done: 0,
        }
    }

    /// Does what is due.
    pub fn turn(&mut self, world: &mut World) {
        let due: Vec<Cure> = self.cures.iter().filter(|(at, _)| *at <= world.now).map(|(_, c)| *c).collect();
        self.cures.retain(|(at, _)| *at > world.now);
        for cure in due {
            self.cure(world, cure);
        }
        if world.now >= self.next {
            self.next = world.now + world.dice.time(2 * self.pause);
            let evil = self.evils[world.dice.below(self.evils.len() as u64) as usize];
            self.strike(world, evil);
            self.done += 1;
        }
    }

    /// Ends everything: from now on nothing goes wrong.
    pub fn heal(&mut self, world: &mut World) {
        for (_, cure) in std::mem::take(&mut self.cures) {
            self.cure(world, cure);
        }
        for at in 0..world.processes.len() {
            self.cure(world, Cure::Thaw(at));
            self.cure(world, Cure::Start(at));
        }
        world.failpoints.release();
        world.trace.add(format_args!("everything is healed"));
    }

    fn later(&mut self, world: &World, longest: u64, cure: Cure) {
        let at = world.now + Duration::from_millis(200) + world.dice.time(Duration::from_secs(longest));
        self.cures.push((at, cure));
    }

    fn strike(&mut self, world: &mut World, evil: Evil) {
        let dice = |limit: usize| world.dice.below(limit as u64) as usize;
        // The API database is what most promises hang on.
        let disk = if world.dice.percent(30) { 0 } else { dice(world.sites.len() + 2) };
        let process = dice(world.processes.len());
        let (mail, site, host) =
            (dice(world.sites.len() + 1), dice(world.sites.len()), dice(world.size.hosts));
        world.trace.add(format_args!("evil {evil:?}"));
        match evil {
            Evil::Kill => {
                if world.processes[process].role.is_some() {
                    world.fired.once("a process is killed");
                }
                world.kill(process);
                self.later(world, 8, Cure::Start(process));
            }
            Evil::Freeze => {
                if world.processes[process].role.is_some() {
                    world.fired.once("a process stands still");
                }
                world.processes[process].frozen = true;
                self.later(world, 12, Cure::Thaw(process));
            }
            Evil::Sick => {
                let percent = |limit: u64| world.dice.below(limit) as u8;
                let faults = sql::simulated::Faults {
                    latency: world.dice.time(Duration::from_millis(400)),
                    refused: percent(30),
                    unknown: percent(25),
                    lost: percent(20),
                    stalled: percent(10),
                };
                world.disk(disk).set_faults(faults);
                self.later(world, 8, Cure::Disk(disk));
            }
            Evil::Frozen => {
                world.disk(disk).freeze(true);
                self.later(world, 8, Cure::Disk(disk));
            }
            Evil::Mail => {
                let faults = rpc::local::Faults {
                    seed: world.dice.below(u64::MAX),
                    loss: world.dice.below(40) as u8,
                    duplication: world.dice.below(60) as u8,
                    reorder: world.dice.below(60) as u8,
                    delay: world.dice.time(Duration::from_millis(6_000)),
                };
                world.connector.hub().set_faults(&world.vhost(mail), faults);
                self.later(world, 12, Cure::Mail(mail));
            }
            Evil::Purge => {
                let purged = world.connector.hub().purge_all(&world.vhost(mail));
                world.fired.more("a message is purged", purged as u64);
            }
            Evil::Block => {
                world.connector.hub().block_publishers(&world.vhost(mail), true);
                self.later(world, 8, Cure::Mail(mail));
            }
            Evil::Engine => {
                let engine = &world.sites[site].hosts[host].engine;
                match world.dice.percent(50) {
                    true => engine.hold(true),
                    false => engine.scripted.gate().set(Drill::Refuse),
                }
                self.later(world, 8, Cure::Engine(site, host));
            }
            Evil::Reply => {
                let engine = &world.sites[site].hosts[host].engine;
                engine.lose(10 + world.dice.below(60));
                engine.slow(world.dice.time(Duration::from_millis(1_500)));
                self.later(world, 8, Cure::Engine(site, host));
            }
            Evil::Refuse => {
                let fault = Fault::new(FaultKind::Engine, engine::NO_ROOM);
                let times = 1 + world.dice.below(4) as u32;
                world.sites[site].hosts[host].engine.scripted.fail(Verb::Create, fault, times);
                self.later(world, 8, Cure::Engine(site, host));
            }
            Evil::Exit => {
                let engine = &world.sites[site].hosts[host].engine.scripted;
                for name in engine.running() {
                    if world.dice.percent(50) && engine.exit(name, world.dice.below(3) as i64) {
                        world.fired.once("a container ends by itself");
                    }
                }
            }
            Evil::Boot => {
                let agent = world.processes.iter().position(|p| p.part == Part::Agent(site, host));
                let boot = uuid::Uuid::from_u64_pair(world.dice.below(u64::MAX), world.dice.below(u64::MAX));
                if let Some(agent) = agent {
                    world.kill(agent);
                    world.sites[site].hosts[host].engine.scripted.reboot();
                    world.sites[site].hosts[host].boot = boot;
                    world.fired.once("a host boots");
                    self.later(world, 5, Cure::Start(agent));
                }
            }
            Evil::Full => {
                world.sites[site].hosts[host].journal.fail(true);
                self.later(world, 5, Cure::Journal(site, host));
            }
            Evil::Cordon => {
                // What was bound when it was cordoned first is what counts.
                if let Entry::Vacant(vacant) = self.cordoned.entry(site) {
                    vacant.insert(world.set_state(site, CellState::Cordoned));
                    world.fired.once("a cell is cordoned");
                    self.later(world, 8, Cure::Open(site));
                }
            }
            Evil::Clock => {
                // It stays wrong: nobody sets it right but another of these.
                let most = [50, 2_000, 3_600_000][dice(3)];
                let by = world.dice.time(Duration::from_millis(most)) + Duration::from_millis(1);
                let forth = world.dice.percent(50);
                world.set_clock(process, by, forth);
                let kind = if forth { "a wall clock is set forth" } else { "a wall clock is set back" };
                world.fired.once(kind);
            }
            Evil::Step => {
                let points: Vec<_> = evil::points().collect();
                let point = points[world.dice.below(points.len() as u64) as usize];
                let mode = match world.dice.below(3) {
                    0 => Mode::FailBefore,
                    1 => Mode::FailAfter,
                    // Two leases are not one lease twice.
                    _ if point == failpoint::LEASE => Mode::FailAfter,
                    _ => Mode::Twice,
                };
                world.failpoints.arm(point, mode, 1 + world.dice.below(3) as u32);
            }
        }
    }

    fn cure(&mut self, world: &mut World, cure: Cure) {
        match cure {
            Cure::Start(at) => world.start(at),
            Cure::Thaw(at) => world.processes[at].frozen = false,
            Cure::Disk(at) => {
                let disk = world.disk(at);
                disk.set_faults(Default::default());
                disk.freeze(false);
            }
            Cure::Mail(at) => {
                let (hub, vhost) = (world.connector.hub(), world.vhost(at));
                hub.set_faults(&vhost, Default::default());
                hub.block_publishers(&vhost, false);
            }
            Cure::Engine(site, host) => {
                let engine = &world.sites[site].hosts[host].engine;
                engine.scripted.gate().set(Drill::Off);
                engine.hold(false);
                let passed = Fault::new(FaultKind::Engine, "never said");
                engine.scripted.fail(Verb::Create, passed, 0);
                engine.lose(0);
                engine.slow(Duration::from_millis(30));
            }
            Cure::Open(site) => {
                let Some(before) = self.cordoned.remove(&site) else { return };
                for (id, epoch) in world.set_state(site, CellState::Active).difference(&before) {
                    world.history.lie(format!(
                        "{id} was bound to cell{} while it was cordoned (epoch {epoch})",
                        site + 1
                    ));
                }
            }
            Cure::Journal(site, host) => world.sites[site].hosts[host].journal.fail(false),
        }
    }
}

impl World {
    fn disk(&self, at: usize) -> &sql::simulated::Disk {
        match at {
            0 => &self.api,
            1 => &self.cell0,
            at => &self.sites[at - 2].disk,
        }
    }
}
