//! A cell's side: the one row of the instance, its allocation, and the guards of `cell_db`. Each function
//! is one transaction and does what the function of the same name does there; `agree.rs` holds them
//! against each other.

use model::instance::Stage;
use model::{Intent, Power};

use crate::mutant::Mutant;

/// Epoch, placement, generation; compared in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct At {
    pub epoch: u8,
    pub placement: u8,
    pub generation: u8,
}

impl At {
    pub fn place(self) -> (u8, u8) {
        (self.epoch, self.placement)
    }
}

/// A wish as a host pulls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    pub host: u8,
    pub at: At,
    pub intent: Intent,
}

/// What became of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Done,
    Failed,
    Gone,
}

/// An observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    pub host: u8,
    pub at: At,
    pub seq: u8,
    pub outcome: Outcome,
    pub power: Power,
}

/// Where a row stands for an API-level task: `cell_db::instances::standing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Open,
    Settled,
    Tombstone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub at: At,
    pub saga_token: u8,
    pub intent: Intent,
    pub stage: Stage,
    pub power: Power,
    pub host: Option<u8>,
    pub obs_seq: u8,
    pub tries: u8,
    /// The row's `task` is none: its intent was observed as carried out, or given up.
    pub done: bool,
    /// Its host could not make it, and has to be seen without it before another one is tried (`Stage::Leaving`).
    pub leaving: bool,
}

/// What a cell's database has of the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cell {
    pub row: Option<Row>,
    /// The host that amounts are taken from.
    pub allocation: Option<u8>,
    /// [`Mutant::SecondTable`]: the epoch that is buried there.
    pub marker: u8,
}

/// `cell_db::reports::TRIES`.
const TRIES: u8 = 2;

impl Cell {
    fn new_row(epoch: u8, saga_token: u8, intent: Intent, stage: Stage) -> Row {
        let at = At { epoch, placement: 0, generation: 1 };
        let done = !matches!(stage, Stage::Unplaced);
        let (power, host, leaving) = (Power::None, None, false);
        Row { at, saga_token, intent, stage, power, host, obs_seq: 0, tries: 0, done, leaving }
    }

    /// A row whose stage became a tombstone, as the mutants keep it.
    fn entomb(&mut self, mutant: Mutant) {
        let Some(row) = self.row.filter(|row| row.stage == Stage::Tombstone) else { return };
        match mutant {
            Mutant::TombstoneDeleted => self.row = None,
            Mutant::SecondTable => (self.row, self.marker) = (None, self.marker.max(row.at.epoch)),
            _ => {}
        }
    }

    /// `instances::insert`, with its `FENCE`; and `instances::bury`, which has none.
    fn upsert(&mut self, new: Row, fence: bool, mutant: Mutant) {
        let allowed = |row: &Row| row.saga_token <= new.saga_token || mutant == Mutant::CellsIgnoreToken;
        match &mut self.row {
            None => self.row = Some(new),
            Some(row) if row.at.epoch < new.at.epoch && allowed(row) && row.host.is_none() => *row = new,
            Some(row) if fence && row.at.epoch == new.at.epoch => {
                row.saga_token = row.saga_token.max(new.saga_token);
            }
            Some(_) => {}
        }
    }

    /// `instances::insert`. A move inserts with the intent to stop: the copy is held until the flip.
    pub fn insert(&mut self, epoch: u8, saga_token: u8, intent: Intent, mutant: Mutant) {
        self.upsert(Self::new_row(epoch, saga_token, intent, Stage::Unplaced), true, mutant);
    }

    /// `instances::bury`.
    pub fn bury(&mut self, epoch: u8, saga_token: u8, mutant: Mutant) {
        self.upsert(Self::new_row(epoch, saga_token, Intent::Stop, Stage::Error), false, mutant);
    }

    /// `instances::want_gone`.
    pub fn want_gone(&mut self, epoch: u8, saga_token: u8, mutant: Mutant) {
        let Some(row) = &mut self.row else {
            self.row = Some(Self::new_row(epoch, saga_token, Intent::Gone, Stage::Tombstone));
            return self.entomb(mutant);
        };
        let allowed = row.saga_token <= saga_token || mutant == Mutant::CellsIgnoreToken;
        if row.stage == Stage::Tombstone {
            // What is buried stays buried; but it has to cover the epoch that is to go.
            if mutant != Mutant::TombstoneNotRaised && row.at.epoch < epoch && allowed {
                (row.at.epoch, row.saga_token) = (epoch, saga_token);
            }
            return;
        }
        if row.at.epoch > epoch || !allowed {
            return;
        }
        (row.saga_token, row.at.epoch) = (saga_token, epoch);
        row.at.generation += u8::from(row.intent != Intent::Gone);
        (row.intent, row.done) = (Intent::Gone, false);
        if row.host.is_none() {
            (row.stage, row.done) = (Stage::Tombstone, true);
        }
        self.entomb(mutant);
    }

