//! Tags of servers (2.26).

use std::collections::BTreeSet;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION};
use serde_json::Value;
use verbs::{Amendment, MOST_TAGS};

use crate::compute::servers;
use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty};
use crate::edge::refused::Refused;

/// A tag: 1 to 60 characters, neither '/' nor ',' (`nova/api/openstack/compute/schemas/server_tags.py`).
pub fn tag(value: &Value) -> Result<String, Refused> {
    match value {
        Value::String(tag) if tag.is_empty() => Err(Refused::field("tags", value, "A tag is too short")),
        Value::String(tag) if tag.chars().count() > 60 => {
            Err(Refused::field("tags", value, "A tag is too long: at most 60 characters"))
        }
        Value::String(tag) if tag.contains(['/', ',', '\n']) => {
            Err(Refused::field("tags", value, "A tag does not match '^[^,/]*$'"))
        }
        Value::String(tag) => Ok(tag.clone()),
        other => Err(Refused::field("tags", other, format!("{other} is not of type 'string'"))),
    }
}

/// A list of tags, none of them twice.
pub fn tags(value: &Value) -> Result<BTreeSet<String>, Refused> {
    let Value::Array(list) = value else {
        return Err(Refused::field("tags", value, "It is not of type 'array'"));
    };
    if list.len() > MOST_TAGS {
        return Err(Refused::bad(format!("The number of tags exceeded the per-server limit {MOST_TAGS}")));
    }
    let tags: BTreeSet<String> = list.iter().map(tag).collect::<Result<_, _>>()?;
    if tags.len() < list.len() {
        return Err(Refused::field("tags", value, "It has non-unique elements"));
    }
    Ok(tags)
}

/// `GET /servers/{id}/tags`.
pub async fn index(call: Call) -> Answered {
    call.since(26)?;
    let instance = servers::fresh(&call).await?;
    Ok(answer(StatusCode::OK, |body| body.put("tags", &instance.spec.extra.tags)))
}

/// `GET /servers/{id}/tags/{tag}`: whether there is such a tag.
pub async fn show(call: Call) -> Answered {
    call.since(26)?;
    let instance = servers::fresh(&call).await?;
    match instance.spec.extra.tags.contains(call.capture("tag")) {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => {
            Err(Refused::not_found(format!("Server {} has no tag '{}'", instance.id, call.capture("tag"))))
        }
    }
}

/// `PUT /servers/{id}/tags`: all tags are these.
pub async fn replace(call: Call) -> Answered {
    call.since(26)?;
    let asked = body::object(&call.body)?;
    let tags = match (asked.get("tags"), asked.len()) {
        (Some(value), 1) => tags(value)?,
        _ => return Err(Refused::bad("Invalid input for field/attribute. Give 'tags' and nothing else")),
    };
    let id = call.instance()?;
    let instance = call.verbs()?.amend(&call.caller, &call.context, id, Amendment::Tags(tags)).await?;
    Ok(answer(StatusCode::OK, |body| body.put("tags", &instance.spec.extra.tags)))
}

/// `PUT /servers/{id}/tags/{tag}`: 201 for a new one, 204 for one that is there.
pub async fn add(call: Call) -> Answered {
    call.since(26)?;
    let tag = tag(&Value::from(call.capture("tag")))?;
    let before = servers::fresh(&call).await?;
    if before.spec.extra.tags.contains(&tag) {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let id = call.instance()?;
    call.verbs()?.amend(&call.caller, &call.context, id, Amendment::AddTag(tag.clone())).await?;
    let mut response = empty(StatusCode::CREATED);
    let location = format!("{}/servers/{id}/tags/{tag}", call.base.versioned());
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, value);
    }
    Ok(response)
}

/// `DELETE /servers/{id}/tags/{tag}`.
pub async fn remove(call: Call) -> Answered {
    call.since(26)?;
    let id = call.instance()?;
    let amendment = Amendment::RemoveTag(call.capture("tag").to_owned());
    call.verbs()?.amend(&call.caller, &call.context, id, amendment).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `DELETE /servers/{id}/tags`: all of them.
pub async fn clear(call: Call) -> Answered {
    call.since(26)?;
    let id = call.instance()?;
    let amendment = Amendment::Tags(BTreeSet::new());
    call.verbs()?.amend(&call.caller, &call.context, id, amendment).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
