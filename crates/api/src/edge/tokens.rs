//! Identity: whom a token stands for.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use model::{Caller, Env};
use subtle::ConstantTimeEq;

use crate::settings::StaticToken;

/// The tokens that are known, found by a salted hash and then compared in constant time, so that
/// neither step tells a guesser how near the guess was.
pub struct Tokens {
    salt: [u64; 2],
    known: HashMap<u64, Vec<Known>>,
}

/// A token and whom it stands for.
struct Known {
    token: Box<[u8]>,
    caller: Arc<Caller>,
}

impl Tokens {
    /// Takes in the configured tokens; an empty one is left out, for it would let everybody in.
    pub fn new(tokens: &[StaticToken], env: &Env) -> Self {
        let mut all = Self { salt: [env.random(), env.random()], known: HashMap::new() };
        for token in tokens {
            if token.token.is_empty() {
                tracing::warn!(user = token.user, "ignoring an empty token");
                continue;
            }
            let caller = Caller {
                user: token.user.clone(),
                project: token.project.clone(),
                roles: token.roles.clone(),
            };
            let hash = all.hash(token.token.as_bytes());
            all.known
                .entry(hash)
                .or_default()
                .push(Known { token: token.token.as_bytes().into(), caller: Arc::new(caller) });
        }
        all
    }

    /// The caller that `token` stands for, if it is known.
    pub fn validate(&self, token: &[u8]) -> Option<Arc<Caller>> {
        let near = self.known.get(&self.hash(token))?;
        near.iter().find(|known| known.token.ct_eq(token).into()).map(|known| Arc::clone(&known.caller))
    }

    fn hash(&self, token: &[u8]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.salt[0]);
        hasher.write(token);
        hasher.write_u64(self.salt[1]);
        hasher.finish()
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
            Tokens::new(&[token("alpha", "a"), token("beta", "b"), token("", "nobody")], &Env::system());
        assert_eq!(tokens.validate(b"alpha").map(|caller| caller.user.clone()), Some("a".into()));
        assert_eq!(tokens.validate(b"beta").map(|caller| caller.user.clone()), Some("b".into()));
        for wrong in ["", "alph", "alphaa", "ALPHA"] {
            assert!(tokens.validate(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
