//! Flavors and amounts of resources.

use serde::{Deserialize, Serialize};

/// Amounts that are claimed on a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a virtual CPU.
    pub vcpus_milli: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Instances.
    pub slots: i64,
}

impl Resources {
    /// Component-wise sum.
    pub fn plus(self, other: Self) -> Self {
        Self {
            vcpus_milli: self.vcpus_milli + other.vcpus_milli,
            memory_mib: self.memory_mib + other.memory_mib,
            slots: self.slots + other.slots,
        }
    }

    /// Component-wise difference.
    pub fn minus(self, other: Self) -> Self {
        Self {
            vcpus_milli: self.vcpus_milli - other.vcpus_milli,
            memory_mib: self.memory_mib - other.memory_mib,
            slots: self.slots - other.slots,
        }
    }

    /// Whether `self` fits into `free` in every component.
    pub fn fits(self, free: Self) -> bool {
        self.vcpus_milli <= free.vcpus_milli && self.memory_mib <= free.memory_mib && self.slots <= free.slots
    }

    /// How many times `self` fits into `free`.
    pub fn times_in(self, free: Self) -> i64 {
        let part = |need: i64, free: i64| if need <= 0 { i64::MAX } else { free.max(0) / need };
        part(self.vcpus_milli, free.vcpus_milli)
            .min(part(self.memory_mib, free.memory_mib))
            .min(part(self.slots, free.slots))
    }
}

/// A size on offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavor {
    /// Id as shown to users (Nova allows any text).
    pub id: String,
    /// Name, unique.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: i64,
    /// Memory in MiB.
    pub memory_mib: i64,
    /// Root disk in GiB, shown only.
    pub disk_gib: i64,
    /// Processes and threads that one container may have.
    pub pids: i64,
}

impl Flavor {
    /// What one instance of this flavor claims.
    pub fn resources(&self) -> Resources {
        Resources { vcpus_milli: self.vcpus * 1_000, memory_mib: self.memory_mib, slots: 1 }
    }
}
