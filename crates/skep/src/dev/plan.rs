//! What a development cloud consists of: names, and what each host may hold.

use model::Resources;
use serde::{Deserialize, Serialize};

use crate::exit::Failure;

/// Most cells and hosts; beyond it a machine is better served by separate processes.
const MOST: usize = 64;
/// Instances that a host may hold.
const SLOTS: i64 = 200;
/// Virtual CPUs and instances of a host whose engine only pretends, so that load can be tried.
const PRETENDED: i64 = 2_000;
/// Virtual CPUs declared for each core, as OpenStack's default for CPUs was for a decade.
const PER_CORE: i64 = 16;

/// How many of each, kept in the directory so that a second start resumes the same cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Regions.
    pub regions: usize,
    /// Cells, cell0 not counted.
    pub cells: usize,
    /// Hosts in each cell.
    pub hosts: usize,
    /// `docker` or `scripted`.
    pub engine: String,
}

/// A cell of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedCell {
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its hosts' names and zones.
    pub hosts: Vec<(String, String)>,
}

impl Plan {
    /// Refuses what cannot be started.
    pub fn check(&self) -> Result<(), Failure> {
        let fits = |what: &str, n: usize| match (1..=MOST).contains(&n) {
            true => Ok(()),
            false => Err(Failure::usage(format!("--{what} {n}: there may be 1 to {MOST}"))),
        };
        fits("regions", self.regions)?;
        fits("cells", self.cells)?;
        fits("hosts", self.hosts)?;
        match self.regions > self.cells {
            true => {
                Err(Failure::usage("there are more regions than cells: a region without a cell is empty"))
            }
            false => Ok(()),
        }
    }

    /// The cells, dealt out to the regions in turn.
    pub fn cells(&self) -> Vec<PlannedCell> {
        let cell = |n: usize| {
            let name = format!("cell{}", n + 1);
            let host = |h: usize| (format!("{name}-host{}", h + 1), format!("zone{}", h % 2 + 1));
            PlannedCell {
                hosts: (0..self.hosts).map(host).collect(),
                region: format!("region{}", n % self.regions + 1),
                name,
            }
        };
        (0..self.cells).map(cell).collect()
    }

    /// What each host declares on a machine with `cores` and `memory_mib`, and a sentence about it.
    pub fn share(&self, cores: usize, memory_mib: i64) -> (Resources, String) {
        let hosts = (self.cells * self.hosts) as i64;
        if self.engine == "scripted" {
            let each =
                Resources { vcpus_milli: PRETENDED * 1_000, memory_mib: PRETENDED * 256, slots: PRETENDED };
            let told =
                format!("{hosts} hosts pretend to hold {PRETENDED} vCPU and {PRETENDED} instances each");
            return (each, told);
        }
        let cores = cores.max(1) as i64;
        let each = Resources {
            vcpus_milli: (cores * PER_CORE / hosts).max(4) * 1_000,
            memory_mib: (memory_mib / hosts).max(1_024),
            slots: SLOTS,
        };
        let ratio = |all: i64, real: i64| all as f64 / real.max(1) as f64;
        let told = format!(
            "{hosts} hosts of {} vCPU, {} MiB and {SLOTS} instances each share {cores} cores and {memory_mib} MiB: \
             overcommit {:.1} for CPU, {:.1} for memory",
            each.vcpus_milli / 1_000,
            each.memory_mib,
            ratio(each.vcpus_milli * hosts, cores * 1_000),
            ratio(each.memory_mib * hosts, memory_mib),
        );
        (each, told)
    }
}

/// This machine's cores and memory in MiB (`proc_meminfo(5)`, `MemTotal`).
pub fn machine() -> (usize, i64) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
    (cores, kib.map_or(4_096, |kib| kib / 1_024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(regions: usize, cells: usize, hosts: usize) -> Plan {
        Plan { regions, cells, hosts, engine: "docker".into() }
    }

    #[test]
    fn cells_are_dealt_out() {
        let cells = plan(2, 3, 2).cells();
        assert_eq!(
            cells.iter().map(|c| c.region.as_str()).collect::<Vec<_>>(),
            ["region1", "region2", "region1"]
        );
        assert_eq!(cells[1].hosts[1], ("cell2-host2".into(), "zone2".into()));
        assert!(
            plan(4, 3, 2).check().is_err() && plan(1, 0, 2).check().is_err() && plan(1, 1, 1).check().is_ok()
        );
    }

    #[test]
    fn the_overcommit_is_told() {
        let (each, told) = plan(2, 3, 2).share(2, 24_000);
        assert_eq!((each.vcpus_milli, each.memory_mib), (5_000, 4_000));
        assert!(told.contains("15.0 for CPU, 1.0 for memory"), "{told}");
        let (small, told) = plan(2, 3, 2).share(1, 2_048);
        assert_eq!((small.vcpus_milli, small.memory_mib), (4_000, 1_024));
        assert!(told.contains("24.0 for CPU, 3.0 for memory"), "{told}");
    }
}
