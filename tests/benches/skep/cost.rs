//! What processes cost: CPU time and memory, as the kernel counts them (`proc_pid_stat(5)`).

use std::collections::HashMap;
use std::fs;
use std::ops::Sub;
use std::path::Path;

/// The kernel counts CPU time in hundredths of a second for user space (`USER_HZ`).
const MS_PER_TICK: f64 = 10.0;

/// CPU time in milliseconds since the processes began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// All processes of skep.
    pub skep: f64,
    /// PostgreSQL, its backends included.
    pub database: f64,
    /// RabbitMQ.
    pub broker: f64,
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            skep: self.skep - before.skep,
            database: self.database - before.database,
            broker: self.broker - before.broker,
        }
    }
}

/// Whose cost is counted.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    /// Processes of skep.
    pub skep: Vec<u32>,
    /// Main processes of the services, if there are any.
    pub database: Option<u32>,
    /// Main process of the broker.
    pub broker: Option<u32>,
}

impl Meter {
    /// What they have used so far.
    pub fn read(&self) -> Cpu {
        let all = processes();
        let of = |pid: &u32| tree(&all, *pid);
        Cpu {
            skep: self.skep.iter().map(of).sum(),
            database: self.database.iter().map(of).sum(),
            broker: self.broker.iter().map(of).sum(),
        }
    }
}

/// What one process has used, with its living descendants and those that it has buried.
fn tree(all: &HashMap<u32, (u32, f64)>, pid: u32) -> f64 {
    let own = all.get(&pid).map_or(0.0, |(_, used)| *used);
    let children = all.iter().filter(|(_, (parent, _))| *parent == pid);
    own + children.map(|(child, _)| tree(all, *child)).sum::<f64>()
}

/// Parent and milliseconds of CPU of every process, dead children included.
fn processes() -> HashMap<u32, (u32, f64)> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?))).collect()
}

fn stat(pid: u32) -> Option<(u32, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may contain anything; what follows it begins with field 3.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let parent = fields.get(1)?.parse().ok()?;
    let ticks: f64 = fields.get(11..15)?.iter().filter_map(|text| text.parse::<f64>().ok()).sum();
    Some((parent, ticks * MS_PER_TICK))
}

/// Resident memory of a process in MB.
pub fn memory(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kib.map_or(f64::NAN, |kib| kib * 1_024.0 / 1e6)
}

/// The pid that a service has written down.
pub fn pid_in(file: &Path) -> Option<u32> {
    fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()
}

/// What the figures were made on.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!(
        "machine: {cores} cores ({}), kernel {}",
        model.map_or("unknown", |(_, name)| name),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

/// How many processes wanted to run in the last minute; more than the benchmark's own are a disturbance.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
