//! `Idempotency-Key`: a request that is repeated under the same key is done once and answered the same
//! (draft-ietf-httpapi-idempotency-key-header-07).
//!
//! A create stores its answer in the transaction that accepts it (`verbs::Verbs::accept`), so there is nothing
//! between the two that a crash could hit. Every other POST holds its key while it is worked on and stores the
//! answer afterwards; it is worked on to its end even if the client goes away. Where a crash leaves a held key
//! behind, the next attempt begins when its time is over, and carries the same id into the instance's cell, so
//! that what was done there is not done again. Answers are kept sealed ([`sealed`]).

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use model::Env;
use tokio::time::timeout;
use tracing::Instrument;
use verbs::{Answer, Hold, Key, Known, Verbs};

use crate::app::REQUEST_ID;
use crate::edge::call::{Answered, Call, Route};
use crate::edge::policy::{self, Need};
use crate::edge::refused::{Refused, Style};
use crate::edge::sealed;

/// The request's header.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of answers that are told again.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key in bytes.
const LONGEST: usize = 255;
/// How much longer than a request's deadline its key is held.
const MARGIN: Duration = Duration::from_secs(5);
/// The rule of the route whose handler stores its answer itself.
const CREATE: &str = "os_compute_api:servers:create";

/// The key of a request: on every POST with a token. Whoever asks for a token has none, and may ask for any number.
pub fn key(route: &Route, call: &Call, parts: &Parts) -> Result<Option<Key>, Refused> {
    let public = policy::need(route.rule) == Some(Need::Anyone);
    if parts.method != Method::POST || public {
        return Ok(None);
    }
    let Some(text) = text(&parts.headers)? else { return Ok(None) };
    let (version, query) = (call.version.to_string(), parts.uri.query().unwrap_or_default());
    let extended = [u8::from(call.extended)];
    let rest: [&[u8]; 4] = [version.as_bytes(), query.as_bytes(), &extended, &call.body];
    let by = call.shared.env.uuid();
    Ok(Some(Key::new(&call.caller, &call.context, by, &["POST", &call.path, &text], &rest)))
}

/// The header's text: a quoted string (RFC 8941, section 3.3.3), or bare as many clients send it.
fn text(headers: &HeaderMap) -> Result<Option<String>, Refused> {
    let mut values = headers.get_all(&KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = |why: &str| Err(Refused::bad(format!("Idempotency-Key {why}.")));
    if values.next().is_some() {
        return wrong("is given more than once");
    }
    let Ok(value) = value.to_str() else { return wrong("has characters that are not printable ASCII") };
    let value = value.trim();
    let key = match value.strip_prefix('"') {
        None => value.to_owned(),
        Some(quoted) => match unquoted(quoted) {
            Some(key) => key,
            None => return wrong("begins with a quote but is no quoted string"),
        },
    };
    if key.is_empty() {
        return wrong("is empty");
    }
    if key.len() > LONGEST {
        return wrong(&format!("has {} characters; at most {LONGEST} are taken", key.len()));
    }
    Ok(Some(key))
}

/// What stands between quotes, the first of which is gone already.
fn unquoted(quoted: &str) -> Option<String> {
    let mut out = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return characters.as_str().is_empty().then_some(out),
            '\\' => out.push(characters.next().filter(|c| matches!(c, '"' | '\\'))?),
            other => out.push(other),
        }
    }
}

/// Lets the handler answer, once for each key. `holds` is what the request holds while it is worked on.
pub async fn answer(route: &'static Route, call: Call, holds: impl Send + 'static) -> Answered {
    let Some(key) = call.key.clone() else { return run(route, call).await };
    let verbs = call.verbs()?.clone();
    if route.rule == CREATE {
        return create(route, call, &verbs, &key).await;
    }
    // In a task of its own: a client that goes away is the one that will ask again.
    let work = async move {
        let answered = held(route, call, verbs, key).await;
        drop(holds);
        answered
    };
    let task = tokio::spawn(verbs::request(work).in_current_span());
    match task.await {
        Ok(answered) => answered,
        Err(why) if why.is_panic() => resume_unwind(why.into_panic()),
        Err(_) => Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "The API is shutting down; try again.")),
    }
}

/// The handler under its deadline.
async fn run(route: &'static Route, call: Call) -> Answered {
    let deadline = call.shared.settings.request_deadline;
    timeout(deadline, (route.run)(call)).await.unwrap_or_else(|_| {
        Err(Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "Not answered within {} seconds; what was asked may or may not have happened.",
                deadline.as_secs()
            ),
        ))
    })
}

async fn create(route: &'static Route, call: Call, verbs: &Verbs, key: &Key) -> Answered {
    if let Some(known) = verbs.known(key).await? {
        return replay(key, known);
    }
    let (style, env) = (Style::of(&call.path), call.shared.env.clone());
    let answered = run(route, call).await;
    if let Err(refused) = &answered
        && is_lasting(refused.status)
        && let Ok((answer, _)) = keep(&env, key, refused.clone().render(style)).await
        && let Err(fault) = verbs.remember(key, answer).await
    {
        // Nothing was done, so whoever asks again gets an answer of its own.
        tracing::warn!(cause = %fault, "a refusal is not kept under its key");
    }
    answered
}

