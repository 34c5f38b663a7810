//! Model 1: a build that cells may refuse, and a delete at any moment. Two cells and cell0, two
//! superconductors, leases taken over from workers that go on.
//!
//! A lease makes a job, with what its worker then knew; any job may take its next step at any later
//! time, so that every job is a zombie once a newer lease exists, and a crash is a job that waits for ever.

mod steps;

use stateright::{Model, Property};

use crate::check::{self, Story};
use crate::host::Host;
use crate::mapping::{Mapping, State};
use crate::mutant::Mutant;
use crate::row::Cell;
use crate::site::{Inside, Site};

/// Most cells with hosts; `CELL0` comes after them.
const CELLS: u8 = 3;
const CELL0: u8 = CELLS;
const JOBS: usize = 8;

/// The model, with how often a lease may be taken over.
#[derive(Clone, Copy, Debug)]
pub struct Create {
    pub mutant: Mutant,
    pub cells: u8,
    pub takeovers: u8,
}

/// `api_db::state::{Build, Delete}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Pick,
    Bound(u8),
    Bury,
    Delete,
}

/// A row of `task`. There is one build and at most one delete, so the kind is the id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Task {
    kind: Kind,
    refused: u8,
    owner: Option<u8>,
    attempt: u8,
}

impl Task {
    fn is_delete(&self) -> bool {
        self.kind == Kind::Delete
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Do {
    /// [`Mutant::MappingIgnoresToken`]: bind in a transaction of its own.
    Bind,
    Insert,
    Bury,
    Gone,
    /// It was never bound: nothing of it is anywhere.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// The write in the cell is still to come.
    Flight,
    /// [`Mutant::SecondTable`]: the second table had no tombstone.
    Checked,
    /// It was made; the outcome is looked for.
    Waiting,
}

/// `superconductor::Job`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Job {
    worker: u8,
    deletes: bool,
    attempt: u8,
    saga_token: u8,
    cell: u8,
    epoch: u8,
    refused: u8,
    todo: Do,
    phase: Phase,
    /// `Sent::untried`: bound with this very lease, and nothing was tried since.
    untried: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cloud {
    mapping: Mapping,
    task: Option<Task>,
    jobs: [Option<Job>; JOBS],
    sites: [Site<1>; CELLS as usize],
    cell0: Cell,
    takeovers: u8,
    unbound: bool,
    deleted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `lease::lease` by a worker, which picks this cell if it has to.
    Lease(u8, u8),
    /// The job's write.
    Write(u8),
    /// The job's write surely committed nothing (`unbind::failed`).
    Unsent(u8),
    /// The job's look at the outcome, and what follows (`settle::settle`).
    Settle(u8),
    In(u8, Inside),
    /// A worker that has lost its lease dies.
    Die(u8),
    /// The worker is declared dead, or gives its task back.
    Free,
    /// The user deletes.
    Delete,
}

impl Model for Create {
    type State = Cloud;
    type Action = Action;

    fn init_states(&self) -> Vec<Cloud> {
        let task = Task { kind: Kind::Pick, refused: 0, owner: None, attempt: 0 };
        vec![Cloud {
            mapping: Mapping::new(),
            task: Some(task),
            jobs: [None; JOBS],
            sites: [Site::new([Host::new(0)]); CELLS as usize],
            cell0: Cell::default(),
            takeovers: 0,
            unbound: false,
            deleted: false,
        }]
    }

    fn actions(&self, state: &Cloud, actions: &mut Vec<Action>) {
        for index in 0..JOBS as u8 {
            match state.jobs[usize::from(index)].map(|job| job.phase) {
                None => {}
                Some(Phase::Waiting) => actions.push(Action::Settle(index)),
                Some(_) => {
                    actions.push(Action::Write(index));
                    if !state.unbound {
                        actions.push(Action::Unsent(index));
                    }
                }
            }
            actions.push(Action::Die(index));
        }
        for cell in 0..CELLS {
            state.sites[usize::from(cell)].actions(&mut |inside| actions.push(Action::In(cell, inside)));
        }
        match state.task {
            Some(task) if task.owner.is_none() => {
                // Workers are alike; the first lease is the first one's.
                let workers = if task.attempt == 0 && !task.is_delete() { 1 } else { 2 };
                for (worker, pick) in (0..workers).flat_map(|w| (0..=CELLS).map(move |pick| (w, pick))) {
                    actions.push(Action::Lease(worker, pick));
                }
            }
            Some(_) if state.takeovers < self.takeovers => actions.push(Action::Free),
            _ => {}
        }
        if !state.deleted {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, last: &Cloud, action: Action) -> Option<Cloud> {
        let (mut state, mutant) = (*last, self.mutant);
        match action {
            Action::Lease(worker, pick) => state.lease(worker, pick, self.cells, mutant)?,
            Action::Write(index) => state.write(index, mutant)?,
            Action::Unsent(index) => state.unbind(index, mutant)?,
            Action::Settle(index) => state.settle(index, mutant)?,
            Action::Die(index) => {
                let job = state.jobs[usize::from(index)]?;
                if state.holds(&job, mutant) {
                    return None;
                }
                state.jobs[usize::from(index)] = None;
            }
            Action::In(cell, inside) => state.sites[usize::from(cell)].act(inside, mutant),
            Action::Free => {
                state.takeovers += 1;
                state.task.as_mut()?.owner = None;
            }
            Action::Delete => {
                state.deleted = true;
                // `verbs::delete::accept`.
                if state.mapping.request_delete(mutant) {
                    state.task = Some(Task { kind: Kind::Delete, refused: 0, owner: None, attempt: 0 });
                }
            }
        }
        state.tidy(mutant);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(check::ONE_COPY, |_, state: &Cloud| state.running() <= 1),
            Property::always(check::GONE_IS_GONE, |_, state: &Cloud| {
                state.mapping.state != State::Deleted || state.running() == 0
            }),
            Property::always(check::SOUND, |_, state: &Cloud| state.sites.iter().all(|s| s.cell.is_sound())),
            Property::always(check::NO_LIMBO, |model, state: &Cloud| {
                let done = state.task.is_none() && state.mapping.state != State::Deleting;
                done || model.goes_on(state)
            }),
            Property::always(check::ONE_HOME, |model, state: &Cloud| {
                state.task.is_some() || state.is_clean() || model.goes_on(state)
            }),
            Property::sometimes(
                "it runs in the second cell after the first one's refusal",
                |_, state: &Cloud| state.mapping.epoch == 2 && state.task.is_none() && state.running() == 1,
            ),
            Property::sometimes(
                "it runs in the second cell, of which the first one never heard",
                |_, state: &Cloud| {
                    state.unbound
                        && state.mapping.epoch == 2
                        && state.task.is_none()
                        && state.running() == 1
                        && state.sites.iter().filter(|site| site.cell.row.is_some()).count() == 1
                },
            ),
            Property::sometimes("it is buried in cell0", |_, state: &Cloud| {
                state.task.is_none() && state.cell0.lives()
            }),
            Property::sometimes("it ran and was deleted for good", |_, state: &Cloud| {
                state.mapping.state == State::Deleted && state.sites.iter().any(|site| site.hosts[0].seq > 1)
            }),
        ]
    }
}

impl Story for Create {
    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::Free | Action::Delete | Action::Die(_) | Action::Unsent(_))
    }
}

#[test]
fn a_build_retargets_and_a_delete_races_with_it() {
    check::holds("create and delete", Create { mutant: Mutant::None, cells: 2, takeovers: 2 });
}

#[test]
fn a_build_without_a_rule_is_caught() {
    for (mutant, property, cells) in [
        (Mutant::TombstoneDeleted, check::NO_LIMBO, 1),
        (Mutant::SecondTable, check::ONE_HOME, 1),
        (Mutant::RetargetUnseen, check::ONE_COPY, 2),
        (Mutant::UnbindUnsure, check::ONE_COPY, 2),
        (Mutant::DeleteUnseen, check::GONE_IS_GONE, 1),
        (Mutant::MappingIgnoresToken, check::ONE_HOME, 2),
        (Mutant::LeaseIsOwner, check::ONE_COPY, 3),
        (Mutant::LeaseIsOwner, check::GONE_IS_GONE, 2),
        (Mutant::LeaseIsOwner, check::NO_LIMBO, 1),
        (Mutant::WaitReplaces, check::NO_LIMBO, 1),
    ] {
        check::caught(Create { mutant, cells, takeovers: 1 }, mutant, property);
    }
}
