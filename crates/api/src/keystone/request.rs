//! Reading what a client says about who they are (Keystone's `auth` object).

use std::net::IpAddr;

use identity::{Method, Request, ScopeWish, UserRef, Within};
use serde_json::Value;

use crate::edge::refused::Refused;

/// The domain of who names none, as ours is a cloud in which most have one only.
const DEFAULT: &str = "default";

/// Reads the body of `POST /v3/auth/tokens`.
pub fn read(body: &Value, from: Option<IpAddr>) -> Result<Request, Refused> {
    let auth = object(body, "auth")?;
    let identity = object(auth, "identity")?;
    let names = identity["methods"].as_array().ok_or_else(|| needed("methods"))?;
    if names.is_empty() || names.len() > 3 {
        return Err(Refused::bad("Invalid input for field 'methods': name one to three."));
    }
    let methods = names.iter().map(|name| method(name.as_str().unwrap_or_default(), identity));
    Ok(Request { methods: methods.collect::<Result<_, _>>()?, scope: scope(&auth["scope"])?, from })
}

fn method(name: &str, identity: &Value) -> Result<Method, Refused> {
    match name {
        "password" => {
            let user = object(object(identity, "password")?, "user")?;
            Ok(Method::Password(user_or_project(user)?, text(user, "password")?))
        }
        "token" => Ok(Method::Token(text(object(identity, "token")?, "id")?)),
        "application_credential" => {
            let said = object(identity, name)?;
            let user = said.get("user").map(user_or_project).transpose()?;
            let which = match text(said, "id") {
                Ok(id) => UserRef::Id(id),
                Err(_) => {
                    UserRef::Named(text(said, "name")?, Within::Id(user.as_ref().map_or("", id_of).into()))
                }
            };
            Ok(Method::Credential(which, user, text(said, "secret")?))
        }
        // Keystone's text (`keystone/exception.py`, AuthMethodNotSupported).
        _ => Err(Refused::new(
            axum::http::StatusCode::UNAUTHORIZED,
            "Attempted to authenticate with an unsupported method.",
        )),
    }
}

fn id_of(user: &UserRef) -> &str {
    match user {
        UserRef::Id(id) | UserRef::Named(id, _) => id,
    }
}

fn scope(said: &Value) -> Result<ScopeWish, Refused> {
    match said {
        Value::Null => return Ok(ScopeWish::Unsaid),
        Value::String(word) if word == "unscoped" => return Ok(ScopeWish::Unscoped),
        Value::Object(kinds) if kinds.len() == 1 => {}
        _ => {
            return Err(Refused::bad("Invalid input for field 'scope': name one project, domain or system."));
        }
    }
    if said.get("unscoped").is_some() {
        Ok(ScopeWish::Unscoped)
    } else if let Some(project) = said.get("project") {
        Ok(ScopeWish::Project(user_or_project(project)?))
    } else if let Some(domain) = said.get("domain") {
        Ok(ScopeWish::Domain(within(Some(domain))?))
    } else if said["system"]["all"] == Value::Bool(true) {
        Ok(ScopeWish::System)
    } else {
        Err(Refused::bad("Invalid input for field 'scope': name a project, a domain or system."))
    }
}

fn user_or_project(said: &Value) -> Result<UserRef, Refused> {
    match text(said, "id") {
        Ok(id) => Ok(UserRef::Id(id)),
        Err(_) => Ok(UserRef::Named(text(said, "name")?, within(said.get("domain"))?)),
    }
}

fn within(said: Option<&Value>) -> Result<Within, Refused> {
    let Some(said) = said.filter(|said| !said.is_null()) else { return Ok(Within::Id(DEFAULT.to_owned())) };
    match text(said, "id") {
        Ok(id) => Ok(Within::Id(id)),
        Err(_) => Ok(Within::Named(text(said, "name")?)),
    }
}

fn object<'a>(from: &'a Value, name: &str) -> Result<&'a Value, Refused> {
    from.get(name).filter(|value| value.is_object()).ok_or_else(|| needed(name))
}

fn text(from: &Value, name: &str) -> Result<String, Refused> {
    from.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| needed(name))
}

fn needed(name: &str) -> Refused {
    Refused::bad(format!("'{name}' is a required property"))
}
