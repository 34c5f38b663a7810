//! Letting users in: who they are, what they want a token for, and the token.

use std::net::IpAddr;
use std::sync::Arc;

use api_db::identity as db;
use api_db::identity::tokens::Token;
use model::{Fault, FaultKind, Timestamp};
use sql::{Error, Work};

use super::{Audit, By, Embedded, Refusal, lookup, not_you, password};
use crate::known::{Known, Scope};

/// A user or a project, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserRef {
    /// By id.
    Id(String),
    /// By name, in a domain.
    Named(String, Within),
}

/// A domain, as a request names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Within {
    /// By id.
    Id(String),
    /// By name.
    Named(String),
}

/// How somebody says who they are.
#[derive(Clone)]
pub enum Method {
    /// User and password.
    Password(UserRef, String),
    /// A token.
    Token(String),
    /// An application credential by id, or by name with its user; and its secret.
    Credential(UserRef, Option<UserRef>, String),
}

/// What somebody wants a token for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeWish {
    /// They do not say: for the user's default project, or for nothing.
    Unsaid,
    /// For nothing.
    Unscoped,
    /// For a project.
    Project(UserRef),
    /// For a domain.
    Domain(Within),
    /// For the cloud itself.
    System,
}

/// A request for a token.
#[derive(Clone)]
pub struct Request {
    /// All must hold, and be of one user.
    pub methods: Vec<Method>,
    /// What it is to be good for.
    pub scope: ScopeWish,
    /// The address that it came from.
    pub from: Option<IpAddr>,
}

/// A token that was made.
#[derive(Clone)]
pub struct Issued {
    /// The token itself. Secret, and not stored.
    pub token: String,
    /// What it stands for.
    pub known: Arc<Known>,
}

/// Who somebody turned out to be.
#[derive(Clone, Default)]
struct Proven {
    user: String,
    methods: Vec<String>,
    credential: Option<String>,
    /// The project of a credential, which alone it is good for.
    project: Option<String>,
    /// Until when what they showed is good.
    until: Option<Timestamp>,
    /// The first token in the line.
    parent: Option<String>,
}

impl Embedded {
    /// Makes a token for who can show who they are.
    ///
    /// # Errors
    /// [`FaultKind::Unauthenticated`] if they cannot, or may not have that scope; [`Refusal::Wait`] after too
    /// many failures; a passing fault if nobody can tell.
    pub async fn issue(&self, request: Request) -> Result<Issued, Refusal> {
        let mut proven: Option<Proven> = None;
        for method in &request.methods {
            let next = match method {
                Method::Password(user, password) => self.by_password(user, password, request.from).await?,
                Method::Token(token) => self.by_token(token).await?,
                Method::Credential(which, user, secret) => {
                    self.by_credential(which, user.as_ref(), secret, request.from).await?
                }
            };
            proven = Some(match proven {
                None => next,
                Some(before) if before.user == next.user => both(before, next),
                Some(_) => return Err(not_you().into()),
            });
        }
        let Some(proven) = proven else { return Err(not_you().into()) };
        Ok(self.make(proven, request.scope).await?)
    }

    async fn by_password(
        &self,
        user: &UserRef,
        password: &str,
        from: Option<IpAddr>,
    ) -> Result<Proven, Refusal> {
        let tried = self.inner.guesses.begin(&key(user), from).map_err(Refusal::Wait)?;
        let found = self.read(user.clone(), |tx, user| {
            Box::pin(async move {
                let Some(user) = resolve(tx, "user", &user).await? else { return Ok(None) };
                let hash = db::passwords::get(tx, &user.id).await?;
                Ok(Some((user, hash)))
            })
        });
        let (user, hash) = found.await?.unzip();
        let right = self.inner.hashing.verify(hash.flatten(), password).await?;
        match user {
            Some(user) if right && user.enabled => {
                self.inner.guesses.right(&tried);
                Ok(Proven { user: user.id, methods: vec!["password".into()], ..Proven::default() })
            }
            _ => {
                self.inner.guesses.failed(&tried);
                metrics::counter!("skep_identity_refused", "method" => "password").increment(1);
                Err(not_you().into())
            }
        }
    }

