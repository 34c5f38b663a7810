//! Refusals: every failure, whoever noticed it, becomes one of these and is rendered here.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::Response;
use model::{Fault, FaultKind};
use serde_json::Value;

/// A request that is answered with an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// HTTP status.
    pub status: StatusCode,
    /// What was wrong and what to do, for the user.
    pub message: String,
    /// A header that belongs to the answer, if any.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// Whether it was not looked at, for there is too much to do.
    pub is_turned_away: bool,
}

/// Marks answers to requests that were not looked at.
#[derive(Clone, Copy, Debug)]
pub struct TurnedAway;

/// Seconds after which trying again is worth it, when something is away.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Refused {
    /// Refuses with `status` and tells the user `message`.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let header = match status {
            StatusCode::SERVICE_UNAVAILABLE => Some((header::RETRY_AFTER, RETRY_AFTER)),
            _ => None,
        };
        Self { status, message: message.into(), header, is_turned_away: false }
    }

    /// Refuses what was not looked at, for there is too much to do.
    pub fn turned_away(status: StatusCode, message: &str) -> Self {
        Self { is_turned_away: true, ..Self::new(status, message) }
    }

    /// 400: the request itself is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 in the words of Nova's schema validation (`nova/api/validation/validators.py`).
    pub fn field(path: &str, value: &Value, why: impl AsRef<str>) -> Self {
        let why = why.as_ref();
        let mut shown = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if shown.len() > 200 {
            let end = (0..=200).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or(0);
            shown.truncate(end);
            shown.push('…');
        }
        Self::bad(format!("Invalid input for field/attribute {path}. Value: {shown}. {why}"))
    }

    /// 404: no such route or thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 501: Nova has it, skep does not.
    pub fn unsupported(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("The requested functionality is not supported: {what}."),
        )
    }

    /// The answer.
    pub fn render(self, style: Style) -> Response {
        let code = self.status.as_u16();
        let body = match style {
            Style::Nova => {
                let mut fault = serde_json::json!({ "code": code, "message": self.message });
                // Nova's `Fault` says so in the body too where something is over a limit.
                if let (413 | 429, Some((header::RETRY_AFTER, when))) = (code, &self.header) {
                    fault["retryAfter"] = when.to_str().unwrap_or("1").into();
                }
                serde_json::json!({ nova_name(self.status): fault })
            }
            Style::Neutron => serde_json::json!({ "NeutronError": {
                "type": neutron_name(self.status),
                "message": self.message,
                "detail": "",
            }}),
            Style::Keystone => serde_json::json!({ "error": {
                "code": code,
                "title": self.status.canonical_reason().unwrap_or("Error"),
                "message": self.message,
            }}),
        };
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        if self.is_turned_away {
            response.extensions_mut().insert(TurnedAway);
        }
        response
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self::new(http_status(fault.kind), fault.message)
    }
}

/// Which service's error body a path answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `{"itemNotFound": {"code": 404, "message": …}}`
    Nova,
    /// `{"error": {"code": 404, "title": …, "message": …}}`
    Keystone,
    /// `{"NeutronError": {"type": "HTTPNotFound", "message": …, "detail": ""}}`
    Neutron,
}

impl Style {
    /// The style of the face that `path` belongs to.
    pub fn of(path: &str) -> Self {
        match () {
            () if path.starts_with("/identity") || path.starts_with("/v3") => Self::Keystone,
            () if path.starts_with("/network") => Self::Neutron,
            () => Self::Nova,
        }
    }
}

/// Neutron's name for a status that none of its own faults has.
fn neutron_name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "HTTPBadRequest",
        401 => "HTTPUnauthorized",
        403 => "PolicyNotAuthorized",
        404 => "HTTPNotFound",
        405 => "HTTPMethodNotAllowed",
        409 => "HTTPConflict",
        503 => "HTTPServiceUnavailable",
        _ => "HTTPError",
    }
}

/// HTTP status of a kind of fault, as Nova's handlers map theirs.
fn http_status(kind: FaultKind) -> StatusCode {
    match kind {
        // Nova's resize and migrate answer NoValidHost with 400; create finds out later.
        FaultKind::Invalid | FaultKind::NoValidHost => StatusCode::BAD_REQUEST,
        FaultKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        FaultKind::Forbidden | FaultKind::OverQuota => StatusCode::FORBIDDEN,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::Conflict | FaultKind::Stale => StatusCode::CONFLICT,
        FaultKind::Unavailable | FaultKind::Timeout => StatusCode::SERVICE_UNAVAILABLE,
        FaultKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        FaultKind::Engine | FaultKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// `code` of the fault in a server's own body: like the status, except that Nova gives NoValidHost 500.
pub fn fault_code(kind: FaultKind) -> u16 {
    match kind {
        FaultKind::NoValidHost => 500,
        other => http_status(other).as_u16(),
    }
}

/// Nova's name for a status (`nova/api/openstack/wsgi.py`, `Fault._fault_names`).
fn nova_name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "badRequest",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        413 | 429 => "overLimit",
        415 => "badMediaType",
        422 => "unprocessableEntity",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status_and_name() {
        let rows = [
            (FaultKind::Invalid, 400, "badRequest"),
            (FaultKind::Unauthenticated, 401, "unauthorized"),
            (FaultKind::Forbidden, 403, "forbidden"),
            (FaultKind::OverQuota, 403, "forbidden"),
            (FaultKind::NotFound, 404, "itemNotFound"),
            (FaultKind::Conflict, 409, "conflictingRequest"),
            (FaultKind::Stale, 409, "conflictingRequest"),
            (FaultKind::NoValidHost, 400, "badRequest"),
            (FaultKind::Engine, 500, "computeFault"),
            (FaultKind::Unavailable, 503, "serviceUnavailable"),
            (FaultKind::Timeout, 503, "serviceUnavailable"),
            (FaultKind::Unsupported, 501, "notImplemented"),
            (FaultKind::Internal, 500, "computeFault"),
        ];
        for (kind, status, name) in rows {
            assert_eq!(http_status(kind).as_u16(), status, "{kind:?}");
            assert_eq!(nova_name(http_status(kind)), name, "{kind:?}");
        }
        assert_eq!(fault_code(FaultKind::NoValidHost), 500);
    }

    #[test]
    fn what_is_away_says_when_to_come_back() {
        let response = Refused::from(Fault::unavailable("cell2 does not answer")).render(Style::Nova);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers().get("retry-after").map(HeaderValue::as_bytes), Some(&b"1"[..]));
        let response = Refused::from(Fault::not_found("no")).render(Style::Nova);
        assert!(response.headers().get("retry-after").is_none());
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let refused = Refused::field("name", &Value::String("é".repeat(300)), "is too long");
        assert!(refused.message.len() < 320, "{}", refused.message.len());
    }
}
