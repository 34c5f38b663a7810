//! Application credentials of a user.

use axum::http::StatusCode;
use identity::{AccessRule, Credential, NewCredential};
use model::Timestamp;
use serde_json::{Map, Value, json};

use super::{by, href, known, list, one, said, users};
use crate::edge::call::{Answered, Call};
use crate::edge::json::empty;
use crate::edge::refused::Refused;

/// `GET /v3/users/{id}/application_credentials`.
pub async fn index(call: Call) -> Answered {
    let name = call.params.last("name").map(str::to_owned);
    let all = users(&call)?.credentials(call.capture("user_id"), name).await?;
    let all: Vec<Value> = all.iter().map(|credential| view(&call, credential)).collect();
    Ok(list(&call, "application_credentials", &all))
}

/// `GET /v3/users/{id}/application_credentials/{id}`.
pub async fn show(call: Call) -> Answered {
    let found = users(&call)?.credential(call.capture("user_id"), call.capture("target")).await?;
    Ok(one(StatusCode::OK, "application_credential", &view(&call, &found)))
}

/// `POST /v3/users/{id}/application_credentials`: the only answer that tells the secret.
pub async fn create(call: Call) -> Answered {
    let wanted = wanted(said(&call, "application_credential")?)?;
    let (made, secret) = users(&call)?.create_credential(&by(&call), known(&call)?, wanted).await?;
    let mut shown = view(&call, &made);
    shown["secret"] = secret.into();
    Ok(one(StatusCode::CREATED, "application_credential", &shown))
}

/// `DELETE /v3/users/{id}/application_credentials/{id}`.
pub async fn delete(call: Call) -> Answered {
    let (user, id) = (call.capture("user_id"), call.capture("target"));
    users(&call)?.delete_credential(&by(&call), known(&call)?, user, id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `GET /v3/users/{id}/access_rules`: those of all their credentials.
pub async fn access_rules(call: Call) -> Answered {
    let all = users(&call)?.credentials(call.capture("user_id"), None).await?;
    let all: Vec<Value> = all.iter().flat_map(|one| &one.access_rules).map(|rule| json!(rule)).collect();
    Ok(list(&call, "access_rules", &all))
}

fn wanted(said: Map<String, Value>) -> Result<NewCredential, Refused> {
    let text = |name: &str| match said.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refused::bad(format!("Invalid input for field '{name}': give a text."))),
    };
    let array = |name: &str| match said.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(all)) => Ok(all.clone()),
        Some(_) => Err(Refused::bad(format!("Invalid input for field '{name}': give a list."))),
    };
    let role = |role: &Value| {
        let found = role.get("id").or(role.get("name")).and_then(Value::as_str).map(str::to_owned);
        found.ok_or_else(|| Refused::bad("Invalid input for field 'roles': give an id or a name for each."))
    };
    let rule = |rule: Value| {
        serde_json::from_value::<AccessRule>(rule).map_err(|_| {
            Refused::bad("Invalid input for field 'access_rules': each has a service, a method and a path.")
        })
    };
    let expires = match text("expires_at")? {
        None => None,
        Some(text) => Some(Timestamp::parse(&text).ok_or_else(|| {
            Refused::bad("Invalid input for field 'expires_at': write it as 2030-01-31T12:00:00.")
        })?),
    };
    Ok(NewCredential {
        name: text("name")?.ok_or_else(|| Refused::bad("'name' is a required property"))?,
        description: text("description")?,
        secret: text("secret")?,
        roles: array("roles")?.iter().map(role).collect::<Result<_, _>>()?,
        access_rules: array("access_rules")?.into_iter().map(rule).collect::<Result<_, _>>()?,
        expires,
        unrestricted: said.get("unrestricted") == Some(&Value::Bool(true)),
    })
}

fn view(call: &Call, credential: &Credential) -> Value {
    let roles: Vec<Value> = credential
        .roles
        .iter()
        .map(|role| json!({"id": role.id, "name": role.name, "domain_id": null}))
        .collect();
    let link = format!("/v3/users/{}/application_credentials/{}", credential.user, credential.id);
    json!({
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "user_id": credential.user,
        "project_id": credential.project,
        "roles": roles,
        "access_rules": credential.access_rules,
        // Keystone's form here has no zone.
        "expires_at": credential.expires.map(Timestamp::micros_naive),
        "unrestricted": credential.unrestricted,
        "system": null,
        "links": {"self": href(call, &link)},
    })
}
