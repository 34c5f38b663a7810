//! Model 6: who holds a task. Two superconductors lease one task from the `task` table, are declared dead
//! by each other while they go on, notice, and register anew (`tasks::worker`, `tasks::store`).

use stateright::{Model, Property};

use crate::check::{self, Story};
use crate::mutant::Mutant;

const WORKERS: usize = 2;

#[derive(Clone, Copy, Debug)]
pub struct Lease {
    pub mutant: Mutant,
    /// How often a worker may be declared dead.
    pub deaths: u8,
}

/// A worker process: its lease name, and what it holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    incarnation: u8,
    /// The attempt under which it holds the task.
    job: Option<u8>,
    /// It does not know what it holds, and has to give up its name (`Superconductor::renew`).
    renew: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Table {
    /// The row of `task`: owner and attempt; none when it is finished.
    task: Option<(Option<u8>, u8)>,
    /// Rows of `worker`, as bits by incarnation.
    registered: u8,
    processes: [Process; WORKERS],
    incarnations: u8,
    deaths: u8,
    unknown: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `store::lease`.
    Lease(usize),
    /// The same, committed, but the worker hears that the outcome is unknown.
    LeaseUnknown(usize),
    /// `store::finish`.
    Finish(usize),
    /// `Worker::beat` of a worker; if it was declared dead, it begins anew.
    Beat(usize),
    /// `Worker::retire`, because of an unknown outcome; it fails as long as the database is away.
    Renew(usize),
    RenewFails(usize),
    /// `take_over`: the worker's beat stood still for the other.
    TakeOver(usize),
}

impl Table {
    fn is_registered(&self, incarnation: u8) -> bool {
        self.registered & 1 << incarnation != 0
    }

    fn free(&mut self, mut owner: impl FnMut(u8) -> bool) {
        if let Some((held, _)) = &mut self.task
            && held.is_some_and(&mut owner)
        {
            *held = None;
        }
    }

    fn lease(&mut self, process: usize, mutant: Mutant) -> Option<u8> {
        // `ALIVE`: the worker's row is there.
        if !self.is_registered(self.processes[process].incarnation) && mutant != Mutant::GhostsKeep {
            return None;
        }
        let (owner, attempt) = self.task.as_mut().filter(|(owner, _)| owner.is_none())?;
        *owner = Some(self.processes[process].incarnation);
        *attempt += 1;
        Some(*attempt)
    }

    fn beat(&mut self, process: usize) -> Option<()> {
        if self.is_registered(self.processes[process].incarnation) {
            return None;
        }
        // `forget_all`, and then `Worker::register`.
        self.registered |= 1 << self.incarnations;
        self.processes[process] = Process { incarnation: self.incarnations, job: None, renew: false };
        self.incarnations += 1;
        Some(())
    }

    /// `take_over`, or `Worker::retire`: the row goes, and the tasks are free.
    fn retire(&mut self, incarnation: u8) {
        self.registered &= !(1 << incarnation);
        self.free(|owner| owner == incarnation);
    }
}

impl Model for Lease {
    type State = Table;
    type Action = Action;

    fn init_states(&self) -> Vec<Table> {
        let process = |incarnation| Process { incarnation, job: None, renew: false };
        let processes = [process(0), process(1)];
        let task = Some((None, 0));
        vec![Table { task, registered: 0b11, processes, incarnations: 2, deaths: 0, unknown: 0 }]
    }

    fn actions(&self, state: &Table, actions: &mut Vec<Action>) {
        for process in 0..WORKERS {
            actions.extend([Action::Beat(process), Action::Renew(process), Action::Finish(process)]);
            actions.extend([Action::Lease(process), Action::RenewFails(process)]);
            if state.deaths < self.deaths {
                actions.push(Action::TakeOver(process));
            }
            if state.unknown < 1 {
                actions.push(Action::LeaseUnknown(process));
            }
        }
    }

    fn next_state(&self, last: &Table, action: Action) -> Option<Table> {
        let mut state = *last;
        match action {
            Action::Lease(process) => state.processes[process].job = Some(state.lease(process, self.mutant)?),
            Action::LeaseUnknown(process) => {
                state.unknown += 1;
                state.lease(process, self.mutant)?;
                state.processes[process].renew = self.mutant != Mutant::UnknownLeaseKept;
            }
            Action::Finish(process) => {
                let Process { incarnation, job, .. } = state.processes[process];
                let attempt = job?;
                state.processes[process].job = None;
                if state.task == Some((Some(incarnation), attempt)) {
                    state.task = None;
                }
            }
            Action::Beat(process) => state.beat(process)?,
            Action::TakeOver(process) => {
                let incarnation = state.processes[process].incarnation;
                if !state.is_registered(incarnation) {
                    return None;
                }
                state.deaths += 1;
                state.retire(incarnation);
            }
            Action::Renew(process) => {
                let worker = &mut state.processes[process];
                let incarnation = worker.incarnation;
                if !std::mem::take(&mut worker.renew) {
                    return None;
                }
                state.retire(incarnation);
            }
            Action::RenewFails(process) => {
                state.processes[process].renew &= self.mutant != Mutant::RenewOnce;
            }
        }
        (state != *last).then_some(state)
    }

    fn within_boundary(&self, state: &Table) -> bool {
        state.task.is_none_or(|(_, attempt)| attempt <= 9)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(check::NO_LIMBO, |model, state: &Table| {
                state.task.is_none() || model.goes_on(state)
            }),
            Property::sometimes("a task is finished after two deaths", |_, state: &Table| {
                state.task.is_none() && state.deaths == 2
            }),
        ]
    }
}

impl Story for Lease {
    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::LeaseUnknown(_) | Action::RenewFails(_) | Action::TakeOver(_))
    }
}

#[test]
fn a_task_is_always_somebodys_and_comes_to_its_end() {
    check::holds("leases", Lease { mutant: Mutant::None, deaths: 3 });
}

#[test]
fn a_lease_without_a_rule_is_caught() {
    for mutant in [Mutant::GhostsKeep, Mutant::UnknownLeaseKept, Mutant::RenewOnce] {
        check::caught(Lease { mutant, deaths: 3 }, mutant, check::NO_LIMBO);
    }
}
