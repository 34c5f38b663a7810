//! The catalog: our own faces in each region, made from the configuration, and what administrators add.

use axum::http::StatusCode;
use identity::{Entity, Filter, Kind, Known, Scope};
use model::FaultKind;
use serde_json::{Map, Value, json};

use super::{by, known, list, one, said, things, users};
use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

/// Our own faces: type, name, path. Their ids begin with `skep-`.
const FACES: &[(&str, &str, &str)] = &[
    ("identity", "keystone", "/identity"),
    ("compute", "nova", "/compute/v2.1"),
    ("image", "glance", "/image"),
    ("network", "neutron", "/network"),
];
/// Ways to an endpoint; ours are all the same.
const INTERFACES: [&str; 3] = ["public", "internal", "admin"];

/// `GET /v3/auth/catalog`.
pub async fn own(call: Call) -> Answered {
    let catalog = of(&call, known(&call)?).await?.unwrap_or_else(|| Value::Array(Vec::new()));
    Ok(list(&call, "catalog", catalog.as_array().map_or(&[], Vec::as_slice)))
}

/// The catalog as a token shows it; none for who may use nothing of it yet.
pub async fn of(call: &Call, known: &Known) -> Result<Option<Value>, Refused> {
    if known.scope == Scope::None {
        return Ok(None);
    }
    let project = match &known.scope {
        Scope::Project(project) => project.id.as_str(),
        _ => "",
    };
    let endpoints = all(call, Kind::Endpoint).await?;
    let mut catalog = Vec::new();
    for service in all(call, Kind::Service).await?.iter().filter(|service| service.enabled) {
        let text = |entity: &Entity, name: &str| entity.extra.get(name).cloned().unwrap_or_default();
        let ours = endpoints
            .iter()
            .filter(|endpoint| endpoint.enabled && text(endpoint, "service_id") == service.id.as_str());
        let ours: Vec<Value> = ours
            .map(|endpoint| {
                let region = match text(endpoint, "region_id") {
                    Value::Null => text(endpoint, "region"),
                    region => region,
                };
                let url = filled(text(endpoint, "url").as_str().unwrap_or_default(), project, &known.user.id);
                json!({
                    "id": endpoint.id, "interface": text(endpoint, "interface"),
                    "region": region, "region_id": region, "url": url,
                })
            })
            .collect();
        catalog.push(json!({
            "id": service.id, "type": text(service, "type"), "name": text(service, "name"), "endpoints": ours,
        }));
    }
    Ok(Some(Value::Array(catalog)))
}

/// Puts project and user in the place of what Keystone's endpoints have for them.
fn filled(url: &str, project: &str, user: &str) -> String {
    let mut url = url.to_owned();
    for (mark, text) in [("project_id", project), ("tenant_id", project), ("user_id", user)] {
        url = url.replace(&format!("$({mark})s"), text).replace(&format!("%({mark})s"), text);
    }
    url
}

/// Our own, then those that were added.
async fn all(call: &Call, kind: Kind) -> Result<Vec<Entity>, Refused> {
    let mut all = ours(call, kind);
    if let Some(users) = call.shared.identity.embedded() {
        let added = users.list(kind, Filter::default()).await?;
        all.extend(added.into_iter().filter(|added| ours_has_no(kind, call, &added.id)));
    }
    Ok(all)
}

fn ours_has_no(kind: Kind, call: &Call, id: &str) -> bool {
    ours(call, kind).iter().all(|ours| ours.id != id)
}

/// What the configuration makes.
fn ours(call: &Call, kind: Kind) -> Vec<Entity> {
    let regions = &call.shared.settings.regions;
    match kind {
        Kind::Region => regions.iter().map(|(region, _)| entity(region, json!({}))).collect(),
        Kind::Service => FACES
            .iter()
            .map(|(service, name, _)| {
                entity(&format!("skep-{service}"), json!({"type": service, "name": name}))
            })
            .collect(),
        Kind::Endpoint => {
            let mut all = Vec::new();
            for (service, _, path) in FACES {
                for (region, url) in regions {
                    let origin = url.as_deref().unwrap_or(&call.base.origin).trim_end_matches('/');
                    for interface in INTERFACES {
                        let extra = json!({
                            "service_id": format!("skep-{service}"), "interface": interface,
                            "region": region, "region_id": region, "url": format!("{origin}{path}"),
                        });
                        all.push(entity(&format!("skep-{service}-{interface}-{region}"), extra));
                    }
                }
            }
            all
        }
        _ => Vec::new(),
    }
}

