//! `POST /v3/auth/tokens`: letting users in.

use axum::http::header::VARY;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::{catalog, one, request, token, users};
use crate::edge::body;
use crate::edge::call::{Answered, Call};

/// The header that carries a token.
pub const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");

/// Makes a token.
pub async fn issue(call: Call) -> Answered {
    let users = users(&call)?;
    let said = Value::Object(body::object(&call.body)?);
    let issued = users.issue(request::read(&said, call.from)?).await?;
    let catalog = catalog::of(&call, &issued.known).await?;
    let mut response = one(StatusCode::CREATED, "token", &token::view(&issued.known, catalog));
    if let Ok(token) = HeaderValue::from_str(&issued.token) {
        response.headers_mut().insert(SUBJECT, token);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("X-Auth-Token"));
    Ok(response)
}
