//! What one caller may do in one request, by the policy that was in force when it came in.

use std::sync::Arc;

use axum::http::StatusCode;
use identity::Known;
use model::{Caller, InstanceId};
use verbs::Seen;

use crate::app::Shared;
use crate::edge::policy::{Policy, Target, Who};
use crate::edge::refused::Refused;

/// A caller, the policy, and the server that the request is about.
pub struct Permit {
    policy: Arc<Policy>,
    /// What the token stands for; rules are asked about this one. Nobody, on routes that ask for no token.
    known: Option<Arc<Known>>,
    /// As the token says.
    who: Arc<Caller>,
    /// As the verbs see them.
    caller: Arc<Caller>,
    /// The server that the path names, if it names one.
    server: Option<InstanceId>,
    /// The user that the path names, if it names one.
    user: Option<String>,
}

impl Permit {
    /// A permit for whom a token stands for, to act on `server`.
    pub fn new(shared: &Shared, who: Arc<Caller>, server: Option<InstanceId>) -> Self {
        let policy = shared.settings.policy.now();
        let caller = seen_by_verbs(&policy, (&*who).into(), &who);
        Self { policy, known: None, who, caller, server, user: None }
    }

    /// A permit for what a token stands for, to act on `server` or on `user`.
    pub fn of(shared: &Shared, known: Arc<Known>, server: Option<InstanceId>, user: Option<String>) -> Self {
        let policy = shared.settings.policy.now();
        let who = Arc::clone(&known.caller);
        let caller = seen_by_verbs(&policy, Who { caller: &who, system: known.is_system() }, &who);
        Self { policy, known: Some(known), who, caller, server, user }
    }

    /// What the token stands for, if the route asks for one.
    pub fn known(&self) -> Option<&Arc<Known>> {
        self.known.as_ref()
    }

    fn who(&self) -> Who<'_> {
        Who { caller: &self.who, system: self.known.as_ref().is_some_and(|known| known.is_system()) }
    }

    /// The caller as the verbs see them.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Whether the caller may do what `rule` is about with what is the caller's own.
    pub fn may(&self, rule: &str) -> bool {
        let own = Target::own(&self.who);
        let target = Target { user: self.user.as_deref().unwrap_or(own.user), ..own };
        self.policy.allows(self.who(), &target, rule)
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
                self.policy.allows(self.who(), &Target { project: &spec.project, user: &spec.user }, rule)
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
fn seen_by_verbs(policy: &Policy, who: Who<'_>, caller: &Arc<Caller>) -> Arc<Caller> {
    let is_admin = policy.is_admin(who);
    if is_admin == caller.is_admin() {
        return Arc::clone(caller);
    }
    let mut caller = Caller::clone(caller);
    match is_admin {
        true => caller.roles.push("admin".to_owned()),
        false => caller.roles.retain(|role| role != "admin"),
    }
    Arc::new(caller)
}
