//! Who asks, and the context that travels with a request down to the host and back.

use serde::{Deserialize, Serialize};

/// An authenticated caller, scoped to a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The user's id.
    pub user: String,
    /// The project's id: whose instances these are.
    pub project: String,
    /// Names of the roles held in that project.
    pub roles: Vec<String>,
}

impl Caller {
    /// Whether the caller administers the cloud.
    pub fn is_admin(&self) -> bool {
        self.roles.iter().any(|role| role == "admin")
    }
}

/// What travels with every message: the request that caused it and the trace that it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// `req-…`, as returned in `x-openstack-request-id`.
    pub request_id: String,
    /// W3C `traceparent`, empty if there is none.
    pub trace_parent: String,
}
