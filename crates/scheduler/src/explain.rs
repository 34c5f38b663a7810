//! Why nothing could be selected: which filter refused how many, and how far they were from fitting.

use std::collections::BTreeMap;
use std::fmt;

/// The refusals of one request, counted by filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// What was looked at: `host` or `cell`.
    pub what: &'static str,
    /// How many there were.
    pub candidates: usize,
    /// How many each filter refused; each candidate is refused by the first filter that it fails.
    pub refused: BTreeMap<&'static str, usize>,
    /// How far the nearest candidate was from fitting, if capacity was what failed.
    pub nearest: Option<String>,
}

impl Explanation {
    pub(crate) fn new(what: &'static str, candidates: usize) -> Self {
        Self { what, candidates, ..Self::default() }
    }

    pub(crate) fn refuse(&mut self, filter: &'static str) {
        *self.refused.entry(filter).or_default() += 1;
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} {}{}", self.candidates, self.what, if self.candidates == 1 { "" } else { "s" })?;
        let mut separator = ": ";
        for (filter, count) in &self.refused {
            write!(f, "{separator}{filter} refused {count}")?;
            separator = ", ";
        }
        match &self.nearest {
            Some(nearest) => write!(f, " ({nearest})"),
            None => Ok(()),
        }
    }
}
