//! Reading the query of a server list, as Nova reads it (`nova/api/openstack/compute/servers.py`,
//! `_get_servers`, and `schemas/servers.py`).

use std::str::FromStr;

use model::InstanceId;
use model::listing::Deleted;
use uuid::Uuid;
use verbs::{Field, Query, Read};

use crate::compute::{moment, order};
use crate::edge::call::Call;
use crate::edge::query::{Params, truth};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Statuses that a server can be asked for by (`nova/api/openstack/common.py`).
const STATUSES: &[&str] = &[
    "ACTIVE",
    "BUILD",
    "DELETED",
    "ERROR",
    "HARD_REBOOT",
    "MIGRATING",
    "PASSWORD",
    "PAUSED",
    "REBOOT",
    "REBUILD",
    "RESCUE",
    "RESIZE",
    "REVERT_RESIZE",
    "SHELVED",
    "SHELVED_OFFLOADED",
    "SHUTOFF",
    "SOFT_DELETED",
    "SUSPENDED",
    "UNKNOWN",
    "VERIFY_RESIZE",
];

/// Microversions after the last one: what nobody but an administrator may filter by.
const NEVER: u16 = u16::MAX;

/// Filters: since which microversion there are, and since which one everybody may use them. What somebody may
/// not use is ignored.
const FILTERS: &[(&str, u16, u16)] = &[
    ("access_ip_v4", 1, NEVER),
    ("access_ip_v6", 1, NEVER),
    ("all_tenants", 1, 1),
    ("auto_disk_config", 1, NEVER),
    ("availability_zone", 1, 83),
    ("changes-before", 66, 66),
    ("changes-since", 1, 1),
    ("config_drive", 1, 83),
    ("created_at", 1, 83),
    ("deleted", 1, NEVER),
    ("description", 1, NEVER),
    ("display_description", 1, NEVER),
    ("display_name", 1, NEVER),
    ("flavor", 1, 1),
    ("host", 1, NEVER),
    ("hostname", 1, 90),
    ("image", 1, 1),
    ("image_ref", 1, NEVER),
    ("ip", 1, 1),
    ("ip6", 1, 5),
    ("kernel_id", 1, NEVER),
    ("key_name", 1, 83),
    ("launch_index", 1, NEVER),
    ("launched_at", 1, 83),
    ("locked", 73, 73),
    ("locked_by", 1, NEVER),
    ("name", 1, 1),
    ("node", 1, NEVER),
    ("not-tags", 26, 26),
    ("not-tags-any", 26, 26),
    ("power_state", 1, 83),
    ("progress", 1, 83),
    ("project_id", 1, NEVER),
    ("ramdisk_id", 1, NEVER),
    ("reservation_id", 1, 1),
    ("root_device_name", 1, NEVER),
    ("soft_deleted", 1, NEVER),
    ("status", 1, 1),
    ("tags", 26, 26),
    ("tags-any", 26, 26),
    ("task_state", 1, 83),
    ("tenant_id", 1, NEVER),
    ("terminated_at", 1, 83),
    ("user_id", 1, 83),
    ("uuid", 1, NEVER),
    ("vm_state", 1, 83),
];

/// Parameters that are no filters; the last two are ours.
const OTHERS: &[&str] = &["limit", "marker", "sort_dir", "sort_key", "skep", "skep_read"];

/// Names of what Nova joins to a server: known to it, and refused to those who may use every filter.
const JOINED: &[&str] = &[
    "block_device_mapping",
    "info_cache",
    "metadata",
    "pci_devices",
    "security_groups",
    "services",
    "system_metadata",
];

/// Filters that Nova honours and skep does not. Ignoring one would answer with servers that were not
/// asked for, and a script might delete them.
const NOT_YET: &[&str] = &["access_ip_v4", "access_ip_v6", "locked_by"];

/// Filters by regular expression.
const PATTERNS: &[(&str, Field)] = &[
    ("availability_zone", Field::Zone),
    ("created_at", Field::Created),
    ("description", Field::Description),
    ("display_description", Field::Description),
    ("display_name", Field::Name),
    ("hostname", Field::Hostname),
    ("ip", Field::Ipv4),
    ("ip6", Field::Ipv6),
    ("key_name", Field::KeyName),
    ("launched_at", Field::Launched),
    ("name", Field::Name),
    ("node", Field::Host),
    ("power_state", Field::Power),
    ("reservation_id", Field::Reservation),
    ("terminated_at", Field::Terminated),
];

/// What every server of ours has for a filter of Nova's; nothing where Nova would have no value.
const CONSTANT: &[(&str, Option<&str>)] = &[
    ("auto_disk_config", Some("0")),
    ("config_drive", Some("")),
    ("kernel_id", Some("")),
    ("launch_index", Some("0")),
    ("progress", Some("0")),
    ("ramdisk_id", Some("")),
    ("root_device_name", None),
];

/// Who asks, where, and at which microversion.
#[derive(Clone, Copy)]
struct Asked<'a> {
    version: Version,
    /// Whether every filter may be used.
    every: bool,
    all_projects: bool,
    region: &'a str,
}

/// What a list asks for; nothing if no server can match. `all_tenants` is the rule that lets a caller see
/// every project's.
pub async fn query(call: &Call, all_tenants: &str) -> Result<Option<Query>, Refused> {
    let all_projects = call.params.truth("all_tenants")?;
    let every = call.may("os_compute_api:servers:allow_all_filters");
    let asked = Asked { version: call.version, every, all_projects, region: &call.shared.settings.region };
    check_names(&call.params, asked)?;
    if all_projects {
        call.allow(all_tenants).await?;
    }
    parse(&call.params, asked)
}

