//! Guessing is slowed: who fails again and again waits longer and longer before the next try is looked at.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use model::Env;
use moka::sync::Cache;

/// How many failures in a row cost nothing: of one user from one address, of one user from anywhere, and
/// from one address. The last are generous, because strangers must not be able to lock a user out, and many
/// users may share an address.
const FREE: [u32; 3] = [5, 50, 200];
/// The first wait; each further failure doubles it.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// After this long without a failure all is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(900);
/// Most users and addresses remembered; beyond it the oldest are forgotten.
const REMEMBERED: u64 = 20_000;

/// Failures of late, and when the next try is looked at.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    failures: u32,
    next: Duration,
}

/// Failures of late, in this process.
#[derive(Clone, Debug)]
pub struct Guesses {
    env: Env,
    rows: Cache<Arc<str>, Row>,
}

/// A try.
#[derive(Debug)]
pub struct Try([Arc<str>; 3]);

impl Guesses {
    /// None yet.
    pub fn new(env: Env) -> Self {
        Self { env, rows: Cache::builder().max_capacity(REMEMBERED).time_to_idle(FORGOTTEN).build() }
    }

    /// A try to be `user`; refused with the time to wait if there were too many failures.
    pub fn begin(&self, user: &str, from: Option<IpAddr>) -> Result<Try, Duration> {
        let from = from.map_or("nowhere".to_owned(), |ip| ip.to_string());
        let keys =
            [format!("{user} from {from}"), format!("{user} from anywhere"), format!("anybody from {from}")];
        let keys = Try(keys.map(Arc::from));
        let now = self.env.monotonic();
        let wait = keys.0.iter().filter_map(|key| self.rows.get(key)?.next.checked_sub(now)).max();
        match wait {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(keys),
        }
    }

    /// The try failed.
    pub fn failed(&self, tried: &Try) {
        let now = self.env.monotonic();
        for (key, free) in tried.0.iter().zip(FREE) {
            let mut row = self.rows.get(key).unwrap_or_default();
            row.failures = row.failures.saturating_add(1);
            if let Some(beyond) = row.failures.checked_sub(free) {
                row.next = now + (FIRST * 2_u32.saturating_pow(beyond.min(10))).min(LONGEST);
            }
            self.rows.insert(Arc::clone(key), row);
        }
    }

    /// The try was right: its user's failures from there are forgotten.
    pub fn right(&self, tried: &Try) {
        self.rows.invalidate(&tried.0[0]);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use model::time::Clock;
    use model::{Timestamp, env::SystemRng};

    use super::*;

    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            Timestamp(0)
        }
        fn monotonic(&self) -> Duration {
            *self.0.lock().expect("not poisoned")
        }
    }

    #[test]
    fn failures_cost_time_and_others_none() {
        let hand = Arc::new(Hand::default());
        let guesses = Guesses::new(Env::new(hand.clone(), Arc::new(SystemRng)));
        let (here, there) = (Some(IpAddr::from([10, 0, 0, 1])), Some(IpAddr::from([10, 0, 0, 2])));
        let fail = |user: &str, from| guesses.failed(&guesses.begin(user, from).expect("is looked at"));
        for _ in 0..5 {
            fail("ana", here);
        }
        assert_eq!(guesses.begin("ana", here).err(), Some(FIRST));
        assert!(guesses.begin("ana", there).is_ok() && guesses.begin("bo", here).is_ok());
        *hand.0.lock().expect("not poisoned") += FIRST;
        fail("ana", here);
        assert_eq!(guesses.begin("ana", here).err(), Some(FIRST * 2));
        *hand.0.lock().expect("not poisoned") += FIRST * 2;
        guesses.right(&guesses.begin("ana", here).expect("is looked at"));
        for _ in 0..4 {
            fail("ana", here);
        }
        assert!(guesses.begin("ana", here).is_ok(), "after the right one it begins anew");
    }

    #[test]
    fn many_users_from_one_address_are_slowed_too() {
        let hand = Arc::new(Hand::default());
        let guesses = Guesses::new(Env::new(hand, Arc::new(SystemRng)));
        let here = Some(IpAddr::from([10, 0, 0, 1]));
        for n in 0..200 {
            guesses.failed(&guesses.begin(&format!("user{n}"), here).expect("is looked at"));
        }
        assert!(guesses.begin("ana", here).is_err());
    }
}
