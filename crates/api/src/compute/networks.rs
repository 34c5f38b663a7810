//! Networks as Nova showed them until 2.35, for clients that are told of no network face: the one of the caller's
//! project.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::compute::hosts::until;
use crate::compute::view::NETWORK;
use crate::edge::call::{Answered, Call};
use crate::edge::json::value;
use crate::edge::refused::Refused;
use crate::edge::version::Version;
use crate::network::network_id;

/// Networks are no more from here on.
const NO_NETWORKS: Version = Version(36);

/// What Nova tells of a network to everybody and does not know of one that is not its own.
const UNKNOWN: [&str; 9] =
    ["cidr", "netmask", "gateway", "broadcast", "dns1", "dns2", "cidr_v6", "gateway_v6", "netmask_v6"];

/// `GET /os-networks`.
pub async fn index(call: Call) -> Answered {
    list(&call, whole)
}

/// `GET /os-networks/{id}`.
pub async fn show(call: Call) -> Answered {
    one(&call, whole)
}

/// `GET /os-tenant-networks`.
pub async fn index_short(call: Call) -> Answered {
    list(&call, short)
}

/// `GET /os-tenant-networks/{id}`.
pub async fn show_short(call: Call) -> Answered {
    one(&call, short)
}

fn list(call: &Call, view: fn(&str) -> Value) -> Answered {
    until(call, NO_NETWORKS)?;
    let project = Some(call.caller.project.as_str()).filter(|project| !project.is_empty());
    let all: Vec<Value> = project.into_iter().map(view).collect();
    Ok(value(StatusCode::OK, &json!({ "networks": all })))
}

fn one(call: &Call, view: fn(&str) -> Value) -> Answered {
    until(call, NO_NETWORKS)?;
    let (project, id) = (&call.caller.project, call.capture("id"));
    if project.is_empty() || network_id(project).to_string() != id {
        return Err(Refused::not_found("Network not found"));
    }
    Ok(value(StatusCode::OK, &json!({ "network": view(project) })))
}

fn short(project: &str) -> Value {
    json!({"id": network_id(project), "label": NETWORK, "cidr": null})
}

fn whole(project: &str) -> Value {
    let mut all = short(project);
    for name in UNKNOWN {
        all[name] = Value::Null;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn the_project_has_one() {
        let (_, body) =
            testing::json(index_short(testing::call(35, "reader", "")).await.expect("is there")).await;
        let expected = json!({"networks": [{"id": network_id("p1"), "label": "skep", "cidr": null}]});
        assert_eq!(body, expected);
        let refused = index(testing::call(36, "reader", "")).await.expect_err("is no more");
        assert_eq!(refused.status.as_u16(), 404);
        let refused = show(testing::call(35, "reader", "")).await.expect_err("names none");
        assert_eq!(refused.status.as_u16(), 404);
    }
}
