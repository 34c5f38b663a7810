//! Room for requests: how many are worked on at a time, how long others wait for a place, and how often a
//! project may ask. What finds no place is told so soon, so that work that was begun is finished in time however
//! much more is asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, Method, StatusCode};
use model::Env;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::edge::refused::Refused;
use crate::settings::{Rate, Settings};

/// Most projects whose rate is remembered; beyond it those that used nothing lately are forgotten.
const PROJECTS: usize = 10_000;
/// Bodies are counted in pieces of so many bytes.
pub const PIECE: usize = 4 * 1024;

/// A place, until it is dropped.
pub type Place = OwnedSemaphorePermit;

/// The place that a request was given before it was looked at, on its way to whoever works on it.
#[derive(Clone, Debug)]
pub struct Given(#[expect(dead_code, reason = "is held, and looked at by nobody")] Arc<Place>);

/// Which places a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Those for everything.
    Ordinary,
    /// Also those that are kept for deletes, so that load can be taken away.
    Delete,
    /// Also those that are kept for administrators.
    Admin,
}

impl Lane {
    /// The lane of a request.
    pub fn of(method: &Method, path: &str) -> Self {
        match () {
            () if path.starts_with("/admin/") => Self::Admin,
            () if method == Method::DELETE => Self::Delete,
            () => Self::Ordinary,
        }
    }

    /// The lane of a request as far as its head tells; none for what anybody may ask: version documents and tokens.
    pub fn before_routing(method: &Method, path: &str) -> Option<Self> {
        let parts = path.split('/').filter(|part| !part.is_empty()).count();
        let free = parts < 2
            || matches!(
                path.trim_end_matches('/'),
                "/compute/v2.1" | "/compute/v2" | "/identity/v3" | "/image/v2"
            )
            || matches!(path.trim_end_matches('/'), "/image/versions" | "/network/v2.0")
            || (method == Method::POST && path.ends_with("/auth/tokens"));
        (!free).then(|| Self::of(method, path))
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Delete => "delete",
            Self::Admin => "admin",
        }
    }
}

/// The room of one endpoint.
pub struct Room {
    ordinary: Arc<Semaphore>,
    delete: Arc<Semaphore>,
    admin: Arc<Semaphore>,
    wait: Duration,
    bodies: Arc<Semaphore>,
    rate: Option<Rate>,
    projects: Mutex<HashMap<String, Bucket>>,
    /// Second in which the log was last told that requests are turned away.
    told: AtomicU64,
}

/// How much a project may ask for, as of some moment.
struct Bucket {
    left: f64,
    at: Duration,
}

impl Room {
    /// The room that the settings give.
    pub fn new(settings: &Settings) -> Self {
        let kept = (settings.max_in_flight / 8).max(4);
        Self {
            ordinary: places(settings.max_in_flight),
            delete: places(kept),
            admin: places(kept),
            wait: settings.queue_wait,
            bodies: places(settings.body_memory / PIECE),
            rate: settings.project_rate,
            projects: Mutex::default(),
            told: AtomicU64::new(0),
        }
    }

    /// A place in `lane`, waited for in turn; 503 if none comes free soon. Asked before anything else is spent on a
    /// request, so that waiting is cheap, however many wait. Nobody is turned away sooner: a client that is told at
    /// once asks again at once, and turning it away for ever is what is worked on then.
    pub async fn enter(&self, lane: Lane, env: &Env) -> Result<Given, Refused> {
        let place = match lane {
            Lane::Ordinary => self.soon(&self.ordinary).await,
            Lane::Delete => self.reserved(&self.delete).await,
            Lane::Admin => self.reserved(&self.admin).await,
        };
        place.map(|place| Given(Arc::new(place))).ok_or_else(|| {
            metrics::counter!("skep_api_shed_total", "lane" => lane.word()).increment(1);
            self.tell(env, "more is asked for than can be worked on: some requests are answered with 503");
            Refused::turned_away(StatusCode::SERVICE_UNAVAILABLE, "Too much is being asked for; try again.")
        })
    }

    async fn soon(&self, places: &Arc<Semaphore>) -> Option<Place> {
        timeout(self.wait, Arc::clone(places).acquire_owned()).await.ok()?.ok()
    }

