//! Many seeds, on all cores, and what they came to.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Env;
use model::bug::Bug;

use super::{Outcome, Trial, evil, run};

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Seeds that were simulated.
    pub seeds: u64,
    /// How much time has passed in them.
    pub virtual_time: Duration,
    /// Evils that happened.
    pub evils: u64,
    /// What went wrong, by kind.
    pub fired: BTreeMap<&'static str, u64>,
    /// Calls that clients made.
    pub calls: u64,
    /// The longest that any took to come to rest.
    pub rest: Duration,
    /// How long it took.
    pub took: Duration,
    /// What failed, with the command that repeats it.
    pub failed: Vec<String>,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line())?;
        for (kind, times) in &self.fired {
            writeln!(f, "  {kind}: {times}")?;
        }
        self.failed.iter().try_for_each(|failed| writeln!(f, "{failed}"))
    }
}

impl Sum {
    /// How far it is, in one line.
    fn line(&self) -> String {
        format!(
            "{} seeds in {:.0} s: {:.2} simulated hours, {} evils, {} calls, at rest after {:.0} s at the latest, \
             {} seeds with violations",
            self.seeds,
            self.took.as_secs_f64(),
            self.virtual_time.as_secs_f64() / 3_600.0,
            self.evils,
            self.calls,
            self.rest.as_secs_f64(),
            self.failed.len()
        )
    }

    /// What should have gone wrong in some of them, and never did.
    pub fn never(&self) -> Vec<&'static str> {
        evil::kinds().filter(|kind| self.fired.get(kind).is_none_or(|times| *times == 0)).collect()
    }

    fn add(&mut self, outcome: Result<Outcome, String>, seed: u64) {
        self.seeds += 1;
        let violations = match outcome {
            Ok(outcome) => {
                self.virtual_time += outcome.virtual_time;
                self.evils += outcome.evils;
                for (kind, times) in &outcome.fired {
                    *self.fired.entry(kind).or_default() += times;
                }
                self.calls += outcome.calls;
                self.rest = self.rest.max(outcome.rest);
                outcome.violations
            }
            Err(panic) => vec![panic],
        };
        if !violations.is_empty() {
            let replay = format!(
                "SKEP_SIM_SEED={seed} cargo test -p tests --test simulation one -- --exact --nocapture"
            );
            let failed = format!("seed {seed}; replay it with\n  {replay}\n  {}", violations.join("\n  "));
            eprintln!("{failed}");
            self.failed.push(failed);
        }
    }
}

/// How often a soak tells how far it is.
const EVERY: Duration = Duration::from_secs(60);

/// Simulates these seeds, with evils, on all cores; stops after `limit`, or when ten have failed. With a limit it tells
/// every minute how far it is.
pub fn seeds(range: Range<u64>, limit: Option<Duration>) -> Sum {
    let env = Env::system();
    let began = env.monotonic();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (next, sum) = (Mutex::new(range), Mutex::new(Sum::default()));
    let due = Mutex::new(EVERY);
    let tell = || {
        let took = env.monotonic().saturating_sub(began);
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        if limit.is_some() && took >= *due {
            *due = took + EVERY;
            let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            sum.took = took;
            eprintln!("{}", sum.line());
        }
    };
    let lock = || sum.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let late = limit.is_some_and(|limit| env.monotonic().saturating_sub(began) > limit);
                    let seed = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(seed) = seed.filter(|_| !late && lock().failed.len() < 10) else { return };
                    let ran = std::panic::catch_unwind(AssertUnwindSafe(|| run(Trial::of(seed))));
                    let outcome = ran.map_err(|panic| {
                        let text = panic.downcast_ref::<String>().cloned();
                        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                            .unwrap_or_else(|| "a panic".to_owned())
                    });
                    lock().add(outcome, seed);
                    tell();
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.took = env.monotonic().saturating_sub(began);
    sum
}

/// Looks for each bug with these seeds in their order, on all cores: the first seed that finds it, and how.
pub fn find(bugs: &[Bug], seeds: Range<u64>) -> Vec<(Bug, Option<(u64, String)>)> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (next, found) = (Mutex::new(bugs.iter().copied()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let bug = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(bug) = bug else { return };
                    let first = seeds.clone().find_map(|seed| {
                        let outcome = run(Trial { bug: Some(bug), ..Trial::of(seed) });
                        outcome.violations.into_iter().next().map(|violation| (seed, violation))
                    });
                    eprintln!("{bug:?}: found by {:?}", first.as_ref().map(|(seed, _)| seed));
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((bug, first));
                }
            });
        }
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
