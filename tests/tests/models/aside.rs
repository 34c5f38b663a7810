//! Model 2: a move inside a cell. It does not exist yet: this is its specification.
//!
//! The one row has a second side while a move lasts: first the target, which is held, then the source,
//! which has to go. Conductors read the row, decide, and write if its version is still the one they read.
//!
//! ```text
//!   begin: claim the target (next placement, held), and the source is to stop   one transaction
//!   flip:  the source was observed stopped and the target held: they change places,
//!          the new home is to run and the old one to go                          one transaction
//!   undo:  the target is to go, the source to run                                one transaction
//!   a side that is to go is dropped, with its allocation, when it was observed gone
//! ```

use model::{Intent, Power};
use stateright::{Model, Property};

use crate::check::{self, Story};
use crate::host::{Host, Log};
use crate::mutant::Mutant;
use crate::row::{At, Outcome, Seen, Wanted};

const CONDUCTORS: usize = 2;

#[derive(Clone, Copy, Debug)]
pub struct MoveInside {
    pub mutant: Mutant,
    /// How often agents may die and start again.
    pub crashes: u8,
}

/// What the row says of one host. Its allocation is there as long as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Side {
    host: u8,
    at: At,
    intent: Intent,
    /// The intent was observed as carried out.
    done: bool,
    power: Power,
    obs_seq: u8,
}

impl Side {
    fn new(host: u8, placement: u8, intent: Intent) -> Self {
        let at = At { epoch: 1, placement, generation: 1 };
        Self { host, at, intent, done: false, power: Power::None, obs_seq: 0 }
    }

    fn want(&mut self, intent: Intent) {
        if self.intent != intent {
            (self.intent, self.done) = (intent, false);
            self.at.generation += 1;
        }
    }

    fn is_stopped(&self) -> bool {
        self.intent == Intent::Stop && self.done && self.power == Power::Stopped
    }

    /// Takes an observation in. False if the side is gone.
    fn apply(&mut self, seen: Seen) -> bool {
        let about = seen.host == self.host && seen.at.place() == self.at.place() && seen.seq > self.obs_seq;
        if about {
            (self.obs_seq, self.power) = (seen.seq, seen.power);
            if seen.outcome == Outcome::Gone && self.intent == Intent::Gone {
                return false;
            }
            self.done = seen.at.generation >= self.at.generation && self.intent != Intent::Gone;
        }
        true
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    Begin,
    Flip,
    Undo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// None once it is gone: with no side left, the row is a tombstone.
    home: Option<Side>,
    aside: Option<Side>,
    placements: u8,
    version: u8,
    /// The move that a user has asked for has not begun.
    asked: bool,
    deleted: bool,
    /// What conductors have read and decided.
    conductors: [Option<(u8, Decision)>; CONDUCTORS],
    hosts: [Host; 2],
    wanted: Log<Wanted, 12>,
    seen: Log<Seen, 12>,
    crashes: u8,
    undone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A conductor reads the row and decides.
    Look(usize, Decision),
    /// It writes what it decided.
    Write(usize),
    Wish(u8),
    Report(u8),
    Step(usize),
    Crash(usize),
    /// `instances::want_gone`, on both sides.
    Delete,
}

impl State {
    /// Whether the row calls for this decision.
    fn calls_for(&self, decision: Decision, mutant: Mutant) -> bool {
        let Some(home) = self.home.filter(|home| home.intent != Intent::Gone) else { return false };
        match (decision, self.aside) {
            (Decision::Begin, None) => self.asked,
            (Decision::Flip, Some(target)) => {
                target.is_stopped() && (home.is_stopped() || mutant == Mutant::FlipUnseen)
            }
            // The move takes too long. That may be said once, or else it goes back and forth for ever.
            (Decision::Undo, Some(target)) => target.intent == Intent::Stop && !self.undone,
            _ => false,
        }
    }

    fn write(&mut self, conductor: usize, mutant: Mutant) -> Option<()> {
        let (version, decision) = self.conductors[conductor].take()?;
        if version != self.version && mutant != Mutant::NoCompareAndSwap {
            return Some(());
        }
        let mut home = self.home?;
        match (decision, self.aside) {
            (Decision::Begin, None) => {
                self.asked = false;
                self.placements += 1;
                self.aside = Some(Side::new(1 - home.host, self.placements, Intent::Stop));
                home.want(Intent::Stop);
            }
            (Decision::Flip, Some(target)) => {
                self.aside = Some(home);
                home = target;
                home.want(Intent::Run);
                if let Some(source) = &mut self.aside {
                    source.want(Intent::Gone);
                }
            }
            (Decision::Undo, Some(_)) => {
                self.undone = true;
                home.want(Intent::Run);
                if let Some(target) = &mut self.aside {
                    target.want(Intent::Gone);
                }
            }
            _ => return Some(()),
        }
        self.home = Some(home);
        self.version += 1;
        Some(())
    }

    fn delete(&mut self, mutant: Mutant) {
        self.deleted = true;
        self.version += 1;
        if let Some(home) = &mut self.home {
            home.want(Intent::Gone);
        }
        if mutant == Mutant::DeleteForgetsTarget {
            self.aside = None;
        }
        if let Some(aside) = &mut self.aside {
            aside.want(Intent::Gone);
        }
    }

