//! Requests that may be repeated: what was answered to the first is answered again
//! (draft-ietf-httpapi-idempotency-key-header).

use std::sync::Arc;
use std::time::Duration;

use api_db::idempotency::{self, Answer, Attempt, Known};
use model::{Caller, Context, Fault};
use sha2::{Digest, Sha256};
use sql::{Error, Work};
use uuid::Uuid;

use crate::Verbs;

/// One attempt at a request that carries an idempotency key.
#[derive(Clone)]
pub struct Key(pub(crate) Arc<Attempt>, [u8; 32]);

impl std::fmt::Debug for Key {
    /// Without its secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(&self.0).finish_non_exhaustive()
    }
}

impl Key {
    /// The key of `caller` for what `route` says (method, path, the key's text), with the rest of the
    /// request: the same key with another `request` is refused.
    pub fn new(caller: &Caller, context: &Context, by: Uuid, route: &[&str], request: &[&[u8]]) -> Self {
        let who = [caller.project.as_bytes(), caller.user.as_bytes()];
        let scope: Vec<&[u8]> = who.into_iter().chain(route.iter().map(|part| part.as_bytes())).collect();
        let mut id = [0; 16];
        id.copy_from_slice(&digest(scope.iter().copied())[..16]);
        let attempt = Attempt {
            id: uuid::Builder::from_custom_bytes(id).into_uuid(),
            // With the key in it, so that nobody who lacks it can try bodies with passwords on what is stored.
            fingerprint: digest(scope.iter().chain(request).copied()).to_vec(),
            project: caller.project.clone(),
            request_id: context.request_id.clone(),
            by,
        };
        Self(Arc::new(attempt), digest([b"answer".as_slice()].into_iter().chain(scope)))
    }

    /// What only a client that knows the key's text can make, for sealing the answer.
    pub fn secret(&self) -> &[u8; 32] {
        &self.1
    }

    /// The attempt's request id.
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }
}

/// What came of the wish to hold a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It is held; the id is common to all attempts at the request.
    Ours(Uuid),
    /// Something is known of it.
    Known(Known),
}

/// SHA-256 over parts, each with its length before it, so that no two lists run into one another.
fn digest<'a>(parts: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Verbs {
    /// What is known of a key.
    ///
    /// # Errors
    /// The API database does not answer.
    pub async fn known(&self, key: &Key) -> Result<Option<Known>, Fault> {
        let (key, now) = (key.clone(), self.inner.env.now());
        let found = self.inner.db.read(move |tx| -> Work<'_, Option<Known>> {
            let key = key.clone();
            Box::pin(async move { idempotency::find(tx, key.0.id, &key.0.fingerprint, now).await })
        });
        Ok(found.await?)
    }

    /// Holds a key for at most `within`, unless something is known of it.
    ///
    /// # Errors
    /// The API database does not answer.
    pub async fn hold(&self, key: &Key, within: Duration) -> Result<Hold, Fault> {
        if let Some(known) = self.known(key).await? {
            return Ok(Hold::Known(known));
        }
        let (attempt, now) = (key.clone(), self.inner.env.now());
        let (until, expires) = (now.plus(within), now.plus(self.inner.settings.keep_answers));
        let held = self.inner.db.write(move |tx| -> Work<'_, Option<Uuid>> {
            let attempt = attempt.clone();
            Box::pin(async move { idempotency::hold(tx, &attempt.0, now, until, expires).await })
        });
        match held.await {
            Ok(Some(first)) => Ok(Hold::Ours(first)),
            // Another attempt was faster.
            Ok(None) => Ok(Hold::Known(self.known(key).await?.unwrap_or(Known::Held))),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the answer to an attempt that holds its key.
    ///
    /// # Errors
    /// The API database does not answer; another attempt may work on the request once the time of this one
    /// is over.
    pub async fn settle(&self, key: &Key, answer: Answer) -> Result<(), Fault> {
        let attempt = key.clone();
        let settled = self.inner.db.write(move |tx| -> Work<'_, bool> {
            let (attempt, answer) = (attempt.clone(), answer.clone());
            Box::pin(async move { idempotency::settle(tx, &attempt.0, &answer).await })
        });
        if !settled.await? {
            tracing::warn!(request_id = key.request_id(), "another attempt took this request over");
        }
        Ok(())
    }

    /// Stores the answer to an attempt that holds nothing and changed nothing, unless something is known of
    /// its key.
    ///
    /// # Errors
    /// The API database does not answer.
    pub async fn remember(&self, key: &Key, answer: Answer) -> Result<(), Fault> {
        let (attempt, now) = (key.clone(), self.inner.env.now());
        let expires = now.plus(self.inner.settings.keep_answers);
        let stored = self.inner.db.write(move |tx| -> Work<'_, bool> {
            let (attempt, answer) = (attempt.clone(), answer.clone());
            Box::pin(async move { idempotency::answer(tx, &attempt.0, &answer, now, expires).await })
        });
        stored.await?;
        Ok(())
    }

    /// Ends an attempt that holds its key without an answer to keep: the next may begin at once.
    ///
    /// # Errors
    /// The API database does not answer; the key is free once the time of this attempt is over.
    pub async fn release(&self, key: &Key) -> Result<(), Fault> {
        let attempt = key.clone();
        let released: Result<(), Error> = self
            .inner
            .db
            .write(move |tx| -> Work<'_, ()> {
                let attempt = attempt.clone();
                Box::pin(async move { idempotency::release(tx, &attempt.0).await })
            })
            .await;
        Ok(released?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: &str, route: &[&str], request: &[&[u8]]) -> Key {
        let caller = Caller { user: user.into(), project: "p".into(), roles: Vec::new() };
        Key::new(&caller, &Context::default(), Uuid::nil(), route, request)
    }

    #[test]
    fn a_key_is_its_callers_and_its_routes() {
        let one = key("u", &["POST", "/a", "k"], &[b"body"]);
        let ids = |key: &Key| (key.0.id, key.0.fingerprint.clone());
        assert_eq!(ids(&one), ids(&key("u", &["POST", "/a", "k"], &[b"body"])));
        for (user, route) in
            [("v", ["POST", "/a", "k"]), ("u", ["POST", "/b", "k"]), ("u", ["POST", "/a", "l"])]
        {
            assert_ne!(one.0.id, key(user, &route, &[b"body"]).0.id, "{user} {route:?}");
        }
        assert_ne!(one.0.id, key("u", &["POST", "/ak", ""], &[b"body"]).0.id, "parts do not run together");
        let other = key("u", &["POST", "/a", "k"], &[b"bod", b"y"]);
        assert_eq!(one.0.id, other.0.id);
        assert_ne!(one.0.fingerprint, other.0.fingerprint);
        let unknown = key("u", &["POST", "/a", "l"], &[b"body"]);
        assert_ne!(one.0.fingerprint, unknown.0.fingerprint, "of the same body under another key");
        assert_ne!(one.secret(), unknown.secret());
        assert!(
            !one.0.fingerprint.starts_with(one.secret())
                && !one.0.id.as_bytes().starts_with(&one.secret()[..8])
        );
    }
}
