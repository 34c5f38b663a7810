//! The network face: as much of Neutron's API as clients of the compute face ask for, and read-only.
//!
//! What there is: each project has one network, a bridge on each host that one of its servers lies on, and a
//! server has at most one address there, which its host's engine gives it. Subnets are the engines' own, so none
//! are shown. Nothing filters inside a network: its one security group has no rules.

mod port;
mod quota;

use axum::http::StatusCode;
use axum::response::Response;
use model::hash::uuid_of;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::compute::view::NETWORK;
use crate::edge::call::{Answered, Call};
use crate::edge::json::value;
use crate::edge::query::Params;
use crate::edge::refused::Refused;

pub use port::{index as ports, show as port};
pub use quota::{defaults as default_quota, details as quota_details, reset as reset_quota, show as quota};

/// The id of a project's network.
pub fn network_id(project: &str) -> Uuid {
    uuid_of(&format!("network/{project}"))
}

/// The id of a project's security group.
pub fn group_id(project: &str) -> Uuid {
    uuid_of(&format!("security-group/{project}"))
}

/// `GET /network`.
pub async fn versions(call: Call) -> Answered {
    let link = json!({"rel": "self", "href": format!("{}/network/v2.0/", call.base.origin)});
    let versions = json!([{"id": "v2.0", "status": "CURRENT", "links": [link]}]);
    Ok(value(StatusCode::OK, &json!({ "versions": versions })))
}

/// `GET /v2.0`: what there is.
pub async fn resources(call: Call) -> Answered {
    let resource = |(name, collection): (&str, &str)| {
        let href = format!("{}/network/v2.0/{collection}", call.base.origin);
        json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]})
    };
    let all = [("network", "networks"), ("subnet", "subnets"), ("port", "ports")];
    let resources: Vec<Value> = all.into_iter().map(resource).collect();
    Ok(value(StatusCode::OK, &json!({ "resources": resources })))
}

/// Whose things are asked for: the caller's, or for administrators those of the project that a filter names.
fn project(call: &Call) -> &str {
    let named = call.params.last("project_id").or(call.params.last("tenant_id"));
    match named {
        Some(project) if call.caller.is_admin() && !project.is_empty() => project,
        _ => &call.caller.project,
    }
}

fn network(project: &str) -> Value {
    json!({
        "id": network_id(project),
        "name": NETWORK,
        "description": "The project's own network, on each host that one of its servers lies on",
        "status": "ACTIVE",
        "admin_state_up": true,
        "shared": false,
        "router:external": false,
        "project_id": project,
        "tenant_id": project,
        "subnets": [],
        "availability_zones": [],
        "availability_zone_hints": [],
        "port_security_enabled": false,
        "tags": [],
    })
}

fn group(project: &str) -> Value {
    json!({
        "id": group_id(project),
        "name": "default",
        "description": "All servers of the project",
        "project_id": project,
        "tenant_id": project,
        "security_group_rules": [],
        "stateful": true,
        "shared": false,
        "tags": [],
    })
}

/// The one of its kind that a project has, if it is what was asked for; whoever is good for no project has none.
fn only(call: &Call, make: fn(&str) -> Value) -> Vec<Value> {
    let project = project(call);
    let all = if project.is_empty() { Vec::new() } else { vec![make(project)] };
    all.into_iter().filter(|one| matches(one, &call.params)).collect()
}

/// Whether a thing has what the parameters ask for. Several values for one name are alternatives.
fn matches(thing: &Value, params: &Params) -> bool {
    params.0.iter().all(|(name, _)| match name.as_str() {
        "fields" | "limit" | "marker" | "page_reverse" | "sort_key" | "sort_dir" => true,
        "fixed_ips" => params.all(name).all(|wanted| {
            let (kind, text) = wanted.split_once('=').unwrap_or_default();
            let addresses = thing["fixed_ips"].as_array();
            addresses.is_some_and(|all| all.iter().any(|one| one[kind].as_str() == Some(text)))
        }),
        _ => params.all(name).any(|wanted| match &thing[name] {
            Value::String(text) => text == wanted,
            Value::Bool(truth) => crate::edge::query::truth(wanted) == Some(*truth),
            _ => false,
        }),
    })
}

