//! The section of identity: who callers are.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::number::whole;
use super::secret::Secret;

/// Where users are kept. The tokens of `[api]` are good beside any of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Where.
    pub kind: Kind,
    /// How long a token is good, in seconds.
    #[serde(deserialize_with = "whole")]
    pub token_lifetime_s: u64,
    /// A real Keystone.
    pub keystone: Keystone,
}

impl Default for Identity {
    fn default() -> Self {
        Self { kind: Kind::default(), token_lifetime_s: 3_600, keystone: Keystone::default() }
    }
}

/// Where users are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In the API database.
    #[default]
    Embedded,
    /// In a real Keystone.
    Keystone,
    /// Nowhere: only the tokens of `[api]` are known.
    Static,
}

/// A real Keystone, and who we are there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keystone {
    /// Its address, with or without `/v3`.
    pub url: String,
    /// Its address for users; `url` if absent.
    pub public_url: Option<String>,
    /// Our user, who has the role `service` or `admin` in our project.
    pub user: String,
    /// Our password.
    pub password: Option<Secret>,
    /// Our user's domain, by name.
    pub user_domain: String,
    /// Our project.
    pub project: String,
    /// Its domain, by name.
    pub project_domain: String,
    /// Certificates to trust for https instead of the system's, as PEM.
    pub ca_file: Option<PathBuf>,
    /// How long what it said of a token is believed, in seconds.
    #[serde(deserialize_with = "whole")]
    pub cache_s: u64,
    /// How long that is believed while it does not answer, in seconds.
    #[serde(deserialize_with = "whole")]
    pub stale_s: u64,
}

impl Default for Keystone {
    fn default() -> Self {
        Self {
            url: String::new(),
            public_url: None,
            user: "skep".into(),
            password: None,
            user_domain: "Default".into(),
            project: "service".into(),
            project_domain: "Default".into(),
            ca_file: None,
            cache_s: 300,
            stale_s: 900,
        }
    }
}