    /// Specification: a move changes the intent of the row of `epoch` under its token. False if refused.
    pub fn intend(&mut self, epoch: u8, saga_token: u8, intent: Intent, mutant: Mutant) {
        let Some(row) = &mut self.row else { return };
        let allowed = row.saga_token <= saga_token || mutant == Mutant::CellsIgnoreToken;
        if row.at.epoch != epoch || !allowed || row.stage == Stage::Tombstone {
            return;
        }
        row.saga_token = saga_token;
        if row.intent != intent {
            (row.intent, row.done) = (intent, false);
            row.at.generation += 1;
        }
    }

    /// `claims::claim` of one instance; a held copy is placed like one that is to run.
    pub fn claim(&mut self, host: u8) {
        let Some(row) = &mut self.row else { return };
        if row.stage != Stage::Unplaced || row.intent == Intent::Gone {
            return;
        }
        (row.at.placement, row.at.generation, row.obs_seq) = (row.at.placement + 1, 1, 0);
        (row.host, row.stage) = (Some(host), Stage::Building);
        self.allocation = Some(host);
    }

    /// `claims::refuse` of one instance.
    pub fn refuse(&mut self, mutant: Mutant) {
        let Some(row) = &mut self.row else { return };
        if row.stage != Stage::Unplaced {
            return;
        }
        (row.stage, row.intent, row.done) = (Stage::Tombstone, Intent::Gone, true);
        self.entomb(mutant);
    }

    /// `reports::apply` of one observation.
    pub fn apply(&mut self, seen: Seen, mutant: Mutant) {
        let Some(row) = &mut self.row else { return };
        if row.host != Some(seen.host) || row.at.place() != seen.at.place() || seen.seq <= row.obs_seq {
            return;
        }
        let (building, gone) = (row.stage == Stage::Building, row.intent == Intent::Gone);
        let current = seen.at.generation >= row.at.generation;
        (row.obs_seq, row.power) = (seen.seq, seen.power);
        let evidence = seen.outcome == Outcome::Gone || mutant == Mutant::FailureIsEvidence;
        match seen.outcome {
            Outcome::Failed if building && !evidence => {
                // Only what was seen to be gone frees a placement.
                row.at.generation += u8::from(!row.leaving && !gone);
                row.leaving |= !gone;
            }
            Outcome::Gone | Outcome::Failed if building && !gone => {
                row.tries += 1;
                let again = row.tries < TRIES;
                (row.stage, row.done) = (if again { Stage::Unplaced } else { Stage::Tombstone }, !again);
                row.leaving = false;
                self.leave(mutant);
            }
            Outcome::Failed if building => {
                (row.stage, row.done) = (Stage::Tombstone, true);
                self.leave(mutant);
            }
            Outcome::Gone if gone => {
                (row.stage, row.done) = (Stage::Tombstone, true);
                self.leave(mutant);
            }
            Outcome::Gone => (row.stage, row.power, row.done) = (Stage::Error, Power::None, true),
            Outcome::Failed if current => (row.stage, row.done) = (Stage::Error, true),
            Outcome::Done if current && !gone && !row.leaving => {
                (row.stage, row.done) = (Stage::Settled, true)
            }
            Outcome::Failed | Outcome::Done => {}
        }
    }

    /// `claims::release`: the row has left its host.
    fn leave(&mut self, mutant: Mutant) {
        if let Some(row) = &mut self.row {
            (row.host, row.power) = (None, Power::None);
        }
        self.allocation = None;
        self.entomb(mutant);
    }

    /// What `pulls::wanted` gives to the row's host.
    pub fn wanted(&self) -> Option<Wanted> {
        let row = self.row?;
        let intent = if row.leaving { Intent::Gone } else { row.intent };
        row.host.map(|host| Wanted { host, at: row.at, intent })
    }

    /// Whether `reports::apply` answers a copy at `at` on `host` with `Superseded`.
    pub fn supersedes(&self, host: u8, at: At) -> bool {
        let Some(row) = self.row else { return false };
        let (here, there) = (row.at.place(), at.place());
        if row.host == Some(host) && here == there {
            return false;
        }
        let left = row.host.is_none() && here >= there;
        here > there || left || (row.stage == Stage::Tombstone && row.at.epoch >= at.epoch)
    }

    /// `instances::standing`, for a task of `epoch`.
    pub fn standing(&self, epoch: u8, mutant: Mutant) -> Standing {
        match (self.row, mutant) {
            (None, Mutant::TombstoneDeleted) => Standing::Tombstone,
            (None, Mutant::SecondTable) if self.marker >= epoch => Standing::Tombstone,
            (None, _) => Standing::Open,
            (Some(row), _) if row.at.epoch < epoch => Standing::Open,
            (Some(row), _) => match row.stage {
                Stage::Tombstone => Standing::Tombstone,
                Stage::Settled | Stage::Error => Standing::Settled,
                Stage::Unplaced | Stage::Building | Stage::Leaving => Standing::Open,
            },
        }
    }

    /// Whether something of the instance lives here.
    pub fn lives(&self) -> bool {
        self.row.is_some_and(|row| row.stage != Stage::Tombstone)
    }

    /// Whether the allocation is that of the row.
    pub fn is_sound(&self) -> bool {
        self.allocation == self.row.and_then(|row| row.host)
    }
}
