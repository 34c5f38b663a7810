//! The pretended containers.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use model::sync::PortBinding;
use model::{Fault, FaultKind, HostId, Power, RequestSpec};
use tokio::sync::{Notify, mpsc};

use super::super::{Container, Created, Exit, Name, Order, Origin};
use super::{Script, Verb};

/// The longest that a stream of exits sleeps.
const IDLE: Duration = Duration::from_secs(3600);
/// Ephemeral ports are given out from here on.
const FIRST_PORT: u16 = 32_768;

struct Entry {
    host: HostId,
    generation: i64,
    cell: String,
    spec: Arc<RequestSpec>,
    number: u32,
    power: Power,
    has_run: bool,
    exit_code: Option<i64>,
    /// When this run ends by itself, and with what code.
    ends: Option<(Duration, i64)>,
}

#[derive(Default)]
struct Host {
    names: BTreeSet<Name>,
    due: BinaryHeap<Reverse<(Duration, Name)>>,
    watchers: Vec<mpsc::UnboundedSender<Exit>>,
    sooner: Arc<Notify>,
}

pub(super) struct State {
    script: Script,
    random: u64,
    numbers: u32,
    entries: HashMap<Name, Entry>,
    hosts: HashMap<HostId, Host>,
    pub(super) images: HashSet<String>,
    pub(super) failures: HashMap<Verb, (Fault, u32)>,
    pub(super) calls: HashMap<Verb, u64>,
}

impl State {
    pub(super) fn new(script: Script) -> Self {
        Self {
            script,
            random: script.seed,
            numbers: 0,
            entries: HashMap::new(),
            hosts: HashMap::new(),
            images: HashSet::new(),
            failures: HashMap::new(),
            calls: HashMap::new(),
        }
    }

    /// The next 64 bits (Steele, Lea, Flood: SplitMix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn chance(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.random() % 1_000_000 < u64::from(ppm)
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.entries.keys().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(super) fn running(&self, now: Duration) -> Vec<Name> {
        let runs = |entry: &Entry| entry.power == Power::Running && entry.ends.is_none_or(|(at, _)| at > now);
        let mut names: Vec<Name> =
            self.entries.iter().filter(|(_, entry)| runs(entry)).map(|(name, _)| *name).collect();
        names.sort();
        names
    }

    pub(super) fn names_of(&self, host: HostId) -> Vec<Name> {
        self.hosts.get(&host).map(|host| host.names.iter().copied().collect()).unwrap_or_default()
    }

    pub(super) fn create(&mut self, order: &Order) -> Result<Created, Fault> {
        let name = order.name();
        if let Some(entry) = self.entries.get(&name) {
            if entry.host != order.host || entry.spec.hash() != order.spec.hash() {
                return Err(Fault::new(
                    FaultKind::Engine,
                    format!("a container named {name} exists with other labels"),
                ));
            }
            return Ok(Created::Adopted);
        }
        let image = order.spec.image.as_str();
        if (image.contains("missing") || image.contains("remote")) && !self.images.contains(image) {
            return Ok(Created::NoImage);
        }
        self.numbers += 1;
        let entry = Entry {
            host: order.host,
            generation: order.at.generation,
            cell: order.cell.clone(),
            spec: order.spec.clone(),
            number: self.numbers,
            power: Power::Stopped,
            has_run: false,
            exit_code: None,
            ends: None,
        };
        self.entries.insert(name, entry);
        self.hosts.entry(order.host).or_default().names.insert(name);
        Ok(Created::New)
    }

    pub(super) fn start(&mut self, name: Name, now: Duration) -> Result<(), Fault> {
        self.settle_one(name, now);
        let by_chance = self.chance(self.script.exiting_ppm);
        let lifetime = self.script.lifetime.as_micros() as u64;
        let micros = if lifetime == 0 { 0 } else { self.random() % lifetime };
        let Some(entry) = self.entries.get_mut(&name) else {
            return Err(Fault::not_found(format!("no such container: {name}")));
        };
        if entry.power == Power::Running {
            return Ok(());
        }
        let command: Vec<&str> = entry.spec.container.command.iter().map(String::as_str).collect();
        entry.ends = match command.as_slice() {
            ["exit", code, rest @ ..] => {
                let millis = rest.first().and_then(|millis| millis.parse().ok()).unwrap_or(0);
                Some((now + Duration::from_millis(millis), code.parse().unwrap_or(1)))
            }
            _ => by_chance.then_some((now + Duration::from_micros(micros), 1)),
        };
        (entry.power, entry.has_run, entry.exit_code) = (Power::Running, true, None);
        if let (Some((at, _)), Some(host)) = (entry.ends, self.hosts.get_mut(&entry.host)) {
            host.due.push(Reverse((at, name)));
            host.sooner.notify_one();
        }
        Ok(())
    }

