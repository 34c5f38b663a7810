//! A role of the simulated cloud: a process with a runtime of its own in virtual time.
//!
//! Roles run one after the other on one thread, each for a slice of time, in an order drawn from the
//! seed. A kill drops the runtime, and with it everything that was under way; a freeze gives it no slices
//! and then makes its clock jump, as SIGSTOP and SIGCONT do.

use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, advance, sleep_until};

use super::clock;

/// A running or frozen process.
pub struct Role {
    name: Rc<str>,
    runtime: Runtime,
    zero: Instant,
    began: Duration,
    /// Until when it has run.
    ran: Duration,
}

impl Role {
    /// A process that does nothing yet, at the world's time.
    ///
    /// # Panics
    /// If there can be no runtime.
    #[expect(clippy::disallowed_methods, reason = "the zero of a paused clock")]
    pub fn new(name: &str, now: Duration) -> Self {
        let runtime =
            Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let zero = {
            let _inside = runtime.enter();
            Instant::now()
        };
        Self { name: name.into(), runtime, zero, began: now, ran: now }
    }

    fn enter<T>(&self, step: impl FnOnce(&Runtime) -> T) -> T {
        clock::as_role(&self.name, self.zero, self.began, || step(&self.runtime))
    }

    /// Begins something in it; it goes on with its next slice.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.enter(|runtime| drop(runtime.spawn(task)));
    }

    /// Runs one thing to its end, which must not wait for others. Time may pass.
    pub fn run<T>(&self, task: impl Future<Output = T>) -> T {
        self.enter(|runtime| runtime.block_on(task))
    }

    /// Runs it until `to`. If it was frozen, its clock jumps first.
    pub fn step(&mut self, to: Duration, slice: Duration) {
        let until = self.zero + (to - self.began);
        let behind = to.saturating_sub(self.ran + slice);
        self.ran = to;
        self.enter(|runtime| {
            runtime.block_on(async {
                if !behind.is_zero() {
                    advance(behind).await;
                }
                sleep_until(until).await;
            });
        });
    }
}