async fn held(route: &'static Route, mut call: Call, verbs: Verbs, key: Key) -> Answered {
    let within = call.shared.settings.request_deadline + MARGIN;
    match verbs.hold(&key, within).await? {
        Hold::Ours(once) => call.once = Some(once),
        Hold::Known(known) => return replay(&key, known),
    }
    let (style, env) = (Style::of(&call.path), call.shared.env.clone());
    let answered = match AssertUnwindSafe(run(route, call)).catch_unwind().await {
        Ok(answered) => answered,
        Err(panic) => {
            release(&verbs, &key).await;
            resume_unwind(panic)
        }
    };
    let response = match answered {
        Ok(response) => response,
        Err(refused) if is_lasting(refused.status) => refused.render(style),
        Err(refused) => {
            release(&verbs, &key).await;
            return Err(refused);
        }
    };
    // What has no known size is a stream, which cannot be told again.
    if !is_lasting(response.status()) || response.body().size_hint().exact().is_none() {
        release(&verbs, &key).await;
        return Ok(response);
    }
    let (answer, response) = match keep(&env, &key, response).await {
        Ok(kept) => kept,
        Err(refused) => {
            release(&verbs, &key).await;
            return Err(refused);
        }
    };
    if let Err(fault) = verbs.settle(&key, answer).await {
        tracing::warn!(cause = %fault, "an answer is not kept under its key, which stays held for a while");
    }
    Ok(response)
}

async fn release(verbs: &Verbs, key: &Key) {
    if let Err(fault) = verbs.release(key).await {
        tracing::warn!(cause = %fault, "a key stays held for a while");
    }
}

/// Whether an answer is one for ever: what failed on our side, and what the state of the moment or the rate
/// forbade, is worth another attempt under the same key.
fn is_lasting(status: StatusCode) -> bool {
    use axum::http::StatusCode as Is;
    !status.is_server_error() && !matches!(status, Is::CONFLICT | Is::TOO_MANY_REQUESTS | Is::REQUEST_TIMEOUT)
}

/// An answer as it is kept, and as it is told now.
pub async fn keep(env: &Env, key: &Key, response: Response) -> Result<(Answer, Response), Refused> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| {
        tracing::error!(%error, "an answer's body cannot be read");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "The answer could not be read.")
    })?;
    let body = body.to_bytes();
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    let answer = Answer {
        status: parts.status.as_u16(),
        headers: parts.headers.iter().filter_map(text).collect(),
        body: body.to_vec(),
        request_id: key.request_id().to_owned(),
    };
    Ok((sealed::seal(env, key, answer)?, Response::from_parts(parts, Body::from(body))))
}

/// Answers what is known of a key.
pub fn replay(key: &Key, known: Known) -> Answered {
    let answer = match known {
        Known::Answered(answer) => answer,
        Known::Held => {
            let text = "The first request with this Idempotency-Key is still being worked on; try again.";
            let mut refused = Refused::new(StatusCode::CONFLICT, text);
            refused.header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
            return Err(refused);
        }
        Known::Other => {
            return Err(Refused::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This Idempotency-Key came with another request before; use a new one for each request.",
            ));
        }
    };
    metrics::counter!("skep_idempotent_replays_total").increment(1);
    tracing::info!(first = answer.request_id, "answered again under its key");
    let mut response = Response::new(Body::from(sealed::open(key, &answer)?));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    if let Ok(id) = HeaderValue::from_str(&answer.request_id) {
        headers.insert(REQUEST_ID, id);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<String>, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(KEY, HeaderValue::from_bytes(value.as_bytes()).expect("a header"));
        }
        text(&headers).map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn keys_are_quoted_or_bare() {
        assert_eq!(read(&[]), Ok(None));
        for same in ["8e03978e-40d5", "\"8e03978e-40d5\"", "  8e03978e-40d5 "] {
            assert_eq!(read(&[same]), Ok(Some("8e03978e-40d5".into())), "{same}");
        }
        assert_eq!(read(&[r#""a \"b\" \\ c""#]), Ok(Some(r#"a "b" \ c"#.into())));
        for wrong in ["", "\"\"", "\"open", "\"a\";q=1", "\"a\"b", r#""a\n""#, "ü"] {
            assert_eq!(read(&[wrong]), Err(400), "{wrong}");
        }
        assert_eq!(read(&["a", "a"]), Err(400));
        assert!(read(&[Box::leak("k".repeat(255).into_boxed_str())]).is_ok());
        assert_eq!(read(&[Box::leak("k".repeat(256).into_boxed_str())]), Err(400));
    }

    #[test]
    fn what_may_pass_is_not_kept() {
        for (status, lasting) in [
            (202, true),
            (200, true),
            (400, true),
            (403, true),
            (404, true),
            (409, false),
            (429, false),
            (503, false),
        ] {
            assert_eq!(is_lasting(StatusCode::from_u16(status).expect("a status")), lasting, "{status}");
        }
    }
}
