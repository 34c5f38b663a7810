//! The application: state shared by all requests, and the outermost layer around the router.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use futures::FutureExt;
use identity::Identity;
use model::{Context, Env, Fault};
use tower::Service;
use tracing::Instrument;
use verbs::Verbs;

use crate::edge::refused::{Refused, Style, TurnedAway};
use crate::edge::room::{Lane, Room};
use crate::routes;
use crate::settings::Settings;

/// Nova's own request id header; the other one is common to all services.
const COMPUTE_REQUEST_ID: HeaderName = HeaderName::from_static("x-compute-request-id");
/// The request id header common to OpenStack services.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");

/// The HTTP face of one cloud. Cheap to clone.
#[derive(Clone)]
pub struct App {
    shared: Arc<Shared>,
    router: Router,
}

/// What every request may use.
pub(crate) struct Shared {
    verbs: Option<Verbs>,
    /// Clock and randomness.
    pub env: Env,
    /// What the operator set.
    pub settings: Settings,
    /// Who may call.
    pub identity: Identity,
    /// How much is worked on at a time.
    pub room: Room,
}

impl Shared {
    /// The verbs; unavailable where the app was made without any.
    pub fn verbs(&self) -> Result<&Verbs, Fault> {
        self.verbs.as_ref().ok_or_else(|| Fault::unavailable("This endpoint is not ready yet; try again."))
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

/// Makes the HTTP face of the cloud that `verbs` work on.
pub fn app(verbs: Verbs, env: Env, settings: Settings) -> App {
    build(Some(verbs), env, settings)
}

fn build(verbs: Option<Verbs>, env: Env, settings: Settings) -> App {
    let identity = Identity::new(&settings.tokens, settings.identity.clone(), &env);
    let room = Room::new(&settings);
    let shared = Arc::new(Shared { verbs, env, settings, identity, room });
    let router = routes::router(&shared);
    App { shared, router }
}

impl App {
    /// An app without verbs, as tests of the edges use it.
    #[cfg(test)]
    pub(crate) fn without_verbs(env: Env, settings: Settings) -> Self {
        build(None, env, settings)
    }

    /// What all requests share.
    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// What the operator set.
    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Answers one request. Never fails and never panics: whatever goes wrong is an answer.
    pub async fn handle(&self, mut request: Request<Body>) -> Response<Body> {
        let env = &self.shared.env;
        let start = env.monotonic();
        let request_id = format!("req-{}", env.uuid());
        // Before anything else is spent on it.
        if let Some(lane) = Lane::before_routing(request.method(), request.uri().path()) {
            match self.shared.room.enter(lane, env).await {
                Ok(place) => drop(request.extensions_mut().insert(place)),
                Err(refused) => {
                    let mut response = refused.render(Style::of(request.uri().path()));
                    identified(&mut response, &request_id);
                    return response;
                }
            }
        }
        let global_id = request.headers().get(&REQUEST_ID).filter(|id| is_request_id(id)).cloned();
        let trace_parent = trace_parent(request.headers());
        let (method, uri) = (request.method().clone(), request.uri().clone());
        // At the highest level, so that every line below it carries the id, whatever level is logged.
        let span = tracing::error_span!("request", request_id);
        if let Some(continues) = self.shared.settings.trace
            && !trace_parent.is_empty()
        {
            continues(&span, &trace_parent);
        }
        let context = Context { request_id: request_id.clone(), trace_parent };
        request.extensions_mut().insert(context);

        let mut router = self.router.clone();
        let work = verbs::request(async move { router.call(request).await }).instrument(span);
        let answered = AssertUnwindSafe(work).catch_unwind().await;
        let mut response = match answered {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_) => panicked(uri.path(), &request_id),
        };
        identified(&mut response, &request_id);
        let took = env.monotonic().saturating_sub(start);
        match response.extensions().get::<TurnedAway>() {
            // One line for each would be one more load; how many there are is counted.
            Some(TurnedAway) => tracing::debug!(%method, path = uri.path(), request_id, "turned away"),
            None => log(&method, uri.path(), response.status(), took, &request_id, global_id.as_ref()),
        }
        response
    }
}

/// Names the request in its answer. One that is told again carries the id of the request that was worked on.
fn identified(response: &mut Response<Body>, request_id: &str) {
    let told = response.headers().get(&REQUEST_ID).cloned();
    if let Some(value) = told.or_else(|| HeaderValue::from_str(request_id).ok()) {
        response.headers_mut().insert(REQUEST_ID, value.clone());
        response.headers_mut().insert(COMPUTE_REQUEST_ID, value);
    }
}

fn panicked(path: &str, request_id: &str) -> Response {
    tracing::error!(request_id, path, "a handler panicked");
    Refused::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        format!("Unexpected API Error. Please report it to the operator with request id {request_id}."),
    )
    .render(Style::of(path))
}

/// One line per request; what succeeds and changes nothing is of no interest in normal operation.
fn log(
    method: &Method,
    path: &str,
    status: StatusCode,
    took: Duration,
    request_id: &str,
    global_id: Option<&HeaderValue>,
) {
    let (code, ms) = (status.as_u16(), took.as_micros() as f64 / 1_000.0);
    let global_id = global_id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    if status.is_server_error() {
        tracing::warn!(%method, path, status = code, ms, request_id, global_id, "request");
    } else if method.is_safe() && status.is_success() {
        tracing::debug!(%method, path, status = code, ms, request_id, global_id, "request");
    } else {
        tracing::info!(%method, path, status = code, ms, request_id, global_id, "request");
    }
    let class = match code / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics::histogram!("skep_api_request_seconds", "class" => class).record(took.as_secs_f64());
}

/// Whether it is `req-` and a UUID: anything else from outside is not worth repeating in a log.
fn is_request_id(value: &HeaderValue) -> bool {
    let text = value.to_str().unwrap_or_default();
    text.len() == 40 && text.strip_prefix("req-").is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

/// The caller's `traceparent` if it is well formed (W3C Trace Context, section 3.2), else nothing.
fn trace_parent(headers: &HeaderMap) -> String {
    let text = headers.get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    if lengths == [2, 32, 16, 2] && parts.iter().all(|part| hex(part)) && parts[0] != "ff" {
        text.to_owned()
    } else {
        String::new()
    }
}

#[cfg(test)]
#[path = "app_tests.rs"]
mod tests;
