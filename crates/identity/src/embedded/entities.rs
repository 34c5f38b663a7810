//! Domains, projects, users, roles, regions, services and endpoints: making, changing and removing them.
//!
//! What a client sends beyond the attributes that we know is kept and shown, as in Keystone.

use std::net::IpAddr;

use api_db::identity as db;
use model::{Fault, FaultKind};
use serde_json::{Map, Value};
use sql::Error;

use super::{Audit, By, Embedded, Refusal, missing};

pub use db::entities::Entity;

/// The kinds of things that have an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A domain: users and projects lie in it.
    Domain,
    /// A project: whose the servers are.
    Project,
    /// A user.
    User,
    /// A role.
    Role,
    /// A region of the catalog.
    Region,
    /// A service of the catalog.
    Service,
    /// An endpoint of the catalog.
    Endpoint,
}

impl Kind {
    /// Its name, as it is stored and shown.
    pub fn word(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Project => "project",
            Self::User => "user",
            Self::Role => "role",
            Self::Region => "region",
            Self::Service => "service",
            Self::Endpoint => "endpoint",
        }
    }

    /// Whether names are unique and asked for; the others are known by id alone.
    fn is_named(self) -> bool {
        matches!(self, Self::Domain | Self::Project | Self::User | Self::Role)
    }

    /// Whether it lies in a domain if nothing is said.
    fn in_domain(self) -> bool {
        matches!(self, Self::Project | Self::User)
    }

    /// Longest name (`keystone/*/schema.py`).
    fn longest_name(self) -> usize {
        match self {
            Self::Domain | Self::Project => 64,
            _ => 255,
        }
    }
}

/// Which ones a list shows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this name.
    pub name: Option<String>,
    /// In this domain.
    pub domain: Option<String>,
    /// Enabled or not.
    pub enabled: Option<bool>,
    /// With these texts in these further attributes.
    pub extra: Vec<(String, String)>,
}

/// The domain that every cloud has.
pub const DEFAULT_DOMAIN: &str = "default";

impl Embedded {
    /// Those that match, by name.
    pub async fn list(&self, kind: Kind, filter: Filter) -> Result<Vec<Entity>, Fault> {
        let input = (kind, filter.name.clone(), filter.domain.clone());
        let all = self.read(input, |tx, (kind, name, domain)| {
            Box::pin(
                async move { db::entities::list(tx, kind.word(), name.as_deref(), domain.as_deref()).await },
            )
        });
        let mut all = all.await?;
        all.retain(|entity| {
            let has = |(key, text): &(String, String)| {
                entity.extra.get(key).and_then(Value::as_str).unwrap_or_default() == text
            };
            filter.enabled.is_none_or(|enabled| entity.enabled == enabled) && filter.extra.iter().all(has)
        });
        Ok(all)
    }

    /// The one of that id.
    pub async fn get(&self, kind: Kind, id: &str) -> Result<Entity, Fault> {
        let found = self.read((kind, id.to_owned()), |tx, (kind, id)| {
            Box::pin(async move { db::entities::get(tx, kind.word(), &id).await })
        });
        found.await?.ok_or_else(|| missing(kind.word(), id))
    }

    /// Makes one as a client describes it; users get their password apart.
    pub async fn create(&self, by: &By, kind: Kind, mut said: Map<String, Value>) -> Result<Entity, Fault> {
        let password = self.password(kind, &mut said).await?;
        let id = match (kind, said.remove("id")) {
            (Kind::Region, Some(Value::String(id))) if !id.is_empty() => id,
            _ => self.inner.env.uuid().simple().to_string(),
        };
        let entity = described(kind, id, said)?;
        let (now, id) = (self.inner.env.now(), entity.id.clone());
        let audit = Audit::of(created(kind), &id);
        self.change(by, audit, (kind, entity, password, now), |tx, (kind, entity, password, now)| {
            Box::pin(async move {
                refer(tx, kind, &entity).await?;
                if !db::entities::insert(tx, kind.word(), &entity).await? {
                    return Err(taken(kind, &entity).into());
                }
                if let Some(hash) = password {
                    db::passwords::set(tx, &entity.id, &hash, now).await?;
                }
                Ok(entity)
            })
        })
        .await
    }

