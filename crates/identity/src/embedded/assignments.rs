//! Who has which role on what, and which role implies which.

use std::collections::HashMap;

use api_db::identity as db;
use api_db::identity::assignments::Assignment;
use model::Fault;
use sql::Error;

use super::entities::Kind;
use super::{Audit, By, Embedded, missing};
use crate::embedded::roles::Known as Roles;
use crate::known::{InDomain, Role};

/// A role of a user on a project, a domain, or the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The user's id.
    pub user: String,
    /// The project or domain; the system if absent.
    pub on: Option<(Kind, String)>,
    /// The role's id.
    pub role: String,
}

impl Grant {
    fn stored(&self) -> Assignment {
        let (scope, target) = match &self.on {
            Some((kind, id)) => (kind.word(), id.clone()),
            None => ("system", String::new()),
        };
        let (user_id, role) = (self.user.clone(), self.role.clone());
        Assignment { user_id, scope: scope.to_owned(), target, role }
    }

    fn read(stored: Assignment) -> Self {
        let on = match stored.scope.as_str() {
            "project" => Some((Kind::Project, stored.target)),
            "domain" => Some((Kind::Domain, stored.target)),
            _ => None,
        };
        Self { user: stored.user_id, on, role: stored.role }
    }
}

/// Which assignments a list shows.
#[derive(Clone, Debug, Default)]
pub struct AssignmentQuery {
    /// Of this user.
    pub user: Option<String>,
    /// Of this role.
    pub role: Option<String>,
    /// On this project or domain.
    pub on: Option<(Kind, String)>,
    /// On the system.
    pub on_system: bool,
    /// With what roles imply, as if it had been given.
    pub effective: bool,
}

/// An assignment with names.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// By ids.
    pub grant: Grant,
    /// The user.
    pub user: InDomain,
    /// The role.
    pub role: Role,
    /// The project or domain (which lies in none), if it is not the system.
    pub on: Option<InDomain>,
}

impl Embedded {
    /// Gives a role.
    pub async fn grant(&self, by: &By, grant: Grant) -> Result<(), Fault> {
        let user = grant.user.clone();
        self.change(by, Audit::of("identity.role.grant", &user), grant, |tx, grant| {
            Box::pin(async move {
                exist(tx, &grant).await?;
                db::assignments::grant(tx, &grant.stored()).await
            })
        })
        .await
    }

    /// Takes a role away.
    pub async fn revoke_role(&self, by: &By, grant: Grant) -> Result<(), Fault> {
        let user = grant.user.clone();
        self.change(by, Audit::of("identity.role.revoke", &user), grant, |tx, grant| {
            Box::pin(async move {
                match db::assignments::revoke(tx, &grant.stored()).await? {
                    true => Ok(()),
                    false => Err(missing("role assignment", &grant.role).into()),
                }
            })
        })
        .await
    }

    /// Whether a role was given, directly.
    pub async fn has_role(&self, grant: Grant) -> Result<bool, Fault> {
        self.read(grant, |tx, grant| {
            Box::pin(async move {
                let Assignment { user_id, scope, target, role } = grant.stored();
                Ok(db::assignments::roles(tx, &user_id, &scope, &target).await?.contains(&role))
            })
        })
        .await
    }

    /// Roles of a user on a project, a domain, or the system; directly given.
    pub async fn roles_on(&self, user: &str, on: Option<(Kind, String)>) -> Result<Vec<Role>, Fault> {
        let grant = Grant { user: user.to_owned(), on, role: String::new() };
        self.read(grant, |tx, grant| {
            Box::pin(async move {
                exist_without_role(tx, &grant).await?;
                let Assignment { user_id, scope, target, .. } = grant.stored();
                let ids = db::assignments::roles(tx, &user_id, &scope, &target).await?;
                Ok(Roles::read(tx).await?.named(ids))
            })
        })
        .await
    }

    /// Assignments, with names. What names something that is gone is left out.
    pub async fn assignments(&self, query: AssignmentQuery) -> Result<Vec<Assigned>, Fault> {
        self.read(query, |tx, query| {
            Box::pin(async move {
                let on = match &query.on {
                    Some((kind, id)) => Some((kind.word(), id.as_str())),
                    None => query.on_system.then_some(("system", "")),
                };
                let stored = db::assignments::list(tx, query.user.as_deref(), on).await?;
                let roles = Roles::read(tx).await?;
                let names = Names::read(tx).await?;
                let mut all = Vec::new();
                for grant in stored.into_iter().map(Grant::read) {
                    let ids = match query.effective {
                        true => roles.with_implied(std::slice::from_ref(&grant.role)).into_iter().collect(),
                        false => vec![grant.role.clone()],
                    };
                    for role in roles.named(ids) {
                        if query.role.as_ref().is_none_or(|wanted| *wanted == role.id) {
                            all.extend(names.assigned(&grant, role));
                        }
                    }
                }
                all.dedup_by(|a, b| a.grant == b.grant);
                Ok(all)
            })
        })
        .await
    }

