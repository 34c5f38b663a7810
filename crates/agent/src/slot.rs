//! All that the agent knows of one instance, and what follows from it. No I/O here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::instance::Freeze;
use model::sync::{Observation, Observed, Offer, Outcome, Wanted};
use model::{At, Fault, InstanceId, Intent, Power, RequestSpec, RestartPolicy};
use tokio::sync::Notify;

use crate::engine::{Container, Name, Origin};
use crate::journal::{Marks, Wish};

/// First pause before a restart; it doubles with each (Docker's restart policy).
const RESTART_FIRST: Duration = Duration::from_millis(100);
/// Longest pause before a restart.
const RESTART_LONGEST: Duration = Duration::from_secs(60);
/// A container that was up for so long begins with the first pause again.
const STABLE: Duration = Duration::from_secs(10);
/// A pause from which on the container is reported as stopped while it lasts.
const TELL_PAUSE: Duration = Duration::from_secs(2);
/// First pause before a call to the engine is repeated; it doubles with each.
const RETRY_FIRST: Duration = Duration::from_millis(200);
/// Longest pause before a call to the engine is repeated.
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// What is to be done next about an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Copies at or below the tombstone, or older than a live wish, go.
    Remove(Vec<Name>),
    /// Nothing of it may exist.
    Gone,
    /// The wish: it runs.
    Run,
    /// The wish: it exists and does not run.
    Stop,
    /// It ended and its restart policy starts it again.
    Restart,
    /// Ask the engine what it does.
    Look,
}

/// One instance on this host.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Journaled by the sync loop alone.
    pub wish: Wish,
    /// Journaled by whoever drives the slot.
    pub marks: Marks,
    /// Generations of the copies that the engine has, by epoch and placement.
    pub copies: BTreeMap<(i64, i64), i64>,
    /// What the labels of the copy that was seen last say.
    pub origin: Origin,
    pub power: Power,
    pub observed: Observed,
    /// Why the last restart failed.
    pub fault: Option<Fault>,
    /// Somebody drives it, and is told here that there is something new.
    pub driver: Option<Arc<Notify>>,
    /// The engine has to be asked.
    pub look: bool,
    /// A restart is due, or will be.
    pub restart: bool,
    /// Nothing is done before this time.
    pub due: Option<Duration>,
    /// Failed calls in a row.
    pub tries: u32,
    /// Restarts in a row without a stable run.
    pub streak: u32,
    /// When it was last started.
    pub started: Option<Duration>,
    /// When it was last driven: a list that was asked for earlier tells nothing new of it.
    pub touched: Duration,
    /// The cell wished it since this agent may start containers.
    pub confirmed: bool,
    /// The cell does not know it: it is kept and never killed.
    pub quarantined: bool,
    /// The wish whose success the cell has acknowledged.
    pub told: At,
}

impl Slot {
    /// The wish was carried out.
    pub fn is_done(&self) -> bool {
        let gone = self.wish.intent != Intent::Gone || self.marks.gone;
        self.wish.is_some() && self.marks.done == self.wish.at && gone
    }

    /// The wish failed for good.
    pub fn failure(&self) -> Option<&Fault> {
        self.marks.failed.as_ref().filter(|(at, _)| *at == self.wish.at).map(|(_, fault)| fault)
    }

    /// Whether there is anything that a cell would want to know.
    pub fn is_live(&self) -> bool {
        !self.copies.is_empty()
            || (self.wish.is_some() && !(self.wish.intent == Intent::Gone && self.is_done()))
    }

    /// The container that is wished.
    pub fn name(&self, id: InstanceId) -> Name {
        Name::new(id, self.wish.at)
    }

