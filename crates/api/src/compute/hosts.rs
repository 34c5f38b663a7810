//! Hosts as Nova showed them once: `os-hosts` (until 2.42), and what `os-hypervisors` answers by name (until 2.52).

use axum::http::StatusCode;
use model::Fault;
use serde_json::{Map, Value};
use verbs::{ComputeHost, ComputeHosts, HostDetail, Named, Query};

use crate::compute::hypervisors::{NO_AMOUNTS, UUIDS, brief, hosts, is};
use crate::compute::servers::count_dark;
use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// `os-hosts` is no more from here on.
const NO_HOSTS: Version = Version(43);

/// Refuses, with 404 as Nova does, what a microversion does not have any more.
pub(crate) fn until(call: &Call, end: Version) -> Result<(), Refused> {
    if call.version < end {
        return Ok(());
    }
    Err(Refused::not_found("The resource could not be found."))
}

fn told(found: &ComputeHosts) -> impl Iterator<Item = (&ComputeHost, &HostDetail)> {
    found.hosts.iter().filter_map(|row| Some((row, row.told.as_ref()?)))
}

/// `GET /os-hosts`, all or those of a `zone`. Hosts of cells that do not answer are left out.
pub async fn index(call: Call) -> Answered {
    until(&call, NO_HOSTS)?;
    let found = hosts(&call).await?;
    let zone = call.params.last("zone").filter(|zone| !zone.is_empty());
    let rows = told(&found).filter(|(_, told)| zone.is_none_or(|zone| zone == told.host.zone));
    let mut response = answer(StatusCode::OK, |body| {
        body.array("hosts", rows, |object, (row, told)| {
            object.put("host_name", &row.name);
            object.put("service", "compute");
            object.put("zone", &told.host.zone);
        });
    });
    count_dark(&mut response, found.dark_cells.len());
    Ok(response)
}

/// The host of that name that the path names.
async fn named(call: &Call) -> Result<HostDetail, Refused> {
    let name = call.capture("name");
    let found = hosts(call).await?;
    let mut of_name = found.hosts.into_iter().filter(|row| row.name == name).peekable();
    if of_name.peek().is_none() {
        // Nova's text (`nova/exception.py`, ComputeHostNotFound).
        return Err(Refused::not_found(format!("Compute host {name} could not be found.")));
    }
    let away = || Fault::unavailable(format!("The cell of host {name} does not answer. Try again."));
    of_name.find_map(|row| row.told).ok_or_else(|| away().into())
}

/// `GET /os-hosts/{name}`: what it has, and what is taken of it.
pub async fn show(call: Call) -> Answered {
    until(&call, NO_HOSTS)?;
    let told = named(&call).await?;
    let (capacity, used) = (told.host.capacity, told.host.used);
    let rows = [("(total)", capacity.vcpus_milli / 1_000, capacity.memory_mib)];
    let taken =
        ["(used_now)", "(used_max)"].map(|row| (row, (used.vcpus_milli + 999) / 1_000, used.memory_mib));
    Ok(answer(StatusCode::OK, |body| {
        body.array("host", rows.into_iter().chain(taken), |row, (what, vcpus, memory)| {
            row.object("resource", |resource| {
                resource.put("host", &told.host.name);
                resource.put("project", what);
                resource.put("cpu", &vcpus);
                resource.put("memory_mb", &memory);
                resource.put("disk_gb", &0);
            });
        });
    }))
}

/// `PUT /os-hosts/{name}`: no engine has a switch for this (Nova's drivers, but for one, neither).
pub async fn update(call: Call) -> Answered {
    until(&call, NO_HOSTS)?;
    check_update(&body::object(&call.body)?)?;
    named(&call).await?;
    Err(Refused::unsupported("enabling a host here. Use: skep host enable, skep host disable"))
}

/// Nova's schema (`nova/api/openstack/compute/schemas/hosts.py`).
fn check_update(asked: &Map<String, Value>) -> Result<(), Refused> {
    if asked.is_empty() {
        return Err(Refused::bad("Invalid input for field/attribute body. Give status or maintenance_mode."));
    }
    for (name, value) in asked {
        if !["status", "maintenance_mode"].contains(&name.as_str()) {
            let why = format!("Additional properties are not allowed ('{name}' was unexpected)");
            return Err(Refused::bad(why));
        }
        let word = value.as_str().map(|word| word.trim().to_ascii_lowercase());
        if !matches!(word.as_deref(), Some("enable" | "disable")) {
            return Err(Refused::field(name, value, "It is not one of ['enable', 'disable']"));
        }
    }
    Ok(())
}

