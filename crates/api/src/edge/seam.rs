//! The one way in: every route passes here, in this order – identity, microversion, project,
//! rate, authorization, body, idempotency key, handler under a deadline. It has its place when it comes here.

use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::header::{HeaderValue, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use model::{Caller, Context, InstanceId};
use tokio::time::timeout;

use crate::app::Shared;
use crate::edge::base::Base;
use crate::edge::call::{Call, Permit, Route};
use crate::edge::policy::{self, Need};
use crate::edge::query::{Params, truth};
use crate::edge::refused::{Refused, Style};
use crate::edge::room::{Given, Lane, Place};
use crate::edge::version::{self, Version};
use crate::edge::{body, once};
use identity::{Backend, Known};

/// The address that a request came from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::IpAddr);

/// The rule of the route whose body is no JSON and as large as can be.
const UPLOAD: &str = "upload_image";

/// How long a request keeps its place while its body is on the way.
const BODY_SOON: Duration = Duration::from_millis(20);

static NOBODY: LazyLock<Arc<Caller>> =
    LazyLock::new(|| Arc::new(Caller { user: String::new(), project: String::new(), roles: Vec::new() }));

/// Answers a request for `route`.
pub async fn enter(shared: Arc<Shared>, route: &'static Route, request: Request<Body>) -> Response {
    let (mut parts, body) = request.into_parts();
    let context = parts.extensions.remove::<Context>().unwrap_or_default();
    let style = Style::of(parts.uri.path());
    let mut announced = None;
    let answered = pass(shared, route, &mut parts, body, context, &mut announced).await;
    let mut response = answered.unwrap_or_else(|refused| {
        if refused.status.is_server_error() && !refused.is_turned_away {
            tracing::warn!(rule = route.rule, status = refused.status.as_u16(), why = refused.message);
        }
        refused.render(style)
    });
    match announced {
        Some(version) => version.announce(response.headers_mut()),
        None if route.versioned => version::vary(response.headers_mut()),
        None => {}
    }
    response
}

async fn pass(
    shared: Arc<Shared>,
    route: &'static Route,
    parts: &mut Parts,
    body: Body,
    context: Context,
    announced: &mut Option<Version>,
) -> Result<Response, Refused> {
    let path = parts.uri.path().to_owned();
    let settings = &shared.settings;
    let mut base = Base::new(settings.public_url.as_deref(), settings.tls.is_some(), &parts.headers, &path);
    let public = policy::need(route.rule) == Some(Need::Anyone);
    let lane = Lane::of(&parts.method, &path);
    let known = match public {
        true => None,
        false => Some(identify(&shared, parts, &base).await?),
    };
    let token_of = known.as_ref().map_or_else(|| Arc::clone(&NOBODY), |known| Arc::clone(&known.caller));
    if !public && lane != Lane::Admin {
        shared.room.count(&token_of.project, &shared.env)?;
    }
    let mut version = Version::MIN;
    if route.versioned {
        version = Version::negotiate(&parts.headers)?;
        *announced = Some(version);
    }
    let captures = RawPathParams::from_request_parts(parts, &())
        .await
        .map_err(|_| Refused::not_found("The resource could not be found."))?;
    let captures: Vec<(String, String)> =
        captures.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    if let Some((_, project)) = captures.iter().find(|(key, _)| key == "project_id") {
        if *project != token_of.project {
            return Err(Refused::bad(format!(
                "Malformed request URL: URL's project_id '{project}' doesn't match Context's project_id '{}'",
                token_of.project
            )));
        }
        base.project = Some(project.clone());
    }
    let server = captures.iter().find(|(key, _)| key == "id" && route.path.starts_with("/servers/{id}"));
    let server = server.and_then(|(_, id)| InstanceId::from_str(id).ok());
    let user = captures.iter().find(|(key, _)| key == "user_id").map(|(_, id)| id.clone());
    let permit = match known {
        Some(known) => Permit::of(&shared, known, server, user),
        None => Permit::new(&shared, token_of, server),
    };
    if !public {
        permit.allow(&shared, route.rule).await?;
    }
    let params = Params::of(&parts.uri)?;
    let header = parts.headers.get("x-skep-api").and_then(|value| value.to_str().ok());
    let extended =
        [header, params.last("skep")].into_iter().flatten().any(|value| truth(value) == Some(true));
    let from = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let subject = parts.headers.get("x-subject-token").and_then(|value| value.to_str().ok());
    let subject = subject.map(str::to_owned);
    let mut place = parts.extensions.remove::<Given>();
    let (body, memory) = received(&shared, route, parts, body, &mut place).await?;
    let caller = Arc::clone(permit.caller());
    let (key, once) = (None, None);
    let mut call = Call {
        shared,
        caller,
        permit,
        context,
        version,
        base,
        path,
        captures,
        params,
        body,
        extended,
        key,
        once,
        from,
        subject,
    };
    call.key = once::key(route, &call, parts)?;
    once::answer(route, call, (place, memory)).await
}

/// The request's body, and the memory that is held for it. Who sends slowly must not keep others waiting: it gives
/// its place back, and waits for another when the body is there.
async fn received(
    shared: &Shared,
    route: &Route,
    parts: &Parts,
    body: Body,
    place: &mut Option<Given>,
) -> Result<(Bytes, Option<Place>), Refused> {
    let mut reading = std::pin::pin!(read(shared, route, parts, body));
    if let Ok(read) = timeout(BODY_SOON, &mut reading).await {
        return read;
    }
    let had_place = place.take().is_some();
    let read = reading.await?;
    if had_place {
        *place = Some(shared.room.enter(Lane::of(&parts.method, parts.uri.path()), &shared.env).await?);
    }
    Ok(read)
}

/// The same as far as its route wants it.
async fn read(
    shared: &Shared,
    route: &Route,
    parts: &Parts,
    body: Body,
) -> Result<(Bytes, Option<Place>), Refused> {
    if route.rule == UPLOAD {
        return Ok((body::first(shared, body).await?, None));
    }
    if !matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(Default::default());
    }
    let (body, memory) = body::read(shared, &parts.headers, body).await?;
    body::check_type(&parts.headers, &body)?;
    Ok((body, memory))
}