    /// What follows from all this. `now` is monotonic time, `may_start` whether containers may be
    /// started at all.
    pub fn next(&self, id: InstanceId, now: Duration, may_start: bool) -> Option<Step> {
        if self.due.is_some_and(|due| due > now) {
            return None;
        }
        let live = self.wish.intent != Intent::Gone;
        let stale = |place: &(i64, i64)| {
            *place <= self.wish.tombstone || (live && self.wish.is_some() && *place < self.wish.place())
        };
        let old: Vec<Name> = self
            .copies
            .keys()
            .filter(|place| stale(place))
            .map(|(epoch, placement)| Name { instance: id, epoch: *epoch, placement: *placement })
            .collect();
        if !old.is_empty() {
            return Some(Step::Remove(old));
        }
        let may_start = may_start && self.confirmed;
        let open = self.wish.is_some() && !self.is_done() && self.failure().is_none();
        match self.wish.intent {
            Intent::Gone if open => Some(Step::Gone),
            Intent::Stop if open => Some(Step::Stop),
            Intent::Run if open && may_start => Some(Step::Run),
            Intent::Run if self.restart && may_start => Some(Step::Restart),
            _ => self.look.then_some(Step::Look),
        }
    }

    /// What a power that the engine told of is here: it does not tell a suspended container from a paused one.
    fn seen(&self, power: Power) -> Power {
        match (power, self.wish.freeze) {
            (Power::Paused, Some(Freeze::Suspend)) => Power::Suspended,
            (power, _) => power,
        }
    }

    /// Whether a container is the one that counts, and nothing is under way with it.
    fn rests(&self, place: (i64, i64)) -> bool {
        let wished = !self.wish.is_some() || place == self.wish.place();
        wished && (!self.wish.is_some() || self.is_done() || self.failure().is_some())
    }

    /// Whether the container that counts does something else than is known, by what the engine lists.
    pub fn differs(&self, place: (i64, i64), power: Power) -> bool {
        self.rests(place) && self.power != self.seen(power)
    }

    /// Whether the container that counts was never looked at.
    pub fn is_unseen(&self, place: (i64, i64)) -> bool {
        self.rests(place) && self.observed.container.is_empty()
    }

    /// Takes in what the engine told of the wished container. `host` stands in for "any address".
    pub fn absorb(&mut self, container: Container, host: &str) {
        self.copies.insert(container.name.place(), container.generation);
        self.origin = container.origin;
        self.power = self.seen(container.power);
        self.observed.container = container.id;
        self.observed.address = container.address;
        self.observed.mac = container.mac;
        self.observed.ports = container.ports;
        for port in &mut self.observed.ports {
            if matches!(port.address.as_str(), "" | "0.0.0.0" | "::") {
                host.clone_into(&mut port.address);
            }
        }
        if container.exit_code.is_some() {
            self.observed.exit_code = container.exit_code;
        }
        self.observed.restarts = self.marks.restarts;
    }

    /// Takes in that the wished container does not exist.
    pub fn vanish(&mut self) {
        self.copies.remove(&self.wish.place());
        self.power = Power::None;
        self.observed = Observed { exit_code: self.observed.exit_code, ..Observed::default() };
    }

