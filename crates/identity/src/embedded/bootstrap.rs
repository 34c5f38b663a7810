//! The first user: what a cloud needs before anybody can ask it for more.

use api_db::identity as db;
use api_db::identity::assignments::Assignment;
use api_db::identity::entities::Entity;
use model::{Caller, Context, Fault};
use serde_json::{Map, Value};
use sql::Error;

use super::entities::DEFAULT_DOMAIN;
use super::{Audit, By, Embedded, password};

/// The roles of every cloud; each implies the next (Keystone's default roles), but for the last, which is
/// the services' own.
const ROLES: [&str; 5] = ["admin", "manager", "member", "reader", "service"];

/// What to make.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// The administrator's name.
    pub user: String,
    /// The administrator's id; one is made if absent.
    pub user_id: Option<String>,
    /// Their project's name.
    pub project: String,
    /// The project's id; one is made if absent.
    pub project_id: Option<String>,
    /// Give them a new password although they have one.
    pub reset_password: bool,
}

/// What was made.
#[derive(Clone)]
pub struct Bootstrapped {
    /// The administrator's id.
    pub user: String,
    /// Their project's id.
    pub project: String,
    /// Their new password, if they got one. Secret, and told only here.
    pub password: Option<String>,
}

impl Embedded {
    /// Makes the default domain, the roles, the administrator and their project, as far as they are not there;
    /// running it twice does no harm. For who has the database: nobody is asked for a role.
    pub async fn bootstrap(&self, wanted: Bootstrap) -> Result<Bootstrapped, Fault> {
        let env = &self.inner.env;
        let secret: String = password::secret(env).chars().take(24).collect();
        let hash = self.inner.hashing.hash(env, &secret).await?;
        let ids: Vec<String> = (0..ROLES.len() + 2).map(|_| env.uuid().simple().to_string()).collect();
        let caller = Caller { user: "bootstrap".into(), project: String::new(), roles: Vec::new() };
        let by = By { caller: caller.into(), context: Context::default() };
        let input = (wanted, hash, ids, env.now());
        let done =
            self.change(&by, Audit::of("identity.bootstrap", ""), input, |tx, (wanted, hash, ids, now)| {
                Box::pin(async move {
                    let (roles, own) = ids.split_at(ROLES.len());
                    let domain = Entity { id: DEFAULT_DOMAIN.into(), ..entity("Default", "", "") };
                    db::entities::insert(tx, "domain", &domain).await?;
                    let mut known = Vec::new();
                    for (name, id) in ROLES.into_iter().zip(roles) {
                        known.push(ensure(tx, "role", entity(name, "", id)).await?);
                    }
                    for pair in known[..4].windows(2) {
                        db::entities::imply(tx, &pair[0], &pair[1]).await?;
                    }
                    let id = |wish: &Option<String>, made: usize| {
                        wish.clone().unwrap_or_else(|| own[made].clone())
                    };
                    let project = entity(&wanted.project, DEFAULT_DOMAIN, &id(&wanted.project_id, 0));
                    let parent = ("parent_id".to_owned(), Value::from(DEFAULT_DOMAIN));
                    let project =
                        ensure(tx, "project", Entity { extra: Map::from_iter([parent]), ..project }).await?;
                    let user = entity(&wanted.user, DEFAULT_DOMAIN, &id(&wanted.user_id, 1));
                    let user = ensure(tx, "user", user).await?;
                    for (scope, target) in [("project", project.clone()), ("system", String::new())] {
                        let role = known[0].clone();
                        let grant = Assignment { user_id: user.clone(), scope: scope.into(), target, role };
                        db::assignments::grant(tx, &grant).await?;
                    }
                    let fresh = wanted.reset_password || db::passwords::get(tx, &user).await?.is_none();
                    if fresh {
                        db::passwords::set(tx, &user, &hash, now).await?;
                        db::tokens::forget_user(tx, &user).await?;
                    }
                    Ok((user, project, fresh))
                })
            });
        let (user, project, fresh) = done.await?;
        Ok(Bootstrapped { user, project, password: fresh.then_some(secret) })
    }
}

fn entity(name: &str, domain: &str, id: &str) -> Entity {
    let (id, domain, name) = (id.to_owned(), domain.to_owned(), name.to_owned());
    Entity { id, domain, name, enabled: true, extra: Map::new() }
}

/// The id of the one of that name, which is stored if there is none.
async fn ensure(tx: &mut api_db::Tx, kind: &str, wanted: Entity) -> Result<String, Error> {
    if db::entities::insert(tx, kind, &wanted).await? {
        return Ok(wanted.id);
    }
    let found = db::entities::named(tx, kind, &wanted.domain, &wanted.name).await?;
    found
        .map(|found| found.id)
        .ok_or_else(|| Fault::conflict(format!("The id {} is another {kind}'s already.", wanted.id)).into())
}
