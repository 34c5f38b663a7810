//! A cell with its hosts and everything that they ever told each other.

use crate::host::{Host, Log};
use crate::mutant::Mutant;
use crate::row::{Cell, Seen, Wanted};

/// One cell, `H` hosts, and the messages between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Site<const H: usize> {
    pub cell: Cell,
    pub hosts: [Host; H],
    wanted: Log<Wanted, 8>,
    seen: Log<Seen, 10>,
}

/// What happens in a cell without the API level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inside {
    /// A conductor claims a host.
    Claim(u8),
    /// A conductor says no.
    Refuse,
    /// A wish arrives at a host.
    Wish(u8),
    /// An observation arrives in the cell.
    Report(u8),
    /// A host hears that its copy is superseded.
    Superseded(u8),
    /// An agent takes a step.
    Step(u8),
}

impl<const H: usize> Site<H> {
    pub fn new(hosts: [Host; H]) -> Self {
        Self { cell: Cell::default(), hosts, wanted: Log::new(), seen: Log::new() }
    }

    /// Everything that may happen here, in the order in which it usually does.
    pub fn actions(&self, say: &mut impl FnMut(Inside)) {
        for host in 0..H as u8 {
            say(Inside::Step(host));
        }
        for (index, _) in self.wanted.said() {
            say(Inside::Wish(index));
        }
        for (index, _) in self.seen.said() {
            say(Inside::Report(index));
        }
        for host in 0..H as u8 {
            say(Inside::Claim(host));
            say(Inside::Superseded(host));
        }
        say(Inside::Refuse);
    }

    pub fn act(&mut self, action: Inside, mutant: Mutant) {
        match action {
            Inside::Claim(host) => self.cell.claim(host),
            Inside::Refuse => self.cell.refuse(mutant),
            Inside::Wish(index) => {
                if let Some(wanted) = self.wanted.get(index) {
                    self.hosts[usize::from(wanted.host)].consider(wanted, mutant);
                }
            }
            Inside::Report(index) => {
                if let Some(seen) = self.seen.get(index) {
                    self.cell.apply(seen, mutant);
                }
            }
            Inside::Superseded(host) => {
                let host = &mut self.hosts[usize::from(host)];
                if self.cell.supersedes(host.id, host.at) {
                    host.bury();
                }
            }
            Inside::Step(host) => {
                if let Some(seen) = self.hosts[usize::from(host)].step() {
                    self.seen.say(seen);
                }
            }
        }
        self.publish();
    }

    /// Whatever the row says may be pulled from now on.
    pub fn publish(&mut self) {
        if let Some(wanted) = self.cell.wanted() {
            self.wanted.say(wanted);
        }
    }

    /// Says what a host saw.
    pub fn tell(&mut self, seen: Seen) {
        self.seen.say(seen);
    }

    pub fn running(&self) -> usize {
        self.hosts.iter().filter(|host| host.runs).count()
    }

    /// Whether nothing of the instance is left here.
    pub fn is_clean(&self) -> bool {
        !self.cell.lives() && self.cell.allocation.is_none() && self.hosts.iter().all(Host::is_clean)
    }
}