fn entity(id: &str, extra: Value) -> Entity {
    let extra: Map<String, Value> = extra.as_object().cloned().unwrap_or_default();
    Entity { id: id.to_owned(), domain: String::new(), name: id.to_owned(), enabled: true, extra }
}

/// `GET /v3/services`, `/v3/endpoints` and `/v3/regions`.
pub async fn index(call: Call) -> Answered {
    let kind = things::kind(&call);
    let filter = things::filter(&call, kind)?;
    let has = |entity: &Entity, (key, text): &(String, String)| {
        entity.extra.get(key).and_then(Value::as_str).unwrap_or_default() == text
    };
    let all = all(&call, kind).await?;
    let wanted = all.iter().filter(|entity| filter.extra.iter().all(|pair| has(entity, pair)));
    let all: Vec<Value> = wanted.map(|entity| things::view(&call, kind, entity)).collect();
    Ok(list(&call, things::plural(kind), &all))
}

/// `GET /v3/services/{id}`, and so on.
pub async fn show(call: Call) -> Answered {
    let (kind, id) = (things::kind(&call), call.capture("target"));
    match all(&call, kind).await?.into_iter().find(|entity| entity.id == id) {
        Some(found) => Ok(one(StatusCode::OK, kind.word(), &things::view(&call, kind, &found))),
        None => Err(Refused::not_found(format!("Could not find {}: {id}.", kind.word()))),
    }
}

/// `PUT /v3/regions/{id}`: makes one of that id.
pub async fn put_region(call: Call) -> Answered {
    let (mut wish, id) = (said(&call, "region")?, call.capture("target"));
    if all(&call, Kind::Region).await?.iter().any(|known| known.id == id) {
        let why = format!("Conflict occurred attempting to store region - Duplicate ID, {id}.");
        return Err(Refused::new(StatusCode::CONFLICT, why));
    }
    wish.insert("id".to_owned(), id.into());
    let made = users(&call)?.create(&by(&call), Kind::Region, wish).await?;
    Ok(one(StatusCode::CREATED, "region", &things::view(&call, Kind::Region, &made)))
}

/// `POST /v3/endpoints`.
pub async fn create_endpoint(call: Call) -> Answered {
    let mut said = said(&call, "endpoint")?;
    let service = said.get("service_id").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !all(&call, Kind::Service).await?.iter().any(|known| known.id == service) {
        return Err(Refused::bad(format!("Could not find service: {service}.")));
    }
    make_region(&call, &mut said).await?;
    let made = users(&call)?.create(&by(&call), Kind::Endpoint, said).await?;
    Ok(one(StatusCode::CREATED, "endpoint", &things::view(&call, Kind::Endpoint, &made)))
}

/// As Keystone does: a region that only the old name of the field (`region`) names is made.
async fn make_region(call: &Call, said: &mut Map<String, Value>) -> Result<(), Refused> {
    let unnamed = said.get("region_id").is_none_or(Value::is_null);
    if let (true, Some(Value::String(region))) = (unnamed, said.get("region").cloned())
        && !region.is_empty()
    {
        if !all(call, Kind::Region).await?.iter().any(|known| known.id == region) {
            let wish = Map::from_iter([("id".to_owned(), Value::from(region.clone()))]);
            match users(call)?.create(&by(call), Kind::Region, wish).await {
                // Another call has made it a moment before.
                Err(fault) if fault.kind == FaultKind::Conflict => {}
                made => drop(made?),
            }
        }
        said.insert("region_id".to_owned(), region.into());
    }
    Ok(())
}

/// `PATCH /v3/services/{id}`, and so on.
pub async fn update(call: Call) -> Answered {
    refuse_ours(&call)?;
    let kind = things::kind(&call);
    let mut said = said(&call, kind.word())?;
    if kind == Kind::Endpoint {
        make_region(&call, &mut said).await?;
    }
    let changed = users(&call)?.update(&by(&call), kind, things::id(&call), said).await?;
    Ok(one(StatusCode::OK, kind.word(), &things::view(&call, kind, &changed)))
}

/// `DELETE /v3/services/{id}`, and so on.
pub async fn delete(call: Call) -> Answered {
    refuse_ours(&call)?;
    things::delete(call).await
}

fn refuse_ours(call: &Call) -> Result<(), Refused> {
    let (kind, id) = (things::kind(call), call.capture("target"));
    match ours_has_no(kind, call, id) {
        true => Ok(()),
        false => Err(Refused::new(
            StatusCode::FORBIDDEN,
            format!("The {} {id} is made from this cloud's configuration; change that.", kind.word()),
        )),
    }
}