    /// Projects on which a user has a role, or domains.
    pub async fn reachable(&self, user: &str, kind: Kind) -> Result<Vec<super::entities::Entity>, Fault> {
        self.read((user.to_owned(), kind), |tx, (user, kind)| {
            Box::pin(async move {
                let mut ids: Vec<String> = db::assignments::list(tx, Some(&user), None)
                    .await?
                    .into_iter()
                    .filter(|assignment| assignment.scope == kind.word())
                    .map(|assignment| assignment.target)
                    .collect();
                ids.sort();
                ids.dedup();
                let mut all = Vec::new();
                for id in ids {
                    all.extend(db::entities::get(tx, kind.word(), &id).await?);
                }
                all.sort_by(|a, b| a.name.cmp(&b.name));
                Ok(all)
            })
        })
        .await
    }

    /// Whether a user has a role on the system.
    pub async fn is_on_system(&self, user: &str) -> Result<bool, Fault> {
        Ok(!self.roles_on(user, None).await?.is_empty())
    }

    /// Which role implies which, by ids.
    pub async fn implied(&self) -> Result<Vec<(Role, Role)>, Fault> {
        self.read((), |tx, ()| {
            Box::pin(async move {
                let roles = Roles::read(tx).await?;
                let one = |id: String| roles.named([id]).pop();
                let all = db::entities::implied(tx).await?;
                Ok(all
                    .into_iter()
                    .filter_map(|(prior, implied)| Some((one(prior)?, one(implied)?)))
                    .collect())
            })
        })
        .await
    }

    /// Lets a role imply another.
    pub async fn imply(&self, by: &By, prior: &str, implied: &str) -> Result<(), Fault> {
        let input = (prior.to_owned(), implied.to_owned());
        self.change(by, Audit::of("identity.role.imply", prior), input, |tx, (prior, implied)| {
            Box::pin(async move {
                for id in [&prior, &implied] {
                    exists(tx, Kind::Role, id).await?;
                }
                if Roles::read(tx).await?.implies(&implied, &prior) {
                    return Err(Fault::conflict(format!("Role {implied} implies {prior} already.")).into());
                }
                db::entities::imply(tx, &prior, &implied).await
            })
        })
        .await
    }

    /// Takes that back.
    pub async fn unimply(&self, by: &By, prior: &str, implied: &str) -> Result<(), Fault> {
        let input = (prior.to_owned(), implied.to_owned());
        self.change(by, Audit::of("identity.role.unimply", prior), input, |tx, (prior, implied)| {
            Box::pin(async move {
                match db::entities::unimply(tx, &prior, &implied).await? {
                    true => Ok(()),
                    false => Err(missing("implied role", &implied).into()),
                }
            })
        })
        .await
    }
}

/// Names of what assignments name by id.
struct Names {
    domains: HashMap<String, String>,
    users: HashMap<String, (String, String)>,
    projects: HashMap<String, (String, String)>,
}

impl Names {
    async fn read(tx: &mut api_db::Tx) -> Result<Self, Error> {
        let mut named = Vec::new();
        for kind in [Kind::Domain, Kind::User, Kind::Project] {
            let all = db::entities::list(tx, kind.word(), None, None).await?;
            named.push(all.into_iter().map(|e| (e.id, (e.name, e.domain))).collect::<HashMap<_, _>>());
        }
        let (projects, users) = (named.pop().unwrap_or_default(), named.pop().unwrap_or_default());
        let domains = named.pop().unwrap_or_default().into_iter().map(|(id, (name, _))| (id, name)).collect();
        Ok(Self { domains, users, projects })
    }

    fn in_domain(&self, all: &HashMap<String, (String, String)>, id: &str) -> Option<InDomain> {
        let (name, domain) = all.get(id)?.clone();
        let of = self.domains.get(&domain)?.clone();
        Some(InDomain { id: id.to_owned(), name, domain: Role { id: domain, name: of } })
    }

    fn assigned(&self, grant: &Grant, role: Role) -> Option<Assigned> {
        let on = match &grant.on {
            None => None,
            Some((Kind::Project, id)) => Some(self.in_domain(&self.projects, id)?),
            Some((_, id)) => {
                let name = self.domains.get(id)?.clone();
                let domain = Role { id: String::new(), name: String::new() };
                Some(InDomain { id: id.clone(), name, domain })
            }
        };
        let grant = Grant { role: role.id.clone(), ..grant.clone() };
        Some(Assigned { user: self.in_domain(&self.users, &grant.user)?, grant, role, on })
    }
}

async fn exist(tx: &mut api_db::Tx, grant: &Grant) -> Result<(), Error> {
    exists(tx, Kind::Role, &grant.role).await?;
    exist_without_role(tx, grant).await
}

async fn exist_without_role(tx: &mut api_db::Tx, grant: &Grant) -> Result<(), Error> {
    exists(tx, Kind::User, &grant.user).await?;
    match &grant.on {
        Some((kind, id)) => exists(tx, *kind, id).await,
        None => Ok(()),
    }
}

async fn exists(tx: &mut api_db::Tx, kind: Kind, id: &str) -> Result<(), Error> {
    match db::entities::get(tx, kind.word(), id).await? {
        Some(_) => Ok(()),
        None => Err(missing(kind.word(), id).into()),
    }
}
