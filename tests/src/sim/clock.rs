//! Virtual time and chance from a seed: what every role of a simulated cloud sees through its `Env`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use model::env::Rng;
use model::{Clock, Env, Timestamp};

/// Wall-clock time at the beginning of every simulation: 2026-01-01.
const BEGIN: i64 = 1_767_225_600_000_000;

thread_local! {
    static WORLD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static ROLE: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// The role that runs on this thread at the moment.
struct Running {
    name: Rc<str>,
    /// When its runtime began, by the runtime's clock and by the world's.
    zero: tokio::time::Instant,
    began: Duration,
}

/// Sets the world's time, which counts between the steps of roles.
pub fn set_world(now: Duration) {
    WORLD.set(now);
}

/// Runs `step` as the role of that name.
pub fn as_role<T>(
    name: &Rc<str>,
    zero: tokio::time::Instant,
    began: Duration,
    step: impl FnOnce() -> T,
) -> T {
    ROLE.set(Some(Running { name: name.clone(), zero, began }));
    let done = step();
    ROLE.set(None);
    done
}

/// Time since the simulation began, as the role that runs sees it.
#[expect(clippy::disallowed_methods, reason = "this is the seam that provides the clock")]
pub fn now() -> Duration {
    ROLE.with_borrow(|role| match role {
        Some(role) => role.began + (tokio::time::Instant::now() - role.zero),
        None => WORLD.get(),
    })
}

/// The name of the role that runs.
pub fn who() -> Rc<str> {
    ROLE.with_borrow(|role| role.as_ref().map_or_else(|| "world".into(), |role| role.name.clone()))
}

/// The clock: monotonic time is the simulation's, wall time may be wrong.
struct Virtual {
    skew: Skew,
}

/// How wrong a wall clock is, in microseconds; it can be set meanwhile. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Wrong by so much.
    pub fn new(micros: i64) -> Self {
        Self(Arc::new(AtomicI64::new(micros)))
    }

    /// Sets the clock forth, or back where `micros` is negative.
    pub fn step(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp(BEGIN + self.monotonic().as_micros() as i64 + self.skew.0.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        now()
    }
}

/// Chance (Steele, Lea, Flood: SplitMix64). Not for more than one thread, although it may be shared.
#[derive(Debug)]
pub struct Dice(AtomicU64);

impl Dice {
    /// Dice for `whom`, different for everybody and the same for the same seed.
    pub fn new(seed: u64, whom: &str) -> Self {
        // FNV-1a.
        let hash = whom.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(AtomicU64::new(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// A number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Whether something of this percentage happens.
    pub fn percent(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time up to `limit`, in whole milliseconds.
    pub fn time(&self, limit: Duration) -> Duration {
        Duration::from_millis(self.below(limit.as_millis() as u64 + 1))
    }

    /// Puts `items` in any order.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

impl Rng for Dice {
    fn next(&self) -> u64 {
        let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Clock and chance of `whom`; its wall clock is wrong by `skew`.
pub fn env_with(seed: u64, whom: &str, skew: &Skew) -> Env {
    Env::new(Arc::new(Virtual { skew: skew.clone() }), Arc::new(Dice::new(seed, whom)))
}

/// The same with a wall clock that is right.
pub fn env(seed: u64, whom: &str) -> Env {
    env_with(seed, whom, &Skew::default())
}
