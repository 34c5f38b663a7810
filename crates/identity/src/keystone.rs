//! Users in a real Keystone: its own tokens are checked with it, as `keystonemiddleware` does.
//!
//! A token is asked about once, and what was said is believed for a while; longer, but not for ever, while
//! Keystone does not answer. Our own service token is renewed before it ends, and when it is refused.

mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use model::{Env, Fault, Timestamp};
use moka::sync::Cache;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

use crate::embedded::sha256;
use crate::known::Known;

/// Longest that Keystone may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// After a failure it is not asked for this long.
const PAUSE: Duration = Duration::from_secs(2);
/// How long a token that it does not know is not asked about again, at most.
const UNKNOWN: Duration = Duration::from_secs(60);
/// How long before its end our own token is renewed.
const EARLY: Duration = Duration::from_secs(60);
/// Longest answer, in bytes.
const LONGEST: usize = 4 * 1024 * 1024;
/// Questions at a time.
const AT_A_TIME: usize = 32;
/// The role that makes a token a service's: it may bring a user's token that has ended meanwhile
/// (`keystonemiddleware`, `service_token_roles`, which are required here).
const SERVICE: &str = "service";
/// Most tokens kept.
const KEPT: u64 = 100_000;

/// Where Keystone is, and who we are there.
#[derive(Clone)]
pub struct Settings {
    /// Its address, with or without `/v3`.
    pub url: String,
    /// Its address for users; the same if absent.
    pub public_url: Option<String>,
    /// Our user.
    pub user: String,
    /// Our password. Secret.
    pub password: String,
    /// Our user's domain, by name.
    pub user_domain: String,
    /// Our project, in which our user has the role `service` or `admin`.
    pub project: String,
    /// Its domain, by name.
    pub project_domain: String,
    /// How long what it said of a token is believed.
    pub cached: Duration,
    /// How long that is believed while it does not answer.
    pub stale: Duration,
    /// Whom to trust.
    pub tls: rustls::ClientConfig,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("url", &self.url).field("user", &self.user).finish_non_exhaustive()
    }
}

/// What was said of a token, and when.
struct Said {
    known: Arc<Known>,
    at: Duration,
}

/// Our own token.
struct Own {
    token: String,
    expires: Timestamp,
}

struct Inner {
    settings: Settings,
    env: Env,
    /// The address of its v3 API.
    base: String,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    own: Mutex<Option<Own>>,
    said: Cache<Vec<u8>, Arc<Said>>,
    unknown: Cache<Vec<u8>, ()>,
    turns: Semaphore,
    /// Until when it is not asked, in monotonic microseconds.
    paused: AtomicU64,
}

/// Users in a real Keystone. Cheap to clone.
#[derive(Clone)]
pub struct Keystone {
    inner: Arc<Inner>,
}