/// From 2.75 on a parameter that does not exist is refused; before it is ignored.
fn check_names(params: &Params, asked: Asked<'_>) -> Result<(), Refused> {
    for (name, _) in &params.0 {
        let name = name.as_str();
        if JOINED.contains(&name) && asked.every {
            return Err(Refused::bad(format!("Servers cannot be filtered by '{name}'.")));
        }
        let known = OTHERS.contains(&name)
            || JOINED.contains(&name)
            || FILTERS.iter().any(|(filter, since, _)| *filter == name && asked.version >= Version(*since));
        if !known && asked.version >= Version(75) {
            return Err(Refused::bad(format!(
                "Invalid input for query parameters {name}. Additional properties are not allowed \
                 ('{name}' was unexpected)"
            )));
        }
    }
    Ok(())
}

fn parse(params: &Params, asked: Asked<'_>) -> Result<Option<Query>, Refused> {
    // The last value of a filter that the caller may use.
    let value = |name: &str| {
        let (_, since, members) = FILTERS.iter().find(|(filter, ..)| *filter == name)?;
        let least = if asked.every { since } else { members };
        params.last(name).filter(|text| asked.version >= Version(*least) && !text.is_empty())
    };
    if let Some(filter) = NOT_YET.iter().find(|name| value(name).is_some()) {
        return Err(Refused::bad(format!("Servers cannot be filtered by '{filter}' yet.")));
    }
    let (limit, order) = (params.number("limit")?, order::of(params, asked.version, asked.every)?);
    let time = |name| match value(name).map(|text| (text, moment::parse(text))) {
        None => Ok(None),
        Some((_, Some(time))) => Ok(Some(time)),
        Some((text, None)) => Err(Refused::bad(format!(
            "Invalid input for query parameters {name}. Value: {text}. '{text}' is not a 'date-time'"
        ))),
    };
    let (since, before) = (time("changes-since")?, time("changes-before")?);
    if since.zip(before).is_some_and(|(since, before)| since > before) {
        let why = "The value of changes-since must be less than or equal to changes-before.";
        return Err(Refused::bad(why));
    }
    let marker = match params.last("marker") {
        None | Some("") => None,
        Some(text) => {
            Some(InstanceId::from_str(text).map_err(|_| Refused::bad(format!("marker [{text}] not found")))?)
        }
    };
    let read = match params.last("skep_read") {
        None | Some("" | "auto") => Read::Auto,
        Some("index") => Read::Index,
        Some("cells") => Read::Cells,
        Some(other) => return Err(Refused::bad(format!("skep_read={other} is none of auto, index, cells"))),
    };
    let locked = value("locked").map(|text| {
        truth(text).ok_or_else(|| Refused::bad(format!("Invalid value '{text}' for query parameter locked")))
    });
    let locked = locked.transpose()?;
    let Some(status) = statuses(params, asked.version)? else { return Ok(None) };
    // What is said of deleted ones counts less than which are asked for (Nova's order).
    let mut deleted = match value("deleted").map(|text| truth(text).unwrap_or(false)) {
        Some(true) => Deleted::Only,
        Some(false) => Deleted::No,
        None if since.is_some() => Deleted::Both,
        None => Deleted::No,
    };
    if status == ["DELETED"] {
        if !asked.every {
            return Err(Refused::new(
                axum::http::StatusCode::FORBIDDEN,
                "Only administrators may list deleted instances",
            ));
        }
        deleted = Deleted::Only;
    }
    let texts = |name| -> Vec<String> {
        let text = value(name).unwrap_or_default();
        text.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
    };
    let owned = |name| value(name).map(str::to_owned);
    // An image or a server that has no id which could be one of ours does not exist.
    let image = value("image").or_else(|| value("image_ref")).map(Uuid::parse_str).transpose();
    let ids: Result<Vec<InstanceId>, _> = value("uuid").map(InstanceId::from_str).into_iter().collect();
    let (Ok(image), Ok(ids)) = (image, ids) else { return Ok(None) };
    for (name, constant) in CONSTANT {
        if let Some(pattern) = value(name)
            && !constant.is_some_and(|constant| constant.contains(pattern))
        {
            return Ok(None);
        }
    }
    if limit == Some(0) {
        return Ok(None);
    }
    let patterns = PATTERNS.iter().filter_map(|(name, field)| Some((*field, owned(name)?)));
    Ok(Some(Query {
        all_projects: asked.all_projects,
        project: owned("project_id").or_else(|| owned("tenant_id")).filter(|_| asked.all_projects),
        region: asked.region.to_owned(),
        ids,
        user: owned("user_id"),
        name: None,
        patterns: patterns.collect(),
        image,
        flavor: owned("flavor"),
        locked,
        tags: texts("tags"),
        tags_any: texts("tags-any"),
        not_tags: texts("not-tags"),
        not_tags_any: texts("not-tags-any"),
        status,
        vm_state: owned("vm_state"),
        task_state: owned("task_state"),
        host: owned("host"),
        since,
        before,
        deleted,
        order,
        read,
        marker,
        limit,
    }))
}

/// The statuses asked for; nothing if there is none that a server can have.
fn statuses(params: &Params, version: Version) -> Result<Option<Vec<String>>, Refused> {
    let asked: Vec<String> =
        params.all("status").filter(|status| !status.is_empty()).map(str::to_ascii_uppercase).collect();
    let some = !asked.is_empty();
    let known: Vec<String> = asked.into_iter().filter(|status| STATUSES.contains(&status.as_str())).collect();
    match known.is_empty() && some {
        true if version >= Version(38) => Err(Refused::bad("Invalid status value")),
        true => Ok(None),
        false => Ok(Some(known)),
    }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