    fn report(&mut self, seen: Seen, mutant: Mutant) {
        let (home, aside) = (self.home, self.aside);
        self.home = self.home.and_then(|mut side| side.apply(seen).then_some(side));
        self.aside = self.aside.and_then(|mut side| side.apply(seen).then_some(side));
        if self.home.is_none() && mutant == Mutant::DeleteUnseen {
            self.aside = None;
        }
        if (home, aside) != (self.home, self.aside) {
            self.version += 1;
        }
    }

    fn is_tombstone(&self) -> bool {
        self.home.is_none() && self.aside.is_none()
    }

    fn running(&self) -> usize {
        self.hosts.iter().filter(|host| host.runs).count()
    }

    /// Whether every container stands where the row has a side.
    fn is_settled(&self) -> bool {
        match self.home {
            None => self.aside.is_none() && self.hosts.iter().all(Host::is_clean),
            Some(home) => {
                let [here, there] = [home.host, 1 - home.host].map(|host| self.hosts[usize::from(host)]);
                home.intent == Intent::Run
                    && home.done
                    && here.runs
                    && self.aside.is_none()
                    && there.is_clean()
            }
        }
    }
}

impl Model for MoveInside {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let home = Side { done: true, power: Power::Running, obs_seq: 1, ..Side::new(0, 1, Intent::Run) };
        let mut host = Host::new(0);
        host.consider(Wanted { host: 0, at: home.at, intent: Intent::Run }, self.mutant);
        host.step();
        let mut wanted = Log::new();
        wanted.say(Wanted { host: 0, at: home.at, intent: Intent::Run });
        vec![State {
            home: Some(home),
            aside: None,
            placements: 1,
            version: 0,
            asked: true,
            deleted: false,
            conductors: [None; CONDUCTORS],
            hosts: [host, Host::new(1)],
            wanted,
            seen: Log::new(),
            crashes: 0,
            undone: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for conductor in 0..CONDUCTORS {
            actions.push(Action::Write(conductor));
        }
        for host in 0..2 {
            actions.push(Action::Step(host));
        }
        actions.extend(state.wanted.said().map(|(index, _)| Action::Wish(index)));
        actions.extend(state.seen.said().map(|(index, _)| Action::Report(index)));
        for conductor in 0..CONDUCTORS {
            for decision in [Decision::Begin, Decision::Flip, Decision::Undo] {
                actions.push(Action::Look(conductor, decision));
            }
        }
        for host in 0..2 {
            if state.crashes < self.crashes {
                actions.push(Action::Crash(host));
            }
        }
        if !state.deleted {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (mut state, mutant) = (*last, self.mutant);
        match action {
            Action::Look(conductor, decision) => {
                if state.conductors[conductor].is_some() || !state.calls_for(decision, mutant) {
                    return None;
                }
                state.conductors[conductor] = Some((state.version, decision));
            }
            Action::Write(conductor) => state.write(conductor, mutant)?,
            Action::Wish(index) => {
                let wanted = state.wanted.get(index)?;
                state.hosts[usize::from(wanted.host)].consider(wanted, mutant);
            }
            Action::Report(index) => state.report(state.seen.get(index)?, mutant),
            Action::Step(host) => {
                if let Some(seen) = state.hosts[host].step() {
                    state.seen.say(seen);
                }
            }
            Action::Crash(host) => {
                // The journal's wish is driven again; what was done is not remembered.
                state.crashes += 1;
                state.hosts[host].done = false;
            }
            Action::Delete => state.delete(mutant),
        }
        for side in [state.home, state.aside].into_iter().flatten() {
            state.wanted.say(Wanted { host: side.host, at: side.at, intent: side.intent });
        }
        // Conductors are alike.
        state.conductors.sort_by_key(|held| held.map_or((u8::MAX, 0), |(version, d)| (version, d as u8)));
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(check::ONE_COPY, |_, state: &State| state.running() <= 1),
            Property::always(check::GONE_IS_GONE, |_, state: &State| {
                !state.is_tombstone() || state.hosts.iter().all(|host| host.copy.is_none())
            }),
            Property::always(check::NO_LIMBO, |model, state: &State| {
                let done = if state.deleted { state.is_tombstone() } else { state.aside.is_none() };
                done || model.goes_on(state)
            }),
            Property::always(check::ONE_HOME, |model, state: &State| {
                state.is_settled() || model.goes_on(state)
            }),
            Property::sometimes("it runs on the other host", |_, state: &State| {
                state.is_settled() && state.home.is_some_and(|home| home.host == 1)
            }),
            Property::sometimes("a move was undone", |_, state: &State| {
                state.is_settled() && state.undone && state.home.is_some_and(|home| home.host == 0)
            }),
            Property::sometimes("it was deleted in the middle of a move", |_, state: &State| {
                state.is_settled() && state.is_tombstone() && state.placements == 2
            }),
        ]
    }
}

impl Story for MoveInside {
    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::Crash(_) | Action::Delete | Action::Look(_, Decision::Undo))
    }
}

#[test]
fn a_move_inside_a_cell() {
    check::holds("move inside a cell", MoveInside { mutant: Mutant::None, crashes: 1 });
}

#[test]
fn a_move_inside_a_cell_without_a_rule_is_caught() {
    for (mutant, property) in [
        (Mutant::FlipUnseen, check::ONE_COPY),
        (Mutant::JournalUnchecked, check::ONE_COPY),
        (Mutant::NoCompareAndSwap, check::NO_LIMBO),
        (Mutant::DeleteForgetsTarget, check::GONE_IS_GONE),
        (Mutant::DeleteUnseen, check::GONE_IS_GONE),
    ] {
        check::caught(MoveInside { mutant, crashes: 0 }, mutant, property);
    }
}
