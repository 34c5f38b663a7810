//! Model 1: a build that cells may refuse, and a delete at any moment. Two cells and cell0, two
//! superconductors, leases taken over from workers that go on.
//!
//! A lease makes a job, with what its worker then knew; any job may take its next step at any later
//! time, so that every job is a zombie once a newer lease exists, and a crash is a job that waits for ever.

use model::instance::Stage;
use stateright::{Model, Property};

use crate::check::{self, Story};
use crate::host::Host;
use crate::mapping::{Mapping, State};
use crate::mutant::Mutant;
use crate::row::{Cell, Standing};
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

impl Cloud {
    fn cell(&mut self, cell: u8) -> &mut Cell {
        if cell == CELL0 { &mut self.cell0 } else { &mut self.sites[usize::from(cell)].cell }
    }

    /// Whether the job's lease is the task's.
    fn holds(&self, job: &Job, mutant: Mutant) -> bool {
        self.task.is_some_and(|task| {
            task.is_delete() == job.deletes
                && task.owner == Some(job.worker)
                && (task.attempt == job.attempt || mutant == Mutant::LeaseIsOwner)
        })
    }

    /// `tasks::store::finish`.
    fn finish(&mut self, job: &Job, mutant: Mutant) {
        if self.holds(job, mutant) {
            self.task = None;
        }
    }

    fn hold(&mut self, job: Job) {
        let free =
            self.jobs.iter_mut().find(|slot| slot.is_none()).expect("more jobs than the model has room");
        *free = Some(job);
    }

    /// `lease::lease` and `lease::bind`, in one transaction.
    fn lease(&mut self, worker: u8, pick: u8, cells: u8, mutant: Mutant) -> Option<()> {
        let mut task = self.task.filter(|task| task.owner.is_none())?;
        let none_left = task.refused == (1 << cells) - 1;
        let fits = match (task.kind, none_left) {
            (Kind::Pick, false) => pick < cells && task.refused & 1 << pick == 0,
            (Kind::Pick, true) => pick == CELL0,
            _ => pick == 0,
        };
        if !fits {
            return None;
        }
        (task.owner, task.attempt) = (Some(worker), task.attempt + 1);
        let saga_token = self.mapping.lease();
        let untried = task.kind == Kind::Pick;
        let mut todo = match task.kind {
            Kind::Delete => Do::Gone,
            Kind::Bound(_) => Do::Insert,
            Kind::Bury => Do::Bury,
            Kind::Pick if mutant == Mutant::MappingIgnoresToken => Do::Bind,
            Kind::Pick => {
                let epochs = (self.mapping.epoch, self.mapping.epoch + 1);
                self.mapping.bind(pick, epochs, saga_token, mutant);
                task.kind = if none_left { Kind::Bury } else { Kind::Bound(pick) };
                if none_left { Do::Bury } else { Do::Insert }
            }
        };
        let mut cell = self.mapping.cell.unwrap_or(pick);
        if todo == Do::Bind {
            cell = pick;
        }
        if todo == Do::Gone && self.mapping.cell.is_none() {
            (todo, cell) = (Do::Close, CELL0);
        }
        let (deletes, attempt, epoch, refused) =
            (task.is_delete(), task.attempt, self.mapping.epoch, task.refused);
        self.task = Some(task);
        let phase = Phase::Flight;
        self.hold(Job { worker, deletes, attempt, saga_token, cell, epoch, refused, todo, phase, untried });
        Some(())
    }

    /// `work::{insert, gone, bury}`.
    fn write(&mut self, index: u8, mutant: Mutant) -> Option<()> {
        let mut job = self.jobs[usize::from(index)].filter(|job| job.phase != Phase::Waiting)?;
        match job.todo {
            Do::Bind => {
                if !self.mapping.bind(job.cell, (job.epoch, job.epoch + 1), job.saga_token, mutant) {
                    self.jobs[usize::from(index)] = None;
                    return Some(());
                }
                job.epoch = self.mapping.epoch;
                if let Some(task) = &mut self.task
                    && !task.is_delete()
                {
                    task.kind = if job.cell == CELL0 { Kind::Bury } else { Kind::Bound(job.cell) };
                }
                job.todo = if job.cell == CELL0 { Do::Bury } else { Do::Insert };
                self.jobs[usize::from(index)] = Some(job);
                return Some(());
            }
            Do::Insert if mutant == Mutant::SecondTable && job.phase == Phase::Flight => {
                let buried = self.cell(job.cell).marker >= job.epoch;
                job.phase = if buried { Phase::Waiting } else { Phase::Checked };
                self.jobs[usize::from(index)] = Some(job);
                return Some(());
            }
            Do::Insert => self.cell(job.cell).insert(job.epoch, job.saga_token, model::Intent::Run, mutant),
            Do::Bury => self.cell(CELL0).bury(job.epoch, job.saga_token, mutant),
            Do::Close => {
                self.jobs[usize::from(index)] = None;
                self.close(&job, mutant);
                return Some(());
            }
            Do::Gone => self.cell(job.cell).want_gone(job.epoch, job.saga_token, mutant),
        }
        if job.cell != CELL0 {
            self.sites[usize::from(job.cell)].publish();
        }
        job.phase = Phase::Waiting;
        self.jobs[usize::from(index)] = None;
        // `Superconductor::wait`: one job for each instance and cell, in each worker.
        for slot in &mut self.jobs {
            let Some(held) = slot else { continue };
            if held.phase != Phase::Waiting || (held.worker, held.cell) != (job.worker, job.cell) {
                continue;
            }
            if mutant != Mutant::WaitReplaces && held.saga_token > job.saga_token {
                return Some(());
            }
            *slot = None;
        }
        self.jobs[usize::from(index)] = Some(job);
        Some(())
    }

