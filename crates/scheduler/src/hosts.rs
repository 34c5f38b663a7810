//! Picking a host inside a cell.

use std::collections::{BTreeMap, BTreeSet};

use model::extra::Policy;
use model::host::Host;
use model::spec::Protocol;
use model::{HostId, InstanceId, RequestSpec, Resources};
use uuid::Uuid;

use crate::explain::Explanation;

/// A cell's hosts and the fixed ports taken on their engines, as read from its database.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    hosts: Vec<Host>,
    ports: BTreeSet<(String, Protocol, u16)>,
    groups: BTreeMap<(Uuid, HostId), i64>,
    neighbours: BTreeMap<InstanceId, Neighbour>,
}

/// An instance that others want to lie beside, or not beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its host.
    pub host: HostId,
    /// Its project: those of others steer nothing.
    pub project: String,
}

/// A host that was selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The host.
    pub host: HostId,
    /// Names its engine, whose ports it shares.
    pub engine: String,
}

impl Snapshot {
    /// A snapshot of `hosts` with the ports that are taken.
    pub fn new(mut hosts: Vec<Host>, ports: BTreeSet<(String, Protocol, u16)>) -> Self {
        hosts.sort_by_key(|host| host.id);
        Self { hosts, ports, ..Self::default() }
    }

    /// The same, with how many members of each server group each host has.
    pub fn with_groups(self, groups: BTreeMap<(Uuid, HostId), i64>) -> Self {
        Self { groups, ..self }
    }

    /// The same, with where instances lie that requests name.
    pub fn with_neighbours(self, neighbours: BTreeMap<InstanceId, Neighbour>) -> Self {
        Self { neighbours, ..self }
    }

    /// Whether any of these lies on a host. Those of other projects, and those that lie nowhere, do not.
    fn has_any(&self, host: HostId, project: &str, ids: &BTreeSet<InstanceId>) -> bool {
        let here = |one: &&Neighbour| one.host == host && one.project == project;
        ids.iter().filter_map(|id| self.neighbours.get(id)).any(|one| here(&one))
    }

    /// How many members of the request's server group a host has.
    fn members(&self, spec: &RequestSpec, host: HostId) -> i64 {
        let group = spec.extra.group.as_ref();
        group.and_then(|group| self.groups.get(&(group.id, host))).copied().unwrap_or_default()
    }

    /// How much a server group would like a host, where it only has a wish.
    fn liking(&self, spec: &RequestSpec, host: HostId) -> i64 {
        match spec.extra.group.map(|group| group.policy) {
            Some(Policy::SoftAffinity) => self.members(spec, host).min(1),
            Some(Policy::SoftAntiAffinity) => -self.members(spec, host),
            _ => 0,
        }
    }

    /// Whether a server group's rule forbids a host.
    fn is_against_group(&self, spec: &RequestSpec, host: HostId) -> bool {
        let Some(group) = &spec.extra.group else { return false };
        let members = self.members(spec, host);
        match group.policy {
            Policy::AntiAffinity => members >= group.max_per_host.max(1),
            Policy::Affinity => {
                members == 0 && self.groups.iter().any(|((id, _), count)| *id == group.id && *count > 0)
            }
            _ => false,
        }
    }

    /// Picks a host for `spec` that is not among those to `avoid`: by the filters, then the one that will
    /// have the largest free share left (spread), then by id.
    pub fn select_destinations(
        &self,
        spec: &RequestSpec,
        avoid: &[HostId],
    ) -> Result<Selection, Explanation> {
        let need = spec.resources();
        let mut explanation = Explanation::new("host", self.hosts.len());
        let mut nearest: Option<(i64, String)> = None;
        let mut best: Option<((i64, u64), &Host)> = None;
        for host in &self.hosts {
            match self.refusing_filter(host, spec, need, avoid) {
                None => {
                    let share = (self.liking(spec, host.id), free_share(host, need));
                    if best.is_none_or(|(most, _)| share > most) {
                        best = Some((share, host));
                    }
                }
                Some(filter) => {
                    explanation.refuse(filter);
                    if filter == "capacity" {
                        let (gap, why) = distance(need, host.free());
                        if nearest.as_ref().is_none_or(|(least, _)| gap < *least) {
                            nearest = Some((gap, why));
                        }
                    }
                }
            }
        }
        match best {
            Some((_, host)) => Ok(Selection { host: host.id, engine: host.engine.clone() }),
            None => {
                explanation.nearest = nearest.map(|(_, why)| why);
                Err(explanation)
            }
        }
    }