/// `GET /os-hosts/{name}/startup`, `shutdown` and `reboot`.
pub async fn power(call: Call) -> Answered {
    until(&call, NO_HOSTS)?;
    named(&call).await?;
    Err(Refused::unsupported("turning machines on and off"))
}

/// Hosts whose names have `pattern` in them; there must be one.
fn matching<'a>(
    found: &'a ComputeHosts,
    pattern: &str,
) -> Result<Vec<(&'a ComputeHost, &'a HostDetail)>, Refused> {
    let rows: Vec<_> = told(found).filter(|(row, _)| row.name.contains(pattern)).collect();
    if rows.is_empty() && found.hosts.iter().any(|row| row.name.contains(pattern)) {
        let why = format!("The cells of hosts named like '{pattern}' do not answer. Try again.");
        return Err(Fault::unavailable(why).into());
    }
    match rows.is_empty() {
        true => Err(Refused::not_found(format!("No hypervisor matching '{pattern}' could be found."))),
        false => Ok(rows),
    }
}

/// `GET /os-hypervisors/{pattern}/search`.
pub async fn search(call: Call) -> Answered {
    until(&call, UUIDS)?;
    let found = hosts(&call).await?;
    let rows = matching(&found, call.capture("id"))?;
    let mut response = answer(StatusCode::OK, |body| {
        body.array("hypervisors", rows, |object, (row, told)| brief(object, row, told, call.version));
    });
    count_dark(&mut response, found.dark_cells.len());
    Ok(response)
}

/// `GET /os-hypervisors/{pattern}/servers`: the same, and what lies on each; a host with nothing has no `servers`.
pub async fn servers(call: Call) -> Answered {
    until(&call, UUIDS)?;
    let found = hosts(&call).await?;
    let rows = matching(&found, call.capture("id"))?;
    let mut with = Vec::new();
    for (row, told) in rows {
        with.push((row, told, on(&call, &row.name).await?));
    }
    let mut response = answer(StatusCode::OK, |body| {
        body.array("hypervisors", with, |object, (row, told, servers)| {
            brief(object, row, told, call.version);
            put_servers(object, &servers);
        });
    });
    count_dark(&mut response, found.dark_cells.len());
    Ok(response)
}

fn put_servers(object: &mut Object<'_>, servers: &[Named]) {
    if !servers.is_empty() {
        object.array("servers", servers, |server, named| {
            server.put("name", &named.name);
            server.put("uuid", &named.id);
        });
    }
}

/// Everything on hosts of that name, page after page.
async fn on(call: &Call, host: &str) -> Result<Vec<Named>, Refused> {
    let region = call.shared.settings.region.clone();
    let mut query = Query { all_projects: true, region, host: Some(host.to_owned()), ..Query::default() };
    let mut all = Vec::new();
    loop {
        let page = call.verbs()?.list_names(&call.elevated(), &query).await?;
        all.extend(page.items);
        match page.next {
            Some(next) => query.marker = Some(next),
            None => return Ok(all),
        }
    }
}

/// `GET /os-hypervisors/{id}/uptime`, until 2.87: agents do not tell it.
pub async fn uptime(call: Call) -> Answered {
    until(&call, NO_AMOUNTS)?;
    let found = hosts(&call).await?;
    let id = call.capture("id");
    match found.hosts.iter().any(|row| is(row, id, call.version)) {
        true => Err(Refused::unsupported("the uptime of a host")),
        false => Err(Refused::not_found(format!("Compute host {id} could not be found."))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_host_can_be_told() {
        let check =
            |asked: Value| check_update(asked.as_object().expect("object")).map_err(|r| r.status.as_u16());
        assert_eq!(check(json!({"status": "enable", "maintenance_mode": " Disable "})), Ok(()));
        for bad in [json!({}), json!({"status": "off"}), json!({"status": true}), json!({"mode": "enable"})] {
            assert_eq!(check(bad), Err(400));
        }
    }
}
