//! Hosts as Nova shows them: `os-services` and `os-hypervisors`.

use axum::http::StatusCode;
use axum::response::Response;
use verbs::{ComputeHost, ComputeHosts, HostDetail};

use crate::compute::servers::count_dark;
use crate::compute::view::PARTIAL_SINCE;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Hosts are known by their UUID from here on, by a number before.
pub(crate) const UUIDS: Version = Version(53);
/// Amounts are no longer shown from here on.
pub(crate) const NO_AMOUNTS: Version = Version(88);
/// Lists come in pages from here on.
const PAGES: Version = Version(33);

/// The hosts of every cell of the endpoint's region.
pub(crate) async fn hosts(call: &Call) -> Result<ComputeHosts, Refused> {
    Ok(call.verbs()?.compute_hosts(&call.elevated(), &call.shared.settings.region).await?)
}

/// `GET /os-services`: one row for each host's agent; of one in a cell that does not answer Nova's three
/// members, from 2.69 on.
pub async fn services(call: Call) -> Answered {
    let found = hosts(&call).await?;
    let (binary, name) = (call.params.last("binary"), call.params.last("host"));
    let rows = found.hosts.iter().filter(|row| {
        binary.is_none_or(|binary| binary == "nova-compute")
            && name.is_none_or(|name| name == row.name)
            && (row.told.is_some() || call.version >= PARTIAL_SINCE)
    });
    let mut response = answer(StatusCode::OK, |body| {
        body.array("services", rows, |object, row| service(object, row, call.version));
    });
    count_dark(&mut response, found.dark_cells.len());
    Ok(response)
}

/// One row of `os-services`.
pub(crate) fn service(object: &mut Object<'_>, row: &ComputeHost, version: Version) {
    object.put("binary", "nova-compute");
    object.put("host", &row.name);
    let Some(told) = &row.told else { return object.put("status", "UNKNOWN") };
    put_id(object, row, version);
    object.put("zone", &told.host.zone);
    object.put("status", status(told));
    object.put("state", state(told));
    object.put("updated_at", &told.seen.micros_naive());
    object.put("disabled_reason", &told.disabled.as_ref().map(|disabled| &disabled.reason));
    if version >= Version(11) {
        object.put("forced_down", &false);
    }
}

fn put_id(object: &mut Object<'_>, row: &ComputeHost, version: Version) {
    match version >= UUIDS {
        true => object.put("id", &row.id),
        false => object.put("id", &number(row)),
    }
}

/// Below 2.53 ids are numbers: the last 31 bits of the UUID.
fn number(row: &ComputeHost) -> u32 {
    row.id.uuid().as_u128() as u32 >> 1
}

fn status(told: &HostDetail) -> &'static str {
    if told.host.enabled { "enabled" } else { "disabled" }
}

fn state(told: &HostDetail) -> &'static str {
    if told.host.healthy { "up" } else { "down" }
}

/// `GET /os-hypervisors`.
pub async fn index(call: Call) -> Answered {
    list(&call, "/os-hypervisors", false).await
}

/// `GET /os-hypervisors/detail`.
pub async fn detail(call: Call) -> Answered {
    list(&call, "/os-hypervisors/detail", true).await
}

async fn list(call: &Call, path: &str, detailed: bool) -> Answered {
    listed(call, path, detailed, &hosts(call).await?)
}

fn listed(call: &Call, path: &str, detailed: bool, found: &ComputeHosts) -> Answered {
    let pattern = call.params.last("hypervisor_hostname_pattern").filter(|_| call.version >= UUIDS);
    let rows = found.hosts.iter().filter_map(|row| Some((row, row.told.as_ref()?)));
    let mut rows: Vec<_> =
        rows.filter(|(row, _)| pattern.is_none_or(|pattern| row.name.contains(pattern))).collect();
    // The order of pages has to be one that stays.
    rows.sort_by_key(|(row, _)| row.id);
    let mut next = None;
    if call.version >= PAGES {
        if let Some(marker) = call.params.last("marker").filter(|marker| !marker.is_empty()) {
            let at = rows.iter().position(|(row, _)| is(row, marker, call.version));
            let missing = || Refused::bad(format!("marker [{marker}] not found"));
            rows.drain(..=at.ok_or_else(missing)?);
        }
        let limit = call.params.number("limit")?.unwrap_or(usize::MAX);
        if rows.len() >= limit {
            rows.truncate(limit);
            next = rows.last().map(|(row, _)| match call.version >= UUIDS {
                true => row.id.to_string(),
                false => number(row).to_string(),
            });
        }
    }
    let mut response = answer(StatusCode::OK, |body| {
        body.array("hypervisors", rows, |object, (row, told)| {
            hypervisor(object, row, told, detailed, call.version);
        });
        if let Some(next) = next {
            let query = call.params.with_marker(&next);
            body.array("hypervisors_links", [()], |link, ()| {
                link.put("rel", "next");
                link.text("href", format_args!("{}{path}?{query}", call.base.versioned()));
            });
        }
    });
    count_dark(&mut response, found.dark_cells.len());
    Ok(response)
}

