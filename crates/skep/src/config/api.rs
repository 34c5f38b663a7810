//! The section of the API.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::number::{truth, whole};
use super::secret::Secret;

/// The API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The address under which users reach it, for links; made from the request if absent.
    pub public_url: Option<String>,
    /// The region that this endpoint is limited to; empty serves all regions.
    pub region: String,
    /// More endpoints of the same process, each limited to one region.
    pub regional: Vec<Regional>,
    /// A TOML file with `[[tokens]]` entries, added to `tokens`.
    pub tokens_file: Option<PathBuf>,
    /// Who may do what.
    pub tokens: Vec<Token>,
    /// A YAML file of rules that override single ones of the built-in policy. Reloaded while running.
    pub policy_file: Option<PathBuf>,
    /// The certificate, and those that vouch for it, as PEM; plain HTTP without it. Reloaded while running.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, as PEM.
    pub tls_key: Option<PathBuf>,
    /// References of images that everybody is offered.
    pub images: Vec<String>,
    /// How long an instance may take to be ACTIVE before it is in ERROR, in seconds.
    #[serde(deserialize_with = "whole")]
    pub build_deadline_s: u64,
    /// How long the answer to a request with an `Idempotency-Key` is kept, in seconds.
    #[serde(deserialize_with = "whole")]
    pub keep_answers_s: u64,
    /// Limits of projects that have none of their own.
    pub quota: Quota,
    /// How often a project may ask, in requests a second; 0 is as often as it likes.
    #[serde(deserialize_with = "whole")]
    pub project_rate: u64,
    /// How often it may ask at once after a pause; twice `project_rate` if 0.
    #[serde(deserialize_with = "whole")]
    pub project_burst: u64,
    /// Most requests that are worked on at a time; beyond it, 503.
    #[serde(deserialize_with = "whole")]
    pub max_in_flight: usize,
    /// How long a request may wait for its turn, in milliseconds; beyond it, 503.
    #[serde(deserialize_with = "whole")]
    pub queue_ms: u64,
    /// Most servers on one page of a list.
    #[serde(deserialize_with = "whole")]
    pub max_limit: usize,
    /// Whether lists below microversion 2.69, which cannot show servers in cells that do not answer, leave
    /// them out; otherwise such a list is 503.
    #[serde(deserialize_with = "truth")]
    pub list_records_by_skipping_down_cells: bool,
    /// Most connections at a time; beyond it, 503.
    #[serde(deserialize_with = "whole")]
    pub max_connections: usize,
    /// How long a request may be worked on, in milliseconds; beyond it, 503.
    #[serde(deserialize_with = "whole")]
    pub request_deadline_ms: u64,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8774)),
            public_url: None,
            region: String::new(),
            regional: Vec::new(),
            tokens_file: None,
            tokens: Vec::new(),
            policy_file: None,
            tls_cert: None,
            tls_key: None,
            images: Vec::new(),
            build_deadline_s: 600,
            keep_answers_s: 86_400,
            quota: Quota::default(),
            project_rate: 0,
            project_burst: 0,
            max_in_flight: 256,
            queue_ms: 70,
            max_connections: 12_288,
            max_limit: 1_000,
            list_records_by_skipping_down_cells: true,
            request_deadline_ms: 60_000,
        }
    }
}

/// A token and whom it stands for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What callers send in `X-Auth-Token`.
    pub token: Secret,
    /// The user's id.
    pub user: String,
    /// The project's id.
    pub project: String,
    /// Roles in that project; `admin` administers the cloud.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// An endpoint that is limited to one region.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Regional {
    /// The region.
    pub region: String,
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The address under which users reach it, for links; made from the request if absent.
    #[serde(default)]
    pub public_url: Option<String>,
}

/// Limits of a project; -1 means without limit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    /// Instances.
    #[serde(deserialize_with = "whole")]
    pub instances: i64,
    /// Virtual CPUs.
    #[serde(deserialize_with = "whole")]
    pub vcpus: i64,
    /// Memory in MiB.
    #[serde(deserialize_with = "whole")]
    pub memory_mib: i64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { instances: -1, vcpus: -1, memory_mib: -1 }
    }
}