/// What the request's token stands for; 401 with a pointer to the identity face otherwise.
async fn identify(shared: &Shared, parts: &Parts, base: &Base) -> Result<Arc<Known>, Refused> {
    let text = |name: &str| parts.headers.get(name).and_then(|token| token.to_str().ok());
    let token = text("x-auth-token").unwrap_or_default();
    let found = match text("x-service-token").filter(|service| !service.is_empty()) {
        Some(service) => shared.identity.validate_for(token, service).await?,
        None => shared.identity.validate(token).await?,
    };
    let Some(known) = found else {
        let mut refused =
            Refused::new(StatusCode::UNAUTHORIZED, "The request you have made requires authentication.");
        let uri = match shared.identity.backend() {
            Backend::Keystone(keystone) => keystone.public_url().to_owned(),
            _ => format!("{}/identity", base.origin),
        };
        if let Ok(value) = HeaderValue::from_str(&format!("Keystone uri=\"{uri}\"")) {
            refused.header = Some((WWW_AUTHENTICATE, value));
        }
        return Err(refused);
    };
    if let Some(rules) = &known.access_rules {
        let (service, path) = service(parts.uri.path());
        let method = parts.method.as_str();
        if !rules.iter().any(|rule| rule.covers(service, method, path)) {
            let why = "The application credential's access rules do not cover this request.";
            return Err(Refused::new(StatusCode::FORBIDDEN, why));
        }
    }
    Ok(known)
}

/// The type of the service that a path belongs to, and the path below where it is mounted.
fn service(path: &str) -> (&'static str, &str) {
    let mounts =
        [("/compute", "compute"), ("/image", "image"), ("/identity", "identity"), ("/network", "network")];
    for (mount, service) in mounts {
        if let Some(rest) = path.strip_prefix(mount)
            && rest.starts_with('/')
        {
            return (service, rest);
        }
    }
    match path {
        path if path.starts_with("/v3") => ("identity", path),
        path if path.starts_with("/v2/") => ("image", path),
        path if path.starts_with("/admin/") => ("skep", path),
        path => ("compute", path),
    }
}