impl fmt::Debug for Keystone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keystone").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Keystone {
    /// Connects to nothing yet.
    pub fn new(settings: Settings, env: Env) -> Self {
        let trimmed = settings.url.trim_end_matches('/');
        let base = if trimmed.ends_with("/v3") { trimmed.to_owned() } else { format!("{trimmed}/v3") };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(settings.tls.clone())
            .https_or_http()
            .enable_http1()
            .build();
        let unknown = Cache::builder().max_capacity(KEPT).time_to_live(settings.cached.min(UNKNOWN));
        let said = Cache::builder().max_capacity(KEPT).time_to_live(settings.stale.max(settings.cached));
        let inner = Inner {
            env,
            base,
            http: Client::builder(TokioExecutor::new()).build(connector),
            own: Mutex::new(None),
            said: said.build(),
            unknown: unknown.build(),
            turns: Semaphore::new(AT_A_TIME),
            paused: AtomicU64::new(0),
            settings,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Where users find it.
    pub fn public_url(&self) -> &str {
        self.inner.settings.public_url.as_deref().unwrap_or(&self.inner.settings.url)
    }

    /// What a token stands for.
    pub(crate) async fn validate(&self, token: &str) -> Result<Option<Arc<Known>>, Fault> {
        let inner = &self.inner;
        let key = sha256(token);
        let said = inner.said.get(&key);
        if let Some(known) = said.as_ref().and_then(|said| self.fresh(said)) {
            return Ok(known.lasts(inner.env.now()).then_some(known));
        }
        if inner.unknown.contains_key(&key) {
            return Ok(None);
        }
        match self.ask(token, false).await {
            Ok(Some(known)) => {
                let known = Arc::new(known);
                let at = inner.env.monotonic();
                inner.said.insert(key, Arc::new(Said { known: Arc::clone(&known), at }));
                Ok(known.lasts(inner.env.now()).then_some(known))
            }
            Ok(None) => {
                inner.said.invalidate(&key);
                inner.unknown.insert(key, ());
                Ok(None)
            }
            Err(why) => match said.filter(|said| self.is_believed(said)) {
                Some(said) => {
                    metrics::counter!("skep_identity_stale").increment(1);
                    Ok(said.known.lasts(inner.env.now()).then(|| Arc::clone(&said.known)))
                }
                None => Err(why),
            },
        }
    }

    /// What a token stands for that a service brings with its own: also if it has ended meanwhile, which happens where
    /// work takes long. Nothing if the service's token is not good, or not a service's.
    pub(crate) async fn validate_for(&self, token: &str, service: &str) -> Result<Option<Arc<Known>>, Fault> {
        let brings = |known: &Arc<Known>| known.caller.roles.iter().any(|role| role == SERVICE);
        if !self.validate(service).await?.as_ref().is_some_and(brings) {
            return Ok(None);
        }
        if let Some(known) = self.validate(token).await? {
            return Ok(Some(known));
        }
        let key = sha256(token);
        if let Some(known) = self.inner.said.get(&key).and_then(|said| self.fresh(&said)) {
            return Ok(Some(known));
        }
        let Some(known) = self.ask(token, true).await?.map(Arc::new) else { return Ok(None) };
        // Who brings it without a service's token still finds that it has ended.
        let at = self.inner.env.monotonic();
        self.inner.said.insert(key, Arc::new(Said { known: Arc::clone(&known), at }));
        Ok(Some(known))
    }

    fn fresh(&self, said: &Said) -> Option<Arc<Known>> {
        let age = self.inner.env.monotonic().saturating_sub(said.at);
        (age < self.inner.settings.cached).then(|| Arc::clone(&said.known))
    }

    fn is_believed(&self, said: &Said) -> bool {
        self.inner.env.monotonic().saturating_sub(said.at) < self.inner.settings.stale
    }

    /// Asks about a token, if `ended` also about one that has, unless that failed just now.
    async fn ask(&self, token: &str, ended: bool) -> Result<Option<Known>, Fault> {
        let inner = &self.inner;
        let away = || Fault::unavailable("The identity service does not answer; try again.");
        let _turn = inner.turns.acquire().await.map_err(|_| away())?;
        if inner.env.monotonic().as_micros() < u128::from(inner.paused.load(Ordering::Acquire)) {
            return Err(away());
        }
        match tokio::time::timeout(DEADLINE * 2, self.ask_now(token, ended)).await {
            Ok(Ok(found)) => Ok(found),
            failed => {
                let why = match failed {
                    Ok(Err(why)) => why,
                    _ => "no answer in time".to_owned(),
                };
                tracing::warn!(why, "the identity service does not tell whom a token stands for");
                let until = inner.env.monotonic() + PAUSE;
                inner.paused.store(until.as_micros() as u64, Ordering::Release);
                Err(away())
            }
        }
    }

    async fn ask_now(&self, token: &str, ended: bool) -> Result<Option<Known>, String> {
        let query = if ended { "nocatalog&allow_expired=1" } else { "nocatalog" };
        let mut refused = None;
        for _ in 0..2 {
            let own = self.own(refused.take()).await?;
            let request = Request::builder()
                .method(Method::GET)
                .uri(format!("{}/auth/tokens?{query}", self.inner.base))
                .header("X-Auth-Token", &own)
                .header("X-Subject-Token", token)
                // Else tokens with access rules are refused: this says that we mind them.
                .header("OpenStack-Identity-Access-Rules", "1")
                .body(Full::default());
            // A token that cannot be sent is not one of Keystone's.
            let Ok(request) = request else { return Ok(None) };
            let (status, _, body) = self.exchange(request).await?;
            match status {
                StatusCode::OK => return wire::known(&body).map(Some),
                StatusCode::NOT_FOUND => return Ok(None),
                StatusCode::UNAUTHORIZED => refused = Some(own),
                other => return Err(format!("it answers {other}")),
            }
        }
        Err("it refuses our own token".to_owned())
    }

    /// Our own token; another one than `refused`.
    async fn own(&self, refused: Option<String>) -> Result<String, String> {
        let mut own = self.inner.own.lock().await;
        let now = self.inner.env.now();
        if let Some(known) = own.as_ref()
            && now.plus(EARLY) < known.expires
            && refused.as_ref() != Some(&known.token)
        {
            return Ok(known.token.clone());
        }
        let settings = &self.inner.settings;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": settings.user, "domain": {"name": settings.user_domain}, "password": settings.password,
            }}},
            "scope": {"project": {"name": settings.project, "domain": {"name": settings.project_domain}}},
        }});
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/auth/tokens?nocatalog", self.inner.base))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))
            .map_err(|why| why.to_string())?;
        let (status, token, body) = self.exchange(request).await?;
        if status != StatusCode::CREATED {
            return Err(format!("it does not let us in: {status}"));
        }
        let token = token.ok_or("it lets us in without a token")?;
        let expires = body["token"]["expires_at"].as_str().and_then(Timestamp::parse);
        let expires = expires.ok_or("it lets us in with a token without an end")?;
        *own = Some(Own { token: token.clone(), expires });
        Ok(token)
    }

    /// Sends a request; gives the status, the token of the answer's head, and the answer.
    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Option<String>, Value), String> {
        let exchange = async {
            let (head, body) =
                self.inner.http.request(request).await.map_err(|why| why.to_string())?.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|why| why.to_string())?.to_bytes();
            let token = head.headers.get("x-subject-token").and_then(|token| token.to_str().ok());
            let body = serde_json::from_slice(&body).unwrap_or_default();
            Ok((head.status, token.map(str::to_owned), body))
        };
        tokio::time::timeout(DEADLINE, exchange).await.map_err(|_| "no answer in time".to_owned())?
    }
}
