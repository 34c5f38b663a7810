//! Model 4: evacuation under a lease, and the lost host's return. It does not exist yet: this is its
//! specification (policy `fenced`).
//!
//! Host 0 runs the instance. It counts its lease from the *sending* of the last call that was answered,
//! and stops its containers when `LEASE` has passed, at the latest `GRACE` later, which a watchdog sees to
//! should the agent hang. A conductor that has heard nothing for longer than both gives the instance to
//! host 1, comparing the host's beat in the same transaction. What host 0 has is owed: the row keeps it as
//! a side that is to go, with its allocation, until it was observed gone.

use model::Intent;
use stateright::{Model, Property};

use crate::check::{self, Story};
use crate::host::Host;
use crate::mutant::Mutant;
use crate::row::{At, Wanted};

/// In ticks.
const LEASE: u8 = 2;
const GRACE: u8 = 1;
/// More than this makes no difference.
const LONG: u8 = LEASE + GRACE + 1;

#[derive(Clone, Copy, Debug)]
pub struct Evacuate {
    pub mutant: Mutant,
    pub reboots: u8,
}

/// A call of host 0, `SyncHost`: what it reports, and then what it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    /// Time since it was sent.
    age: u8,
    /// The placement that it reports as gone.
    gone: Option<(u8, u8)>,
    /// The answer, once the cell has made it: what host 0 is to do.
    answer: Option<Option<Wanted>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Where the row says that it lives; none when that copy was observed gone.
    home: Option<Wanted>,
    /// Host 0's copy that has to go.
    owed: Option<Wanted>,
    deleted: bool,
    /// Time since the cell heard host 0.
    silent: u8,
    /// [`Mutant::BeatNotCompared`]: a conductor has judged host 0 lost.
    judged: bool,
    hosts: [Host; 2],
    /// Host 0: time since the last call that was answered was sent.
    lease: u8,
    /// Host 0: nothing is started before an answer to a call of this boot.
    held: bool,
    call: Option<Call>,
    reboots: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Host 0 sends its call, giving up on the one before.
    Send,
    /// The cell takes it in and answers.
    Answer,
    /// The answer arrives.
    Receive,
    /// An agent takes a step.
    Step(usize),
    /// Host 1, whose messages are not the point here, hears and reports.
    Second,
    /// A conductor judges host 0 lost, and another transaction moves its instance.
    Judge,
    Evacuate,
    Tick,
    /// Host 0's machine starts again.
    Reboot,
    Delete,
}

impl State {
    fn wish(side: Option<Wanted>, host: u8) -> Option<Wanted> {
        side.filter(|wanted| wanted.host == host)
    }

    /// Whether host 0 may have its container run.
    fn may_run(&self, mutant: Mutant) -> bool {
        !self.held && (self.lease < LEASE || mutant == Mutant::NoSelfStop)
    }

    fn answer(&mut self) -> Option<()> {
        let mut call = self.call.filter(|call| call.answer.is_none())?;
        self.silent = 0;
        if let Some(gone) = call.gone {
            let stays = |side: Option<Wanted>| {
                side.filter(|w| w.host != 0 || w.at.place() != gone || w.intent != Intent::Gone)
            };
            (self.home, self.owed) = (stays(self.home), stays(self.owed));
        }
        call.answer = Some(Self::wish(self.home, 0).or(Self::wish(self.owed, 0)));
        self.call = Some(call);
        Some(())
    }

    fn receive(&mut self, mutant: Mutant) -> Option<()> {
        let call = self.call.take()?;
        let wish = call.answer?;
        self.lease = if mutant == Mutant::LeaseFromAnswer { 0 } else { call.age };
        self.held = false;
        let host = &mut self.hosts[0];
        match wish {
            Some(wanted) => host.consider(wanted, mutant),
            // The copy is superseded, or nothing is here.
            None => host.bury(),
        }
        Some(())
    }

    fn step(&mut self, index: usize, mutant: Mutant) -> Option<()> {
        let may_run = index == 1 || self.may_run(mutant);
        let host = &mut self.hosts[index];
        if !may_run && host.runs {
            // The lease has run out: it stops, and the wish is open again.
            (host.runs, host.done) = (false, false);
            return Some(());
        }
        if !may_run && host.intent == Intent::Run {
            return None;
        }
        host.step().map(drop)
    }

    fn second(&mut self, mutant: Mutant) {
        let host = &mut self.hosts[1];
        if let Some(wanted) = Self::wish(self.home, 1) {
            host.consider(wanted, mutant);
            if host.done && host.at == wanted.at && wanted.intent == Intent::Gone {
                self.home = None;
            }
        }
    }

    fn evacuate(&mut self, mutant: Mutant) -> Option<()> {
        let wait = if mutant == Mutant::EvacuateEarly { LEASE } else { LONG };
        let lost = self.silent >= wait || (self.judged && mutant == Mutant::BeatNotCompared);
        let here = Self::wish(self.home, 0).filter(|home| home.intent == Intent::Run && lost)?;
        let at = At { placement: here.at.placement + 1, generation: 1, ..here.at };
        self.owed = Some(Self::to_go(here));
        self.home = Some(Wanted { host: 1, at, intent: Intent::Run });
        self.judged = false;
        Some(())
    }

    fn to_go(wanted: Wanted) -> Wanted {
        if wanted.intent == Intent::Gone {
            return wanted;
        }
        let at = At { generation: wanted.at.generation + 1, ..wanted.at };
        Wanted { at, intent: Intent::Gone, ..wanted }
    }

