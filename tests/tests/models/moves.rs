//! Models 3 and 5: a move to another cell and back, and a delete at any moment. Moves do not exist yet:
//! this is their specification, on the guards that the cells and the mapping have today.
//!
//! ```text
//!   Forward   hold: insert in the target at a new epoch, to be stopped ─► held: it is placed and stopped
//!             stop: the source's intent ─► stopped: observed ─► FLIP: the mapping, under the token
//!   Flipped   run: the target's intent ─► bury: the source is wanted gone ─► finish
//!   Back      unhold: the target is wanted gone ─► resume: the source's intent ─► finish
//! ```
//!
//! Every arrow can be cut by a takeover, and whoever lost the lease goes on. A delete replaces the move at
//! any step and wants both rows gone.

use model::instance::Stage;
use model::{Intent, Power};
use stateright::{Model, Property};

use crate::check::{self, Story};
use crate::host::Host;
use crate::mapping::{Mapping, State};
use crate::mutant::Mutant;
use crate::row::{Cell, Standing};
use crate::site::{Inside, Site};

const JOBS: usize = 7;

#[derive(Clone, Copy, Debug)]
pub struct Moves {
    pub mutant: Mutant,
    /// How often the user moves it, back and forth.
    pub moves: u8,
    /// Whether the user may delete it.
    pub deletes: bool,
    /// How often a lease may be taken over.
    pub takeovers: u8,
}

/// A move, from an epoch in a cell to another epoch in another cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Move {
    from: (u8, u8),
    to: (u8, u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Forward(Move),
    Flipped(Move),
    Back(Move),
    /// With the row besides the mapped one that may be there.
    Delete(Option<(u8, u8)>),
}

