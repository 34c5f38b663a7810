//! Model 1b: an engine fails, the cell tries another host, and the agent dies at any moment. One cell,
//! two hosts, and a delete.

use stateright::{Model, Property};

use crate::check::{self, Story};
use crate::host::Host;
use crate::mutant::Mutant;
use crate::row::{Outcome, Standing};
use crate::site::{Inside, Site};

#[derive(Clone, Copy, Debug)]
pub struct Retry {
    pub mutant: Mutant,
    /// How often agents may die.
    pub crashes: u8,
}

/// `Marks::failed` of the wish in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum GaveUp {
    No,
    Memory,
    Disk,
}

/// How a failed call of the engine left the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Left {
    Absent,
    Stopped,
    Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    site: Site<2>,
    gave_up: [GaveUp; 2],
    /// An observation of it was made by this incarnation of the agent.
    told: [bool; 2],
    failures: u8,
    crashes: u8,
    wants_gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    In(Inside),
    /// `Driver::give_up`: the engine failed for good.
    GiveUp(usize, Left),
    /// The observation of it is made.
    Tell(usize),
    /// What was only noted in the journal reaches the disk.
    Flush(usize),
    /// The agent dies and starts again.
    Crash(usize),
    /// `instances::want_gone`.
    Delete,
}

impl State {
    fn give_up(&mut self, index: usize, left: Left) -> Option<()> {
        let host = &mut self.site.hosts[index];
        if host.intent != model::Intent::Run || host.done {
            return None;
        }
        self.failures += 1;
        host.copy = (left != Left::Absent).then_some(host.at.place());
        host.runs = left == Left::Running;
        let seen = host.conclude(Outcome::Failed);
        self.gave_up[index] = GaveUp::Memory;
        self.site.tell(seen);
        Some(())
    }

    /// Made anew by every incarnation of the agent that remembers it.
    fn tell(&mut self, index: usize) -> Option<()> {
        if self.gave_up[index] != GaveUp::Disk || self.told[index] {
            return None;
        }
        self.told[index] = true;
        let seen = self.site.hosts[index].conclude(Outcome::Failed);
        self.site.tell(seen);
        Some(())
    }
}

impl Model for Retry {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut site = Site::new([Host::new(0), Host::new(1)]);
        site.cell.insert(1, 1, model::Intent::Run, self.mutant);
        vec![State {
            site,
            gave_up: [GaveUp::No; 2],
            told: [false; 2],
            failures: 0,
            crashes: 0,
            wants_gone: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.site.actions(&mut |inside| actions.push(Action::In(inside)));
        for host in 0..2 {
            actions.extend([Action::Tell(host), Action::Flush(host)]);
            if state.failures < 2 {
                let ways = [Left::Absent, Left::Stopped, Left::Running];
                actions.extend(ways.map(|left| Action::GiveUp(host, left)));
            }
            if state.crashes < self.crashes {
                actions.push(Action::Crash(host));
            }
        }
        if !state.wants_gone {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (mut state, mutant) = (*last, self.mutant);
        match action {
            Action::In(inside) => {
                state.site.act(inside, mutant);
                for (host, before) in last.site.hosts.iter().enumerate() {
                    let now = &state.site.hosts[host];
                    if (now.at, now.intent) != (before.at, before.intent) {
                        (state.gave_up[host], state.told[host]) = (GaveUp::No, false);
                    }
                }
            }
            Action::GiveUp(host, left) => state.give_up(host, left)?,
            Action::Tell(host) => state.tell(host)?,
            Action::Flush(host) if state.gave_up[host] == GaveUp::Memory => {
                state.gave_up[host] = GaveUp::Disk;
            }
            Action::Flush(_) => return None,
            Action::Crash(index) => {
                state.crashes += 1;
                state.told[index] = false;
                let host = &mut state.site.hosts[index];
                // What was done is found again by asking the engine; that it failed is not.
                if state.gave_up[index] == GaveUp::Memory {
                    (host.done, state.gave_up[index]) = (false, GaveUp::No);
                }
            }
            Action::Delete => {
                state.wants_gone = true;
                state.site.cell.want_gone(1, 2, mutant);
                state.site.publish();
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(check::ONE_COPY, |_, state: &State| state.site.running() <= 1),
            Property::always(check::GONE_IS_GONE, |_, state: &State| {
                // Also what a cell refuses is another cell's from then on.
                state.site.cell.standing(1, Mutant::None) != Standing::Tombstone || state.site.running() == 0
            }),
            Property::always(check::SOUND, |_, state: &State| state.site.cell.is_sound()),
            Property::always(check::NO_LIMBO, |model, state: &State| {
                let standing = state.site.cell.standing(1, Mutant::None);
                let done =
                    standing == Standing::Tombstone || (standing == Standing::Settled && !state.wants_gone);
                done || model.goes_on(state)
            }),
            Property::always(check::ONE_HOME, |model, state: &State| {
                let row = state.site.cell.row;
                let runs = row.and_then(|row| row.host).is_some() && state.site.running() == 1;
                runs || state.site.is_clean() || model.goes_on(state)
            }),
            Property::sometimes("it runs on the second host", |_, state: &State| {
                state.failures == 1 && state.site.hosts[1].runs && state.site.hosts[0].tombstone == (1, 1)
            }),
            Property::sometimes("the cell says no", |_, state: &State| {
                state.failures == 2 && !state.wants_gone && !state.site.cell.lives()
            }),
        ]
    }
}

impl Story for Retry {
    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::GiveUp(..) | Action::Crash(_) | Action::Delete | Action::In(Inside::Refuse))
    }
}

#[test]
fn an_engines_failure_is_retried_while_agents_die() {
    check::holds("failure and retry", Retry { mutant: Mutant::None, crashes: 1 });
}

#[test]
fn a_retry_without_a_rule_is_caught() {
    for (mutant, property) in
        [(Mutant::FailureIsEvidence, check::ONE_COPY), (Mutant::FailureIsEvidence, check::GONE_IS_GONE)]
    {
        check::caught(Retry { mutant, crashes: 1 }, mutant, property);
    }
}
