//! Version documents of the identity face.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::edge::base::Base;
use crate::edge::call::{Answered, Call};
use crate::edge::json::answer;

/// `GET /identity`: 300, as Keystone answers.
pub async fn versions(call: Call) -> Answered {
    let versions = json!({ "values": [document(&call.base, "/identity/v3/")] });
    Ok(answer(StatusCode::MULTIPLE_CHOICES, |body| body.put("versions", &versions)))
}

/// `GET /identity/v3` and `GET /v3`.
pub async fn version(call: Call) -> Answered {
    let path = if call.path.starts_with("/identity") { "/identity/v3/" } else { "/v3/" };
    let version = document(&call.base, path);
    Ok(answer(StatusCode::OK, |body| body.put("version", &version)))
}

fn document(base: &Base, path: &str) -> Value {
    json!({
        "id": "v3.14",
        "status": "stable",
        "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{}{path}", base.origin)}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.identity-v3+json",
        }],
    })
}
