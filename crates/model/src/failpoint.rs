//! Failpoints: places where tests let a step fail, run twice, or stand still.
//!
//! Steps are listed here, so a test can go through all of them and a new step without its cases shows.
//! They are compiled in with the feature `failpoints` only, which no release build has; without it
//! [`COMPILED`] is false and every check vanishes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::fault::Fault;

/// Whether this build carries failpoints.
pub const COMPILED: bool = cfg!(feature = "failpoints");

/// A step of a durable task or of a loop, which ends in a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point(pub &'static str);

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

macro_rules! points {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Point = Point($text);)*
        /// Every step.
        pub const ALL: &[Point] = &[$($name),*];
    };
}

points! {
    /// Instances are promised.
    BOOT = "api.boot";
    /// A deletion is promised.
    DELETE = "api.delete";
    /// An action is written into the instance's cell.
    ACT = "api.act";
    /// Tasks are leased, counters bumped, bindings made.
    LEASE = "superconductor.lease";
    /// Builds that fit nowhere, as cells have published, are given back until that is newer than they are.
    ASK = "superconductor.ask";
    /// Instances are inserted in their cell.
    INSERT = "superconductor.insert";
    /// Instances are wanted gone in their cell.
    GONE = "superconductor.gone";
    /// Instances are buried in cell0.
    BURY = "superconductor.bury";
    /// Mappings of what is gone are closed.
    CLOSE = "superconductor.close";
    /// Tasks end because their outcome was read.
    FINISH = "superconductor.finish";
    /// Tasks go back because a cell has refused.
    RETARGET = "superconductor.retarget";
    /// Other sizes are wished for in their cell.
    WISH = "superconductor.wish";
    /// Tasks end because a size was changed, or was not.
    SIZED = "superconductor.sized";
    /// A worker's beat.
    BEAT = "superconductor.beat";
    /// Instances are placed on hosts.
    PLACE = "conductor.place";
    /// Sizes are claimed, given back or taken back.
    RESIZE = "conductor.resize";
    /// An agent's sync is answered.
    SYNC = "conductor.sync";
}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The step fails before it has done anything.
    FailBefore,
    /// The step is done and then said to have failed.
    FailAfter,
    /// The step stands still before it does anything, until it is released.
    HoldBefore,
    /// The step is done and then stands still, until it is released.
    HoldAfter,
    /// The step runs twice.
    Twice,
}

#[derive(Default)]
struct State {
    armed: BTreeMap<Point, (Mode, u32)>,
    fired: BTreeMap<Point, u64>,
    ended: BTreeMap<Point, u64>,
    released: bool,
    wakers: Vec<Waker>,
}

/// The failpoints of one cloud.
#[derive(Default)]
pub struct Failpoints {
    state: Mutex<State>,
}

impl fmt::Debug for Failpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failpoints").finish_non_exhaustive()
    }
}

impl Failpoints {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Arms a point for the next `times` passes.
    pub fn arm(&self, point: Point, mode: Mode, times: u32) {
        let mut state = self.state();
        state.released = false;
        state.armed.insert(point, (mode, times));
    }

    /// How often a point has done something.
    pub fn fired(&self, point: Point) -> u64 {
        self.state().fired.get(&point).copied().unwrap_or_default()
    }

    /// How many steps have stood still at a point, and have then come to their end or gone on.
    pub fn went_on(&self, point: Point) -> u64 {
        self.state().ended.get(&point).copied().unwrap_or_default()
    }

    pub(crate) fn ended(&self, point: Point) {
        *self.state().ended.entry(point).or_default() += 1;
    }

    /// Lets everything that stands still go on, and disarms all points.
    pub fn release(&self) {
        let mut state = self.state();
        state.armed.clear();
        state.released = true;
        for waker in std::mem::take(&mut state.wakers) {
            waker.wake();
        }
    }

    /// Uses up one arming of `point` in one of `modes`.
    fn take(&self, point: Point, modes: &[Mode]) -> Option<Mode> {
        let mut state = self.state();
        let (mode, times) = state.armed.get_mut(&point)?;
        if !modes.contains(mode) {
            return None;
        }
        let mode = *mode;
        *times -= 1;
        if *times == 0 {
            state.armed.remove(&point);
        }
        *state.fired.entry(point).or_default() += 1;
        Some(mode)
    }

    /// Fails or stands still, if that is what the point is armed for; true if it stood still.
    pub(crate) async fn pass(&self, point: Point, fail: Mode, hold: Mode) -> Result<bool, Fault> {
        match self.take(point, &[fail, hold]) {
            None => Ok(false),
            Some(mode) if mode == fail => Err(Fault::unavailable(format!("failpoint {point}"))),
            Some(_) => {
                std::future::poll_fn(|context| {
                    let mut state = self.state();
                    if state.released {
                        return Poll::Ready(());
                    }
                    state.wakers.push(context.waker().clone());
                    Poll::Pending
                })
                .await;
                Ok(true)
            }
        }
    }

    pub(crate) fn doubles(&self, point: Point) -> bool {
        self.take(point, &[Mode::Twice]).is_some()
    }
}