/// Whether a host has that id.
pub(crate) fn is(row: &ComputeHost, id: &str, version: Version) -> bool {
    match version >= UUIDS {
        true => row.id.to_string() == id,
        false => number(row).to_string() == id,
    }
}

/// `GET /os-hypervisors/{id}`.
pub async fn show(call: Call) -> Answered {
    let found = hosts(&call).await?;
    let id = call.capture("id");
    match found.hosts.iter().find(|row| is(row, id, call.version)) {
        Some(ComputeHost { told: None, .. }) => {
            let why = format!("The cell of host {id} does not answer. Try again.");
            Err(model::Fault::unavailable(why).into())
        }
        Some(row @ ComputeHost { told: Some(told), .. }) => Ok(answer(StatusCode::OK, |body| {
            body.object("hypervisor", |object| hypervisor(object, row, told, true, call.version));
        })),
        // Nova's text (`nova/exception.py`, ComputeHostNotFound).
        None => Err(Refused::not_found(format!("Compute host {id} could not be found."))),
    }
}

fn hypervisor(
    object: &mut Object<'_>,
    row: &ComputeHost,
    told: &HostDetail,
    detailed: bool,
    version: Version,
) {
    brief(object, row, told, version);
    if !detailed {
        return;
    }
    object.put("hypervisor_type", "container");
    object.put("hypervisor_version", &agent_version(&told.version));
    object.put("host_ip", &told.address);
    object.object("service", |service| {
        put_id(service, row, version);
        service.put("host", &row.name);
        service.put("disabled_reason", &told.disabled.as_ref().map(|disabled| &disabled.reason));
    });
    if version >= NO_AMOUNTS {
        let unknown: Option<&str> = None;
        return object.put("uptime", &unknown);
    }
    amounts(object, &[told]);
    match version >= Version(28) {
        true => object.object("cpu_info", |_| {}),
        false => object.put("cpu_info", "{}"),
    }
}

/// What every list has of a host.
pub(crate) fn brief(object: &mut Object<'_>, row: &ComputeHost, told: &HostDetail, version: Version) {
    put_id(object, row, version);
    object.put("hypervisor_hostname", &row.name);
    object.put("state", state(told));
    object.put("status", status(told));
}

/// `1.2.3` as a number that grows with it.
fn agent_version(text: &str) -> u64 {
    let parts = text.split(['.', '-', '+']).take(3).map(|part| part.parse().unwrap_or(0_u64).min(999));
    parts.fold(0, |number, part| number * 1_000 + part)
}

/// Amounts of some hosts together. Disks are not counted.
fn amounts(object: &mut Object<'_>, hosts: &[&HostDetail]) {
    let sum = |amount: fn(&HostDetail) -> i64| hosts.iter().map(|told| amount(told)).sum::<i64>();
    let (vcpus, used) = (sum(|t| t.host.capacity.vcpus_milli), sum(|t| t.host.used.vcpus_milli));
    let (memory, taken) = (sum(|t| t.host.capacity.memory_mib), sum(|t| t.host.used.memory_mib));
    object.put("vcpus", &(vcpus / 1_000));
    object.put("vcpus_used", &((used + 999) / 1_000));
    object.put("memory_mb", &memory);
    object.put("memory_mb_used", &taken);
    object.put("free_ram_mb", &(memory - taken));
    for nothing in ["local_gb", "local_gb_used", "free_disk_gb", "disk_available_least", "current_workload"] {
        object.put(nothing, &0);
    }
    object.put("running_vms", &sum(|t| t.instances));
}

/// `GET /os-hypervisors/statistics`, until 2.87; hosts that take nothing new are left out, as in Nova.
pub async fn statistics(call: Call) -> Answered {
    if call.version >= NO_AMOUNTS {
        return Err(Refused::not_found("The resource could not be found."));
    }
    Ok(summed(&hosts(&call).await?))
}

