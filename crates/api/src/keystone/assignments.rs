//! Who has which role on what, and which role implies which.

use axum::http::StatusCode;
use identity::{Assigned, AssignmentQuery, Grant, InDomain, Kind, Role};
use serde_json::{Value, json};

use super::{by, href, list, one, things, users};
use crate::edge::call::{Answered, Call};
use crate::edge::json::empty;
use crate::edge::refused::Refused;

/// What a request's path gives or takes.
fn named(call: &Call) -> Grant {
    let below = call.path.split("/v3/").nth(1).unwrap_or_default();
    let on = match below.split('/').next() {
        Some("projects") => Some((Kind::Project, call.capture("target").to_owned())),
        Some("domains") => Some((Kind::Domain, call.capture("target").to_owned())),
        _ => None,
    };
    Grant { user: call.capture("user_id").to_owned(), on, role: call.capture("role").to_owned() }
}

/// `GET …/users/{user}/roles`.
pub async fn roles(call: Call) -> Answered {
    let grant = named(&call);
    let all = users(&call)?.roles_on(&grant.user, grant.on).await?;
    let all: Vec<Value> = all.iter().map(|role| role_view(&call, role)).collect();
    Ok(list(&call, "roles", &all))
}

/// `GET` and `HEAD …/users/{user}/roles/{role}`.
pub async fn check(call: Call) -> Answered {
    let grant = named(&call);
    let role = grant.role.clone();
    match users(&call)?.has_role(grant).await? {
        true => Ok(empty(StatusCode::NO_CONTENT)),
        false => Err(Refused::not_found(format!("Could not find role assignment with role: {role}."))),
    }
}

/// `PUT …/users/{user}/roles/{role}`.
pub async fn grant(call: Call) -> Answered {
    users(&call)?.grant(&by(&call), named(&call)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `DELETE …/users/{user}/roles/{role}`.
pub async fn revoke(call: Call) -> Answered {
    users(&call)?.revoke_role(&by(&call), named(&call)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /v3/role_assignments`.
pub async fn index(call: Call) -> Answered {
    let text = |name: &str| call.params.last(name).map(str::to_owned);
    let flag = |name: &str| call.params.truth(name);
    let on = match (text("scope.project.id"), text("scope.domain.id")) {
        (Some(project), None) => Some((Kind::Project, project)),
        (None, Some(domain)) => Some((Kind::Domain, domain)),
        (None, None) => None,
        _ => return Err(Refused::bad("Specify a domain or project, not both")),
    };
    if text("group.id").is_some() {
        return Ok(list(&call, "role_assignments", &[]));
    }
    let query = AssignmentQuery {
        user: text("user.id"),
        role: text("role.id"),
        on,
        on_system: text("scope.system").is_some(),
        effective: flag("effective")?,
    };
    let names = flag("include_names")?;
    let all = users(&call)?.assignments(query).await?;
    let all: Vec<Value> = all.iter().map(|assigned| view(&call, assigned, names)).collect();
    Ok(list(&call, "role_assignments", &all))
}

fn view(call: &Call, assigned: &Assigned, names: bool) -> Value {
    let named = |of: &InDomain| {
        let mut shown = json!({"id": of.id});
        if names {
            shown["name"] = of.name.as_str().into();
            if !of.domain.id.is_empty() {
                shown["domain"] = json!({"id": of.domain.id, "name": of.domain.name});
            }
        }
        shown
    };
    let mut role = json!({"id": assigned.role.id});
    if names {
        role["name"] = assigned.role.name.as_str().into();
    }
    let user = &assigned.user.id;
    let (scope, path) = match (&assigned.grant.on, &assigned.on) {
        (Some((kind, id)), Some(on)) => {
            let scope = json!({ kind.word(): named(on) });
            (scope, format!("{}/{id}", things::plural(*kind)))
        }
        _ => (json!({"system": {"all": true}}), "system".to_owned()),
    };
    let link = href(call, &format!("/v3/{path}/users/{user}/roles/{}", assigned.role.id));
    json!({"scope": scope, "user": named(&assigned.user), "role": role, "links": {"assignment": link}})
}

/// `GET /v3/users/{id}/projects`: those on which a user has a role.
pub async fn projects(call: Call) -> Answered {
    let all = users(&call)?.reachable(call.capture("user_id"), Kind::Project).await?;
    let all: Vec<Value> = all.iter().map(|project| things::view(&call, Kind::Project, project)).collect();
    Ok(list(&call, "projects", &all))
}

/// `GET /v3/groups`: there are none.
pub async fn no_groups(call: Call) -> Answered {
    Ok(list(&call, "groups", &[]))
}

/// `GET /v3/roles/{id}/implies`.
pub async fn implied(call: Call) -> Answered {
    let prior = users(&call)?.get(Kind::Role, call.capture("target")).await?;
    let all = users(&call)?.implied().await?;
    let implies: Vec<Value> = all
        .iter()
        .filter(|(role, _)| role.id == prior.id)
        .map(|(_, implied)| role_view(&call, implied))
        .collect();
    let prior = role_view(&call, &Role { id: prior.id, name: prior.name });
    Ok(one(StatusCode::OK, "role_inference", &json!({"prior_role": prior, "implies": implies})))
}

/// `GET` and `HEAD /v3/roles/{id}/implies/{other}`.
pub async fn implies(call: Call) -> Answered {
    inference(&call, StatusCode::OK).await
}

/// `PUT /v3/roles/{id}/implies/{other}`.
pub async fn imply(call: Call) -> Answered {
    users(&call)?.imply(&by(&call), call.capture("target"), call.capture("role")).await?;
    inference(&call, StatusCode::CREATED).await
}

/// `DELETE /v3/roles/{id}/implies/{other}`.
pub async fn unimply(call: Call) -> Answered {
    users(&call)?.unimply(&by(&call), call.capture("target"), call.capture("role")).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn inference(call: &Call, status: StatusCode) -> Answered {
    let (prior, implied) = (call.capture("target"), call.capture("role"));
    let all = users(call)?.implied().await?;
    match all.iter().find(|(a, b)| a.id == prior && b.id == implied) {
        Some((a, b)) => {
            let both = json!({"prior_role": role_view(call, a), "implies": role_view(call, b)});
            Ok(one(status, "role_inference", &both))
        }
        None => Err(Refused::not_found(format!("Could not find implied role: {implied}."))),
    }
}

/// `GET /v3/role_inferences`.
pub async fn inferences(call: Call) -> Answered {
    let all = users(&call)?.implied().await?;
    let mut shown: Vec<Value> = Vec::new();
    let mut last = String::new();
    for (prior, implied) in &all {
        if *last != prior.id {
            shown.push(json!({"prior_role": role_view(&call, prior), "implies": []}));
            last.clone_from(&prior.id);
        }
        if let Some(implies) = shown.last_mut().and_then(|entry| entry["implies"].as_array_mut()) {
            implies.push(role_view(&call, implied));
        }
    }
    Ok(list(&call, "role_inferences", &shown))
}

fn role_view(call: &Call, role: &Role) -> Value {
    let link = href(call, &format!("/v3/roles/{}", role.id));
    json!({"id": role.id, "name": role.name, "domain_id": null, "links": {"self": link}})
}
