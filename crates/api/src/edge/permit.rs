//! What one caller may do in one request, by the policy that was in force when it came in.

use std::sync::Arc;

use axum::http::StatusCode;
use model::{Caller, InstanceId};
use verbs::Seen;

use crate::app::Shared;
use crate::edge::policy::{Policy, Target};
use crate::edge::refused::Refused;

/// A caller, the policy, and the server that the request is about.
pub struct Permit {
    policy: Arc<Policy>,
    /// As the token says; rules are asked about this one.
    who: Arc<Caller>,
    /// As the verbs see them.
    caller: Arc<Caller>,
    /// The server that the path names, if it names one.
    server: Option<InstanceId>,
}

impl Permit {
    /// A permit for whom a token stands for, to act on `server`.
    pub fn new(shared: &Shared, who: Arc<Caller>, server: Option<InstanceId>) -> Self {
        let policy = shared.settings.policy.now();
        let caller = seen_by_verbs(&policy, &who);
        Self { policy, who, caller, server }
    }

    /// The caller as the verbs see them.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Whether the caller may do what `rule` is about with what is the caller's own.
    pub fn may(&self, rule: &str) -> bool {
        self.policy.allows(&self.who, &Target::own(&self.who), rule)
    }

    /// Refuses, with 403 and Nova's text, what the caller may not do with the server that the request is
    /// about, or else with what is the caller's own. The server is looked up only for a rule that asks whose
    /// it is.
    pub async fn allow(&self, shared: &Shared, rule: &str) -> Result<(), Refused> {
        let allowed = match self.server {
            Some(server) if self.policy.looks_at_target(rule) => {
                let seen = shared.verbs()?.show(&self.caller, server).await?;
                let spec = match &seen {
                    Seen::Fresh(instance) => &instance.spec,
                    Seen::Dark(dark) => &dark.spec,
                };
                self.policy.allows(&self.who, &Target { project: &spec.project, user: &spec.user }, rule)
            }
            _ => self.may(rule),
        };
        if allowed {
            return Ok(());
        }
        Err(Refused::new(StatusCode::FORBIDDEN, format!("Policy doesn't allow {rule} to be performed.")))
    }
}

/// The verbs show administrators what is others', and know them by the role `admin`: it is held exactly by
/// those who are administrators by the policy.
fn seen_by_verbs(policy: &Policy, who: &Arc<Caller>) -> Arc<Caller> {
    let is_admin = policy.is_admin(who);
    if is_admin == who.is_admin() {
        return Arc::clone(who);
    }
    let mut caller = Caller::clone(who);
    match is_admin {
        true => caller.roles.push("admin".to_owned()),
        false => caller.roles.retain(|role| role != "admin"),
    }
    Arc::new(caller)
}