    /// Takes in that the container ended by itself, and decides by the user's policy whether it is
    /// started again, and when. Says whether the cell should be told now.
    pub fn exited(&mut self, code: Option<i64>, now: Duration) -> bool {
        if self.power != Power::None {
            self.power = Power::Stopped;
        }
        self.observed.address.clear();
        self.observed.mac.clear();
        self.observed.ports.clear();
        self.observed.exit_code = code.or(self.observed.exit_code);
        if self.started.is_none_or(|started| now.saturating_sub(started) >= STABLE) {
            self.streak = 0;
        }
        let policy = self.wish.spec.as_ref().map_or(RestartPolicy::No, |spec| spec.container.restart);
        self.restart = match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max } => {
                code != Some(0) && (max == 0 || self.marks.restarts < i64::from(max))
            }
        };
        if !self.restart {
            return true;
        }
        let pause = doubled(RESTART_FIRST, self.streak, RESTART_LONGEST);
        self.streak += 1;
        self.due = Some(now + pause);
        pause >= TELL_PAUSE
    }

    /// Puts the next try of a failed call off.
    pub fn retry(&mut self, now: Duration) {
        self.due = Some(now + doubled(RETRY_FIRST, self.tries, RETRY_LONGEST));
        self.tries += 1;
    }

    /// The wish in force changed: what was put off is not any more.
    pub fn accept(&mut self, wish: Wish) {
        if wish.place() != self.wish.place() {
            self.power = Power::None;
            self.observed = Observed::default();
        }
        self.wish = wish;
        self.confirmed = true;
        self.quarantined = false;
        self.due = None;
        self.tries = 0;
        self.restart = false;
        self.fault = None;
    }

    /// What is told of an instance that the cell does not know, if there is anything of it here.
    pub fn offer(&self, id: InstanceId, cell: &str) -> Option<Offer> {
        if !self.quarantined || !self.is_live() {
            return None;
        }
        let Origin { project, cell: made_for, spec_hash } = self.origin.clone();
        let wish = self.wish.is_some().then(|| Wanted {
            instance: id,
            at: self.wish.at,
            intent: self.wish.intent,
            restart_seq: self.wish.restart_seq,
            restart_hard: self.wish.restart_hard,
            freeze: self.wish.freeze,
            spec: self.wish.spec.as_ref().map(|spec| Box::new(RequestSpec::clone(spec))),
            request_id: self.wish.request_id.clone(),
        });
        let at = match (&wish, self.copies.last_key_value()) {
            (None, Some(((epoch, placement), generation))) => {
                At { epoch: *epoch, placement: *placement, generation: *generation }
            }
            _ => self.wish.at,
        };
        Some(match &self.wish.spec {
            Some(spec) => Offer {
                instance: id,
                at,
                project: spec.project.clone(),
                cell: cell.to_owned(),
                spec_hash: spec.hash(),
                power: self.power,
                wish,
            },
            None => Offer { instance: id, at, project, cell: made_for, spec_hash, power: self.power, wish },
        })
    }

    /// What there is to tell, numbered.
    pub fn observation(&self, id: InstanceId, seq: i64) -> Observation {
        let at = match self.copies.last_key_value() {
            // No wish was journaled for it, so that none is acknowledged.
            Some(((epoch, placement), _)) if !self.wish.is_some() => {
                At { epoch: *epoch, placement: *placement, generation: 0 }
            }
            _ => self.wish.at,
        };
        let outcome = match () {
            () if !self.wish.is_some() => Outcome::Changed,
            () if self.wish.intent == Intent::Gone && self.is_done() => Outcome::Gone,
            () if self.is_done() && self.told == self.wish.at => Outcome::Changed,
            () if self.is_done() => Outcome::Done,
            () if self.failure().is_some() => Outcome::Failed,
            () => Outcome::Taken,
        };
        Observation {
            instance: id,
            at,
            seq,
            outcome,
            restart_seq: self.marks.restart_done,
            power: self.power,
            observed: self.observed.clone(),
            fault: self.failure().or(self.fault.as_ref()).cloned(),
            request_id: if outcome == Outcome::Changed {
                String::new()
            } else {
                self.wish.request_id.clone()
            },
        }
    }
}

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    first.saturating_mul(1_u32.checked_shl(times.min(20)).unwrap_or(u32::MAX)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_container_is_listed_as_paused_and_is_no_news() {
        let at = At { epoch: 1, placement: 1, generation: 2 };
        let listed = |power: Power| Container {
            name: Name { instance: InstanceId(uuid::Uuid::nil()), epoch: 1, placement: 1 },
            generation: 1,
            origin: Origin::default(),
            id: "c".into(),
            power,
            has_run: true,
            exit_code: None,
            address: String::new(),
            mac: String::new(),
            ports: Vec::new(),
        };
        for (freeze, power) in [(Freeze::Suspend, Power::Suspended), (Freeze::Pause, Power::Paused)] {
            let wish = Wish { at, intent: Intent::Run, freeze: Some(freeze), ..Wish::default() };
            let mut slot = Slot { wish, marks: Marks { done: at, ..Marks::default() }, ..Slot::default() };
            slot.absorb(listed(Power::Paused), "192.0.2.7");
            assert_eq!(slot.power, power);
            assert!(!slot.differs((1, 1), Power::Paused), "{power:?}");
            assert!(slot.differs((1, 1), Power::Running), "{power:?}");
        }
    }
}
