//! Projects, users, domains and roles: list, show, make, change, remove. Regions, services and endpoints are
//! made here too.

use axum::http::StatusCode;
use identity::{Entity, Filter, Kind, Scope};
use serde_json::{Map, Value, json};

use super::{by, href, known, list, one, said, users};
use crate::edge::call::{Answered, Call};
use crate::edge::json::empty;
use crate::edge::query::truth;
use crate::edge::refused::Refused;

/// The kind of thing that a request's path is about.
pub fn kind(call: &Call) -> Kind {
    let below = call.path.split("/v3/").nth(1).unwrap_or_default();
    match below.split('/').next().unwrap_or_default() {
        "projects" => Kind::Project,
        "users" => Kind::User,
        "roles" => Kind::Role,
        "regions" => Kind::Region,
        "services" => Kind::Service,
        "endpoints" => Kind::Endpoint,
        _ => Kind::Domain,
    }
}

/// What lists of a kind are called.
pub fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Domain => "domains",
        Kind::Project => "projects",
        Kind::User => "users",
        Kind::Role => "roles",
        Kind::Region => "regions",
        Kind::Service => "services",
        Kind::Endpoint => "endpoints",
    }
}

/// The id that the path names.
pub fn id(call: &Call) -> &str {
    match kind(call) {
        Kind::User => call.capture("user_id"),
        _ => call.capture("target"),
    }
}

/// `GET /v3/users`, and so on.
pub async fn index(call: Call) -> Answered {
    let kind = kind(&call);
    if kind == Kind::Project && call.params.truth("is_domain")? {
        return Ok(list(&call, plural(kind), &[]));
    }
    let all = users(&call)?.list(kind, filter(&call, kind)?).await?;
    let all: Vec<Value> = all.iter().map(|entity| view(&call, kind, entity)).collect();
    Ok(list(&call, plural(kind), &all))
}

/// What a list's query asks for. Filters that we do not know are passed over, as Keystone does.
pub fn filter(call: &Call, kind: Kind) -> Result<Filter, Refused> {
    let text = |name: &str| call.params.last(name).map(str::to_owned);
    let enabled = call.params.last("enabled").map(|said| truth(said).unwrap_or(true));
    let extra: &[&str] = match kind {
        Kind::Project => &["parent_id"],
        Kind::Service => &["type", "name"],
        Kind::Endpoint => &["service_id", "interface", "region_id"],
        Kind::Region => &["parent_region_id"],
        _ => &[],
    };
    let extra = extra.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?))).collect();
    let named = matches!(kind, Kind::Domain | Kind::Project | Kind::User | Kind::Role);
    // Roles of a domain are shown only to who asks for them.
    let domain = match kind {
        Kind::Role => Some(text("domain_id").unwrap_or_default()),
        Kind::Project | Kind::User => text("domain_id"),
        _ => None,
    };
    Ok(Filter { name: text("name").filter(|_| named), domain, enabled, extra })
}

/// `GET /v3/users/{id}`, and so on.
pub async fn show(call: Call) -> Answered {
    let kind = kind(&call);
    let found = users(&call)?.get(kind, id(&call)).await?;
    Ok(one(StatusCode::OK, kind.word(), &view(&call, kind, &found)))
}

/// `GET /v3/projects/{id}`: administrators see all, others those on which they have a role.
pub async fn show_project(call: Call) -> Answered {
    let id = call.capture("target");
    let own = known(&call)?;
    let is_own = matches!(&own.scope, Scope::Project(project) if project.id == id);
    let reachable = async || -> Result<bool, Refused> {
        let all = users(&call)?.reachable(&own.user.id, Kind::Project).await?;
        Ok(all.iter().any(|project| project.id == id))
    };
    if !is_own && !call.may("identity:list_projects") && !reachable().await? {
        return Err(Refused::not_found(format!("Could not find project: {id}.")));
    }
    show(call).await
}

/// `GET /v3/domains/{id}`: administrators see all, others their own.
pub async fn show_domain(call: Call) -> Answered {
    let id = call.capture("target");
    if known(&call)?.user.domain.id != id && !call.may("identity:list_domains") {
        return Err(Refused::not_found(format!("Could not find domain: {id}.")));
    }
    show(call).await
}

/// `POST /v3/users`, and so on.
pub async fn create(call: Call) -> Answered {
    let kind = kind(&call);
    let made = users(&call)?.create(&by(&call), kind, said(&call, kind.word())?).await?;
    Ok(one(StatusCode::CREATED, kind.word(), &view(&call, kind, &made)))
}

/// `PATCH /v3/users/{id}`, and so on.
pub async fn update(call: Call) -> Answered {
    let kind = kind(&call);
    let made = users(&call)?.update(&by(&call), kind, id(&call), said(&call, kind.word())?).await?;
    Ok(one(StatusCode::OK, kind.word(), &view(&call, kind, &made)))
}

/// `DELETE /v3/users/{id}`, and so on.
pub async fn delete(call: Call) -> Answered {
    users(&call)?.delete(&by(&call), kind(&call), id(&call)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /v3/users/{id}/password`: a user's own.
pub async fn change_password(call: Call) -> Answered {
    let said = said(&call, "user")?;
    let text = |name: &str| {
        let found = said.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        found.ok_or_else(|| Refused::bad(format!("'{name}' is a required property")))
    };
    let (old, new) = (text("original_password")?, text("password")?);
    users(&call)?.change_password(&by(&call), call.capture("user_id"), old, new, call.from).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// One of them, as Keystone shows it.
pub fn view(call: &Call, kind: Kind, entity: &Entity) -> Value {
    let mut shown: Map<String, Value> = defaults(kind).as_object().cloned().unwrap_or_default();
    shown.extend(entity.extra.clone());
    shown.insert("id".into(), entity.id.as_str().into());
    let in_domain = |domain: &str| if domain.is_empty() { Value::Null } else { Value::from(domain) };
    match kind {
        Kind::Project | Kind::User | Kind::Role => {
            shown.insert("name".into(), entity.name.as_str().into());
            shown.insert("domain_id".into(), in_domain(&entity.domain));
        }
        Kind::Domain => {
            shown.insert("name".into(), entity.name.as_str().into());
        }
        Kind::Endpoint => {
            let region = shown.get("region_id").or(shown.get("region")).cloned().unwrap_or_default();
            shown.insert("region".into(), region.clone());
            shown.insert("region_id".into(), region);
        }
        Kind::Region | Kind::Service => {}
    }
    if !matches!(kind, Kind::Role | Kind::Region) {
        shown.insert("enabled".into(), entity.enabled.into());
    }
    let prefix = if call.path.starts_with("/identity") { "/identity/v3" } else { "/v3" };
    let link = href(call, &format!("{prefix}/{}/{}", plural(kind), entity.id));
    shown.insert("links".into(), json!({ "self": link }));
    Value::Object(shown)
}

/// Attributes that Keystone shows although nobody has set them.
fn defaults(kind: Kind) -> Value {
    match kind {
        Kind::Project => json!({"description": "", "is_domain": false, "tags": [], "options": {}}),
        Kind::Domain => json!({"description": "", "tags": [], "options": {}}),
        Kind::User => json!({"password_expires_at": null, "options": {}}),
        Kind::Role => json!({"description": null, "options": {}}),
        Kind::Region => json!({"description": "", "parent_region_id": null}),
        Kind::Service => json!({"name": "", "description": ""}),
        Kind::Endpoint => json!({}),
    }
}
