//! Metadata of servers.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use verbs::Amendment;

use crate::compute::container::RESERVED;
use crate::compute::{read, servers};
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty, value};
use crate::edge::refused::Refused;

/// `GET /servers/{id}/metadata`.
pub async fn index(call: Call) -> Answered {
    let instance = servers::fresh(&call).await?;
    Ok(whole(&instance.spec.metadata))
}

pub(super) fn whole(metadata: &BTreeMap<String, String>) -> Response {
    answer(StatusCode::OK, |body| body.put("metadata", metadata))
}

/// `GET /servers/{id}/metadata/{key}`.
pub async fn show(call: Call) -> Answered {
    let instance = servers::fresh(&call).await?;
    match instance.spec.metadata.get_key_value(call.capture("key")) {
        Some((key, text)) => Ok(one(key, text)),
        None => Err(Refused::not_found("Metadata item was not found")),
    }
}

pub(super) fn one(key: &str, text: &str) -> Response {
    value(StatusCode::OK, &json!({ "meta": { key: text } }))
}

/// Items to put. What is reserved for us makes the container, and cannot change afterwards.
pub fn items(object: &Map<String, Value>) -> Result<BTreeMap<String, String>, Refused> {
    let items = read::pairs("metadata", object)?;
    match items.keys().find(|key| key.starts_with(RESERVED)) {
        None => Ok(items),
        Some(key) => Err(Refused::bad(format!(
            "Invalid input for metadata '{key}'. It is reserved for what makes the container, which does not change."
        ))),
    }
}

async fn put(call: Call, replace: bool) -> Answered {
    let items = items(&read::only(&call.body, "metadata")?)?;
    let id = call.instance()?;
    let amendment = Amendment::Metadata { items, replace };
    let instance = call.verbs()?.amend(&call.caller, &call.context, id, amendment).await?;
    Ok(whole(&instance.spec.metadata))
}

/// `POST /servers/{id}/metadata`: puts items and leaves all others.
pub async fn create(call: Call) -> Answered {
    put(call, false).await
}

/// `PUT /servers/{id}/metadata`: all items are these.
pub async fn replace(call: Call) -> Answered {
    put(call, true).await
}

/// `PUT /servers/{id}/metadata/{key}`.
pub async fn update(call: Call) -> Answered {
    let items = items(&read::only(&call.body, "meta")?)?;
    let key = call.capture("key").to_owned();
    let (Some(text), 1) = (items.get(&key).cloned(), items.len()) else {
        return Err(Refused::bad("Request body and URI mismatch"));
    };
    let id = call.instance()?;
    let amendment = Amendment::Metadata { items, replace: false };
    call.verbs()?.amend(&call.caller, &call.context, id, amendment).await?;
    Ok(one(&key, &text))
}

/// `DELETE /servers/{id}/metadata/{key}`.
pub async fn delete(call: Call) -> Answered {
    let id = call.instance()?;
    let amendment = Amendment::RemoveMetadata(call.capture("key").to_owned());
    call.verbs()?.amend(&call.caller, &call.context, id, amendment).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