/// A list, of each thing only the fields that were asked for.
fn list(call: &Call, name: &str, things: Vec<Value>) -> Map<String, Value> {
    let fields: Vec<&str> = call.params.all("fields").collect();
    let shown = |thing: Value| match thing {
        Value::Object(members) if !fields.is_empty() => {
            members.into_iter().filter(|(name, _)| fields.contains(&name.as_str())).collect()
        }
        whole => whole,
    };
    let things: Vec<Value> = things.into_iter().map(shown).collect();
    Map::from_iter([(name.to_owned(), Value::Array(things))])
}

fn shown(name: &str, found: Option<Value>, id: &str) -> Answered {
    match found {
        Some(found) => Ok(value(StatusCode::OK, &json!({ name: found }))),
        None => Err(Refused::not_found(format!("The {} {id} could not be found.", name.replace('_', " ")))),
    }
}

/// `GET /v2.0/networks`.
pub async fn networks(call: Call) -> Answered {
    Ok(value(StatusCode::OK, &list(&call, "networks", only(&call, network))))
}

/// `GET /v2.0/networks/{id}`.
pub async fn show_network(call: Call) -> Answered {
    let id = call.capture("id");
    let project = &call.caller.project;
    shown("network", (id == network_id(project).to_string()).then(|| network(project)), id)
}

/// `GET /v2.0/security-groups`.
pub async fn groups(call: Call) -> Answered {
    Ok(value(StatusCode::OK, &list(&call, "security_groups", only(&call, group))))
}

/// `GET /v2.0/security-groups/{id}`.
pub async fn show_group(call: Call) -> Answered {
    let id = call.capture("id");
    let project = &call.caller.project;
    shown("security_group", (id == group_id(project).to_string()).then(|| group(project)), id)
}

/// `DELETE /v2.0/security-groups/{id}`: the default one stays, as in Neutron.
pub async fn delete_group(call: Call) -> Answered {
    let id = call.capture("id");
    match id == group_id(&call.caller.project).to_string() {
        true => Err(Refused::new(StatusCode::CONFLICT, "Removing default security group not allowed.")),
        false => shown("security_group", None, id),
    }
}

/// What there is none of: `GET /v2.0/subnets`, `floatingips` and so on.
pub async fn none(call: Call) -> Answered {
    let name = call.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().replace('-', "_");
    Ok(value(StatusCode::OK, &list(&call, &name, Vec::new())))
}

/// What of Neutron's extensions there is: alias and name.
const EXTENSIONS: &[(&str, &str)] = &[
    ("security-group", "security-group"),
    ("quotas", "Quota management support"),
    ("quota_details", "Quota details"),
];

fn extension((alias, name): &(&str, &str)) -> Value {
    let updated = "2026-01-01T00:00:00-00:00";
    json!({"alias": alias, "name": name, "description": name, "updated": updated, "links": []})
}

/// `GET /v2.0/extensions`.
pub async fn extensions(call: Call) -> Answered {
    let all = EXTENSIONS.iter().map(extension).filter(|one| matches(one, &call.params)).collect();
    Ok(value(StatusCode::OK, &list(&call, "extensions", all)))
}

/// `GET /v2.0/extensions/{alias}`.
pub async fn show_extension(call: Call) -> Answered {
    let alias = call.capture("alias");
    shown("extension", EXTENSIONS.iter().find(|(known, _)| *known == alias).map(extension), alias)
}

/// An answer with one member.
fn one(name: &str, thing: &Value) -> Response {
    value(StatusCode::OK, &json!({ name: thing }))
}