    /// Changes what a client names, and leaves the rest. A user who gets a password, or is disabled, loses all
    /// tokens.
    pub async fn update(
        &self,
        by: &By,
        kind: Kind,
        id: &str,
        mut said: Map<String, Value>,
    ) -> Result<Entity, Fault> {
        let password = self.password(kind, &mut said).await?;
        let input = (kind, id.to_owned(), said, password, self.inner.env.now());
        self.change(by, Audit::of(updated(kind), id), input, |tx, (kind, id, said, password, now)| {
            Box::pin(async move {
                let old = db::entities::get(tx, kind.word(), &id).await?;
                let old = old.ok_or_else(|| missing(kind.word(), &id))?;
                let new = merged(kind, old, said)?;
                refer(tx, kind, &new).await?;
                if !db::entities::update(tx, kind.word(), &new).await? {
                    return Err(taken(kind, &new).into());
                }
                if let Some(hash) = &password {
                    db::passwords::set(tx, &id, hash, now).await?;
                }
                if kind == Kind::User && (password.is_some() || !new.enabled) {
                    db::tokens::forget_user(tx, &id).await?;
                }
                Ok(new)
            })
        })
        .await
    }

    /// Removes one and what hangs on it.
    pub async fn delete(&self, by: &By, kind: Kind, id: &str) -> Result<(), Fault> {
        self.change(by, Audit::of(deleted(kind), id), (kind, id.to_owned()), |tx, (kind, id)| {
            Box::pin(async move {
                let old = db::entities::get(tx, kind.word(), &id).await?;
                let old = old.ok_or_else(|| missing(kind.word(), &id))?;
                if kind == Kind::Domain {
                    if old.enabled {
                        // Keystone's text (`keystone/resource/core.py`).
                        let why = "Cannot delete a domain that is enabled, please disable it first.";
                        return Err(Fault::new(FaultKind::Forbidden, why).into());
                    }
                    for kind in [Kind::Project, Kind::User, Kind::Role] {
                        for inner in db::entities::list(tx, kind.word(), None, Some(&id)).await? {
                            remove(tx, kind, &inner.id).await?;
                        }
                    }
                }
                remove(tx, kind, &id).await
            })
        })
        .await
    }

    /// Changes a user's own password.
    ///
    /// # Errors
    /// [`FaultKind::Unauthenticated`] if the old one is wrong; [`Refusal::Wait`] after too many failures.
    pub async fn change_password(
        &self,
        by: &By,
        user: &str,
        old: &str,
        new: &str,
        from: Option<IpAddr>,
    ) -> Result<(), Refusal> {
        let tried = self.inner.guesses.begin(&format!("id {user}"), from).map_err(Refusal::Wait)?;
        let hash = self
            .read(user.to_owned(), |tx, user| Box::pin(async move { db::passwords::get(tx, &user).await }));
        if !self.inner.hashing.verify(hash.await?, old).await? {
            self.inner.guesses.failed(&tried);
            return Err(super::not_you().into());
        }
        let said = Map::from_iter([("password".to_owned(), Value::from(new))]);
        self.update(by, Kind::User, user, said).await?;
        Ok(())
    }

    /// Takes the password out of what a client says, hashed.
    async fn password(&self, kind: Kind, said: &mut Map<String, Value>) -> Result<Option<String>, Fault> {
        if kind != Kind::User {
            return Ok(None);
        }
        match said.remove("password") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(password)) if !password.is_empty() => {
                Ok(Some(self.inner.hashing.hash(&self.inner.env, &password).await?))
            }
            Some(_) => {
                Err(Fault::invalid("Invalid input for field 'password': give a text that is not empty."))
            }
        }
    }
}

/// Removes one and what hangs on it.
async fn remove(tx: &mut api_db::Tx, kind: Kind, id: &str) -> Result<(), Error> {
    match kind {
        Kind::User => {
            db::passwords::delete(tx, id).await?;
            db::assignments::forget_user(tx, id).await?;
            db::credentials::forget(tx, Some(id), None).await?;
            db::tokens::forget_user(tx, id).await?;
        }
        Kind::Project => {
            db::assignments::forget_target(tx, "project", id).await?;
            db::credentials::forget(tx, None, Some(id)).await?;
        }
        Kind::Domain => db::assignments::forget_target(tx, "domain", id).await?,
        Kind::Role => {
            db::assignments::forget_role(tx, id).await?;
            db::entities::forget_implied(tx, id).await?;
        }
        Kind::Region | Kind::Service | Kind::Endpoint => {}
    }
    db::entities::delete(tx, kind.word(), id).await.map(drop)
}