    /// A place among those for everything if one is free, else among those that are kept.
    async fn reserved(&self, kept: &Arc<Semaphore>) -> Option<Place> {
        match Arc::clone(&self.ordinary).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => self.soon(kept).await,
        }
    }

    /// Counts a request of `project`: 429 with the time until the next is taken.
    pub fn count(&self, project: &str, env: &Env) -> Result<(), Refused> {
        let Some(rate) = self.rate else { return Ok(()) };
        let now = env.monotonic();
        let mut projects = self.projects.lock().unwrap_or_else(PoisonError::into_inner);
        if projects.len() >= PROJECTS && !projects.contains_key(project) {
            projects.retain(|_, bucket| bucket.filled(rate, now) < rate.burst);
        }
        let fresh = Bucket { left: rate.burst, at: now };
        let bucket = projects.entry(project.to_owned()).or_insert(fresh);
        let left = bucket.filled(rate, now);
        *bucket = Bucket { left: if left >= 1.0 { left - 1.0 } else { left }, at: now };
        drop(projects);
        if left >= 1.0 {
            return Ok(());
        }
        metrics::counter!("skep_api_limited_total").increment(1);
        self.tell(env, "a project asks more often than it may: some requests are answered with 429");
        // Nova's words (`nova/exception.py`, OverQuota) know only quotas; these are ours.
        let text = format!("At most {} requests a second are taken from a project.", rate.per_second);
        let mut refused = Refused::turned_away(StatusCode::TOO_MANY_REQUESTS, &text);
        let seconds = ((1.0 - left) / rate.per_second).ceil().clamp(1.0, 3600.0) as u64;
        refused.header = Some((RETRY_AFTER, HeaderValue::from(seconds)));
        Err(refused)
    }

    /// Memory for `bytes` more of a body; 503 if all bodies together have too much.
    pub fn hold(&self, bytes: usize, env: &Env) -> Result<Place, Refused> {
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies).try_acquire_many_owned(pieces).map_err(|_| {
            metrics::counter!("skep_api_shed_total", "lane" => "body").increment(1);
            self.tell(env, "bodies take more memory than they may: some requests are answered with 503");
            Refused::turned_away(StatusCode::SERVICE_UNAVAILABLE, "Too much is being sent; try again.")
        })
    }

    /// Tells the log, at most once a second.
    fn tell(&self, env: &Env, what: &str) {
        let now = env.monotonic().as_secs() + 1;
        if self.told.swap(now, Ordering::Relaxed) != now {
            tracing::warn!("{what}");
        }
    }
}

fn places(count: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)))
}

impl Bucket {
    /// What is in it now.
    fn filled(&self, rate: Rate, now: Duration) -> f64 {
        let gained = now.saturating_sub(self.at).as_secs_f64() * rate.per_second;
        (self.left + gained).min(rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(places: usize) -> Room {
        let settings =
            Settings { max_in_flight: places, queue_wait: Duration::from_millis(20), ..Settings::default() };
        Room::new(&settings)
    }

    #[test]
    fn lanes() {
        assert_eq!(Lane::of(&Method::DELETE, "/v2.1/servers/1"), Lane::Delete);
        assert_eq!(Lane::of(&Method::DELETE, "/admin/v1/cells/1"), Lane::Admin);
        assert_eq!(Lane::of(&Method::POST, "/v2.1/servers"), Lane::Ordinary);
    }

    #[tokio::test]
    async fn when_full_only_what_is_reserved_gets_in() {
        let (room, env) = (room(1), Env::system());
        let taken = room.enter(Lane::Ordinary, &env).await.expect("is free");
        let refused = room.enter(Lane::Ordinary, &env).await.expect_err("is full");
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.header.is_some_and(|(name, _)| name == RETRY_AFTER));
        let deletes: Vec<_> = futures::future::join_all((0..5).map(|_| room.enter(Lane::Delete, &env))).await;
        assert_eq!(deletes.iter().filter(|place| place.is_ok()).count(), 4);
        assert!(room.enter(Lane::Admin, &env).await.is_ok(), "deletes do not take administrators' places");
        drop(taken);
        assert!(room.enter(Lane::Ordinary, &env).await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_gets_the_next_place_in_turn() {
        let settings =
            Settings { max_in_flight: 1, queue_wait: Duration::from_secs(60), ..Settings::default() };
        let (room, env) = (Room::new(&settings), Env::system());
        let taken = room.enter(Lane::Ordinary, &env).await.expect("is free");
        let mut first = Box::pin(room.enter(Lane::Ordinary, &env));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(room.enter(Lane::Ordinary, &env));
        assert!(futures::poll!(&mut second).is_pending());
        drop(taken);
        let first = first.await.expect("gets it");
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        second.await.expect("gets it then");
    }

    #[test]
    fn a_project_has_its_rate_and_its_burst() {
        let rate = Rate { per_second: 0.001, burst: 3.0 };
        let settings = Settings { project_rate: Some(rate), ..Settings::default() };
        let (room, env) = (Room::new(&settings), Env::system());
        for _ in 0..3 {
            room.count("one", &env).expect("is in the burst");
        }
        let refused = room.count("one", &env).expect_err("is too much");
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        let (name, seconds) = refused.header.expect("says when");
        let seconds: u64 = seconds.to_str().expect("text").parse().expect("a number");
        assert_eq!(name, RETRY_AFTER);
        assert!((900..=1000).contains(&seconds), "{seconds}");
        room.count("two", &env).expect("is another project");
        let bucket = Bucket { left: 0.0, at: Duration::ZERO };
        assert_eq!(bucket.filled(rate, Duration::from_secs(2_000)), 2.0);
        assert_eq!(bucket.filled(rate, Duration::from_secs(9_000)), 3.0);
    }

    #[test]
    fn bodies_share_their_memory() {
        let settings = Settings { body_memory: 2 * PIECE, ..Settings::default() };
        let (room, env) = (Room::new(&settings), Env::system());
        let held = room.hold(PIECE + 1, &env).expect("fits");
        assert_eq!(held.num_permits(), 2);
        assert!(room.hold(1, &env).is_err());
        drop(held);
        assert!(room.hold(1, &env).is_ok());
    }
}
