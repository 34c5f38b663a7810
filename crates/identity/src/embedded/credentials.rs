//! Application credentials: what a user gives to a program instead of a password.

use api_db::identity as db;
use api_db::identity::credentials::Credential;
use model::{Fault, FaultKind, Timestamp};

use super::{Audit, By, Embedded, missing, password};
use crate::access::AccessRule;
use crate::embedded::roles::Known as Roles;
use crate::known::{Known, Role, Scope};

/// What a user asks for.
#[derive(Clone)]
pub struct NewCredential {
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The secret; one is made if absent.
    pub secret: Option<String>,
    /// Ids or names of roles, which the token must have; all that it has if there are none.
    pub roles: Vec<String>,
    /// The only requests that it is to be good for; all if there are none.
    pub access_rules: Vec<AccessRule>,
    /// Until when it is to be good.
    pub expires: Option<Timestamp>,
    /// Whether it may make and remove credentials.
    pub unrestricted: bool,
}

/// A credential, without its secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// The user's id.
    pub user: String,
    /// The project that it is good for.
    pub project: String,
    /// Roles that it is good for.
    pub roles: Vec<Role>,
    /// The only requests that it is good for.
    pub access_rules: Vec<AccessRule>,
    /// Until when it is good.
    pub expires: Option<Timestamp>,
    /// Whether it may make and remove credentials.
    pub unrestricted: bool,
}

impl Embedded {
    /// A user's credentials, by name; of this name only if one is given.
    pub async fn credentials(&self, user: &str, name: Option<String>) -> Result<Vec<Shown>, Fault> {
        self.read((user.to_owned(), name), |tx, (user, name)| {
            Box::pin(async move {
                let roles = Roles::read(tx).await?;
                let all = db::credentials::of_user(tx, &user).await?.into_iter();
                let wanted = all.filter(|one| name.as_ref().is_none_or(|name| *name == one.name));
                Ok(wanted.map(|one| shown(one, &roles)).collect())
            })
        })
        .await
    }

    /// A user's credential of that id.
    pub async fn credential(&self, user: &str, id: &str) -> Result<Shown, Fault> {
        let all = self.credentials(user, None).await?;
        all.into_iter().find(|one| one.id == id).ok_or_else(|| missing("application credential", id))
    }

    /// Makes a credential of whoever has the token, for its project; tells the secret, this once.
    pub async fn create_credential(
        &self,
        by: &By,
        with: &Known,
        new: NewCredential,
    ) -> Result<(Shown, String), Fault> {
        let forbidden = |why: &str| Fault::new(FaultKind::Forbidden, why);
        if with.credential.as_ref().is_some_and(|credential| credential.restricted) {
            return Err(forbidden("A restricted application credential may not make another."));
        }
        let Scope::Project(project) = &with.scope else {
            return Err(forbidden("An application credential is made with a token for a project."));
        };
        if new.name.trim().is_empty() || new.name.chars().count() > 255 {
            return Err(Fault::invalid("Invalid input for field 'name': give 1 to 255 characters."));
        }
        if new.expires.is_some_and(|expires| expires <= self.inner.env.now()) {
            return Err(Fault::invalid("Invalid input for field 'expires_at': it lies in the past."));
        }
        let held = |wanted: &String| {
            let found = with.roles.iter().find(|role| role.id == *wanted || role.name == *wanted);
            let why = || Fault::invalid(format!("Could not find role assignment with role: {wanted}."));
            found.map(|role| role.id.clone()).ok_or_else(why)
        };
        let roles = match new.roles.is_empty() {
            true => with.roles.iter().map(|role| role.id.clone()).collect(),
            false => new.roles.iter().map(held).collect::<Result<Vec<_>, _>>()?,
        };
        let (secret, hash) = match new.secret {
            Some(given) if !given.is_empty() => {
                let hash = self.inner.hashing.hash(&self.inner.env, &given).await?;
                (given, hash)
            }
            _ => {
                let made = password::secret(&self.inner.env);
                let hash = password::of_ours(&made);
                (made, hash)
            }
        };
        let id = || self.inner.env.uuid().simple().to_string();
        let rules = new.access_rules.into_iter().map(|rule| AccessRule { id: id(), ..rule });
        let rules: Vec<AccessRule> = rules.collect();
        let access_rules = serde_json::to_value(&rules)
            .map_err(|why| Fault::internal(format!("The access rules cannot be stored: {why}.")))?;
        let stored = Credential {
            id: id(),
            user: with.user.id.clone(),
            name: new.name,
            project: project.id.clone(),
            secret: hash,
            description: new.description,
            unrestricted: new.unrestricted,
            roles,
            access_rules,
            expires: new.expires,
        };
        let id = stored.id.clone();
        let audit = Audit::of("identity.application_credential.create", &id);
        let made = self.change(by, audit, stored, |tx, new| {
            Box::pin(async move {
                if !db::credentials::insert(tx, &new).await? {
                    let why = format!(
                        "Conflict occurred attempting to store application_credential - Duplicate entry found with name {}.",
                        new.name
                    );
                    return Err(Fault::conflict(why).into());
                }
                let roles = Roles::read(tx).await?;
                Ok(shown(new, &roles))
            })
        });
        Ok((made.await?, secret))
    }

    /// Removes a user's credential, and with it the tokens that were got with it.
    pub async fn delete_credential(&self, by: &By, with: &Known, user: &str, id: &str) -> Result<(), Fault> {
        if with.credential.as_ref().is_some_and(|credential| credential.restricted) {
            let why = "A restricted application credential may not remove one.";
            return Err(Fault::new(FaultKind::Forbidden, why));
        }
        let input = (user.to_owned(), id.to_owned());
        self.change(by, Audit::of("identity.application_credential.delete", id), input, |tx, (user, id)| {
            Box::pin(async move {
                match db::credentials::get(tx, &id).await? {
                    Some(found) if found.user == user => db::credentials::delete(tx, &id).await,
                    _ => Err(missing("application credential", &id).into()),
                }
            })
        })
        .await
    }
}

fn shown(stored: Credential, roles: &Roles) -> Shown {
    let Credential { id, name, description, user, project, expires, unrestricted, .. } = stored;
    let roles = roles.named(stored.roles);
    let access_rules = serde_json::from_value(stored.access_rules).unwrap_or_default();
    Shown { id, name, description, user, project, roles, access_rules, expires, unrestricted }
}
