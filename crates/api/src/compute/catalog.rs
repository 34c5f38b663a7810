//! What clients ask about the cloud as a whole: availability zones.

use std::collections::BTreeMap;

use crate::compute::servers::count_dark;
use crate::edge::call::{Answered, Call};
use crate::edge::json::answer;
use axum::http::StatusCode;
use model::CellId;

/// `GET /os-availability-zone`.
pub async fn zones(call: Call) -> Answered {
    zone_list(&call, false).await
}

/// `GET /os-availability-zone/detail`.
pub async fn zones_detail(call: Call) -> Answered {
    zone_list(&call, true).await
}

async fn zone_list(call: &Call, detailed: bool) -> Answered {
    let mut cells = call.verbs()?.cells(&call.elevated()).await?;
    let region = &call.shared.settings.region;
    cells.retain(|cell| cell.id != CellId::ZERO && (region.is_empty() || cell.region == *region));
    // Zones of cells that do not answer are not known here; the header says that there may be more.
    let dark = cells.iter().filter(|cell| !cell.up).count();
    let mut zones: BTreeMap<&str, Vec<(&str, bool, bool)>> = BTreeMap::new();
    for cell in &cells {
        for host in &cell.hosts {
            let up = cell.up && host.healthy;
            zones.entry(&host.zone).or_default().push((&host.name, host.enabled, up));
        }
    }
    let mut response = answer(StatusCode::OK, |body| {
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
    });
    count_dark(&mut response, dark);
    Ok(response)
}
