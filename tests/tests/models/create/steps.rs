//! What superconductors and users do in the model of a build: leases, writes, settlements.

use model::instance::Stage;

use super::{CELL0, CELLS, Cloud, Do, JOBS, Job, Kind, Phase, Task};
use crate::mapping::State;
use crate::mutant::Mutant;
use crate::row::{Cell, Standing};
use crate::site::Site;

impl Cloud {
    pub(super) fn cell(&mut self, cell: u8) -> &mut Cell {
        if cell == CELL0 { &mut self.cell0 } else { &mut self.sites[usize::from(cell)].cell }
    }

    /// Whether the job's lease is the task's.
    pub(super) fn holds(&self, job: &Job, mutant: Mutant) -> bool {
        self.task.is_some_and(|task| {
            task.is_delete() == job.deletes
                && task.owner == Some(job.worker)
                && (task.attempt == job.attempt || mutant == Mutant::LeaseIsOwner)
        })
    }

    /// `tasks::store::finish`.
    pub(super) fn finish(&mut self, job: &Job, mutant: Mutant) {
        if self.holds(job, mutant) {
            self.task = None;
        }
    }

    pub(super) fn hold(&mut self, job: Job) {
        let free =
            self.jobs.iter_mut().find(|slot| slot.is_none()).expect("more jobs than the model has room");
        *free = Some(job);
    }

    /// `lease::lease` and `lease::bind`, in one transaction.
    pub(super) fn lease(&mut self, worker: u8, pick: u8, cells: u8, mutant: Mutant) -> Option<()> {
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
    pub(super) fn write(&mut self, index: u8, mutant: Mutant) -> Option<()> {
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
    pub(super) fn unbind(&mut self, index: u8, mutant: Mutant) -> Option<()> {
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
    pub(super) fn settle(&mut self, index: u8, mutant: Mutant) -> Option<()> {
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

    pub(super) fn retarget(&mut self, job: &Job, mutant: Mutant) {
        if !self.holds(job, mutant) {
            return;
        }
        let attempt = self.task.map_or(0, |task| task.attempt);
        let refused = job.refused | 1 << job.cell;
        self.task = Some(Task { kind: Kind::Pick, refused, owner: None, attempt });
    }

    /// `work::close`.
    pub(super) fn close(&mut self, job: &Job, mutant: Mutant) {
        self.mapping.close(job.saga_token);
        self.finish(job, mutant);
    }

    /// Jobs that wait under a lease that is not the task's any more can do nothing; and the order of jobs
    /// in memory means nothing.
    pub(super) fn tidy(&mut self, mutant: Mutant) {
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

    pub(super) fn running(&self) -> usize {
        self.sites.iter().map(Site::running).sum()
    }

    pub(super) fn is_clean(&self) -> bool {
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
