//! Clock and randomness as one handle, passed to whoever needs either.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::failpoint::{self, Failpoints, Mode, Point};
use crate::fault::Fault;
use crate::time::{Clock, SystemClock, Timestamp};

/// A source of randomness.
pub trait Rng: Send + Sync {
    /// The next 64 random bits.
    fn next(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that provides randomness")]
    fn next(&self) -> u64 {
        Uuid::new_v4().as_u64_pair().1 ^ Uuid::new_v4().as_u64_pair().0.rotate_left(17)
    }
}

/// Everything that is not a function of its arguments: the clock, randomness, and ids made of both.
#[derive(Clone)]
pub struct Env {
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    failpoints: Option<Arc<Failpoints>>,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

impl Env {
    /// The machine's clock and randomness.
    pub fn system() -> Self {
        Self::new(Arc::new(SystemClock::default()), Arc::new(SystemRng))
    }

    /// A given clock and randomness, as tests and the simulation use.
    pub fn new(clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { clock, rng, failpoints: None }
    }

    /// The same, with failpoints; they do something only in builds that carry them.
    pub fn with_failpoints(self, failpoints: Arc<Failpoints>) -> Self {
        Self { failpoints: Some(failpoints), ..self }
    }

    /// Runs a step that ends in a commit; with failpoints it may fail before or after, stand still, or
    /// run twice.
    pub async fn step<T, E, Fut>(&self, point: Point, run: impl Fn() -> Fut) -> Result<T, E>
    where
        Fut: Future<Output = Result<T, E>>,
        E: From<Fault>,
    {
        self.step_of(point, run, |_| true).await
    }

    /// As [`Env::step`], of a step that may find nothing to do: then nothing happens to it after its commit, and it does
    /// not run twice. `worked` tells.
    pub async fn step_of<T, E, Fut>(
        &self,
        point: Point,
        run: impl Fn() -> Fut,
        worked: impl Fn(&T) -> bool,
    ) -> Result<T, E>
    where
        Fut: Future<Output = Result<T, E>>,
        E: From<Fault>,
    {
        if !failpoint::COMPILED {
            return run().await;
        }
        let Some(failpoints) = &self.failpoints else { return run().await };
        let held = failpoints.pass(point, Mode::FailBefore, Mode::HoldBefore).await?;
        let mut done = run().await;
        if held {
            failpoints.ended(point);
        }
        if done.as_ref().is_ok_and(worked) {
            if failpoints.doubles(point) {
                done = run().await;
            }
            if failpoints.pass(point, Mode::FailAfter, Mode::HoldAfter).await? {
                failpoints.ended(point);
            }
        }
        done
    }

    /// Wall-clock time.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Monotonic time since an arbitrary start.
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        self.rng.next()
    }

    /// A random number below `bound` (zero if `bound` is zero).
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.random() % bound }
    }

    /// `base` plus up to half of it, so that crowds do not move in step.
    pub fn jitter(&self, base: Duration) -> Duration {
        base + Duration::from_micros(self.below(base.as_micros() as u64 / 2 + 1))
    }

    /// A new version 7 UUID: ordered by creation time, random otherwise (RFC 9562, section 5.7).
    pub fn uuid(&self) -> Uuid {
        let millis = (self.now().0 / 1_000).max(0) as u64;
        let (a, b) = (self.random(), self.random());
        let high = (millis << 16) | 0x7000 | (a & 0x0fff);
        let low = (b & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        Uuid::from_u64_pair(high, low)
    }

    /// A new id of any kind.
    pub fn id<T: From<Uuid>>(&self) -> T {
        T::from(self.uuid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_seven_and_differ() {
        let env = Env::system();
        let (a, b) = (env.uuid(), env.uuid());
        assert_ne!(a, b);
        assert_eq!(a.get_version_num(), 7);
        assert_eq!(a.get_variant(), uuid::Variant::RFC4122);
    }
}
