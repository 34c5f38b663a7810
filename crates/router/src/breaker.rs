//! The circuit breaker of one cell: after repeated silence calls fail at once, and one probe at a time
//! finds out when the cell is back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::Env;

/// Calls in a row that must fail before the breaker opens.
const FAILURES: u32 = 5;

/// How often a call is let through while it is open.
const PROBE: Duration = Duration::from_secs(1);

/// How a cell has been answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// Its last calls failed, but it is still asked.
    Failing,
    /// It is not asked, but for a probe each second.
    Down,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    probed: Option<Duration>,
}

/// The breaker.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
}

impl Breaker {
    /// Whether a call may be made now. While open, one call each second is let through as a probe.
    pub(crate) fn admits(&self, env: &Env) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures < FAILURES {
            return true;
        }
        let now = env.monotonic();
        if state.probed.is_some_and(|at| now.saturating_sub(at) < PROBE) {
            return false;
        }
        state.probed = Some(now);
        true
    }

    /// Records how a call went. True if the cell's health changed.
    pub(crate) fn record(&self, env: &Env, answered: bool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let was_open = state.failures >= FAILURES;
        if answered {
            *state = State::default();
            return was_open;
        }
        state.failures = state.failures.saturating_add(1);
        let opens = state.failures == FAILURES;
        if opens {
            state.probed = Some(env.monotonic());
        }
        opens
    }

    /// How the cell has been answering.
    pub(crate) fn health(&self) -> Health {
        match self.state.lock().unwrap_or_else(PoisonError::into_inner).failures {
            0 => Health::Up,
            failures if failures < FAILURES => Health::Failing,
            _ => Health::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use model::env::SystemRng;
    use model::{Clock, Timestamp};

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);
    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn opens_probes_and_closes() {
        let clock = Arc::new(Hand::default());
        let env = Env::new(clock.clone(), Arc::new(SystemRng));
        let breaker = Breaker::default();
        for n in 1..=FAILURES {
            assert!(breaker.admits(&env));
            assert_eq!(breaker.record(&env, false), n == FAILURES);
        }
        assert_eq!(breaker.health(), Health::Down);
        assert!(!breaker.admits(&env));
        clock.0.store(1_000, Ordering::SeqCst);
        assert!(breaker.admits(&env), "a probe");
        assert!(!breaker.admits(&env), "only one");
        breaker.record(&env, false);
        clock.0.store(2_000, Ordering::SeqCst);
        assert!(breaker.admits(&env));
        assert!(breaker.record(&env, true));
        assert!(breaker.admits(&env) && breaker.admits(&env));
        assert_eq!(breaker.health(), Health::Up);
    }
}
