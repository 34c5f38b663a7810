//! What happened, line by line: two runs of one seed must have the same trace.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::clock;

/// How many of the last lines are kept where not all are.
const LAST: usize = 400;

/// What becomes of the lines; a hash of all of them is made in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The last few.
    Last,
    /// All.
    All,
    /// All are printed at once.
    Print,
}

/// The trace of one simulation.
pub struct Trace {
    keep: Keep,
    lines: Mutex<(u64, Vec<String>)>,
}

impl Trace {
    /// An empty trace.
    pub fn new(keep: Keep) -> Self {
        Self { keep, lines: Mutex::new((0xcbf2_9ce4_8422_2325, Vec::new())) }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<String>)> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line about what the role that runs did just now.
    pub fn add(&self, what: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {:<10} {what}", clock::now().as_secs_f64(), clock::who());
        let mut lines = self.lock();
        lines.0 =
            line.bytes().fold(lines.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        match self.keep {
            Keep::Print => eprintln!("{line}"),
            Keep::All => lines.1.push(line),
            Keep::Last => {
                lines.1.push(line);
                if lines.1.len() > 2 * LAST {
                    lines.1.drain(..LAST);
                }
            }
        }
    }

    /// The hash of all lines.
    pub fn hash(&self) -> u64 {
        self.lock().0
    }

    /// The lines that were kept.
    pub fn lines(&self) -> Vec<String> {
        self.lock().1.clone()
    }
}
