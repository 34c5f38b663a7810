//! The simulated cloud: seeds, replay, determinism.
//!
//! `SKEP_SIM_SEED=N cargo test -p tests --test simulation one -- --nocapture` replays a seed and prints
//! its whole trace.

use tests::sim::trace::Keep;
use tests::sim::{self, Outcome};

fn number(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
    std::env::var(name).ok().and_then(|text| text.parse().ok())
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
    let outcome = sim::run(1, false, Keep::Last);
    tell(&outcome);
    assert!(outcome.violations.is_empty());
    assert!(outcome.calls > 20);
}

#[test]
fn the_same_seed_has_the_same_trace() {
    for seed in [1, 2, 3] {
        let (one, two) = (sim::run(seed, true, Keep::All), sim::run(seed, true, Keep::All));
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
    let outcome = sim::run(seed, true, Keep::Print);
    tell(&outcome);
    assert!(outcome.violations.is_empty(), "{} violations", outcome.violations.len());
}

/// `SKEP_SIM_SEEDS` seeds (300) from `SKEP_SIM_FROM` (1) on.
#[test]
fn many() {
    let from = number("SKEP_SIM_FROM").unwrap_or(1);
    let sum = sim::seeds(from..from + number("SKEP_SIM_SEEDS").unwrap_or(300), None);
    eprintln!("{sum}");
    assert!(sum.failed.is_empty(), "{sum}");
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
