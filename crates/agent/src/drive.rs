//! Driving one instance towards its wish: journal, engine, journal, report.
//!
//! At most one task drives an instance, and only while there is something to do; it asks the slot for
//! the next step after each. Nothing here concludes from silence: a container is gone when the engine
//! was seen without it.

mod run;

use std::sync::Arc;
use std::time::Duration;

use model::{At, Fault, InstanceId, Intent, Power};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::config::Config;
use crate::engine::{Bounded, Container, Name};
use crate::journal::{Change, Journal, Marks, Wish};
use crate::slot::{Slot, Step};
use crate::table::{Inner, Table};

/// Stops may take their whole grace, so that many of them may wait at a time.
const PARALLEL_STOPS: usize = 256;

/// Everything that drives instances of one host.
pub(crate) struct Driver {
    pub config: Config,
    pub table: Arc<Table>,
    pub engine: Bounded,
    pub journal: Journal,
    pub tasks: TaskTracker,
    starts: Semaphore,
    stops: Semaphore,
    others: Semaphore,
}

/// Why a step did not come to its end.
enum Halt {
    /// A newer wish is in force.
    Overtaken,
    /// It may work later.
    Retry(Fault),
    /// It never will.
    Failed(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        if fault.is_passing() { Self::Retry(fault) } else { Self::Failed(fault) }
    }
}

/// A step, with what was known when it was begun.
struct Job {
    step: Step,
    wish: Wish,
    marks: Marks,
    /// The engine is known to have the wished container.
    exists: bool,
    woken: Arc<Notify>,
}

impl Driver {
    pub fn new(config: Config, table: Arc<Table>, engine: Bounded, journal: Journal) -> Arc<Self> {
        let starts = config.parallel_starts.max(1);
        Arc::new(Self {
            config,
            table,
            engine,
            journal,
            tasks: TaskTracker::new(),
            starts: Semaphore::new(starts),
            stops: Semaphore::new(PARALLEL_STOPS),
            others: Semaphore::new(2 * starts.max(4)),
        })
    }

    /// Sees to it that an instance is driven if there is anything to do.
    pub fn wake(self: &Arc<Self>, id: InstanceId) {
        self.wake_in(&mut self.table.lock(), id);
    }

    /// [`Driver::wake`] where the lock is held already. Returns the task, if one was begun.
    pub fn wake_in(self: &Arc<Self>, inner: &mut Inner, id: InstanceId) -> Option<JoinHandle<()>> {
        let (may_start, closing) = (!inner.held, inner.closing);
        let now = self.table.env.monotonic();
        let slot = inner.slots.get_mut(&id)?;
        if let Some(driver) = &slot.driver {
            driver.notify_one();
            return None;
        }
        if closing || slot.next(id, now, may_start).is_none() {
            return None;
        }
        let woken = Arc::new(Notify::new());
        slot.driver = Some(woken.clone());
        Some(self.tasks.spawn(self.clone().drive(id, woken)))
    }

    /// Has the engine asked what an instance's container does.
    pub fn look(self: &Arc<Self>, inner: &mut Inner, id: InstanceId) {
        if let Some(slot) = inner.slots.get_mut(&id) {
            slot.look = true;
            self.wake_in(inner, id);
        }
    }

    async fn drive(self: Arc<Self>, id: InstanceId, woken: Arc<Notify>) {
        while let Some(job) = self.job(id, &woken) {
            let span = tracing::info_span!("wish", request_id = job.wish.request_id);
            self.step(id, &job).instrument(span).await;
        }
    }

    async fn step(&self, id: InstanceId, job: &Job) {
        let result = match &job.step {
            Step::Remove(names) => self.remove(id, job, names).await,
            Step::Gone => self.gone(id, job).await,
            Step::Run | Step::Restart => self.run(id, job).await,
            Step::Stop => self.stop(id, job).await,
            Step::Look => self.examine(id, job).await,
        };
        match result {
            Ok(()) | Err(Halt::Overtaken) => {}
            Err(Halt::Retry(fault)) => self.put_off(id, job, fault),
            Err(Halt::Failed(fault)) => self.give_up(id, job, fault).await,
        }
    }

    /// The next job, or the end of this drive.
    fn job(&self, id: InstanceId, woken: &Arc<Notify>) -> Option<Job> {
        let now = self.table.env.monotonic();
        let mut inner = self.table.lock();
        let (may_start, closing) = (!inner.held, inner.closing);
        let slot = inner.slots.get_mut(&id)?;
        slot.touched = now;
        match slot.next(id, now, may_start).filter(|_| !closing) {
            Some(step) => Some(Job {
                step,
                wish: slot.wish.clone(),
                marks: slot.marks.clone(),
                exists: slot.copies.contains_key(&slot.wish.place()),
                woken: woken.clone(),
            }),
            None => {
                slot.driver = None;
                None
            }
        }
    }