/// A row of `task`. Moves have numbers, the delete has the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Task {
    id: u8,
    kind: Kind,
    leased: bool,
    attempt: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Hold,
    Held,
    Stop,
    Stopped,
    Run,
    Bury,
    Unhold,
    Resume,
    GoneHere,
    GoneThere,
    Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Job {
    task: u8,
    attempt: u8,
    saga_token: u8,
    kind: Kind,
    /// The mapping as it was leased.
    home: (u8, u8),
    step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cloud {
    mapping: Mapping,
    /// The highest epoch that any move has reserved; a new column of the mapping.
    reserved: u8,
    task: Option<Task>,
    jobs: [Option<Job>; JOBS],
    sites: [Site<1>; 2],
    moved: u8,
    undone: bool,
    takeovers: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The user asks for a move to the other cell.
    Move,
    /// The user deletes.
    Delete,
    /// A worker leases the task, if need be from another.
    Lease,
    /// A job takes its next step.
    Step(u8),
    /// A move is given up: its deadline has passed.
    GiveUp(u8),
    In(u8, Inside),
    /// A worker that has lost its lease dies.
    Die(u8),
}

impl Cloud {
    fn site(&mut self, cell: u8) -> &mut Site<1> {
        &mut self.sites[usize::from(cell)]
    }

    fn write(&mut self, cell: u8, write: impl FnOnce(&mut Cell)) {
        let site = self.site(cell);
        write(&mut site.cell);
        site.publish();
    }

    fn standing(&self, (cell, epoch): (u8, u8), mutant: Mutant) -> Standing {
        self.sites[usize::from(cell)].cell.standing(epoch, mutant)
    }

    /// Whether the intent of the row of this epoch was observed as carried out.
    fn is_observed(&self, (cell, epoch): (u8, u8), intent: Intent) -> bool {
        let power = if intent == Intent::Run { Power::Running } else { Power::Stopped };
        self.sites[usize::from(cell)].cell.row.is_some_and(|row| {
            row.at.epoch == epoch
                && row.stage == Stage::Settled
                && row.done
                && (row.intent, row.power) == (intent, power)
        })
    }

    fn holds(&self, job: &Job) -> bool {
        self.task.is_some_and(|task| (task.id, task.attempt) == (job.task, job.attempt))
    }

    /// A new task begins.
    fn begin(&mut self, id: u8, kind: Kind, mutant: Mutant) {
        if mutant == Mutant::TokenPerTask {
            self.mapping.saga_token = 0;
        }
        self.task = Some(Task { id, kind, leased: false, attempt: 0 });
    }

    fn request_move(&mut self, mutant: Mutant) -> Option<()> {
        if self.task.is_some() || self.mapping.state != State::Live {
            return None;
        }
        let home = self.mapping.cell?;
        self.moved += 1;
        self.reserved += 1;
        let way = Move { from: (home, self.mapping.epoch), to: (1 - home, self.reserved) };
        self.begin(self.moved, Kind::Forward(way), mutant);
        Some(())
    }

    fn request_delete(&mut self, mutant: Mutant) -> Option<()> {
        if !self.mapping.request_delete(mutant) {
            return None;
        }
        let there = self.task.and_then(|task| match task.kind {
            Kind::Forward(way) | Kind::Back(way) => Some(way.to),
            Kind::Flipped(way) => Some(way.from),
            Kind::Delete(_) => None,
        });
        let there = there.filter(|_| mutant != Mutant::DeleteForgetsTarget);
        self.begin(u8::MAX, Kind::Delete(there), mutant);
        Some(())
    }

    fn lease(&mut self, takeovers: u8) -> Option<()> {
        let mut task = self.task?;
        if task.leased {
            self.takeovers += 1;
            if self.takeovers > takeovers {
                return None;
            }
        }
        (task.leased, task.attempt) = (true, task.attempt + 1);
        let step = match task.kind {
            Kind::Forward(_) => Step::Hold,
            Kind::Flipped(_) => Step::Run,
            Kind::Back(_) => Step::Unhold,
            Kind::Delete(_) => Step::GoneHere,
        };
        let job = Job {
            task: task.id,
            attempt: task.attempt,
            saga_token: self.mapping.lease(),
            kind: task.kind,
            home: (self.mapping.cell?, self.mapping.epoch),
            step,
        };
        self.task = Some(task);
        *self.jobs.iter_mut().find(|slot| slot.is_none()).expect("room for a job") = Some(job);
        Some(())
    }

    /// `tasks::store::advance`: the move goes another way from here on.
    fn advance(&mut self, job: &Job, kind: Kind, step: Step) -> Option<Job> {
        if !self.holds(job) {
            return None;
        }
        self.task = self.task.map(|task| Task { kind, ..task });
        Some(Job { kind, step, ..*job })
    }

    /// The flip: mapping and task in one transaction.
    fn flip(&mut self, job: &Job, way: Move, mutant: Mutant) -> Option<Job> {
        let epochs = (way.from.1, way.to.1);
        let flipped = (self.holds(job)
            || mutant == Mutant::MappingIgnoresToken
            || mutant == Mutant::SupersedeKeepsToken)
            && self.mapping.bind(way.to.0, epochs, job.saga_token, mutant);
        if !flipped {
            return None;
        }
        let kind = Kind::Flipped(way);
        self.advance(job, kind, Step::Run).or(Some(Job { kind, step: Step::Run, ..*job }))
    }

    /// One step of a job; the job as it is then, or none if it has ended. The outer none: it waits.
    fn step(&mut self, job: &Job, mutant: Mutant) -> Option<Option<Job>> {
        let token = job.saga_token;
        let next = |step| Some(Some(Job { step, ..*job }));
        match (job.step, job.kind) {
            (Step::Hold, Kind::Forward(Move { to, .. })) => {
                self.write(to.0, |cell| cell.insert(to.1, token, Intent::Stop, mutant));
                next(Step::Held)
            }
            (Step::Held, Kind::Forward(way)) => match self.standing(way.to, mutant) {
                Standing::Tombstone => Some(self.advance(job, Kind::Back(way), Step::Unhold)),
                _ if self.is_observed(way.to, Intent::Stop) => next(Step::Stop),
                _ => None,
            },
            (Step::Stop, Kind::Forward(Move { from, .. })) => {
                self.write(from.0, |cell| cell.intend(from.1, token, Intent::Stop, mutant));
                next(Step::Stopped)
            }
            (Step::Stopped, Kind::Forward(way)) => {
                let seen = self.is_observed(way.from, Intent::Stop) || mutant == Mutant::FlipUnseen;
                seen.then(|| self.flip(job, way, mutant))
            }
            (Step::Run, Kind::Flipped(Move { to, .. })) => {
                self.write(to.0, |cell| cell.intend(to.1, token, Intent::Run, mutant));
                next(Step::Bury)
            }
            (Step::Bury, Kind::Flipped(Move { from, .. })) => {
                self.write(from.0, |cell| cell.want_gone(from.1, token, mutant));
                next(Step::Finish)
            }
            (Step::Unhold, Kind::Back(Move { to, .. })) => {
                self.write(to.0, |cell| cell.want_gone(to.1, token, mutant));
                next(Step::Resume)
            }
            (Step::Resume, Kind::Back(Move { from, .. })) => {
                self.write(from.0, |cell| cell.intend(from.1, token, Intent::Run, mutant));
                next(Step::Finish)
            }
            (Step::GoneHere, Kind::Delete(there)) => {
                self.write(job.home.0, |cell| cell.want_gone(job.home.1, token, mutant));
                next(if there.is_some() { Step::GoneThere } else { Step::Finish })
            }
            (Step::GoneThere, Kind::Delete(Some(there))) => {
                self.write(there.0, |cell| cell.want_gone(there.1, token, mutant));
                next(Step::Finish)
            }
            (Step::Finish, kind) => {
                let gone = |at| self.standing(at, mutant) == Standing::Tombstone;
                let ended = match kind {
                    Kind::Flipped(way) => self.is_observed(way.to, Intent::Run) && gone(way.from),
                    Kind::Back(way) => self.is_observed(way.from, Intent::Run) && gone(way.to),
                    Kind::Delete(there) => gone(job.home) && there.is_none_or(gone),
                    Kind::Forward(_) => false,
                };
                let unseen = mutant == Mutant::DeleteUnseen && matches!(kind, Kind::Delete(_));
                if !(ended || unseen) {
                    return None;
                }
                if self.holds(job) {
                    self.task = None;
                    if matches!(kind, Kind::Delete(_)) {
                        self.mapping.close(token);
                    }
                }
                Some(None)
            }
            _ => Some(None),
        }
    }

    /// Forgets jobs that can do nothing any more, and their order, which means nothing.
    fn tidy(&mut self, mutant: Mutant) {
        for index in 0..JOBS {
            let Some(job) = self.jobs[index] else { continue };
            if mutant == Mutant::None && !self.holds(&job) && self.is_hopeless(&job) {
                self.jobs[index] = None;
            }
        }
        let mut kept = [None; JOBS];
        for (to, job) in kept.iter_mut().zip(self.jobs.iter().filter(|job| job.is_some())) {
            *to = *job;
        }
        kept.sort_by_key(|job| job.map_or(u8::MAX, |job| job.saga_token));
        self.jobs = kept;
    }

    /// Whether every write that a job without a lease may still make is refused.
    fn is_hopeless(&self, job: &Job) -> bool {
        let refused = |(cell, epoch): (u8, u8)| {
            let row = self.sites[usize::from(cell)].cell.row;
            row.is_some_and(|row| row.saga_token > job.saga_token && row.at.epoch >= epoch)
        };
        match (job.step, job.kind) {
            (Step::Finish | Step::Stopped, _) => true,
            (_, Kind::Forward(way) | Kind::Flipped(way) | Kind::Back(way)) => {
                refused(way.from) && refused(way.to)
            }
            (_, Kind::Delete(there)) => refused(job.home) && there.is_none_or(refused),
        }
    }

    fn running(&self) -> usize {
        self.sites.iter().map(Site::running).sum()
    }

    fn is_clean(&self) -> bool {
        let clean = |cell: u8| self.sites[usize::from(cell)].is_clean();
        match (self.mapping.state, self.mapping.cell) {
            (State::Deleted, _) => clean(0) && clean(1),
            (State::Live, Some(home)) => {
                self.is_observed((home, self.mapping.epoch), Intent::Run)
                    && self.running() == 1
                    && clean(1 - home)
            }
            _ => false,
        }
    }
}

impl Model for Moves {
    type State = Cloud;
    type Action = Action;

    fn init_states(&self) -> Vec<Cloud> {
        let mut home = Site::new([Host::new(0)]);
        home.cell.insert(1, 1, Intent::Run, self.mutant);
        for action in [Inside::Claim(0), Inside::Wish(0), Inside::Step(0), Inside::Report(0)] {
            home.act(action, self.mutant);
        }
        vec![Cloud {
            mapping: Mapping { cell: Some(0), epoch: 1, saga_token: 1, state: State::Live },
            reserved: 1,
            task: None,
            jobs: [None; JOBS],
            sites: [home, Site::new([Host::new(0)])],
            moved: 0,
            undone: false,
            takeovers: 0,
        }]
    }

    fn actions(&self, state: &Cloud, actions: &mut Vec<Action>) {
        for index in 0..JOBS as u8 {
            let Some(job) = state.jobs[usize::from(index)] else { continue };
            actions.extend([Action::Step(index), Action::Die(index)]);
            if matches!(job.step, Step::Held | Step::Stopped) && !state.undone {
                actions.push(Action::GiveUp(index));
            }
        }
        for cell in 0..2 {
            state.sites[usize::from(cell)].actions(&mut |inside| actions.push(Action::In(cell, inside)));
        }
        match state.task {
            Some(task) if !task.leased || state.takeovers < self.takeovers => actions.push(Action::Lease),
            _ => {}
        }
        if state.moved < self.moves {
            actions.push(Action::Move);
        }
        if self.deletes {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, last: &Cloud, action: Action) -> Option<Cloud> {
        let (mut state, mutant) = (*last, self.mutant);
        match action {
            Action::Move => state.request_move(mutant)?,
            Action::Delete => state.request_delete(mutant)?,
            Action::Lease => state.lease(self.takeovers)?,
            Action::Step(index) => {
                let job = state.jobs[usize::from(index)]?;
                state.jobs[usize::from(index)] = state.step(&job, mutant)?;
            }
            Action::GiveUp(index) => {
                let job = state.jobs[usize::from(index)]?;
                let Kind::Forward(way) = job.kind else { return None };
                state.undone = true;
                state.jobs[usize::from(index)] = state.advance(&job, Kind::Back(way), Step::Unhold);
            }
            Action::Die(index) => {
                let job = state.jobs[usize::from(index)]?;
                if state.holds(&job) {
                    return None;
                }
                state.jobs[usize::from(index)] = None;
            }
            Action::In(cell, inside) => state.site(cell).act(inside, mutant),
        }
        state.tidy(mutant);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties: Vec<Property<Self>> = vec![
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
            Property::sometimes("it runs in the other cell", |_, state: &Cloud| {
                state.task.is_none() && state.is_clean() && state.mapping.cell == Some(1)
            }),
            Property::sometimes("a move was undone and it runs where it was", |_, state: &Cloud| {
                state.task.is_none() && state.is_clean() && state.undone && state.mapping.epoch == 1
            }),
        ];
        if self.moves > 1 {
            properties.push(Property::sometimes(
                "it runs where it began, after two moves",
                |_, state: &Cloud| {
                    state.task.is_none()
                        && state.is_clean()
                        && state.mapping.epoch == 3
                        && state.mapping.cell == Some(0)
                },
            ));
        }
        if self.deletes {
            properties.push(Property::sometimes("a move was replaced by a delete", |_, state: &Cloud| {
                state.mapping.state == State::Deleted && state.moved > 0 && state.mapping.epoch == 1
            }));
        }
        properties
    }
}

impl Story for Moves {
    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::Move | Action::Delete | Action::GiveUp(_) | Action::In(_, Inside::Refuse))
    }
}