    /// `unbind::unbind`.
    fn unbind(&mut self, index: u8, mutant: Mutant) -> Option<()> {
        let job = self.jobs[usize::from(index)].filter(|job| job.phase == Phase::Flight)?;
        let sure = job.untried || mutant == Mutant::UnbindUnsure;
        if job.todo != Do::Insert || !sure {
            return None;
        }
        self.unbound = true;
        self.jobs[usize::from(index)] = None;
        if self.holds(&job, mutant) {
            let attempt = self.task.map_or(0, |task| task.attempt);
            self.task = Some(Task { kind: Kind::Pick, refused: job.refused, owner: None, attempt });
            self.mapping.unbind(job.epoch, job.saga_token);
        }
        Some(())
    }

    /// `settle::settle`.
    fn settle(&mut self, index: u8, mutant: Mutant) -> Option<()> {
        let job = self.jobs[usize::from(index)].filter(|job| job.phase == Phase::Waiting)?;
        let standing = match job.todo {
            Do::Bury => Standing::Settled,
            _ => self.cell(job.cell).standing(job.epoch, mutant),
        };
        match (job.todo, standing) {
            (Do::Insert | Do::Bury, Standing::Settled) => self.finish(&job, mutant),
            (Do::Insert, Standing::Open) if mutant == Mutant::RetargetUnseen => self.retarget(&job, mutant),
            (Do::Insert, Standing::Tombstone) => self.retarget(&job, mutant),
            (Do::Gone, Standing::Open | Standing::Settled) if mutant == Mutant::DeleteUnseen => {
                self.close(&job, mutant);
            }
            (Do::Gone, Standing::Tombstone) => self.close(&job, mutant),
            _ => return None,
        }
        self.jobs[usize::from(index)] = None;
        Some(())
    }

    fn retarget(&mut self, job: &Job, mutant: Mutant) {
        if !self.holds(job, mutant) {
            return;
        }
        let attempt = self.task.map_or(0, |task| task.attempt);
        let refused = job.refused | 1 << job.cell;
        self.task = Some(Task { kind: Kind::Pick, refused, owner: None, attempt });
    }

    /// `work::close`.
    fn close(&mut self, job: &Job, mutant: Mutant) {
        self.mapping.close(job.saga_token);
        self.finish(job, mutant);
    }

    /// Jobs that wait under a lease that is not the task's any more can do nothing; and the order of jobs
    /// in memory means nothing.
    fn tidy(&mut self, mutant: Mutant) {
        if mutant == Mutant::None {
            for index in 0..JOBS {
                if self.jobs[index].is_some_and(|j| j.phase == Phase::Waiting && !self.holds(&j, mutant)) {
                    self.jobs[index] = None;
                }
            }
        }
        let mut kept = [None; JOBS];
        for (to, job) in kept.iter_mut().zip(self.jobs.iter().filter(|job| job.is_some())) {
            *to = *job;
        }
        kept.sort_by_key(|job| job.map_or((u8::MAX, true), |job| (job.saga_token, job.deletes)));
        self.jobs = kept;
    }

    fn running(&self) -> usize {
        self.sites.iter().map(Site::running).sum()
    }

    fn is_clean(&self) -> bool {
        let cells = || self.sites.iter().map(|site| &site.cell).chain([&self.cell0]).enumerate();
        let elsewhere_clean = |home: Option<u8>| {
            (0..CELLS).filter(|cell| Some(*cell) != home).all(|c| self.sites[usize::from(c)].is_clean())
                && (home == Some(CELL0) || !self.cell0.lives())
        };
        match self.mapping.state {
            State::Deleting => false,
            State::Deleted => elsewhere_clean(None),
            State::Live => {
                let home = self.mapping.cell;
                let row = cells().find(|(cell, _)| Some(*cell as u8) == home).and_then(|(_, cell)| cell.row);
                let right = row.is_some_and(|row| {
                    row.at.epoch == self.mapping.epoch
                        && matches!(row.stage, Stage::Settled | Stage::Error)
                        && (row.stage == Stage::Error || self.running() == 1)
                });
                right && elsewhere_clean(home)
            }
        }
    }
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
