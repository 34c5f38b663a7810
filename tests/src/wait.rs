//! Waiting for a condition, with a deadline and a last word.

use std::time::Duration;

use model::Env;

/// The pause after the first look; it grows by half each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

tokio::task_local! {
    /// When all waits of this task must have found what they look for: a clock, and its time.
    static END: (Env, Duration);
}

/// Holds everything that `work` waits for by [`eventually`] to one bound, counted from here, however much longer each
/// of its waits might take alone. What `work` spawns is not held to it.
pub async fn within<T>(bound: Duration, work: impl Future<Output = T>) -> T {
    let env = Env::system();
    let end = env.monotonic() + bound;
    END.scope((env, end), work).await
}

/// Looks again and again until `look` answers `Ok`, and returns what it answered.
///
/// `Err` says what was seen instead. A look that hangs is cut off at the deadline.
///
/// # Panics
/// At the deadline, with `what` was awaited and what was seen last.
pub async fn eventually<T>(
    deadline: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let mut wait = Wait::new(deadline);
    loop {
        match tokio::time::timeout(wait.left(), look()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(seen)) => wait.saw(seen),
            Err(_) => wait.cut_off(),
        }
        match wait.pause() {
            Some(pause) => tokio::time::sleep(pause).await,
            None => wait.give_up(what),
        }
    }
}

/// The same as [`eventually`], for code that does not run in a runtime; it cannot cut off a look.
///
/// # Panics
/// At the deadline, with `what` was awaited and what was seen last.
pub fn eventually_blocking<T>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let mut wait = Wait::new(deadline);
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => wait.saw(seen),
        }
        match wait.pause() {
            Some(pause) => std::thread::sleep(pause),
            None => wait.give_up(what),
        }
    }
}

/// What one wait knows.
struct Wait {
    env: Env,
    start: Duration,
    deadline: Duration,
    pause: Duration,
    looks: u32,
    last: String,
}

impl Wait {
    fn new(deadline: Duration) -> Self {
        let env = Env::system();
        let start = env.monotonic();
        let bound = END.try_with(|(env, end)| end.saturating_sub(env.monotonic())).unwrap_or(Duration::MAX);
        let deadline = deadline.min(bound);
        Self { env, start, deadline, pause: FIRST_PAUSE, looks: 0, last: "nothing".into() }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.env.monotonic().saturating_sub(self.start))
    }

    fn saw(&mut self, seen: String) {
        self.looks += 1;
        self.last = seen;
    }

    /// Keeps what was seen before, which says more than that the last look hung.
    fn cut_off(&mut self) {
        self.looks += 1;
        self.last = format!("a look that did not return; before that: {}", self.last);
    }

    /// How long to sleep before the next look, or nothing if the deadline has passed.
    fn pause(&mut self) -> Option<Duration> {
        let left = self.left();
        let pause = self.pause.min(left);
        self.pause = (self.pause * 3 / 2).min(LONGEST_PAUSE);
        (!left.is_zero()).then_some(pause)
    }

    fn give_up(&self, what: &str) -> ! {
        panic!(
            "{what}: not within {:?}; after {} looks the last saw: {}",
            self.deadline, self.looks, self.last
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn returns_what_was_found() {
        let mut looks = 0;
        let found = eventually(Duration::from_secs(60), "three", async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("{looks}")) }
        })
        .await;
        assert_eq!(found, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "the door: not within 50ms")]
    async fn gives_up_at_the_deadline() {
        eventually(Duration::from_millis(50), "the door", async || Err::<(), _>("shut".into())).await;
    }

    #[tokio::test]
    #[should_panic(expected = "a look that did not return; before that: shut")]
    async fn cuts_off_a_look_that_hangs_and_keeps_the_last_word() {
        let mut first = true;
        eventually(Duration::from_millis(80), "the door", async || {
            if std::mem::take(&mut first) {
                return Err::<(), _>("shut".into());
            }
            std::future::pending().await
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "the second door: not within")]
    async fn all_waits_of_a_bound_share_it() {
        let shut = async || Err::<(), _>("shut".into());
        within(Duration::from_millis(120), async {
            let mut looks = 0;
            eventually(Duration::from_secs(60), "the first door", async || {
                looks += 1;
                if looks == 3 { Ok(()) } else { Err("shut".into()) }
            })
            .await;
            eventually(Duration::from_secs(60), "the second door", shut).await;
        })
        .await;
    }

    #[test]
    #[should_panic(expected = "the last saw: shut")]
    fn gives_up_without_a_runtime_too() {
        eventually_blocking(Duration::from_millis(30), "the door", || Err::<(), _>("shut".into()));
    }
}