    /// Counts `spec` on `host`, so that the next selection of a batch sees it.
    pub fn update_resource_stats(&mut self, host: HostId, spec: &RequestSpec) {
        let Some(host) = self.hosts.iter_mut().find(|candidate| candidate.id == host) else { return };
        host.used = host.used.plus(spec.resources());
        if let Some(group) = &spec.extra.group {
            *self.groups.entry((group.id, host.id)).or_default() += 1;
        }
        for port in spec.container.ports.iter().filter(|port| port.host != 0) {
            self.ports.insert((host.engine.clone(), port.protocol, port.host));
        }
    }

    /// Free amounts over all hosts that may be placed on, how many those are, and the largest free shapes:
    /// none of them fits into another.
    pub fn frontier(&self) -> (i64, Resources, Vec<Resources>) {
        let usable = || self.hosts.iter().filter(|host| host.enabled && host.healthy);
        let free = usable().fold(Resources::default(), |sum, host| sum.plus(positive(host.free())));
        let mut shapes: Vec<Resources> = usable().map(|host| positive(host.free())).collect();
        shapes.sort_by_key(|shape| std::cmp::Reverse((shape.vcpus_milli, shape.memory_mib, shape.slots)));
        let mut frontier: Vec<Resources> = Vec::new();
        for shape in shapes {
            if shape.slots > 0 && !frontier.iter().any(|larger| shape.fits(*larger)) {
                frontier.push(shape);
            }
        }
        (usable().count() as i64, free, frontier)
    }

    fn refusing_filter(
        &self,
        host: &Host,
        spec: &RequestSpec,
        need: Resources,
        avoid: &[HostId],
    ) -> Option<&'static str> {
        let port_taken = || {
            let fixed = spec.container.ports.iter().filter(|port| port.host != 0);
            fixed
                .map(|port| (host.engine.clone(), port.protocol, port.host))
                .any(|key| self.ports.contains(&key))
        };
        if !host.enabled {
            Some("disabled")
        } else if !host.healthy {
            Some("not heard of")
        } else if spec.zone.as_ref().is_some_and(|zone| *zone != host.zone) {
            Some("availability zone")
        } else if spec.extra.host.as_ref().is_some_and(|wanted| *wanted != host.name) {
            Some("another host was asked for")
        } else if self.is_against_group(spec, host.id) {
            Some("server group")
        } else if !spec.extra.same_host.is_empty()
            && !self.has_any(host.id, &spec.project, &spec.extra.same_host)
        {
            Some("same host")
        } else if self.has_any(host.id, &spec.project, &spec.extra.different_host) {
            Some("different host")
        } else if avoid.contains(&host.id) {
            Some("failed before")
        } else if !need.fits(host.free()) {
            Some("capacity")
        } else if port_taken() {
            Some("port in use")
        } else {
            None
        }
    }
}

fn positive(free: Resources) -> Resources {
    Resources {
        vcpus_milli: free.vcpus_milli.max(0),
        memory_mib: free.memory_mib.max(0),
        slots: free.slots.max(0),
    }
}

/// The smallest share, in millionths, of any resource that would be free after `need` was taken.
fn free_share(host: &Host, need: Resources) -> u64 {
    let (free, capacity) = (host.free().minus(need), host.capacity);
    let share = |free: i64, capacity: i64| {
        if capacity <= 0 { 0 } else { (free.max(0) as u128 * 1_000_000 / capacity as u128) as u64 }
    };
    share(free.vcpus_milli, capacity.vcpus_milli)
        .min(share(free.memory_mib, capacity.memory_mib))
        .min(share(free.slots, capacity.slots))
}

/// How far `free` is from `need`, and in words.
fn distance(need: Resources, free: Resources) -> (i64, String) {
    let mut words = Vec::new();
    let mut gap = 0;
    for (name, need, free) in [
        ("thousandths of a vcpu", need.vcpus_milli, free.vcpus_milli),
        ("MiB of memory", need.memory_mib, free.memory_mib),
        ("instances", need.slots, free.slots),
    ] {
        if need > free {
            gap += need - free;
            words.push(format!("{need} {name} needed, {} free", free.max(0)));
        }
    }
    (gap, format!("nearest: {}", words.join(", ")))
}
