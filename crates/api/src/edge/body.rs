//! Reading a request's body: bounded in size and in patience.

use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::time::timeout;

use crate::edge::refused::Refused;

/// Reads the whole body: 413 beyond `limit` bytes, 408 if nothing comes for `patience`.
pub async fn read(
    headers: &HeaderMap,
    mut body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Bytes, Refused> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large(limit));
    }
    let mut whole = BytesMut::new();
    loop {
        let frame = timeout(patience, body.frame()).await.map_err(|_| {
            let waited = patience.as_secs();
            Refused::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("Nothing of the body came for {waited} seconds."),
            )
        })?;
        match frame {
            None => return Ok(whole.freeze()),
            Some(Err(_)) => return Err(Refused::bad("The body could not be read.")),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    if whole.len() + data.len() > limit {
                        return Err(too_large(limit));
                    }
                    whole.extend_from_slice(&data);
                }
            }
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
        || media.eq_ignore_ascii_case("application/vnd.openstack.compute+json");
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
    use axum::http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn bounded_in_size() {
        let none = HeaderMap::new();
        let read = |text: &'static str, limit| {
            let none = none.clone();
            async move { read(&none, Body::from(text), limit, Duration::from_secs(5)).await }
        };
        assert_eq!(read("12345", 5).await.as_deref(), Ok(&b"12345"[..]));
        assert_eq!(read("123456", 5).await.map_err(|refused| refused.status.as_u16()), Err(413));
    }

    #[tokio::test]
    async fn bounded_in_patience() {
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        let read = read(&HeaderMap::new(), never, 5, Duration::from_millis(20)).await;
        assert_eq!(read.map_err(|refused| refused.status.as_u16()), Err(408));
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