    /// Ends a run. Says whether there was one.
    pub(super) fn end(&mut self, name: Name, code: i64, now: Duration, tell: bool) -> bool {
        self.settle_one(name, now);
        self.end_now(name, code, tell)
    }

    fn end_now(&mut self, name: Name, code: i64, tell: bool) -> bool {
        let Some(entry) = self.entries.get_mut(&name).filter(|entry| entry.power != Power::Stopped) else {
            return false;
        };
        (entry.power, entry.exit_code, entry.ends) = (Power::Stopped, Some(code), None);
        if let Some(host) = self.hosts.get_mut(&entry.host).filter(|_| tell) {
            host.watchers.retain(|watcher| watcher.send(Exit { name, code }).is_ok());
        }
        true
    }

    /// Freezes a run, or thaws it.
    pub(super) fn freeze(&mut self, name: Name, freeze: bool, now: Duration) -> Result<(), Fault> {
        self.settle_one(name, now);
        let Some(entry) = self.entries.get_mut(&name) else {
            return Err(Fault::not_found(format!("no such container: {name}")));
        };
        match (entry.power, freeze) {
            (Power::Running, true) => entry.power = Power::Paused,
            (Power::Paused, false) => entry.power = Power::Running,
            (Power::Stopped, true) => return Err(Fault::conflict(format!("{name} does not run"))),
            _ => {}
        }
        Ok(())
    }

    /// Ends the run of `name` if it was due to end by `now`.
    fn settle_one(&mut self, name: Name, now: Duration) {
        let ends = self.entries.get(&name).and_then(|entry| entry.ends);
        if let Some((_, code)) = ends.filter(|(at, _)| *at <= now) {
            self.end_now(name, code, true);
        }
    }

    /// Ends all runs of a host that are due, and tells when the next is.
    pub(super) fn settle(&mut self, host: HostId, now: Duration) -> Duration {
        loop {
            let Some(due) = self.hosts.get_mut(&host).map(|host| &mut host.due) else { return now + IDLE };
            match due.peek().copied() {
                None => return now + IDLE,
                Some(Reverse((at, _))) if at > now => return at,
                Some(Reverse((_, name))) => {
                    due.pop();
                    self.settle_one(name, now);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, name: Name, now: Duration) {
        self.end(name, 137, now, true);
        let removed = self.entries.remove(&name);
        if let Some(host) = removed.and_then(|entry| self.hosts.get_mut(&entry.host)) {
            host.names.remove(&name);
        }
    }

    pub(super) fn is_stubborn(&self, name: Name) -> bool {
        self.entries.get(&name).is_some_and(|entry| {
            entry.power == Power::Running
                && entry.spec.container.command.first().is_some_and(|word| word == "stubborn")
        })
    }

    pub(super) fn container(&mut self, name: Name, now: Duration) -> Option<Container> {
        self.settle_one(name, now);
        let entry = self.entries.get(&name)?;
        let [_, b, c, d] = entry.number.to_be_bytes();
        let networked = entry.power == Power::Running && !entry.spec.container.no_network;
        let ports = entry.spec.container.ports.iter().enumerate().map(|(index, port)| {
            let ephemeral = FIRST_PORT + ((entry.number as usize * 7 + index) % 28_000) as u16;
            let host = if port.host == 0 { ephemeral } else { port.host };
            let address = "0.0.0.0".to_owned();
            PortBinding { container: port.container, protocol: port.protocol, address, host }
        });
        Some(Container {
            name,
            generation: entry.generation,
            origin: Origin {
                project: entry.spec.project.clone(),
                cell: entry.cell.clone(),
                spec_hash: entry.spec.hash(),
            },
            id: format!("{:064x}", entry.number),
            power: entry.power,
            has_run: entry.has_run,
            exit_code: entry.exit_code,
            address: if networked { Ipv4Addr::new(10, b, c, d).to_string() } else { String::new() },
            mac: if networked { format!("02:42:0a:{b:02x}:{c:02x}:{d:02x}") } else { String::new() },
            ports: if networked { ports.collect() } else { Vec::new() },
        })
    }

    /// A new listener to the exits of a host.
    pub(super) fn watch(&mut self, host: HostId) -> (mpsc::UnboundedReceiver<Exit>, Arc<Notify>) {
        let (exits, listener) = mpsc::unbounded_channel();
        let host = self.hosts.entry(host).or_default();
        host.watchers.retain(|watcher| !watcher.is_closed());
        host.watchers.push(exits);
        (listener, host.sooner.clone())
    }
}