#[test]
fn a_move_and_a_delete_at_any_moment() {
    check::holds("move and delete", Moves { mutant: Mutant::None, moves: 1, deletes: true, takeovers: 2 });
}

#[test]
fn a_move_and_a_move_back() {
    check::holds(
        "move and move back",
        Moves { mutant: Mutant::None, moves: 2, deletes: false, takeovers: 1 },
    );
}

#[test]
fn a_move_without_a_rule_is_caught() {
    for (mutant, property, moves, deletes) in [
        (Mutant::FlipUnseen, check::ONE_COPY, 1, false),
        (Mutant::CellsIgnoreToken, check::NO_LIMBO, 1, false),
        (Mutant::MappingIgnoresToken, check::ONE_HOME, 1, true),
        (Mutant::SupersedeKeepsToken, check::ONE_HOME, 1, true),
        (Mutant::DeleteForgetsTarget, check::ONE_HOME, 1, true),
        (Mutant::DeleteUnseen, check::GONE_IS_GONE, 0, true),
        (Mutant::TombstoneDeleted, check::ONE_HOME, 1, true),
        (Mutant::JournalUnchecked, check::ONE_COPY, 1, false),
        (Mutant::TombstoneNotRaised, check::NO_LIMBO, 2, true),
        (Mutant::TokenPerTask, check::NO_LIMBO, 2, false),
    ] {
        check::caught(Moves { mutant, moves, deletes, takeovers: 1 }, mutant, property);
    }
}
