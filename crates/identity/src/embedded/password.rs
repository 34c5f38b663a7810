//! Hashing of passwords and secrets: slow on purpose, and bounded, so that nobody can spend our CPU with it.

use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use model::{Env, Fault};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

/// 19 MiB, two passes, one lane: the first choice of OWASP's Password Storage Cheat Sheet for argon2id.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);
/// How many may wait for their turn; more are told to come back.
const WAITING: usize = 64;
/// Marks the hash of a secret that we made: 256 random bits need no slow hash.
const OURS: &str = "sha256:";

/// Who hashes: at most half of the cores at a time.
#[derive(Clone, Debug)]
pub struct Hashing {
    turn: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Hashing {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            turn: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: Arc::new(Semaphore::new(WAITING)),
        }
    }
}

impl Hashing {
    /// The hash of a password, with a salt of its own, as a PHC string.
    ///
    /// # Errors
    /// If too many wait already.
    pub async fn hash(&self, env: &Env, password: &str) -> Result<String, Fault> {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&env.random().to_be_bytes());
        salt[8..].copy_from_slice(&env.random().to_be_bytes());
        let password = password.to_owned();
        let hashed = self.in_turn(move || {
            let hash = slow().hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string()).map_err(|why| why.to_string())
        });
        hashed.await?.map_err(|why| Fault::internal(format!("The password cannot be hashed: {why}.")))
    }

    /// Whether `secret` is what was hashed. Without a hash it takes as long and says no, so that the time does
    /// not tell who exists.
    ///
    /// # Errors
    /// If too many wait already.
    pub async fn verify(&self, hash: Option<String>, secret: &str) -> Result<bool, Fault> {
        if let Some(digest) = hash.as_deref().and_then(|hash| hash.strip_prefix(OURS)) {
            return Ok(hex(&sha256(secret)).as_bytes().ct_eq(digest.as_bytes()).into());
        }
        let secret = secret.to_owned();
        self.in_turn(move || {
            let known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.clone());
            let same = slow().verify_password(secret.as_bytes(), hash.as_str()).is_ok();
            same && known
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let busy = || Fault::unavailable("Too many passwords are being checked; try again.");
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, also if nobody waits for it any more.
            let _turn = turn;
            work()
        });
        done.await.map_err(|why| Fault::internal(format!("A password was not checked: {why}.")))
    }
}

/// What nobody's password hashes to.
static NOBODY: LazyLock<String> = LazyLock::new(|| {
    slow().hash_password_with_salt(b"nobody", &[0; 16]).map(|hash| hash.to_string()).unwrap_or_default()
});

fn slow() -> Argon2<'static> {
    let (memory_kib, passes, lanes) = COST;
    let params = Params::new(memory_kib, passes, lanes, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The hash of a secret that we made.
pub fn of_ours(secret: &str) -> String {
    format!("{OURS}{}", hex(&sha256(secret)))
}

/// 256 random bits.
pub fn secret(env: &Env) -> String {
    (0..4).map(|_| format!("{:016x}", env.random())).collect()
}

/// SHA-256 of a text.
pub fn sha256(text: &str) -> Vec<u8> {
    Sha256::digest(text.as_bytes()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_secret_and_no_other() {
        let (hashing, env) = (Hashing::default(), Env::system());
        let hash = hashing.hash(&env, "pa55 wörd").await.expect("hashes");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hashing.hash(&env, "pa55 wörd").await.expect("hashes"), "each has its own salt");
        let ours = of_ours("made by us");
        for (hash, secret, wanted) in [
            (Some(hash.clone()), "pa55 wörd", true),
            (Some(hash), "pa55 word", false),
            (Some("no hash".to_owned()), "pa55 word", false),
            (None, "nobody", false),
            (Some(ours.clone()), "made by us", true),
            (Some(ours), "made by them", false),
        ] {
            assert_eq!(hashing.verify(hash.clone(), secret).await, Ok(wanted), "{hash:?} {secret}");
        }
    }

    #[tokio::test]
    async fn who_comes_while_too_many_wait_is_told_so() {
        let hashing = Hashing::default();
        let all = (0..WAITING + 8).map(|_| {
            let hashing = hashing.clone();
            tokio::spawn(async move {
                hashing.in_turn(|| std::thread::sleep(std::time::Duration::from_millis(5))).await
            })
        });
        let done = futures::future::join_all(all).await;
        let told =
            done.into_iter().filter(|done| matches!(done, Ok(Err(fault)) if fault.is_passing())).count();
        assert!(told > 0, "the queue is bounded");
    }
}
