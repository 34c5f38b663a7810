//! The routes of `os-server-groups`.

use axum::http::StatusCode;
use model::extra::Policy;
use serde_json::Value;
use uuid::Uuid;
use verbs::ServerGroup;

use crate::compute::read;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer, empty};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Most groups in one answer.
const MAX_LIMIT: usize = 1000;

/// `POST /os-server-groups`.
pub async fn create(call: Call) -> Answered {
    let asked = read::only(&call.body, "server_group")?;
    let ruled = call.version >= Version(64);
    read::known(&asked, if ruled { &["name", "policy", "rules"] } else { &["name", "policies"] })?;
    let name = read::name(&asked, "name")?.ok_or_else(|| read::required("name"))?;
    let (word, path) = match ruled {
        true => (asked.get("policy").ok_or_else(|| read::required("policy"))?, "policy"),
        false => match asked.get("policies") {
            Some(Value::Array(policies)) if policies.len() == 1 => (&policies[0], "policies"),
            Some(other) => return Err(Refused::field("policies", other, "Give exactly one policy")),
            None => return Err(read::required("policies")),
        },
    };
    let policy = word.as_str().and_then(Policy::parse).filter(|policy| {
        call.version >= Version(15) || matches!(policy, Policy::Affinity | Policy::AntiAffinity)
    });
    let policy = policy.ok_or_else(|| {
        let why = "It is not one of ['anti-affinity', 'affinity', 'soft-anti-affinity', 'soft-affinity']";
        Refused::field(path, word, why)
    })?;
    let max_per_host = max_per_host(asked.get("rules"), policy)?;
    let group = call.verbs()?.create_group(&call.caller, name, policy, max_per_host, call.once).await?;
    Ok(answer(StatusCode::OK, |body| {
        body.object("server_group", |object| put(object, &group, call.version));
    }))
}

/// `rules`: for anti-affinity only.
fn max_per_host(rules: Option<&Value>, policy: Policy) -> Result<i64, Refused> {
    let rules = match rules {
        None => return Ok(0),
        Some(Value::Object(rules)) => rules,
        Some(other) => return Err(Refused::field("rules", other, "It is not of type 'object'")),
    };
    read::known(rules, &["max_server_per_host"])?;
    let Some(most) = rules.get("max_server_per_host") else { return Ok(0) };
    let most = read::number("max_server_per_host", most, (1, read::LARGEST))?;
    if policy != Policy::AntiAffinity {
        return Err(Refused::bad("Only anti-affinity policy supports rules."));
    }
    Ok(most)
}

fn put(object: &mut Object<'_>, group: &ServerGroup, version: Version) {
    object.put("id", &group.id);
    object.put("name", &group.name);
    if version >= Version(64) {
        object.put("policy", group.policy.as_str());
        object.object("rules", |rules| {
            if group.max_per_host > 0 {
                rules.put("max_server_per_host", &group.max_per_host);
            }
        });
    } else {
        object.put("policies", &[group.policy.as_str()]);
        object.object("metadata", |_| {});
    }
    object.put("members", &group.members);
    if version >= Version(13) {
        object.put("project_id", &group.project);
        object.put("user_id", &group.user);
    }
}

/// `GET /os-server-groups`.
pub async fn index(call: Call) -> Answered {
    let all = call.params.last("all_projects").is_some();
    if all {
        call.allow("os_compute_api:os-server-groups:index:all_projects").await?;
    }
    let offset = call.params.number("offset")?.unwrap_or(0).min(i64::MAX as usize);
    let limit = call.params.number("limit")?.filter(|limit| *limit > 0).unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let groups = call.verbs()?.groups(&call.caller, all, offset as i64, limit as i64).await?;
    Ok(answer(StatusCode::OK, |body| {
        body.array("server_groups", &groups, |object, group| put(object, group, call.version));
    }))
}

fn id(call: &Call) -> Result<Uuid, Refused> {
    let id = call.capture("id");
    Uuid::try_parse(id).map_err(|_| Refused::not_found(format!("Instance group {id} could not be found.")))
}

/// `GET /os-server-groups/{id}`.
pub async fn show(call: Call) -> Answered {
    let group = call.verbs()?.group(&call.caller, id(&call)?).await?;
    Ok(answer(StatusCode::OK, |body| {
        body.object("server_group", |object| put(object, &group, call.version));
    }))
}

/// `DELETE /os-server-groups/{id}`.
pub async fn delete(call: Call) -> Answered {
    call.verbs()?.delete_group(&call.caller, id(&call)?).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
