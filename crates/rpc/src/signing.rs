//! Calls that a host signs, so that whoever may write to the broker cannot speak for it, and whoever has the key of
//! another host cannot either.
//!
//! The signature (Ed25519, RFC 8032) covers the name of the call, the host, the agent's session, a counter that
//! rises with each call of a session, and the body as it travels.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use model::{Fault, HostId};
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A host's own key. Clones share it; it is never printed.
#[derive(Clone)]
pub struct HostKey(Arc<Ed25519KeyPair>);

impl fmt::Debug for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HostKey").field(&self.public()).finish()
    }
}

impl HostKey {
    /// The key of a seed (RFC 8032, section 5.1.5), which is the secret.
    ///
    /// # Errors
    /// `Internal`: the library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, Fault> {
        match Ed25519KeyPair::from_seed_unchecked(seed) {
            Ok(pair) => Ok(Self(Arc::new(pair))),
            Err(why) => Err(Fault::internal(format!("the host's key cannot be used: {why}"))),
        }
    }

    /// The public half: base64 without padding, for URLs (RFC 4648, section 5).
    pub fn public(&self) -> String {
        BASE64.encode(self.0.public_key())
    }
}

/// Signs the calls of one session of a host's agent.
#[derive(Debug)]
pub struct Signer {
    host: HostId,
    session: Uuid,
    key: HostKey,
    counter: AtomicI64,
}

impl Signer {
    /// Signs for this host and session.
    pub fn new(host: HostId, session: Uuid, key: HostKey) -> Self {
        Self { host, session, key, counter: AtomicI64::new(0) }
    }

    /// The public half of the key that it signs with.
    pub fn public(&self) -> String {
        self.key.public()
    }

    pub(crate) fn sign(&self, call: &str, body: &str) -> Signature {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let Self { host, session, key, .. } = self;
        let signature = key.0.sign(&message(call, *host, *session, counter, body));
        Signature { host: *host, session: *session, counter, signature: BASE64.encode(signature) }
    }
}

/// A signature as it travels beside a call's body.
#[derive(Serialize, Deserialize)]
pub(crate) struct Signature {
    host: HostId,
    session: Uuid,
    counter: i64,
    signature: String,
}

impl Signature {
    /// With what it was made of; whether it is right is for whoever knows the host's public key.
    pub fn with(self, call: &str, body: &str) -> Signed {
        let Self { host, session, counter, signature } = self;
        let message = message(call, host, session, counter, body).into();
        let signature = BASE64.decode(signature).unwrap_or_default().into();
        Signed { host, session, counter, message, signature }
    }
}

/// What a signed call says of its sender. It is worth nothing before [`Signed::is_by`].
#[derive(Clone, Debug)]
pub struct Signed {
    /// The host that it pretends to be of.
    pub host: HostId,
    /// The session of its agent.
    pub session: Uuid,
    /// Higher than in any earlier call of the session.
    pub counter: i64,
    message: Arc<[u8]>,
    signature: Arc<[u8]>,
}

impl Signed {
    /// Whether the owner of this public key made it.
    pub fn is_by(&self, public: &str) -> bool {
        let Ok(key) = BASE64.decode(public) else { return false };
        UnparsedPublicKey::new(&ED25519, key).verify(&self.message, &self.signature).is_ok()
    }
}

fn message(call: &str, host: HostId, session: Uuid, counter: i64, body: &str) -> Vec<u8> {
    format!("skep call 1\n{call}\n{host}\n{session}\n{counter}\n{body}").into_bytes()
}

/// What makes a host one of its cell, once. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JoinToken(String);

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

impl JoinToken {
    /// The token of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever asked for the token.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a cell keeps of it: its SHA-256, base64 without padding.
    pub fn fingerprint(&self) -> String {
        BASE64.encode(digest(&SHA256, self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(seed: u8, host: u128) -> Signer {
        Signer::new(HostId(Uuid::from_u128(host)), Uuid::nil(), HostKey::from_seed(&[seed; 32]).unwrap())
    }

    #[test]
    fn a_signature_is_of_one_call_of_one_host() {
        let (one, other) = (signer(1, 1), signer(2, 1));
        let signed = one.sign("sync-host", "{}").with("sync-host", "{}");
        assert!(signed.is_by(&one.public()));
        assert!(!signed.is_by(&other.public()), "another key");
        assert!(!signed.is_by("rubbish") && !signed.is_by(""));
        for (call, body) in [("register", "{}"), ("sync-host", "{ }")] {
            assert!(!one.sign("sync-host", "{}").with(call, body).is_by(&one.public()), "{call} {body}");
        }
        let renamed = Signature { host: HostId(Uuid::from_u128(2)), ..one.sign("sync-host", "{}") };
        assert!(!renamed.with("sync-host", "{}").is_by(&one.public()), "another host");
        let again = Signature { counter: 9, ..one.sign("sync-host", "{}") };
        assert!(!again.with("sync-host", "{}").is_by(&one.public()), "another counter");
    }

    #[test]
    fn the_counter_rises_and_the_key_is_not_printed() {
        let one = signer(7, 1);
        let counters: Vec<i64> = (0..3).map(|_| one.sign("x", "").with("x", "").counter).collect();
        assert_eq!(counters, [1, 2, 3]);
        // RFC 8032, section 7.1, test 1: seed and public key.
        let seed = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
        let key = HostKey::from_seed(&BASE64.decode(seed).unwrap().try_into().unwrap()).unwrap();
        assert_eq!(key.public(), "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
        assert!(!format!("{key:?}").contains(&seed[..8]));
    }

    #[test]
    fn a_token_is_not_printed() {
        let [one, other] = ["secret-1", "secret-2"].map(JoinToken::new);
        assert_ne!(one.fingerprint(), other.fingerprint());
        assert!(!format!("{one:?}").contains("secret"));
    }
}
