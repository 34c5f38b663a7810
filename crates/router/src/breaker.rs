//! The circuit breaker of one cell: after repeated silence calls fail at once, until a probe, which no
//! user waits for, finds the cell back.

use std::sync::atomic::{AtomicU32, Ordering};

/// Calls in a row that must fail before the breaker opens.
const FAILURES: u32 = 3;

/// How a cell has been answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answers.
    Up,
    /// Its last calls failed, but it is still asked.
    Failing,
    /// It is not asked, but for a probe each second that nobody waits for.
    Down,
}

/// The breaker.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Calls in a row that failed.
    failures: AtomicU32,
}

impl Breaker {
    /// Whether a call may be made now.
    pub(crate) fn admits(&self) -> bool {
        self.failures.load(Ordering::SeqCst) < FAILURES
    }

    /// Records how a call went. True if the breaker opens or closes by it.
    pub(crate) fn record(&self, answered: bool) -> bool {
        if answered {
            return self.failures.swap(0, Ordering::SeqCst) >= FAILURES;
        }
        let counted = |failures: u32| Some(failures.saturating_add(1));
        self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, counted) == Ok(FAILURES - 1)
    }

    /// How the cell has been answering.
    pub(crate) fn health(&self) -> Health {
        match self.failures.load(Ordering::SeqCst) {
            0 => Health::Up,
            failures if failures < FAILURES => Health::Failing,
            _ => Health::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_and_closes() {
        let breaker = Breaker::default();
        for n in 1..=FAILURES {
            assert!(breaker.admits());
            assert_eq!(breaker.record(false), n == FAILURES);
        }
        assert_eq!(breaker.health(), Health::Down);
        assert!(!breaker.admits());
        assert!(!breaker.record(false), "it is open already");
        assert!(breaker.record(true), "a probe was answered");
        assert!(breaker.admits());
        assert_eq!(breaker.health(), Health::Up);
        breaker.record(false);
        assert_eq!(breaker.health(), Health::Failing);
        assert!(!breaker.record(true), "it was not open");
    }
}
