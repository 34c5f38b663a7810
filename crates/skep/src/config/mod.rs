//! The configuration of the roles: one TOML file, overridden by `SKEP__SECTION__KEY` variables.
//!
//! Every key is described in `docs/operations.md`. Keys that are not known are refused, so that a typing
//! mistake is found at the start and not by its effect.

mod agent;
mod api;
pub mod environment;
mod identity;
mod load;
mod number;
pub mod secret;
mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use agent::{Agent, Capacity, Engine};
pub use api::{Api, Regional, Token};
pub use identity::{Identity, Kind as IdentityKind};
pub use load::{Source, load, tokens};
pub use number::whole;
use secret::Secret;
pub use workers::{Conductor, Join, Router, Superconductor};

/// The whole file. Each role reads its own sections and demands what it needs of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What is logged.
    pub log: Log,
    /// Health, readiness and metrics.
    pub health: Health,
    /// The API.
    pub api: Api,
    /// Who callers are.
    pub identity: Identity,
    /// The API level's database.
    pub api_database: Database,
    /// The API level's broker, from api to superconductor; optional, without it work waits for the sweep.
    pub api_transport: Transport,
    /// cell0's database, which `skep db sync` creates and maps.
    pub cell0: Cell0,
    /// How the API level reaches cells.
    pub router: Router,
    /// The superconductor.
    pub superconductor: Superconductor,
    /// The cell that a conductor or an agent belongs to.
    pub cell: Cell,
    /// The conductor.
    pub conductor: Conductor,
    /// The agent.
    pub agent: Agent,
}

/// What is logged.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level, or directives such as `info,router=debug`. Reloaded while running.
    pub level: String,
    /// How lines look.
    pub format: Format,
    /// Where spans are sent by OTLP over gRPC, as `http://HOST:4317`; in builds with the feature `otlp` only.
    pub otlp_endpoint: Option<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: Format::Text, otlp_endpoint: None }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Health, readiness and metrics.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// Address and port of the health service; none if absent.
    pub listen: Option<SocketAddr>,
}

/// A database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    /// `sqlite:PATH` or `postgres://…`.
    pub url: Option<Secret>,
    /// The same database with other credentials, used while the first are refused.
    pub second_url: Option<Secret>,
    /// Most connections at a time.
    #[serde(deserialize_with = "whole")]
    pub connections: u32,
    /// Longest that one call may take, in milliseconds.
    #[serde(deserialize_with = "whole")]
    pub deadline_ms: u64,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, second_url: None, connections: 8, deadline_ms: 5_000 }
    }
}

/// A broker.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transport {
    /// `amqp://…`, `amqps://…`, or `local:NAME` inside one process.
    pub url: Option<Secret>,
    /// The same vhost with other credentials, used while the first do not work.
    pub second_url: Option<Secret>,
}

/// cell0, which has a database and nothing else.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cell0 {
    /// Its database.
    pub database: Database,
}

/// The cell that a conductor or an agent belongs to. It knows no other cell and nothing above it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cell {
    /// Its name, for logs and labels.
    pub name: String,
    /// Its database; conductors only.
    pub database: Database,
    /// Its broker.
    pub transport: Transport,
}

/// The file of tokens that `[api] tokens_file` names.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokens {
    /// The tokens.
    pub tokens: Vec<Token>,
}

/// Variables of the process, by name.
pub type Variables = BTreeMap<String, String>;
