//! What clients ask about the cloud as a whole: availability zones, services.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use verbs::CellStatus;

use crate::compute::view::PARTIAL_SINCE;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::version::Version;

/// `GET /os-availability-zone`.
pub async fn zones(call: Call) -> Answered {
    zone_list(&call, false).await
}

/// `GET /os-availability-zone/detail`.
pub async fn zones_detail(call: Call) -> Answered {
    zone_list(&call, true).await
}

async fn zone_list(call: &Call, detailed: bool) -> Answered {
    let cells = call.verbs()?.cells(&call.elevated()).await?;
    let mut zones: BTreeMap<&str, Vec<(&str, bool, bool)>> = BTreeMap::new();
    for cell in &cells {
        for host in &cell.hosts {
            let up = cell.up && host.healthy;
            zones.entry(&host.zone).or_default().push((&host.name, host.enabled, up));
        }
    }
    Ok(answer(StatusCode::OK, |body| {
        body.array("availabilityZoneInfo", zones, |zone, (name, hosts)| {
            let available = hosts.iter().any(|(_, enabled, up)| *enabled && *up);
            zone.put("zoneName", name);
            zone.object("zoneState", |state| state.put("available", &available));
            if detailed {
                let hosts: BTreeMap<&str, serde_json::Value> = hosts
                    .into_iter()
                    .map(|(name, active, available)| {
                        let state =
                            serde_json::json!({"active": active, "available": available, "updated_at": null});
                        (name, serde_json::json!({ "nova-compute": state }))
                    })
                    .collect();
                zone.put("hosts", &hosts);
            } else {
                let nothing: Option<bool> = None;
                zone.put("hosts", &nothing);
            }
        });
    }))
}

/// `GET /os-services`: one row for each host's agent.
pub async fn services(call: Call) -> Answered {
    let cells = call.verbs()?.cells(&call.elevated()).await?;
    let (binary, host) = (call.params.last("binary"), call.params.last("host"));
    let rows = cells.iter().flat_map(|cell| cell.hosts.iter().map(move |row| (cell, row)));
    let rows = rows.filter(|(cell, row)| {
        binary.is_none_or(|binary| binary == "nova-compute")
            && host.is_none_or(|host| host == row.name)
            && (cell.up || call.version >= PARTIAL_SINCE)
    });
    Ok(answer(StatusCode::OK, |body| {
        body.array("services", rows, |object, (cell, row)| service(object, cell, row, call.version));
    }))
}

fn service(object: &mut Object<'_>, cell: &CellStatus, host: &verbs::HostStatus, version: Version) {
    object.put("binary", "nova-compute");
    object.put("host", &host.name);
    if !cell.up {
        object.put("status", "UNKNOWN");
        return;
    }
    let nothing: Option<&str> = None;
    if version >= Version(53) {
        object.put("id", &host.id);
    } else {
        // Below 2.53 ids are numbers; the last 31 bits of the UUID will do for showing.
        object.put("id", &(host.id.uuid().as_u128() as u32 >> 1));
    }
    object.put("zone", &host.zone);
    object.put("status", if host.enabled { "enabled" } else { "disabled" });
    object.put("state", if host.healthy { "up" } else { "down" });
    object.put("updated_at", &nothing);
    object.put("disabled_reason", &nothing);
    if version >= Version(11) {
        object.put("forced_down", &false);
    }
}
