//! What a token says, to its owner and to services.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode};
use identity::{InDomain, Kind, Known, Role, Scope};
use serde_json::{Value, json};

use super::auth::SUBJECT;
use super::{by, catalog, known, list, one, things, users};
use crate::edge::call::{Answered, Call};
use crate::edge::json::empty;
use crate::edge::refused::Refused;

/// The end of tokens that have none.
const NEVER: &str = "9999-12-31T23:59:59.000000Z";

/// `GET` and `HEAD /v3/auth/tokens`: what another token says, to services; to anybody about their own.
pub async fn show(call: Call) -> Answered {
    let subject = subject(&call).await?;
    let catalog = match call.params.last("nocatalog") {
        Some(_) => None,
        None => catalog::of(&call, &subject).await?,
    };
    let mut response = one(StatusCode::OK, "token", &view(&subject, catalog));
    if let Some(token) = call.subject.as_deref().and_then(|token| HeaderValue::from_str(token).ok()) {
        response.headers_mut().insert(SUBJECT, token);
    }
    Ok(response)
}

/// `DELETE /v3/auth/tokens`.
pub async fn revoke(call: Call) -> Answered {
    subject(&call).await?;
    users(&call)?.revoke(&by(&call), call.subject.as_deref().unwrap_or_default()).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// What the token of `X-Subject-Token` stands for, if the caller may know.
async fn subject(call: &Call) -> Result<Arc<Known>, Refused> {
    let token = call.subject.as_deref().ok_or_else(|| Refused::bad("X-Subject-Token is needed."))?;
    let found = call.shared.identity.validate(token).await?;
    let own = known(call)?;
    match found {
        Some(found) if found.user.id == own.user.id => Ok(found),
        Some(found) if call.may("identity:validate_token") => Ok(found),
        // Who may not know is not told that it is known.
        _ => Err(Refused::not_found("Could not find token.")),
    }
}

/// `GET /v3/auth/projects`: those that the caller may get a token for.
pub async fn projects(call: Call) -> Answered {
    let own = known(&call)?;
    if let (Some(_), Scope::Project(project)) = (&own.credential, &own.scope) {
        let project = users(&call)?.get(Kind::Project, &project.id).await?;
        return Ok(list(&call, "projects", &[things::view(&call, Kind::Project, &project)]));
    }
    let mut all = users(&call)?.reachable(&own.user.id, Kind::Project).await?;
    all.retain(|project| project.enabled);
    let all: Vec<Value> = all.iter().map(|project| things::view(&call, Kind::Project, project)).collect();
    Ok(list(&call, "projects", &all))
}

/// `GET /v3/auth/domains`: those that the caller may get a token for.
pub async fn domains(call: Call) -> Answered {
    let mut all = users(&call)?.reachable(&known(&call)?.user.id, Kind::Domain).await?;
    all.retain(|domain| domain.enabled);
    let all: Vec<Value> = all.iter().map(|domain| things::view(&call, Kind::Domain, domain)).collect();
    Ok(list(&call, "domains", &all))
}

/// `GET /v3/auth/system`: whether the caller may get a token for the system.
pub async fn system(call: Call) -> Answered {
    let on = users(&call)?.is_on_system(&known(&call)?.user.id).await?;
    let all = if on { vec![json!({"all": true})] } else { Vec::new() };
    Ok(list(&call, "system", &all))
}

/// A token, as Keystone shows it (`keystone/token/token_formatters.py`, `models/token_model.py`).
pub fn view(known: &Known, catalog: Option<Value>) -> Value {
    let domain = |domain: &Role| json!({"id": domain.id, "name": domain.name});
    let named = |of: &InDomain| json!({"id": of.id, "name": of.name, "domain": domain(&of.domain)});
    let mut user = named(&known.user);
    user["password_expires_at"] = Value::Null;
    let mut token = json!({
        "methods": known.methods,
        "user": user,
        "audit_ids": known.audit_ids,
        "expires_at": known.expires.map_or(NEVER.to_owned(), |expires| expires.to_string()),
        "issued_at": known.issued.to_string(),
    });
    match &known.scope {
        Scope::None => {}
        Scope::Project(project) => {
            token["project"] = named(project);
            token["is_domain"] = Value::Bool(false);
        }
        Scope::Domain(of) => token["domain"] = domain(of),
        Scope::System => token["system"] = json!({"all": true}),
    }
    if known.scope != Scope::None {
        token["roles"] = known.roles.iter().map(domain).collect();
    }
    if let Some(credential) = &known.credential {
        token["application_credential"] = json!({
            "id": credential.id, "name": credential.name, "restricted": credential.restricted,
        });
        if let Some(rules) = &known.access_rules {
            token["application_credential"]["access_rules"] = json!(rules);
        }
    }
    if let Some(catalog) = catalog {
        token["catalog"] = catalog;
    }
    token
}