/// What a client describes, checked.
fn described(kind: Kind, id: String, mut said: Map<String, Value>) -> Result<Entity, Fault> {
    let name = match kind.is_named() {
        true => name(kind, said.remove("name").as_ref())?,
        false => id.clone(),
    };
    let enabled = enabled(said.remove("enabled").as_ref())?.unwrap_or(true);
    let domain = match said.remove("domain_id") {
        Some(Value::String(domain)) if kind != Kind::Domain => domain,
        Some(Value::Null) | None if kind.in_domain() => DEFAULT_DOMAIN.to_owned(),
        Some(Value::Null) | None => String::new(),
        Some(_) => return Err(Fault::invalid("Invalid input for field 'domain_id': give a domain's id.")),
    };
    if kind == Kind::Project {
        if said.get("is_domain") == Some(&Value::Bool(true)) {
            return Err(Fault::invalid(
                "A project that acts as a domain is made as a domain: POST /v3/domains.",
            ));
        }
        let parent = said.entry("parent_id").or_insert(Value::Null);
        if parent.is_null() {
            *parent = Value::from(domain.as_str());
        }
    }
    checked(kind, &said)?;
    Ok(Entity { id, domain, name, enabled, extra: said })
}

/// An old state with what a client says in the place of what it was.
fn merged(kind: Kind, old: Entity, mut said: Map<String, Value>) -> Result<Entity, Fault> {
    let mut new = old;
    said.remove("id");
    if kind.is_named()
        && let Some(given) = said.remove("name")
    {
        new.name = name(kind, Some(&given))?;
    }
    if let Some(given) = enabled(said.remove("enabled").as_ref())? {
        new.enabled = given;
    }
    if let Some(domain) = said.remove("domain_id")
        && domain.as_str().unwrap_or_default() != new.domain
    {
        return Err(Fault::invalid("The domain of what there is already cannot be changed."));
    }
    new.extra.extend(said);
    checked(kind, &new.extra)?;
    Ok(new)
}

fn name(kind: Kind, said: Option<&Value>) -> Result<String, Fault> {
    let longest = kind.longest_name();
    match said.and_then(Value::as_str) {
        Some(name) if !name.trim().is_empty() && name.chars().count() <= longest => Ok(name.to_owned()),
        _ => Err(Fault::invalid(format!(
            "Invalid input for field 'name': give the {}'s name, of 1 to {longest} characters.",
            kind.word()
        ))),
    }
}

fn enabled(said: Option<&Value>) -> Result<Option<bool>, Fault> {
    match said {
        None => Ok(None),
        Some(Value::Bool(enabled)) => Ok(Some(*enabled)),
        Some(_) => Err(Fault::invalid("Invalid input for field 'enabled': give true or false.")),
    }
}

/// Refuses further attributes of a wrong form.
fn checked(kind: Kind, extra: &Map<String, Value>) -> Result<(), Fault> {
    let text = |key: &str| extra.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let needed = |key: &str| {
        text(key).map(drop).ok_or_else(|| Fault::invalid(format!("'{key}' is a required property")))
    };
    if !matches!(extra.get("description"), None | Some(Value::Null | Value::String(_))) {
        return Err(Fault::invalid("Invalid input for field 'description': give a text."));
    }
    match kind {
        Kind::Service => needed("type"),
        Kind::Endpoint => {
            needed("service_id")?;
            needed("url")?;
            match text("interface") {
                Some("public" | "internal" | "admin") => Ok(()),
                _ => Err(Fault::invalid(
                    "Invalid input for field 'interface': give public, internal or admin.",
                )),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses what names something that is not there.
async fn refer(tx: &mut api_db::Tx, kind: Kind, entity: &Entity) -> Result<(), Error> {
    let mut named = vec![(Kind::Domain, entity.domain.clone())];
    let extra = |key: &str| entity.extra.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind == Kind::Project && extra("parent_id") != entity.domain {
        named.push((Kind::Project, extra("parent_id")));
    }
    for (kind, id) in named {
        if !id.is_empty() && db::entities::get(tx, kind.word(), &id).await?.is_none() {
            return Err(missing(kind.word(), &id).into());
        }
    }
    Ok(())
}

/// Keystone's text (`keystone/common/sql/core.py`).
fn taken(kind: Kind, entity: &Entity) -> Fault {
    let within = match entity.domain.as_str() {
        "" => String::new(),
        domain => format!(" at domain ID {domain}"),
    };
    Fault::conflict(format!(
        "Conflict occurred attempting to store {} - Duplicate entry found with name {}{within}.",
        kind.word(),
        entity.name
    ))
}

macro_rules! action {
    ($name:ident, $what:literal) => {
        fn $name(kind: Kind) -> &'static str {
            match kind {
                Kind::Domain => concat!("identity.domain.", $what),
                Kind::Project => concat!("identity.project.", $what),
                Kind::User => concat!("identity.user.", $what),
                Kind::Role => concat!("identity.role.", $what),
                Kind::Region => concat!("identity.region.", $what),
                Kind::Service => concat!("identity.service.", $what),
                Kind::Endpoint => concat!("identity.endpoint.", $what),
            }
        }
    };
}

action!(created, "create");
action!(updated, "update");
action!(deleted, "delete");
