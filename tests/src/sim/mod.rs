//! A whole cloud in one thread under virtual time, in which everything follows from one seed.
//!
//! Real code of every role – router and verbs, superconductors, conductors, agents – over simulated
//! databases ([`sql::simulated`]), the in-process bus, the scripted engine and journals in memory. First
//! clients ask while evils happen; then everything is healed, and the cloud must come to rest within a
//! bound; then the books and the clients' history are judged. What must never be (two running copies, a
//! list that lost an instance) is watched all the time.
//!
//! What it does not show: what happens between two statements of one transaction, and between roles within
//! one slice of 10 ms; real engines, disks and brokers.

pub mod client;
pub mod clock;
pub mod engine;
pub mod evil;
mod fired;
pub mod history;
pub mod judge;
pub mod nemesis;
mod numbers;
mod operator;
mod panics;
pub mod role;
mod seeds;
pub mod sizes;
mod starts;
pub mod trace;
pub mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clock::Dice;
use model::bug::{self, Bug};
use nemesis::Nemesis;
pub use seeds::{Sum, find, seeds};
use trace::{Keep, Trace};
use world::{Size, World};

/// How long after the healing everything must have come to rest.
pub const BOUND: Duration = Duration::from_secs(90);

/// What one simulation came to.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What was violated; empty is good.
    pub violations: Vec<String>,
    /// How much time has passed in it.
    pub virtual_time: Duration,
    /// How long after the healing it came to rest.
    pub rest: Duration,
    /// How many evils happened.
    pub evils: u64,
    /// What went wrong, by kind.
    pub fired: BTreeMap<&'static str, u64>,
    /// How many calls clients made.
    pub calls: u64,
    /// The hash of its trace.
    pub hash: u64,
    /// What was kept of its trace.
    pub lines: Vec<String>,
}

/// How large the cloud of a seed is.
fn size(seed: u64) -> Size {
    let dice = Dice::new(seed, "size");
    let skews = [0, 0, 50, 2_000, 3_600_000];
    Size {
        cells: 3,
        hosts: 1 + dice.below(2) as usize,
        conductors: 1 + dice.below(2) as usize,
        superconductors: 2,
        slots: 2 + dice.below(6) as i64,
        skew: Duration::from_millis(skews[dice.below(skews.len() as u64) as usize]),
        build: Duration::from_secs(if dice.percent(20) { 15 } else { 7_200 }),
    }
}

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Trial {
    /// The seed.
    pub seed: u64,
    /// Whether anything goes wrong.
    pub evil: bool,
    /// A bug to plant.
    pub bug: Option<Bug>,
    /// What becomes of the trace.
    pub keep: Keep,
}

impl Trial {
    /// A seed with its evils.
    pub fn of(seed: u64) -> Self {
        Self { seed, evil: true, bug: None, keep: Keep::Last }
    }
}

/// Simulates, and stops at what must never be.
pub fn run(trial: Trial) -> Outcome {
    panics::listen();
    bug::plant(trial.bug);
    let trace = Arc::new(Trace::new(trial.keep));
    let mut world = World::new(trial.seed, size(trial.seed), trace.clone());
    trace.add(format_args!("{:?}", world.size));
    let mut nemesis = Nemesis::new(&world);
    let span = Duration::from_secs(15) + world.dice.time(Duration::from_secs(20));
    while world.now < span && !world.history.has_lies() {
        if trial.evil {
            nemesis.turn(&mut world);
        }
        world.turn();
        world.watch();
    }
    world.history.be_quiet();
    nemesis.heal(&mut world);
    world.tell_what_went_back();
    let (mut violations, healed) = (Vec::new(), world.now);
    let mut look = healed + Duration::from_secs(2);
    while world.now < healed + BOUND && !world.history.has_lies() {
        world.turn();
        world.watch();
        if world.now >= look {
            world.tell_what_went_back();
            violations = judge::judge(&mut world);
            if violations.is_empty() {
                break;
            }
            look = world.now + Duration::from_secs(1);
        }
    }
    violations.extend(world.history.lies());
    violations.extend(panics::heard());
    let outcome = Outcome {
        seed: trial.seed,
        violations,
        virtual_time: world.now,
        rest: world.now - healed,
        evils: nemesis.done,
        fired: world.counts(),
        calls: world.history.calls(),
        hash: trace.hash(),
        lines: trace.lines(),
    };
    drop(world);
    bug::plant(None);
    outcome
}
