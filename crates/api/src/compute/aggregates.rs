//! The routes of `os-aggregates`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};
use verbs::{Aggregate, AggregateChange};

use crate::compute::read;
use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer, empty};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// The key of metadata that is the zone.
const ZONE: &str = "availability_zone";

fn put(object: &mut Object<'_>, aggregate: &Aggregate, version: Version, whole: bool) {
    let nothing: Option<bool> = None;
    object.put("id", &aggregate.id);
    object.put("name", &aggregate.name);
    object.put(ZONE, &aggregate.zone);
    if whole {
        let mut metadata: BTreeMap<&str, &str> =
            aggregate.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if let Some(zone) = &aggregate.zone {
            metadata.insert(ZONE, zone);
        }
        object.put("metadata", &metadata);
        object.put("hosts", &aggregate.hosts);
    }
    object.put("created_at", &aggregate.created.micros_naive());
    object.put("updated_at", &aggregate.updated.map(model::Timestamp::micros_naive));
    object.put("deleted", &false);
    object.put("deleted_at", &nothing);
    if version >= Version(41) {
        object.put("uuid", &aggregate.uuid);
    }
}

fn one(call: &Call, aggregate: &Aggregate, whole: bool) -> Response {
    answer(StatusCode::OK, |body| {
        body.object("aggregate", |object| put(object, aggregate, call.version, whole));
    })
}

/// The aggregate's number. A name is none, and clients then look through the list.
fn id(call: &Call) -> Result<i64, Refused> {
    let id = call.capture("id");
    id.parse().map_err(|_| {
        Refused::bad(format!(
            "Invalid input for field/attribute id. Value: {id}. It is not of type 'integer'"
        ))
    })
}

/// `GET /os-aggregates`.
pub async fn index(call: Call) -> Answered {
    let aggregates = call.verbs()?.aggregates().await?;
    Ok(answer(StatusCode::OK, |body| {
        body.array("aggregates", &aggregates, |object, aggregate| put(object, aggregate, call.version, true));
    }))
}

/// `GET /os-aggregates/{id}`.
pub async fn show(call: Call) -> Answered {
    let aggregate = call.verbs()?.aggregate(id(&call)?).await?;
    Ok(one(&call, &aggregate, true))
}

fn zone(asked: &Map<String, Value>) -> Result<Option<String>, Refused> {
    let zone = read::text(asked, ZONE, (1, 255))?;
    match zone.as_deref() {
        Some(zone) if zone.contains(':') || zone.trim() != zone => {
            Err(Refused::field(ZONE, &Value::from(zone), "A zone has no ':' in it and no blanks at its ends"))
        }
        _ => Ok(zone),
    }
}

/// `POST /os-aggregates`.
pub async fn create(call: Call) -> Answered {
    let asked = read::only(&call.body, "aggregate")?;
    read::known(&asked, &["name", ZONE])?;
    let name = read::name(&asked, "name")?.ok_or_else(|| read::required("name"))?;
    let aggregate = call.verbs()?.create_aggregate(name, zone(&asked)?).await?;
    Ok(one(&call, &aggregate, false))
}

/// `PUT /os-aggregates/{id}`.
pub async fn update(call: Call) -> Answered {
    let asked = read::only(&call.body, "aggregate")?;
    read::known(&asked, &["name", ZONE])?;
    if asked.is_empty() {
        return Err(Refused::bad("Invalid input for field/attribute aggregate. {} has no properties"));
    }
    let zone = asked.contains_key(ZONE).then(|| zone(&asked)).transpose()?;
    let change = AggregateChange { name: read::name(&asked, "name")?, zone, ..Default::default() };
    let aggregate = call.verbs()?.change_aggregate(id(&call)?, change).await?;
    Ok(one(&call, &aggregate, true))
}

/// `DELETE /os-aggregates/{id}`.
pub async fn delete(call: Call) -> Answered {
    call.verbs()?.delete_aggregate(id(&call)?).await?;
    Ok(empty(StatusCode::OK))
}

/// `POST /os-aggregates/{id}/action`.
pub async fn act(call: Call) -> Answered {
    let asked = body::object(&call.body)?;
    let mut members = asked.iter();
    let (Some((action, value)), None) = (members.next(), members.next()) else {
        return Err(Refused::bad("Malformed request body: give exactly one action"));
    };
    let Value::Object(value) = value else {
        return Err(Refused::field(action, value, "It is not of type 'object'"));
    };
    let host = || -> Result<String, Refused> {
        read::known(value, &["host"])?;
        read::name(value, "host")?.ok_or_else(|| read::required("host"))
    };
    let aggregate = match action.as_str() {
        "add_host" => {
            call.allow("os_compute_api:os-aggregates:add_host").await?;
            call.verbs()?.add_host(id(&call)?, &host()?).await?
        }
        "remove_host" => {
            call.allow("os_compute_api:os-aggregates:remove_host").await?;
            call.verbs()?.remove_host(id(&call)?, &host()?).await?
        }
        "set_metadata" => {
            call.allow("os_compute_api:os-aggregates:set_metadata").await?;
            let change = metadata(value)?;
            call.verbs()?.change_aggregate(id(&call)?, change).await?
        }
        other => return Err(Refused::bad(format!("There is no such action: {other}"))),
    };
    Ok(one(&call, &aggregate, true))
}

/// `set_metadata`: null removes a key; the zone is one of them.
fn metadata(value: &Map<String, Value>) -> Result<AggregateChange, Refused> {
    read::known(value, &["metadata"])?;
    let Some(Value::Object(asked)) = value.get("metadata") else { return Err(read::required("metadata")) };
    let removed = asked.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| (key.clone(), None));
    let mut metadata: BTreeMap<String, Option<String>> = removed.collect();
    let mut put = asked.clone();
    put.retain(|_, value| !value.is_null());
    metadata.extend(read::pairs("metadata", &put)?.into_iter().map(|(key, value)| (key, Some(value))));
    if metadata.contains_key(ZONE) {
        zone(asked)?;
    }
    let zone = metadata.remove(ZONE);
    Ok(AggregateChange { name: None, zone, metadata })
}

/// `POST /os-aggregates/{id}/images` (2.81): engines fetch images when they need them.
pub async fn images(call: Call) -> Answered {
    call.since(81)?;
    call.verbs()?.aggregate(id(&call)?).await?;
    Err(Refused::unsupported("caching images on hosts"))
}