fn summed(found: &ComputeHosts) -> Response {
    let hosts: Vec<&HostDetail> =
        found.hosts.iter().filter_map(|row| row.told.as_ref()).filter(|told| told.host.enabled).collect();
    let mut response = answer(StatusCode::OK, |body| {
        body.object("hypervisor_statistics", |object| {
            object.put("count", &hosts.len());
            amounts(object, &hosts);
        });
    });
    count_dark(&mut response, found.dark_cells.len());
    response
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use model::host::Host;
    use model::{HostId, Resources, Timestamp};

    use super::*;
    use crate::testing::{self, json};

    const ID: &str = "3f1c5b62-8f2e-8f2e-8f2e-3f1c5b628f2e";

    fn found() -> ComputeHosts {
        let id = HostId::from_str(ID).expect("UUID");
        let capacity = Resources { vcpus_milli: 4_000, memory_mib: 8_192, slots: 100 };
        let used = Resources { vcpus_milli: 1_500, memory_mib: 64, slots: 2 };
        let (name, zone, engine) = ("h1".to_owned(), "az-a".to_owned(), "e".to_owned());
        let host =
            Host { id, name: name.clone(), zone, engine, enabled: true, healthy: true, capacity, used };
        let told = HostDetail {
            host,
            address: "10.0.0.17".into(),
            version: "1.2.3".into(),
            silent: false,
            seen: Timestamp(0),
            instances: 2,
            disabled: None,
            key: None,
            refused: None,
            connected_as: None,
        };
        let dark = ComputeHost { id: HostId(uuid::Uuid::from_u128(9)), name: "h2".into(), told: None };
        let hosts = vec![ComputeHost { id, name, told: Some(told) }, dark];
        ComputeHosts { hosts, dark_cells: vec!["cell2".into()] }
    }

    async fn details(version: u16, query: &str) -> serde_json::Value {
        let call = testing::call(version, "admin", query);
        let response = listed(&call, "/os-hypervisors/detail", true, &found()).expect("answers");
        assert_eq!(response.headers()["x-skep-dark-cells"], "1");
        json(response).await.1
    }

    #[tokio::test]
    async fn hosts_of_a_dark_cell_are_left_out_and_counted() {
        let body = details(88, "").await;
        let expected = serde_json::json!({
            "id": ID, "hypervisor_hostname": "h1", "state": "up", "status": "enabled",
            "hypervisor_type": "container", "hypervisor_version": 1_002_003, "host_ip": "10.0.0.17",
            "service": {"id": ID, "host": "h1", "disabled_reason": null}, "uptime": null,
        });
        assert_eq!(body, serde_json::json!({ "hypervisors": [expected] }));
        let old = &details(1, "").await["hypervisors"][0];
        assert_eq!((&old["vcpus"], &old["vcpus_used"]), (&4.into(), &2.into()));
        assert_eq!((&old["free_ram_mb"], &old["running_vms"]), (&8_128.into(), &2.into()));
        assert!(old["id"].is_u64() && old["cpu_info"].is_string());
        assert!(details(28, "").await["hypervisors"][0]["cpu_info"].is_object());
    }

    #[tokio::test]
    async fn pages_and_patterns() {
        assert_eq!(details(53, "hypervisor_hostname_pattern=x").await["hypervisors"], serde_json::json!([]));
        let page = details(53, "limit=1").await;
        assert!(page["hypervisors_links"][0]["href"].as_str().is_some_and(|href| href.ends_with(ID)));
        assert_eq!(details(53, &format!("marker={ID}")).await["hypervisors"], serde_json::json!([]));
        let call = testing::call(53, "admin", "marker=x");
        assert!(listed(&call, "", true, &found()).is_err());
    }

    #[tokio::test]
    async fn sums_are_of_what_answers() {
        let (_, body) = json(summed(&found())).await;
        let sums = &body["hypervisor_statistics"];
        assert_eq!((&sums["count"], &sums["memory_mb"]), (&1.into(), &8_192.into()));
    }

    #[tokio::test]
    async fn a_service_of_a_dark_cell_has_three_members() {
        let rows = found().hosts;
        let response = answer(StatusCode::OK, |body| {
            body.array("services", &rows, |object, row| service(object, row, Version(69)));
        });
        let (_, body) = json(response).await;
        let dark = serde_json::json!({"binary": "nova-compute", "host": "h2", "status": "UNKNOWN"});
        assert_eq!(body["services"][1], dark);
        assert_eq!(body["services"][0]["updated_at"], "1970-01-01T00:00:00.000000");
        assert_eq!(body["services"][0]["id"], ID);
    }
}