    fn tick(&mut self, mutant: Mutant) -> Option<()> {
        // The agent, or the watchdog in its place, is in time.
        if self.hosts[0].runs && self.lease >= LEASE + GRACE && mutant != Mutant::NoSelfStop {
            return None;
        }
        let later = |age: u8| LONG.min(age + 1);
        (self.lease, self.silent) = (later(self.lease), later(self.silent));
        if let Some(call) = &mut self.call {
            call.age = later(call.age);
        }
        Some(())
    }

    fn reboot(&mut self, mutant: Mutant) {
        self.reboots += 1;
        self.call = None;
        let host = &mut self.hosts[0];
        (host.runs, host.done) = (false, false);
        // The monotonic clock began anew, so that it cannot tell of the lease.
        if mutant == Mutant::StartBeforeSync {
            self.lease = 0;
        } else {
            (self.lease, self.held) = (LONG, true);
        }
    }

    fn running(&self) -> usize {
        self.hosts.iter().filter(|host| host.runs).count()
    }

    fn is_tombstone(&self) -> bool {
        self.home.is_none() && self.owed.is_none()
    }

    /// Whether everything is as it should be in the end.
    fn is_settled(&self) -> bool {
        let clean = |host: usize| self.hosts[host].is_clean();
        match self.home {
            _ if self.owed.is_some() => false,
            None => self.deleted && clean(0) && clean(1),
            Some(home) => {
                let here = usize::from(home.host);
                !self.deleted && self.hosts[here].runs && clean(1 - here)
            }
        }
    }
}

impl Evacuate {
    /// The network heals, and everybody does his work for a while.
    fn healed(&self, state: &State) -> State {
        let mut state = *state;
        for _ in 0..6 {
            let work = [Action::Send, Action::Answer, Action::Receive, Action::Step(0), Action::Step(0)];
            for action in work.into_iter().chain([Action::Second, Action::Step(1), Action::Second]) {
                state = self.next_state(&state, action).unwrap_or(state);
            }
        }
        state
    }
}

impl Model for Evacuate {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let at = At { epoch: 1, placement: 1, generation: 1 };
        let home = Wanted { host: 0, at, intent: Intent::Run };
        let mut host = Host::new(0);
        host.consider(home, self.mutant);
        host.step();
        vec![State {
            home: Some(home),
            owed: None,
            deleted: false,
            silent: 0,
            judged: false,
            hosts: [host, Host::new(1)],
            lease: 0,
            held: false,
            call: None,
            reboots: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        use Action::{Answer, Evacuate, Judge, Receive, Second, Send, Step, Tick};
        actions.extend([Send, Answer, Receive, Step(0), Step(1), Second, Evacuate, Tick]);
        if self.mutant == Mutant::BeatNotCompared {
            actions.push(Judge);
        }
        if state.reboots < self.reboots {
            actions.push(Action::Reboot);
        }
        if !state.deleted {
            actions.push(Action::Delete);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (mut state, mutant) = (*last, self.mutant);
        match action {
            Action::Send => {
                let host = &state.hosts[0];
                let told_early = mutant == Mutant::BurialToldFirst && host.intent == Intent::Gone;
                let gone = host.intent == Intent::Gone && (host.done || told_early);
                state.call = Some(Call { age: 0, gone: gone.then_some(host.at.place()), answer: None });
            }
            Action::Answer => state.answer()?,
            Action::Receive => state.receive(mutant)?,
            Action::Step(host) => state.step(host, mutant).or(Some(()))?,
            Action::Second => state.second(mutant),
            Action::Judge if state.silent == LONG => state.judged = true,
            Action::Judge => return None,
            Action::Evacuate => state.evacuate(mutant)?,
            Action::Tick => state.tick(mutant)?,
            Action::Reboot => state.reboot(mutant),
            Action::Delete => {
                state.deleted = true;
                state.home = state.home.map(State::to_go);
            }
        }
        // The counter of observations plays no part here.
        for host in &mut state.hosts {
            host.seq = 0;
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(check::ONE_COPY, |_, state: &State| state.running() <= 1),
            Property::always(check::GONE_IS_GONE, |_, state: &State| {
                !state.is_tombstone() || state.hosts.iter().all(|host| host.copy.is_none())
            }),
            Property::always(check::ONE_HOME, |model, state: &State| model.healed(state).is_settled()),
            Property::sometimes("it was evacuated, and the host came back", |_, state: &State| {
                state.is_settled() && state.home.is_some_and(|home| home.host == 1) && state.lease == 0
            }),
            Property::sometimes(
                "it stopped itself, and went on when the cell was heard again",
                |_, state: &State| {
                    let [here, _] = state.hosts;
                    !here.runs && !here.done && !state.held && state.lease < LEASE && state.owed.is_none()
                },
            ),
            Property::sometimes("it was deleted while the host was away", |_, state: &State| {
                state.is_settled() && state.is_tombstone() && state.hosts[1].at.placement == 2
            }),
        ]
    }
}

impl Story for Evacuate {
    fn is_fault(action: &Action) -> bool {
        matches!(action, Action::Reboot | Action::Delete | Action::Evacuate | Action::Tick)
    }
}

#[test]
fn an_evacuation_and_the_lost_hosts_return() {
    check::holds("evacuation", Evacuate { mutant: Mutant::None, reboots: 2 });
}

#[test]
fn an_evacuation_without_a_rule_is_caught() {
    for (mutant, property) in [
        (Mutant::NoSelfStop, check::ONE_COPY),
        (Mutant::LeaseFromAnswer, check::ONE_COPY),
        (Mutant::EvacuateEarly, check::ONE_COPY),
        (Mutant::BeatNotCompared, check::ONE_COPY),
        (Mutant::StartBeforeSync, check::ONE_COPY),
        (Mutant::BurialToldFirst, check::GONE_IS_GONE),
    ] {
        check::caught(Evacuate { mutant, reboots: 1 }, mutant, property);
    }
}