    /// Waits for `work`, unless a newer wish comes into force.
    async fn unless_overtaken<T>(
        &self,
        id: InstanceId,
        job: &Job,
        work: impl Future<Output = T>,
    ) -> Result<T, Halt> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = job.woken.notified() => {
                    let inner = self.table.lock();
                    if inner.closing || inner.slots.get(&id).is_none_or(|slot| slot.wish != job.wish) {
                        return Err(Halt::Overtaken);
                    }
                }
            }
        }
    }

    async fn permit<'a>(
        &self,
        id: InstanceId,
        job: &Job,
        of: &'a Semaphore,
    ) -> Result<SemaphorePermit<'a>, Halt> {
        let permit = self.unless_overtaken(id, job, of.acquire()).await?;
        permit.map_err(|_| Halt::Overtaken)
    }

    async fn remove(&self, id: InstanceId, job: &Job, names: &[Name]) -> Result<(), Halt> {
        for name in names {
            let _permit = self.permit(id, job, &self.others).await?;
            self.engine.remove(*name).await.map_err(Halt::Retry)?;
            self.update(id, job, |slot| {
                slot.copies.remove(&name.place());
                if name.place() == slot.wish.place() {
                    slot.vanish();
                }
            });
        }
        // The wish itself was among them: it was seen to be gone.
        if job.wish.intent == Intent::Gone && names.iter().any(|name| name.place() == job.wish.place()) {
            self.done(id, job, |slot| slot.vanish()).await;
        }
        Ok(())
    }

    async fn gone(&self, id: InstanceId, job: &Job) -> Result<(), Halt> {
        let _permit = self.permit(id, job, &self.others).await?;
        self.engine.remove(Name::new(id, job.wish.at)).await.map_err(Halt::Retry)?;
        self.done(id, job, |slot| slot.vanish()).await;
        Ok(())
    }

    async fn stop(&self, id: InstanceId, job: &Job) -> Result<(), Halt> {
        let name = Name::new(id, job.wish.at);
        if job.exists {
            let _permit = self.permit(id, job, &self.stops).await?;
            let stop = self.engine.stop(name, self.config.stop_grace);
            self.unless_overtaken(id, job, stop).await?.map_err(Halt::Retry)?;
        }
        let mut container = None;
        if job.exists {
            container = self.engine.inspect(name).await?;
        }
        if container.is_none() {
            drop(self.make(id, job).await?);
            container = self.engine.inspect(name).await?;
        }
        let Some(container) = container else {
            return Err(Halt::Retry(Fault::unavailable("the container vanished while it was made")));
        };
        if container.power != Power::Stopped {
            return Err(Halt::Retry(Fault::unavailable("the container runs although it was stopped")));
        }
        self.done(id, job, |slot| {
            slot.absorb(container, &self.config.address);
            slot.look = false;
        })
        .await;
        Ok(())
    }

    /// Asks the engine, and takes in what it says.
    async fn examine(&self, id: InstanceId, job: &Job) -> Result<(), Halt> {
        let name = {
            let mut inner = self.table.lock();
            let Some(slot) = inner.slots.get_mut(&id) else { return Ok(()) };
            // What happens from now on makes another look necessary.
            slot.look = false;
            match slot.copies.last_key_value() {
                Some(((epoch, placement), _)) if !slot.wish.is_some() => {
                    Name { instance: id, epoch: *epoch, placement: *placement }
                }
                _ if slot.wish.is_some() => slot.name(id),
                _ => return Ok(()),
            }
        };
        let _permit = self.permit(id, job, &self.others).await?;
        let found = match self.engine.inspect(name).await {
            Ok(found) => found,
            Err(fault) => {
                self.update(id, job, |slot| slot.look = true);
                return Err(Halt::Retry(fault));
            }
        };
        self.update(id, job, |slot| self.take_in(slot, name, found));
        let mut inner = self.table.lock();
        self.table.report(&mut inner, id);
        self.table.schedule(&mut inner, id);
        Ok(())
    }

    fn take_in(&self, slot: &mut Slot, name: Name, found: Option<Container>) {
        let now = self.table.env.monotonic();
        let kept = slot.is_done() && slot.wish.intent == Intent::Run;
        let before = slot.power;
        match found {
            None if !slot.wish.is_some() => drop(slot.copies.remove(&name.place())),
            None => {
                slot.vanish();
                if kept && before != Power::None {
                    slot.exited(None, now);
                }
            }
            Some(container) => {
                let (power, code) = (container.power, container.exit_code);
                slot.absorb(container, &self.config.address);
                match power {
                    Power::Stopped if kept && before != Power::Stopped => drop(slot.exited(code, now)),
                    Power::Running if kept => slot.restart = false,
                    // Somebody started what should be stopped: the wish is open again.
                    Power::Running if slot.is_done() && slot.wish.intent == Intent::Stop => {
                        slot.marks.done = At::default();
                    }
                    _ => {}
                }
            }
        }
    }

    /// Changes a slot, unless a newer wish is in force.
    fn update(&self, id: InstanceId, job: &Job, change: impl FnOnce(&mut Slot)) {
        let mut inner = self.table.lock();
        if let Some(slot) = inner.slots.get_mut(&id)
            && slot.wish.place() == job.wish.place()
        {
            change(slot);
        }
    }

    /// The wish was carried out: take in what was seen, journal it, report it.
    async fn done(&self, id: InstanceId, job: &Job, change: impl FnOnce(&mut Slot)) {
        let mut marks = None;
        self.update(id, job, |slot| {
            slot.marks.done = job.wish.at;
            slot.marks.gone = job.wish.intent == Intent::Gone;
            slot.marks.restart_done = job.wish.restart_seq;
            slot.marks.failed = None;
            (slot.tries, slot.fault, slot.due) = (0, None, None);
            change(slot);
            marks = Some(slot.marks.clone());
        });
        let Some(marks) = marks else { return };
        let rebooted = job.wish.restart_seq > job.marks.restart_done;
        if rebooted || job.marks.done != job.wish.at {
            tracing::info!(instance = %id, intent = job.wish.intent.as_str(), rebooted, "carried out");
        }
        self.write(id, marks, rebooted).await;
        let mut inner = self.table.lock();
        self.table.report(&mut inner, id);
        self.table.schedule(&mut inner, id);
    }

    /// Journals marks. A result that is lost is found again by asking the engine; a reboot is not, so
    /// that it is on disk before it is reported.
    async fn write(&self, id: InstanceId, marks: Marks, durably: bool) {
        let change = vec![Change::Marks(id, marks)];
        if !durably {
            self.journal.note(change);
        } else if let Err(fault) = self.journal.commit(change).await {
            tracing::error!(instance = %id, %fault, "a reboot could not be journaled; it may be repeated");
        }
    }

    fn put_off(&self, id: InstanceId, job: &Job, fault: Fault) {
        tracing::warn!(instance = %id, step = ?job.step, %fault, "will be tried again");
        metrics::counter!("skep_agent_retries_total").increment(1);
        let now = self.table.env.monotonic();
        let mut news = false;
        self.update(id, job, |slot| {
            if slot.wish == job.wish {
                slot.retry(now);
                news = slot.fault.as_ref() != Some(&fault);
                slot.fault = Some(fault);
            }
        });
        let mut inner = self.table.lock();
        if news {
            self.table.report_soon(&mut inner, id);
        }
        self.table.schedule(&mut inner, id);
    }

    async fn give_up(&self, id: InstanceId, job: &Job, fault: Fault) {
        tracing::warn!(instance = %id, step = ?job.step, %fault, "failed for good");
        metrics::counter!("skep_agent_failures_total").increment(1);
        let now = self.table.env.monotonic();
        let mut marks = None;
        self.update(id, job, |slot| {
            if job.step == Step::Restart {
                // As if it had ended again: the policy says whether there is a next time.
                slot.marks.restarts += 1;
                slot.exited(slot.observed.exit_code, now);
                slot.observed.restarts = slot.marks.restarts;
                slot.fault = Some(fault);
            } else {
                slot.marks.failed = Some((job.wish.at, fault));
                slot.marks.restart_done = job.wish.restart_seq;
            }
            marks = Some(slot.marks.clone());
        });
        if let Some(marks) = marks {
            self.write(id, marks, false).await;
        }
        let mut inner = self.table.lock();
        self.table.report(&mut inner, id);
        self.table.schedule(&mut inner, id);
    }

    /// Waits until nothing is driven any more, at most `within`. Says whether that was reached.
    pub async fn drain(&self, within: Duration) -> bool {
        {
            let mut inner = self.table.lock();
            inner.closing = true;
            for slot in inner.slots.values() {
                if let Some(driver) = &slot.driver {
                    driver.notify_one();
                }
            }
        }
        self.tasks.close();
        tokio::time::timeout(within, self.tasks.wait()).await.is_ok()
    }
}
