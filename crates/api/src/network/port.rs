//! Ports: the addresses of servers. A server has at most one, so a port's id is its server's.

use std::str::FromStr;

use axum::http::StatusCode;
use model::{Instance, InstanceId};
use serde_json::{Value, json};
use verbs::{Query, Seen};

use super::{group_id, list, matches, network_id, one};
use crate::compute::view;
use crate::edge::call::{Answered, Call};
use crate::edge::json::value;
use crate::edge::refused::Refused;

/// Largest page.
const MAX_LIMIT: usize = 1000;

/// `GET /v2.0/ports`. Servers in cells that do not answer are left out: where they are is not known now.
pub async fn index(call: Call) -> Answered {
    let id = |text: &str| InstanceId::from_str(text).ok();
    let named: Vec<&str> = call.params.all("device_id").chain(call.params.all("id")).collect();
    let marker = match call.params.last("marker").filter(|marker| !marker.is_empty()) {
        None => None,
        Some(text) => Some(id(text).ok_or_else(|| Refused::bad(format!("Invalid marker: {text}")))?),
    };
    let ids: Vec<InstanceId> = named.iter().filter_map(|text| id(text)).collect();
    let admin = call.caller.is_admin();
    let project = call.params.last("project_id").or(call.params.last("tenant_id"));
    let mut query = Query {
        all_projects: admin && (project.is_some() || !ids.is_empty()),
        project: project.filter(|_| admin).map(str::to_owned),
        region: call.shared.settings.region.clone(),
        ids,
        marker,
        ..Query::default()
    };
    if !named.is_empty() && query.ids.is_empty() {
        return Ok(value(StatusCode::OK, &list(&call, "ports", Vec::new())));
    }
    let limit = call.params.number("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let (mut ports, mut more) = (Vec::new(), limit > 0);
    while more && ports.len() < limit {
        query.limit = Some(limit - ports.len());
        let page = call.verbs()?.list(&call.caller, &query).await?;
        let found = page.items.iter().filter_map(|seen| port(seen, admin));
        ports.extend(found.filter(|port| matches(port, &call.params)));
        query.marker = page.next;
        more = page.next.is_some();
    }
    let mut body = list(&call, "ports", ports);
    if let (true, Some(next)) = (more, query.marker) {
        let query = call.params.with_marker(&next.to_string());
        let href = format!("{}/network/v2.0/ports?{query}", call.base.origin);
        body.insert("ports_links".to_owned(), json!([{"rel": "next", "href": href}]));
    }
    Ok(value(StatusCode::OK, &body))
}

/// `GET /v2.0/ports/{id}`.
pub async fn show(call: Call) -> Answered {
    let id = call.capture("id");
    let missing = || Refused::not_found(format!("The port {id} could not be found."));
    let server = InstanceId::from_str(id).map_err(|_| missing())?;
    let seen = call.verbs()?.show(&call.caller, server).await?;
    if let Seen::Dark(_) = seen {
        let why = format!("The cell of server {id} does not answer: its address is not known now.");
        return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    Ok(one("port", &port(&seen, call.caller.is_admin()).ok_or_else(missing)?))
}

fn port(seen: &Seen, admin: bool) -> Option<Value> {
    let Seen::Fresh(instance) = seen else { return None };
    let instance: &Instance = instance;
    if !view::has_address(instance) {
        return None;
    }
    let project = instance.spec.project.as_str();
    let zone = instance.zone.as_deref().unwrap_or_default();
    let mut port = json!({
        "id": instance.id,
        "name": "",
        "status": "ACTIVE",
        "admin_state_up": true,
        "device_id": instance.id,
        "device_owner": format!("compute:{zone}"),
        "network_id": network_id(project),
        "mac_address": instance.observed.mac,
        "fixed_ips": [{"ip_address": instance.observed.address}],
        "security_groups": [group_id(project)],
        "project_id": project,
        "tenant_id": project,
        "port_security_enabled": false,
        "tags": [],
    });
    if admin {
        port["binding:host_id"] = json!(instance.host.as_ref().map(|(_, name)| name));
    }
    Some(port)
}
