//! Tokens that the configuration names: for a desk, for tests, and for the day on which nothing else works.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use model::Env;
use subtle::ConstantTimeEq;

use crate::known::{InDomain, Known, Role, Scope};

/// A token and whom it stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct StaticToken {
    /// What the caller sends as `X-Auth-Token`. Secret.
    pub token: String,
    /// The user's id.
    pub user: String,
    /// The project's id.
    pub project: String,
    /// Roles held in that project: `reader`, `member`, `manager`, `admin`.
    pub roles: Vec<String>,
}

impl fmt::Debug for StaticToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticToken")
            .field("user", &self.user)
            .field("project", &self.project)
            .field("roles", &self.roles)
            .finish_non_exhaustive()
    }
}

/// The tokens that are known, found by a salted hash and then compared in constant time, so that
/// neither step tells a guesser how near the guess was.
pub struct Fixed {
    salt: [u64; 2],
    known: HashMap<u64, Vec<Entry>>,
}

struct Entry {
    token: Box<[u8]>,
    known: Arc<Known>,
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Fixed {
    /// Takes in the configured tokens; an empty one is left out, for it would let everybody in.
    pub fn new(tokens: &[StaticToken], env: &Env) -> Self {
        let mut all = Self { salt: [env.random(), env.random()], known: HashMap::new() };
        for token in tokens {
            if token.token.is_empty() {
                tracing::warn!(user = token.user, "ignoring an empty token");
                continue;
            }
            let hash = all.hash(token.token.as_bytes());
            let known = Arc::new(known(token, env));
            all.known.entry(hash).or_default().push(Entry { token: token.token.as_bytes().into(), known });
        }
        all
    }

    /// What `token` stands for, if it is known.
    pub fn validate(&self, token: &[u8]) -> Option<Arc<Known>> {
        let near = self.known.get(&self.hash(token))?;
        near.iter().find(|entry| entry.token.ct_eq(token).into()).map(|entry| Arc::clone(&entry.known))
    }

    fn hash(&self, token: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.salt[0]);
        hasher.write(token);
        hasher.write_u64(self.salt[1]);
        hasher.finish()
    }
}

/// Names are ids here, and the domain is the one that every cloud has.
fn known(token: &StaticToken, env: &Env) -> Known {
    let domain = || Role { id: "default".to_owned(), name: "Default".to_owned() };
    let named = |name: &String| InDomain { id: name.clone(), name: name.clone(), domain: domain() };
    let (user, scope) = (named(&token.user), Scope::Project(named(&token.project)));
    let role = |name: &String| Role { id: name.clone(), name: name.clone() };
    let roles: Vec<Role> = token.roles.iter().map(role).collect();
    Known {
        caller: Known::caller_of(&user, &scope, &roles),
        user,
        scope,
        roles,
        methods: vec!["token".to_owned()],
        audit_ids: vec![env.uuid().simple().to_string()],
        issued: env.now(),
        expires: None,
        credential: None,
        access_rules: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_its_own_and_no_other() {
        let token = |token: &str, user: &str| StaticToken {
            token: token.into(),
            user: user.into(),
            project: "p".into(),
            roles: vec!["member".into()],
        };
        let tokens =
            Fixed::new(&[token("alpha", "a"), token("beta", "b"), token("", "nobody")], &Env::system());
        let user = |token: &str| tokens.validate(token.as_bytes()).map(|known| known.caller.user.clone());
        assert_eq!(user("alpha"), Some("a".into()));
        assert_eq!(user("beta"), Some("b".into()));
        for wrong in ["", "alph", "alphaa", "ALPHA"] {
            assert!(user(wrong).is_none(), "{wrong}");
        }
    }
}
