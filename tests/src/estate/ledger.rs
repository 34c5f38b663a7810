//! A ledger of copies: the engine tells of every container that starts and that ends, and no instance may have two
//! that run, at no moment. All times are the engine's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{Env, HostId, Power};

use crate::Process;
use crate::check::Engines;
use crate::services::Docker;

const FORMAT: &str = "{{.Action}} {{.Actor.ID}} {{index .Actor.Attributes \"skep.host\"}} \
                      {{index .Actor.Attributes \"skep.instance\"}}";

/// Who listens to an engine.
pub struct Ledger {
    docker: Docker,
    folder: PathBuf,
    /// One after the other: the engine may be killed, and with it what it tells. Each is a ledger of its own.
    listeners: Mutex<Vec<Process>>,
}

impl Ledger {
    /// Listens from now on.
    pub fn new(docker: &Docker, folder: &Path) -> Self {
        let ledger = Self { docker: docker.clone(), folder: folder.to_owned(), listeners: Mutex::default() };
        ledger.listen();
        ledger
    }

    /// Listens again if the engine has ended what it told.
    pub fn listen(&self) {
        let mut listeners = self.listeners();
        if listeners.last_mut().is_some_and(|last| last.ended().is_none()) {
            return;
        }
        let mut command = Command::new("docker");
        // From now on, although it takes a moment until it listens.
        let now = (Env::system().now().0 / 1_000_000).to_string();
        command.args(["-H", self.docker.url(), "events", "--since", &now, "--format", FORMAT]);
        for filter in ["type=container", "event=start", "event=die", "label=skep.instance"] {
            command.args(["--filter", filter]);
        }
        let name = format!("ledger{}", listeners.len());
        listeners.push(Process::spawn(&name, &self.folder, command));
    }

    /// Instances that run and were never heard to start, if it has listened all the time: it would hear nothing of
    /// their copies either.
    pub fn missed(&self, engines: &Engines) -> Vec<String> {
        let listeners = self.listeners();
        let [only] = listeners.as_slice() else { return Vec::new() };
        let log = only.log();
        let started: BTreeSet<&str> = log
            .lines()
            .filter(|line| line.starts_with("start "))
            .filter_map(|line| line.rsplit(' ').next())
            .collect();
        let running = engines.values().flatten().filter(|container| container.power == Power::Running);
        let names = running.map(|container| container.name.instance.to_string());
        let missed = names.filter(|id| !started.contains(id.as_str()));
        missed.map(|id| format!("the ledger has not heard of the start of {id}")).collect()
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Process>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Instances of these hosts that have had two containers that ran.
    pub fn doubled(&self, hosts: &[HostId]) -> Vec<String> {
        let hosts: BTreeSet<String> = hosts.iter().map(HostId::to_string).collect();
        self.listeners().iter().flat_map(|listener| doubled(&listener.log(), &hosts)).collect()
    }
}

fn doubled(log: &str, hosts: &BTreeSet<String>) -> Vec<String> {
    let mut running: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut bad = Vec::new();
    for line in log.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [action, container, host, instance] = words[..] else { continue };
        let copies = running.entry(instance).or_default();
        match action {
            "start" if hosts.contains(host) => {
                copies.insert(container);
                if copies.len() > 1 {
                    bad.push(format!("two containers of {instance} ran at the same time: {copies:?}"));
                }
            }
            "die" => drop(copies.remove(container)),
            _ => {}
        }
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_starts_before_the_other_ended_is_seen() {
        let hosts = ["h1".to_owned(), "h2".to_owned()].into();
        let one_after_the_other = "start a h1 i\ndie a h1 i\nstart b h2 i\nstart c h1 j\ndie b h2 i\n";
        assert!(doubled(one_after_the_other, &hosts).is_empty());
        assert!(doubled("start a h1 i\nstart a h1 i\n", &hosts).is_empty(), "it is one container");
        assert_eq!(doubled("start a h1 i\nstart b h2 i\ndie a h1 i\n", &hosts).len(), 1);
        assert!(doubled("start a h8 i\nstart b h9 i\n", &hosts).is_empty(), "others' hosts");
    }
}
