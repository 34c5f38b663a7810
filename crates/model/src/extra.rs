//! What Nova's API keeps of a server beyond what makes its container.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids::InstanceId;

/// What is kept of an instance for the compute face. It travels inside the request spec, so each cell's row
/// has it; nothing in it makes the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extra {
    /// How often anything of the request spec was changed since it was accepted.
    #[serde(skip_serializing_if = "is_zero")]
    pub amendments: i64,
    /// Tags of the user's (2.26).
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
    /// Who locked it, if it is locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locked: Option<Lock>,
    /// Name of the key pair that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    /// Host name that was asked for (2.90), instead of the one made of the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Address that the user says it can be reached at, IPv4.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_ipv4: String,
    /// Address that the user says it can be reached at, IPv6.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub access_ipv6: String,
    /// Whether the user said `AUTO` of its disk (`OS-DCF:diskConfig`).
    #[serde(skip_serializing_if = "is_false")]
    pub disk_auto: bool,
    /// The flavor's extra specs as they were at the time.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_specs: BTreeMap<String, String>,
    /// The server group that it belongs to, as it was at the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
    /// Name of the host that it must lie on, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Id of the image in the catalogue, where that is not made of the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<Uuid>,
    /// Instances that it must not share a host with.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub different_host: BTreeSet<InstanceId>,
    /// Instances one of which it must share a host with.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub same_host: BTreeSet<InstanceId>,
}

impl Extra {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(truth: &bool) -> bool {
    !*truth
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A lock on an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Whether an administrator of another project set it; then only administrators release it.
    pub by_admin: bool,
    /// Why, in the locker's words.
    pub reason: Option<String>,
}

/// What a server group asks of the hosts of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// All on one host.
    Affinity,
    /// Each on a host of its own.
    AntiAffinity,
    /// All on one host, where that can be.
    SoftAffinity,
    /// Each on a host of its own, where that can be.
    SoftAntiAffinity,
}

impl Policy {
    /// Nova's word, also the one stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Affinity => "affinity",
            Self::AntiAffinity => "anti-affinity",
            Self::SoftAffinity => "soft-affinity",
            Self::SoftAntiAffinity => "soft-anti-affinity",
        }
    }

    /// Reads Nova's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Affinity, Self::AntiAffinity, Self::SoftAffinity, Self::SoftAntiAffinity]
            .into_iter()
            .find(|policy| policy.as_str() == word)
    }
}

/// A server group as an instance carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its id.
    pub id: Uuid,
    /// What it asks.
    pub policy: Policy,
    /// How many of its members one host may have, under [`Policy::AntiAffinity`]; at least 1.
    pub max_per_host: i64,
}
