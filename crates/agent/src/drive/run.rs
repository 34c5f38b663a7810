//! Making containers and starting them.

use std::time::Duration;

use model::{Fault, FaultKind, InstanceId, Power};
use tokio::sync::SemaphorePermit;

use super::{Driver, Halt, Job};
use crate::engine::{Container, Created, Name, Order};
use crate::slot::Step;

/// How often a pull is tried before the wish fails.
const PULLS: u32 = 3;
/// Pause before a pull is tried again; it doubles.
const PULL_PAUSE: Duration = Duration::from_millis(500);
/// How often a container that vanishes under our hands is made anew before there is a pause.
const ATTEMPTS: u32 = 3;

impl Driver {
    /// Has the wished container run: made, adopted, rebooted or restarted, as need be.
    pub(super) async fn run(&self, id: InstanceId, job: &Job) -> Result<(), Halt> {
        let name = Name::new(id, job.wish.at);
        let mut exists = job.exists;
        for _ in 0..ATTEMPTS {
            let mut fresh = false;
            let mut permit = None;
            if !exists {
                let (created, kept) = self.make(id, job).await?;
                (fresh, permit) = (created == Created::New, Some(kept));
            }
            if !fresh && job.step == Step::Run {
                match self.engine.inspect(name).await? {
                    None => {
                        exists = false;
                        continue;
                    }
                    Some(found) if self.settles(job, &found) => {
                        drop(permit);
                        let Some(found) = self.temper(job, name, found).await? else {
                            exists = false;
                            continue;
                        };
                        self.ran(id, job, found, false).await;
                        return Ok(());
                    }
                    Some(found) if found.power != Power::Stopped => {
                        if found.power == Power::Paused {
                            // What is frozen cannot end.
                            self.engine.thaw(name).await.map_err(Halt::Retry)?;
                        }
                        drop(permit.take());
                        self.halt_for_reboot(id, job, name).await?;
                    }
                    Some(_) => {}
                }
            }
            let permit = match permit {
                Some(permit) => permit,
                None => self.permit(id, job, &self.starts).await?,
            };
            match self.engine.start(name).await {
                Ok(()) => {}
                Err(fault) if fault.kind == FaultKind::NotFound => {
                    exists = false;
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            }
            let found = self.engine.inspect(name).await?;
            drop(permit);
            let found = match found {
                Some(found) => self.temper(job, name, found).await?,
                None => None,
            };
            if let Some(found) = found {
                self.ran(id, job, found, true).await;
                return Ok(());
            }
            exists = false;
        }
        Err(Halt::Retry(Fault::unavailable("the container vanishes as soon as it is made")))
    }

    /// Whether what was found is what was wished: it runs and no reboot is asked for; or it was made
    /// for this very wish, ran and ended, which the restart policy has to judge.
    fn settles(&self, job: &Job, found: &Container) -> bool {
        let reboot = job.wish.restart_seq > job.marks.restart_done;
        match found.power {
            Power::Stopped => found.has_run && found.generation == job.wish.at.generation && !reboot,
            _ => !reboot,
        }
    }

    /// Freezes or thaws what runs, as wished, and tells what it is then; nothing if it is gone.
    async fn temper(&self, job: &Job, name: Name, found: Container) -> Result<Option<Container>, Halt> {
        let changed = match (found.power, job.wish.freeze) {
            (Power::Running, Some(_)) => self.engine.freeze(name).await,
            (Power::Paused, None) => self.engine.thaw(name).await,
            _ => return Ok(Some(found)),
        };
        match changed {
            Ok(()) => Ok(self.engine.inspect(name).await?),
            // It ended or vanished under our hands: what is there now counts.
            Err(fault) if matches!(fault.kind, FaultKind::NotFound | FaultKind::Conflict) => {
                Ok(self.engine.inspect(name).await?)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn halt_for_reboot(&self, id: InstanceId, job: &Job, name: Name) -> Result<(), Halt> {
        let _permit = self.permit(id, job, &self.stops).await?;
        if job.wish.restart_hard {
            return self.engine.kill(name).await.map_err(Halt::Retry);
        }
        let stop = self.engine.stop(name, self.config.stop_grace);
        self.unless_overtaken(id, job, stop).await?.map_err(Halt::Retry)
    }

    /// The container runs, or ran and ended already.
    async fn ran(&self, id: InstanceId, job: &Job, found: Container, started: bool) {
        let now = self.table.env.monotonic();
        let (power, code) = (found.power, found.exit_code);
        self.done(id, job, |slot| {
            slot.restart = false;
            slot.look &= power == Power::Running;
            if started {
                slot.started = Some(now);
                if job.step == Step::Restart {
                    slot.marks.restarts += 1;
                } else {
                    (slot.marks.restarts, slot.streak) = (0, 0);
                }
            }
            slot.absorb(found, &self.config.address);
            if power == Power::Stopped {
                slot.exited(code, now);
            }
        })
        .await;
    }

    /// Makes the wished container, with a permit for starting it. Pulls its image if need be.
    pub(super) async fn make(
        &self,
        id: InstanceId,
        job: &Job,
    ) -> Result<(Created, SemaphorePermit<'_>), Halt> {
        let Some(spec) = job.wish.spec.clone() else {
            return Err(Halt::Failed(Fault::internal("the cell did not say what to run")));
        };
        let (host, cell) = (self.config.host, self.config.cell_name.clone());
        let order = Order { instance: id, at: job.wish.at, host, cell, spec };
        for pulled in [false, true] {
            let permit = self.permit(id, job, &self.starts).await?;
            let created = self.engine.create(&order).await?;
            if created != Created::NoImage {
                // Also where a newer wish came into force meanwhile, which then removes it.
                if let Some(slot) = self.table.lock().slots.get_mut(&id) {
                    slot.copies.entry(job.wish.place()).or_insert(job.wish.at.generation);
                }
                return Ok((created, permit));
            }
            drop(permit);
            if !pulled {
                self.pull(id, job, &order).await?;
            }
        }
        Err(Halt::Failed(Fault::new(
            FaultKind::Engine,
            format!("image {} was pulled, and still the engine does not have it", order.spec.image),
        )))
    }

    async fn pull(&self, id: InstanceId, job: &Job, order: &Order) -> Result<(), Halt> {
        let mut pause = PULL_PAUSE;
        for _ in 1..PULLS {
            match self.unless_overtaken(id, job, self.engine.pull(&order.spec.image)).await? {
                Err(fault) if fault.is_passing() => {
                    tracing::info!(instance = %id, %fault, "the pull will be tried again");
                }
                result => return result.map_err(Halt::Failed),
            }
            self.unless_overtaken(id, job, tokio::time::sleep(pause)).await?;
            pause *= 2;
        }
        let last = self.unless_overtaken(id, job, self.engine.pull(&order.spec.image)).await?;
        last.map_err(Halt::Failed)
    }
}
