//! Changing instances: starting, stopping, rebooting, and other sizes. What became of an attempt that got no answer is
//! asked again, as the edge does for who repeats a request under its key.

use std::sync::PoisonError;
use std::time::Duration;

use model::instance::Action;
use model::{Fault, FaultKind, InstanceId};
use uuid::Uuid;

use super::super::history::{History, Life, Word};
use super::super::sizes::Ask;
use super::{Client, context};

/// What is asked of an instance.
#[derive(Clone, Debug)]
enum Change {
    Act(Action),
    Size(Ask),
}

impl Change {
    /// What its cell recorded of it, and the API level too if it is about a size, if it was promised.
    fn promised(&self, life: &mut Life) {
        life.actions.0 += 1;
        match self {
            Self::Act(action) => life.run = Some(*action != Action::Stop),
            Self::Size(ask) => {
                life.resizes.0 += 1;
                life.sizes.promised(ask);
            }
        }
    }

    /// The same if nobody can tell.
    fn doubted(&self, life: &mut Life) {
        life.actions.1 += 1;
        match self {
            Self::Act(_) => life.run = None,
            Self::Size(ask) => {
                life.resizes.1 += 1;
                life.sizes.doubted(ask);
            }
        }
    }

    /// The same if it was refused. A change of a size may have been accepted, and then its cell refused it for ever.
    fn refused(&self, life: &mut Life) {
        if let Self::Size(_) = self {
            life.actions.1 += 1;
            life.resizes.1 += 1;
        }
    }
}

/// Marks a change as one of unknown outcome unless it is told.
struct Doubt<'a> {
    history: &'a History,
    name: &'a str,
    change: Change,
    told: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.told {
            self.history.change(self.name, |life| self.change.doubted(life));
        }
    }
}

impl Client {
    pub(super) async fn change(&self, life: &Life) {
        let Some(id) = life.id else { return };
        let (change, once) = (self.choose(life), self.uuid());
        let mut doubt =
            Doubt { history: &self.history, name: &life.name, change: change.clone(), told: false };
        let mut doubtful = false;
        let told = loop {
            let told = self.try_to(id, &change, once).await;
            self.history.note(format_args!("client{} {change:?} {}: {told:?}", self.number, life.name));
            let perhaps = matches!(&told, Err(fault) if Word::of(fault) == Word::Perhaps);
            if !perhaps || self.dice.percent(40) || self.history.is_quiet() {
                break told;
            }
            doubtful = true;
            tokio::time::sleep(self.dice.time(Duration::from_millis(1_500))).await;
        };
        match told {
            Ok(()) => {
                doubt.told = true;
                if doubtful {
                    self.history.count("a change is tried again and promised");
                }
                match &change {
                    Change::Act(_) => {}
                    Change::Size(Ask::To(_)) => self.history.count("a size is changed"),
                    Change::Size(Ask::Keep) => self.history.count("a size is kept"),
                    Change::Size(Ask::Back) => self.history.count("a size is taken back"),
                }
                life.name.clone_into(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
                self.history.change(&life.name, |life| change.promised(life));
            }
            Err(fault) if fault.kind == FaultKind::NotFound => {
                // An earlier attempt may have been heard.
                doubt.told = !doubtful;
                self.not_found(life, "change");
            }
            // A refusal says nothing of the attempts before it.
            Err(fault) if Word::of(&fault) == Word::No && !doubtful => {
                doubt.told = true;
                self.history.change(&life.name, |life| change.refused(life));
            }
            Err(_) => {}
        }
    }

    fn choose(&self, life: &Life) -> Change {
        if life.sizes.may_wait() && self.dice.percent(50) {
            return Change::Size(if self.dice.percent(50) { Ask::Keep } else { Ask::Back });
        }
        Change::Act(match self.dice.below(14) {
            0..4 => Action::Stop,
            4..7 => Action::Start,
            7..9 => Action::Reboot { hard: false },
            9 => Action::Reboot { hard: true },
            _ => {
                let flavor = ["1", "2", "2", "3"][self.dice.below(4) as usize];
                return Change::Size(Ask::To(flavor.to_owned()));
            }
        })
    }

    async fn try_to(&self, id: InstanceId, change: &Change, once: Uuid) -> Result<(), Fault> {
        let (verbs, who, context, once) = (&self.verbs, &self.caller, &context(), Some(once));
        match change {
            Change::Act(action) => verbs.act_once(who, context, id, *action, once).await,
            Change::Size(Ask::To(flavor)) => verbs.resize(who, context, id, (flavor, None), once).await,
            Change::Size(Ask::Keep) => {
                verbs.decide_resize(who, context, id, Action::ConfirmResize, once).await
            }
            Change::Size(Ask::Back) => {
                verbs.decide_resize(who, context, id, Action::RevertResize, once).await
            }
        }
    }
}
