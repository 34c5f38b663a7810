//! Reading a request's body: bounded in size and in patience.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde_json::Value;
use tokio::time::timeout;

use crate::app::Shared;
use crate::edge::refused::Refused;
use crate::edge::room::{PIECE, Place};

/// The whole of a body may take so many times as long as its next piece.
const PIECES: u32 = 4;

/// Reads the whole body, and holds memory for it: 413 if it is too large, 408 if nothing comes for too long or
/// not all of it in time, 503 if all bodies together take too much.
pub async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, Option<Place>), Refused> {
    let (limit, patience) = (shared.settings.body_limit, shared.settings.body_timeout);
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large(limit));
    }
    let (mut whole, mut memory) = (BytesMut::new(), None::<Place>);
    let late = |why: String| Refused::new(StatusCode::REQUEST_TIMEOUT, why);
    let start = shared.env.monotonic();
    loop {
        let frame = timeout(patience, body.frame())
            .await
            .map_err(|_| late(format!("Nothing of the body came for {} seconds.", patience.as_secs())))?;
        match frame {
            None => return Ok((whole.freeze(), memory)),
            Some(Err(_)) => return Err(Refused::bad("The body could not be read.")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if whole.len() + data.len() > limit {
                        return Err(too_large(limit));
                    }
                    let held = memory.as_ref().map_or(0, |held| held.num_permits() * PIECE);
                    if whole.len() + data.len() > held {
                        let more = shared.room.hold(whole.len() + data.len() - held, &shared.env)?;
                        match &mut memory {
                            Some(memory) => memory.merge(more),
                            None => memory = Some(more),
                        }
                    }
                    whole.extend_from_slice(&data);
                    if body.is_end_stream() {
                        return Ok((whole.freeze(), memory));
                    }
                }
            }
        }
        if shared.env.monotonic().saturating_sub(start) > patience * PIECES {
            return Err(late(format!(
                "The body did not come within {} seconds.",
                (patience * PIECES).as_secs()
            )));
        }
    }
}

/// The first piece of a body that is to be refused unless it is empty; the rest is not read. Nothing if there is
/// none.
pub async fn first(shared: &Shared, mut body: Body) -> Result<Bytes, Refused> {
    let late = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, "Nothing of the body came in time.");
    loop {
        match timeout(shared.settings.body_timeout, body.frame()).await.map_err(late)? {
            None => return Ok(Bytes::new()),
            Some(Err(_)) => return Err(Refused::bad("The body could not be read.")),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) if !data.is_empty() => return Ok(data),
                _ => {}
            },
        }
    }
}

fn too_large(limit: usize) -> Refused {
    Refused::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("Request is too large: at most {limit} bytes are taken."),
    )
}

/// Refuses, with 415, a body that says that it is something else than JSON. One that says nothing is
/// taken at its word later.
pub fn check_type(headers: &HeaderMap, body: &Bytes) -> Result<(), Refused> {
    let Some(value) = headers.get(CONTENT_TYPE).filter(|_| !body.is_empty()) else { return Ok(()) };
    let media = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let json = media.is_empty()
        || media.eq_ignore_ascii_case("application/json")
        || media.eq_ignore_ascii_case("application/vnd.openstack.compute+json")
        || media.eq_ignore_ascii_case("application/openstack-images-v2.1-json-patch")
        || media.eq_ignore_ascii_case("application/openstack-images-v2.0-json-patch");
    if json {
        return Ok(());
    }
    Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Content-Type: send application/json."))
}

/// Reads a JSON object.
pub fn object(body: &[u8]) -> Result<serde_json::Map<String, Value>, Refused> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Refused::bad("Malformed message body: it must be a JSON object")),
        Err(error) => Err(Refused::bad(format!("Malformed message body: cannot understand JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;

    use super::*;
    use crate::app::App;
    use crate::settings::Settings;

    async fn read_with(settings: Settings, body: Body) -> Result<usize, u16> {
        let shared = App::without_verbs(model::Env::system(), settings).shared();
        let read = read(&shared, &HeaderMap::new(), body).await;
        read.map(|(body, _)| body.len()).map_err(|refused| refused.status.as_u16())
    }

    #[tokio::test]
    async fn bounded_in_size() {
        let settings = Settings { body_limit: 5, ..Settings::default() };
        assert_eq!(read_with(settings.clone(), Body::from("12345")).await, Ok(5));
        assert_eq!(read_with(settings, Body::from("123456")).await, Err(413));
    }

    #[tokio::test]
    async fn bounded_in_memory() {
        let settings = Settings { body_memory: PIECE, ..Settings::default() };
        assert_eq!(read_with(settings.clone(), Body::from(vec![b' '; PIECE])).await, Ok(PIECE));
        assert_eq!(read_with(settings, Body::from(vec![b' '; PIECE + 1])).await, Err(503));
    }

    #[tokio::test]
    async fn bounded_in_patience() {
        let settings = Settings { body_timeout: Duration::from_millis(20), ..Settings::default() };
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read_with(settings.clone(), never).await, Err(408));
        // Each piece comes soon enough, and there is no end of them.
        let drip = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
        });
        assert_eq!(read_with(settings, Body::from_stream(drip)).await, Err(408));
    }

    #[test]
    fn types() {
        let body = Bytes::from_static(b"{}");
        let check = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            check_type(&headers, &body).is_ok()
        };
        assert!(check("application/json") && check("Application/JSON; charset=utf-8") && check(""));
        assert!(!check("text/plain") && !check("application/xml"));
        assert!(check_type(&HeaderMap::new(), &body).is_ok());
    }
}
