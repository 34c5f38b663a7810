//! The simulated cloud: seeds, replay, determinism.
//!
//! `SKEP_SIM_SEED=N cargo test -p tests --test simulation one -- --nocapture` replays a seed and prints
//! its whole trace.

use model::bug::{self, Bug};
use tests::sim::trace::Keep;
use tests::sim::{self, Outcome, Trial};

fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn all(seed: u64) -> Trial {
    Trial { keep: Keep::All, ..Trial::of(seed) }
}

/// The bug that `SKEP_SIM_BUG` names.
fn planted() -> Option<Bug> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
    let name = std::env::var("SKEP_SIM_BUG").ok()?;
    bug::ALL.iter().copied().find(|bug| format!("{bug:?}") == name)
}

fn tell(outcome: &Outcome) {
    eprintln!(
        "seed {}: {:?} of virtual time, {} evils, {} calls, at rest after {:?}, trace {:016x}",
        outcome.seed, outcome.virtual_time, outcome.evils, outcome.calls, outcome.rest, outcome.hash
    );
    for violation in &outcome.violations {
        eprintln!("  VIOLATION {violation}");
    }
}

#[test]
fn without_evils_everything_is_as_asked() {
    let outcome = sim::run(Trial { evil: false, ..Trial::of(1) });
    tell(&outcome);
    assert!(outcome.violations.is_empty());
    assert!(outcome.calls > 20);
}

#[test]
fn the_same_seed_has_the_same_trace() {
    for seed in [1, 2, 3] {
        let (one, two) = (sim::run(all(seed)), sim::run(all(seed)));
        let differs = one.lines.iter().zip(&two.lines).position(|(a, b)| a != b);
        if let Some(at) = differs {
            let from = at.saturating_sub(5);
            panic!("{:#?}\nagainst\n{:#?}", &one.lines[from..=at], &two.lines[from..=at]);
        }
        assert_eq!(one.hash, two.hash);
    }
}

/// Replays `SKEP_SIM_SEED` with its whole trace; without it, nothing is to be done.
#[test]
fn one() {
    let Some(seed) = number("SKEP_SIM_SEED") else { return };
    let outcome = sim::run(Trial { keep: Keep::Print, bug: planted(), ..Trial::of(seed) });
    tell(&outcome);
    assert!(outcome.violations.is_empty(), "{} violations", outcome.violations.len());
}

/// So many seeds are enough for every kind of evil and every failpoint to happen in some of them.
const SEEDS: u64 = 300;

/// `SKEP_SIM_SEEDS` seeds (300) from `SKEP_SIM_FROM` (1) on.
#[test]
fn many() {
    let from = number("SKEP_SIM_FROM").unwrap_or(1);
    let sum = sim::seeds(from..from + number("SKEP_SIM_SEEDS").unwrap_or(SEEDS), None);
    eprintln!("{sum}");
    assert!(sum.failed.is_empty(), "{sum}");
    let never = sum.never();
    assert!(never.is_empty() || sum.seeds < SEEDS, "never happened: {never:?}");
}

/// For `SKEP_SIM_MINUTES` (10), from a seed that nobody has chosen:
/// `SKEP_SIM_MINUTES=480 cargo test -p tests --test simulation soak -- --ignored --nocapture`.
#[test]
#[ignore = "runs for as long as it is told"]
fn soak() {
    let from = number("SKEP_SIM_FROM").unwrap_or_else(|| model::Env::system().random() >> 16);
    let minutes = number("SKEP_SIM_MINUTES").unwrap_or(10);
    let sum = sim::seeds(from..u64::MAX, Some(std::time::Duration::from_secs(minutes * 60)));
    eprintln!("{sum}");
    assert!(sum.failed.is_empty(), "{sum}");
}

/// Each bug on purpose is found by some of the first 300 seeds, most by the first ten; otherwise the simulation would prove nothing.
#[test]
fn every_planted_bug_is_found() {
    let found = sim::find(bug::ALL, 1..301);
    for (bug, outcome) in &found {
        match outcome {
            Some((seed, violation)) => eprintln!("{bug:?}: seed {seed}: {violation}"),
            None => eprintln!("{bug:?}: not found"),
        }
    }
    let missed: Vec<Bug> =
        found.iter().filter(|(_, outcome)| outcome.is_none()).map(|(bug, _)| *bug).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert!(found.len() >= 10);
}
