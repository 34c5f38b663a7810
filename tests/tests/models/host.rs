//! A host's side: the agent's journal (`agent::journal`), what follows from it (`agent::slot`,
//! `agent::drive`), and the container that the engine has.

use model::{Intent, Power};

use crate::mutant::Mutant;
use crate::row::{At, Outcome, Seen, Wanted};

/// One host, its agent and its engine, as far as the instance is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    pub id: u8,
    /// `Wish`, on disk.
    pub at: At,
    pub intent: Intent,
    pub tombstone: (u8, u8),
    /// `Marks::done` is the wish.
    pub done: bool,
    /// The container that exists, by epoch and placement.
    pub copy: Option<(u8, u8)>,
    pub runs: bool,
    /// The counter of observations.
    pub seq: u8,
}

impl Host {
    pub fn new(id: u8) -> Self {
        Self {
            id,
            at: At::default(),
            intent: Intent::Gone,
            tombstone: (0, 0),
            done: false,
            copy: None,
            runs: false,
            seq: 0,
        }
    }

    /// `Wish::succeeded_by`: takes a wish that is above the journal, durably.
    pub fn consider(&mut self, wanted: Wanted, mutant: Mutant) {
        let gone = wanted.intent == Intent::Gone;
        let (newer, place) = (wanted.at > self.at, wanted.at.place());
        let allowed = newer && (gone || place > self.tombstone);
        if wanted.host != self.id || wanted.at == self.at || !(allowed || mutant == Mutant::JournalUnchecked)
        {
            return;
        }
        (self.at, self.intent, self.done) = (wanted.at, wanted.intent, false);
        if gone {
            self.tombstone = self.tombstone.max(place);
        }
    }

    /// `Wish::buried_at`, after the verdict that the copy of the wish in force is superseded.
    pub fn bury(&mut self) {
        let place = self.at.place();
        if place > self.tombstone {
            (self.intent, self.done, self.tombstone) = (Intent::Gone, false, place);
        }
    }

    /// `Slot::next` and what it leads to: one call of the engine and its result.
    pub fn step(&mut self) -> Option<Seen> {
        let (place, live) = (self.at.place(), self.intent != Intent::Gone);
        let stale = |copy: &(u8, u8)| *copy <= self.tombstone || (live && *copy < place);
        if self.copy.as_ref().is_some_and(stale) && self.copy != Some(place) {
            (self.copy, self.runs) = (None, false);
            return None;
        }
        if self.done || self.at == At::default() {
            return None;
        }
        (self.copy, self.runs) = (live.then_some(place), self.intent == Intent::Run);
        Some(self.conclude(if live { Outcome::Done } else { Outcome::Gone }))
    }

    /// The wish came to an end: what there is to tell.
    pub fn conclude(&mut self, outcome: Outcome) -> Seen {
        self.done = true;
        self.seq += 1;
        Seen { host: self.id, at: self.at, seq: self.seq, outcome, power: self.power() }
    }

    pub fn power(&self) -> Power {
        match (self.copy, self.runs) {
            (None, _) => Power::None,
            (Some(_), true) => Power::Running,
            (Some(_), false) => Power::Stopped,
        }
    }

    /// Whether there is nothing on the host, and nothing wished that would be made.
    pub fn is_clean(&self) -> bool {
        self.copy.is_none() && (self.intent == Intent::Gone || self.done)
    }
}

/// Messages: everything that was ever said. Whatever is in here may arrive at any time, in any order, any
/// number of times, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Log<T, const N: usize>([Option<T>; N]);

impl<T: Copy + PartialEq, const N: usize> Log<T, N> {
    pub fn new() -> Self {
        Self([None; N])
    }

    pub fn say(&mut self, message: T) {
        if self.0.contains(&Some(message)) {
            return;
        }
        let free = self.0.iter_mut().find(|slot| slot.is_none()).expect("the log of messages is too short");
        *free = Some(message);
    }

    pub fn said(&self) -> impl Iterator<Item = (u8, T)> + '_ {
        self.0.iter().enumerate().filter_map(|(index, message)| message.map(|message| (index as u8, message)))
    }

    pub fn get(&self, index: u8) -> Option<T> {
        self.0[usize::from(index)]
    }
}
