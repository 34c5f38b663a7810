//! What Keystone says of a token (`GET /v3/auth/tokens`).

use model::Timestamp;
use serde_json::Value;

use crate::access::AccessRule;
use crate::known::{CredentialOf, InDomain, Known, Role, Scope};

/// Reads an answer.
///
/// # Errors
/// What is missing in it; a token that we do not understand is not half understood.
pub fn known(body: &Value) -> Result<Known, String> {
    let token = &body["token"];
    let user = in_domain(&token["user"]).ok_or("its answer names no user")?;
    let scope = if token["project"].is_object() {
        Scope::Project(in_domain(&token["project"]).ok_or("its answer names no project")?)
    } else if token["domain"].is_object() {
        Scope::Domain(role(&token["domain"]).ok_or("its answer names no domain")?)
    } else if token["system"].is_object() {
        Scope::System
    } else {
        Scope::None
    };
    let roles: Vec<Role> = array(&token["roles"]).iter().filter_map(role).collect();
    let time = |name: &str| token[name].as_str().and_then(Timestamp::parse);
    let expires = time("expires_at").ok_or("its answer tells no end")?;
    let with = &token["application_credential"];
    let credential = with.is_object().then(|| CredentialOf {
        id: text(&with["id"]),
        name: text(&with["name"]),
        restricted: with["restricted"] != Value::Bool(false),
    });
    let rules = &with["access_rules"];
    let access_rules = match rules.is_array() {
        true => {
            Some(serde_json::from_value::<Vec<AccessRule>>(rules.clone()).map_err(|why| why.to_string())?)
        }
        false => None,
    };
    let texts = |value: &Value| array(value).iter().map(text).collect();
    Ok(Known {
        caller: Known::caller_of(&user, &scope, &roles),
        user,
        scope,
        roles,
        methods: texts(&token["methods"]),
        audit_ids: texts(&token["audit_ids"]),
        issued: time("issued_at").unwrap_or_default(),
        expires: Some(expires),
        credential,
        access_rules,
    })
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What has an id; a name is nice to have.
fn role(value: &Value) -> Option<Role> {
    let id = value["id"].as_str().filter(|id| !id.is_empty())?.to_owned();
    Some(Role { id, name: text(&value["name"]) })
}

fn in_domain(value: &Value) -> Option<InDomain> {
    let Role { id, name } = role(value)?;
    let domain = role(&value["domain"]).unwrap_or(Role { id: String::new(), name: String::new() });
    Some(InDomain { id, name, domain })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_read_and_half_a_token_is_not() {
        let whole = json!({"token": {
            "methods": ["password"], "audit_ids": ["a1"],
            "user": {"id": "u1", "name": "ana", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p1", "name": "shop", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r1", "name": "member"}, {"id": "r2", "name": "reader"}],
            "issued_at": "2026-01-05T10:00:00.000000Z", "expires_at": "2026-01-05T11:00:00.000000Z",
            "application_credential": {"id": "c1", "name": "ci", "restricted": true,
                "access_rules": [{"id": "x", "service": "compute", "method": "GET", "path": "/v2.1/**"}]},
        }});
        let read = known(&whole).expect("whole");
        assert_eq!((read.caller.user.as_str(), read.caller.project.as_str()), ("u1", "p1"));
        assert_eq!(read.caller.roles, ["member", "reader"]);
        assert_eq!(read.expires.map(Timestamp::seconds_z).as_deref(), Some("2026-01-05T11:00:00Z"));
        assert_eq!(read.access_rules.map(|rules| rules.len()), Some(1));
        for gone in ["user", "expires_at"] {
            let mut half = whole.clone();
            half["token"][gone] = Value::Null;
            assert!(known(&half).is_err(), "{gone}");
        }
        let mut domain = whole.clone();
        domain["token"]["project"] = Value::Null;
        domain["token"]["domain"] = json!({"id": "d1", "name": "D"});
        let read = known(&domain).expect("whole");
        assert!(read.caller.roles.is_empty() && read.caller.project.is_empty(), "no rule is about domains");
    }
}
