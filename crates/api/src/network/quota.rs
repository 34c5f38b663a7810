//! Quotas of networks: what a project has is what it may have, for nothing is made by users.

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::one;
use crate::edge::call::{Answered, Call};
use crate::edge::json::empty;
use crate::edge::refused::Refused;

/// How many of each there are. (Ports come with servers, whose number Nova's quota limits.)
const THERE_ARE: &[(&str, i64)] = &[
    ("network", 1),
    ("subnet", 0),
    ("router", 0),
    ("floatingip", 0),
    ("security_group", 1),
    ("security_group_rule", 0),
];

fn quota(call: &Call, shown: impl Fn(i64) -> Value) -> Answered {
    let project = call.capture("project");
    if project != call.caller.project && !call.caller.is_admin() {
        return Err(Refused::not_found(format!("Quota for tenant {project} could not be found.")));
    }
    let members = THERE_ARE.iter().map(|(name, n)| ((*name).to_owned(), shown(*n)));
    Ok(one("quota", &Value::Object(Map::from_iter(members))))
}

/// `GET /v2.0/quotas/{project}`.
pub async fn show(call: Call) -> Answered {
    quota(&call, |n| json!(n))
}

/// `GET /v2.0/quotas/{project}/default`.
pub async fn defaults(call: Call) -> Answered {
    quota(&call, |n| json!(n))
}

/// `GET /v2.0/quotas/{project}/details`.
pub async fn details(call: Call) -> Answered {
    quota(&call, |n| json!({"limit": n, "used": n, "reserved": 0}))
}

/// `DELETE /v2.0/quotas/{project}`: the defaults hold already.
pub async fn reset(_: Call) -> Answered {
    Ok(empty(StatusCode::NO_CONTENT))
}
