//! What a token that is good stands for.

use std::sync::Arc;

use model::{Caller, Timestamp};

use crate::access::AccessRule;

/// A domain's or a role's id and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A user or a project, which lies in a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InDomain {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Id and name of its domain.
    pub domain: Role,
}

/// What a token is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// For getting another token, and for what is the user's own.
    None,
    /// For a project.
    Project(InDomain),
    /// For a domain.
    Domain(Role),
    /// For the cloud itself.
    System,
}

/// The application credential that a token was got with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialOf {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it may not make and remove credentials.
    pub restricted: bool,
}

/// A token that is good, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// For whoever only wants to know who asks: user, project (empty unless the scope is one), and the names of
    /// the roles. A token for a domain carries none here, because no rule of ours is about domains.
    pub caller: Arc<Caller>,
    /// The user.
    pub user: InDomain,
    /// What it is good for.
    pub scope: Scope,
    /// The roles, those that others imply included.
    pub roles: Vec<Role>,
    /// How it was got.
    pub methods: Vec<String>,
    /// Its id for audits, then that of the first token in its line, if it is another.
    pub audit_ids: Vec<String>,
    /// When it was made.
    pub issued: Timestamp,
    /// Until when it is good; always, if absent.
    pub expires: Option<Timestamp>,
    /// The application credential that it was got with.
    pub credential: Option<CredentialOf>,
    /// The only requests that it is good for, if it is limited to some.
    pub access_rules: Option<Vec<AccessRule>>,
}

impl Known {
    /// Whether it is good for the cloud itself.
    pub fn is_system(&self) -> bool {
        self.scope == Scope::System
    }

    /// Whether it is still good at `now`, as far as time goes.
    pub fn lasts(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }

    /// The caller that user, scope and roles make.
    pub(crate) fn caller_of(user: &InDomain, scope: &Scope, roles: &[Role]) -> Arc<Caller> {
        let project = match scope {
            Scope::Project(project) => project.id.clone(),
            _ => String::new(),
        };
        let roles = match scope {
            Scope::Project(_) | Scope::System => roles.iter().map(|role| role.name.clone()).collect(),
            Scope::Domain(_) | Scope::None => Vec::new(),
        };
        Arc::new(Caller { user: user.id.clone(), project, roles })
    }
}