    async fn by_token(&self, token: &str) -> Result<Proven, Refusal> {
        let known = self.validate(token).await?.ok_or_else(not_you)?;
        // A credential is good for one project, and so is what was got with it.
        let project = match (&known.credential, &known.scope) {
            (Some(_), Scope::Project(project)) => Some(project.id.clone()),
            _ => None,
        };
        let mut methods = known.methods.clone();
        if !methods.iter().any(|method| method == "token") {
            methods.push("token".into());
        }
        Ok(Proven {
            user: known.user.id.clone(),
            methods,
            credential: known.credential.as_ref().map(|credential| credential.id.clone()),
            project,
            until: known.expires,
            parent: known.audit_ids.last().cloned(),
        })
    }

    async fn by_credential(
        &self,
        which: &UserRef,
        user: Option<&UserRef>,
        secret: &str,
        from: Option<IpAddr>,
    ) -> Result<Proven, Refusal> {
        let tried = self.inner.guesses.begin(&key(which), from).map_err(Refusal::Wait)?;
        let found = self.read((which.clone(), user.cloned()), |tx, (which, user)| {
            Box::pin(async move {
                match (which, user) {
                    (UserRef::Id(id), _) => db::credentials::get(tx, &id).await,
                    (UserRef::Named(name, _), Some(user)) => {
                        let Some(user) = resolve(tx, "user", &user).await? else { return Ok(None) };
                        let all = db::credentials::of_user(tx, &user.id).await?;
                        Ok(all.into_iter().find(|credential| credential.name == name))
                    }
                    (UserRef::Named(..), None) => Ok(None),
                }
            })
        });
        let found = found.await?;
        let hash = found.as_ref().map(|credential| credential.secret.clone());
        let right = self.inner.hashing.verify(hash, secret).await?;
        let now = self.inner.env.now();
        match found {
            Some(found) if right && found.expires.is_none_or(|expires| now < expires) => {
                self.inner.guesses.right(&tried);
                Ok(Proven {
                    user: found.user,
                    methods: vec!["application_credential".into()],
                    project: Some(found.project),
                    until: found.expires,
                    credential: Some(found.id),
                    parent: None,
                })
            }
            _ => {
                self.inner.guesses.failed(&tried);
                metrics::counter!("skep_identity_refused", "method" => "application_credential").increment(1);
                Err(not_you().into())
            }
        }
    }

    /// Makes the token, if there is a role for its scope.
    async fn make(&self, proven: Proven, wish: ScopeWish) -> Result<Issued, Fault> {
        let inner = Arc::clone(&self.inner);
        let token = password::secret(&inner.env);
        let hash = password::sha256(&token);
        let now = inner.env.now();
        let own = now.plus(inner.settings.token_lifetime);
        let expires = proven.until.map_or(own, |until| until.min(own));
        let audit_ids = std::iter::once(inner.env.uuid().simple().to_string()).chain(proven.parent.clone());
        let audit_ids: Vec<String> = audit_ids.collect();
        let known = self.inner.db.write(move |tx| -> Work<'_, _> {
            let (inner, proven, wish) = (Arc::clone(&inner), proven.clone(), wish.clone());
            let (hash, audit_ids) = (hash.clone(), audit_ids.clone());
            Box::pin(async move {
                let choices = choices(tx, &proven, &wish).await?;
                for (scope, target) in choices {
                    let token = Token {
                        hash: hash.clone(),
                        user: proven.user.clone(),
                        scope,
                        target,
                        methods: proven.methods.clone(),
                        credential: proven.credential.clone(),
                        audit_ids: audit_ids.clone(),
                        issued: now,
                        expires,
                    };
                    db::tokens::insert(tx, &token).await?;
                    // Read as every later check will read it: disabled, gone or without a role is refused here.
                    if let Some(found) = lookup::token(tx, &hash, now, &inner.roles).await? {
                        return Ok(found);
                    }
                    db::tokens::delete(tx, &hash).await?;
                }
                Err(Error::Fault(not_you()))
            })
        });
        let (known, revision) = known.await?;
        self.heard(revision);
        Ok(Issued { token, known: Arc::new(known) })
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// [`FaultKind::NotFound`] if it is not known.
    pub async fn revoke(&self, by: &By, token: &str) -> Result<(), Fault> {
        let hash = password::sha256(token);
        self.change(by, Audit::of("identity.token.revoke", ""), hash, |tx, hash| {
            Box::pin(async move {
                match db::tokens::delete(tx, &hash).await? {
                    true => Ok(()),
                    false => Err(Fault::new(FaultKind::NotFound, "Could not find token.").into()),
                }
            })
        })
        .await
    }
}

