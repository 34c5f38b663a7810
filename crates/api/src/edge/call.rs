//! One request on its way to a handler, after the seam has let it in.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::Method;
use axum::response::Response;
use bytes::Bytes;
use model::{Caller, Context, Fault, InstanceId};
use uuid::Uuid;
use verbs::{Key, Verbs};

use crate::app::Shared;
use crate::edge::base::Base;
pub use crate::edge::permit::Permit;
use crate::edge::query::Params;
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// What a handler gets.
pub struct Call {
    /// What every request may use.
    pub shared: Arc<Shared>,
    /// Who asks, as the verbs see them; empty on routes that ask for no token.
    pub caller: Arc<Caller>,
    /// What they may do.
    pub permit: Permit,
    /// Request id and trace.
    pub context: Context,
    /// The compute face's microversion; the oldest on other faces.
    pub version: Version,
    /// Where links point to.
    pub base: Base,
    /// The path as it came.
    pub path: String,
    /// The path's parameters.
    pub captures: Vec<(String, String)>,
    /// The query's parameters.
    pub params: Params,
    /// The whole body; empty for methods without one.
    pub body: Bytes,
    /// Whether the client asked to see our own `skep` object.
    pub extended: bool,
    /// The key under which the answer is kept, if the client gave one.
    pub key: Option<Key>,
    /// What all attempts at this request have in common, where it is done under a key.
    pub once: Option<Uuid>,
    /// The address that it came from.
    pub from: Option<IpAddr>,
    /// The token that the request is about (`X-Subject-Token`), apart from the one that it comes with.
    pub subject: Option<String>,
}

/// What a handler answers.
pub type Answered = Result<Response, Refused>;
/// A handler's work.
pub type Work = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// One row of the routing tables.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path below the face's mounts, in the router's notation.
    pub path: &'static str,
    /// The rule that lets a caller through, from [`crate::edge::policy::RULES`].
    pub rule: &'static str,
    /// Whether microversions apply.
    pub versioned: bool,
    /// What answers.
    pub run: fn(Call) -> Work,
}

impl Call {
    /// The verbs.
    pub fn verbs(&self) -> Result<&Verbs, Fault> {
        self.shared.verbs()
    }

    /// The parameter of the path called `name`; empty if there is none.
    pub fn capture(&self, name: &str) -> &str {
        self.captures.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// The instance that the path names. What is no UUID is not found, as in Nova.
    pub fn instance(&self) -> Result<InstanceId, Refused> {
        let id = self.capture("id");
        InstanceId::from_str(id).map_err(|_| Refused::not_found(format!("Instance {id} could not be found.")))
    }

    /// Refuses, with 404 as Nova does, what the request's microversion does not have yet.
    pub fn since(&self, version: u16) -> Result<(), Refused> {
        if self.version >= Version(version) {
            return Ok(());
        }
        Err(Refused::not_found("The resource could not be found."))
    }

    /// Whether the caller may do what a further rule is about.
    pub fn may(&self, rule: &str) -> bool {
        self.permit.may(rule)
    }

    /// Refuses what the caller may not do.
    pub async fn allow(&self, rule: &str) -> Result<(), Refused> {
        self.permit.allow(&self.shared, rule).await
    }

    /// The caller as an administrator, for a verb that asks for one, after a rule has let the caller through
    /// that is about no single server.
    pub fn elevated(&self) -> Caller {
        let mut caller = Caller::clone(&self.caller);
        caller.roles.push("admin".to_owned());
        caller
    }
}