/// Kinds and ids of scopes that a wish may mean, the first that works is meant.
async fn choices(
    tx: &mut api_db::Tx,
    proven: &Proven,
    wish: &ScopeWish,
) -> Result<Vec<(String, String)>, Error> {
    let project = |id: String| ("project".to_owned(), id);
    let nothing = || ("none".to_owned(), String::new());
    if let Some(only) = &proven.project {
        let meant = match wish {
            ScopeWish::Unsaid => true,
            ScopeWish::Project(which) => {
                resolve(tx, "project", which).await?.is_some_and(|project| project.id == *only)
            }
            _ => false,
        };
        return Ok(if meant { vec![project(only.clone())] } else { Vec::new() });
    }
    Ok(match wish {
        ScopeWish::Unscoped => vec![nothing()],
        ScopeWish::Unsaid => {
            let user = db::entities::get(tx, "user", &proven.user).await?;
            let default =
                user.and_then(|user| user.extra.get("default_project_id")?.as_str().map(str::to_owned));
            default.map(project).into_iter().chain([nothing()]).collect()
        }
        ScopeWish::Project(which) => {
            resolve(tx, "project", which).await?.map(|found| project(found.id)).into_iter().collect()
        }
        ScopeWish::Domain(which) => {
            domain(tx, which).await?.map(|found| ("domain".to_owned(), found.id)).into_iter().collect()
        }
        ScopeWish::System => vec![("system".to_owned(), String::new())],
    })
}

/// Two proofs of one user.
fn both(a: Proven, b: Proven) -> Proven {
    let until = match (a.until, b.until) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let methods = [a.methods, b.methods].concat();
    Proven {
        user: a.user,
        methods,
        credential: a.credential.or(b.credential),
        project: a.project.or(b.project),
        until,
        parent: a.parent.or(b.parent),
    }
}

/// The user or project that a request names.
pub async fn resolve(
    tx: &mut api_db::Tx,
    kind: &str,
    which: &UserRef,
) -> Result<Option<db::entities::Entity>, Error> {
    match which {
        UserRef::Id(id) => db::entities::get(tx, kind, id).await,
        UserRef::Named(name, within) => {
            let Some(domain) = domain(tx, within).await? else { return Ok(None) };
            db::entities::named(tx, kind, &domain.id, name).await
        }
    }
}

async fn domain(tx: &mut api_db::Tx, which: &Within) -> Result<Option<db::entities::Entity>, Error> {
    match which {
        Within::Id(id) => db::entities::get(tx, "domain", id).await,
        Within::Named(name) => db::entities::named(tx, "domain", "", name).await,
    }
}

/// How a user is called while failures are counted.
fn key(user: &UserRef) -> String {
    match user {
        UserRef::Id(id) => format!("id {id}"),
        UserRef::Named(name, Within::Id(domain)) => format!("name {name} in {domain}"),
        UserRef::Named(name, Within::Named(domain)) => format!("name {name} in named {domain}"),
    }
}
