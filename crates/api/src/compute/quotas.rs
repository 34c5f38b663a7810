//! `os-quota-sets`, `os-quota-class-sets` and `limits`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use verbs::{Effective, Quota, RESOURCES};

use crate::compute::read;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty, value};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// What Nova limits and skep has none of, with the microversion from which on it is gone, and what is shown.
const ABSENT: [(&str, u16, i64); 7] = [
    ("fixed_ips", 36, -1),
    ("floating_ips", 36, -1),
    ("security_groups", 36, -1),
    ("security_group_rules", 36, -1),
    ("injected_files", 57, 5),
    ("injected_file_content_bytes", 57, 10_240),
    ("injected_file_path_bytes", 57, 255),
];

/// Refuses those who ask for what is another project's without being administrators.
fn own(call: &Call, rule: &str, project: &str) -> Result<(), Refused> {
    if project == call.caller.project || call.caller.is_admin() {
        return Ok(());
    }
    Err(Refused::new(StatusCode::FORBIDDEN, format!("Policy doesn't allow {rule} to be performed.")))
}

fn set(limits: &Effective, version: Version) -> Map<String, Value> {
    let mut set = Map::new();
    for (resource, _) in RESOURCES {
        set.insert(resource.to_owned(), limits.get(resource).into());
    }
    for (resource, until, shown) in ABSENT {
        if version < Version(until) {
            set.insert(resource.to_owned(), shown.into());
        }
    }
    set
}

fn answered(mut set: Map<String, Value>, id: Option<&str>) -> Response {
    if let Some(id) = id {
        set.insert("id".into(), id.into());
    }
    value(StatusCode::OK, &json!({ "quota_set": set }))
}

/// `GET /os-quota-sets/{id}`.
pub async fn show(call: Call) -> Answered {
    let project = call.capture("id");
    let verbs = call.verbs()?;
    own(&call, "os_compute_api:os-quota-sets:show", project)?;
    let quota = verbs.quota(project).await?;
    Ok(answered(set(&quota.limits, call.version), Some(project)))
}

/// `GET /os-quota-sets/{id}/defaults`.
pub async fn defaults(call: Call) -> Answered {
    let limits = call.verbs()?.default_quota(verbs::CLASS).await?;
    Ok(answered(set(&limits, call.version), Some(call.capture("id"))))
}

/// `GET /os-quota-sets/{id}/detail`.
pub async fn detail(call: Call) -> Answered {
    let project = call.capture("id");
    let verbs = call.verbs()?;
    own(&call, "os_compute_api:os-quota-sets:detail", project)?;
    let quota = verbs.quota(project).await?;
    let mut set = set(&quota.limits, call.version);
    for (resource, limit) in &mut set {
        let in_use = quota.used.get(resource.as_str()).copied().unwrap_or_default();
        *limit = json!({ "limit": limit, "in_use": in_use, "reserved": 0 });
    }
    Ok(answered(set, Some(project)))
}

/// Limits to set. What skep has none of is taken if it says what is shown anyway.
fn wanted(asked: &Map<String, Value>, call: &Call) -> Result<BTreeMap<String, i64>, Refused> {
    let mut wanted = BTreeMap::new();
    for (resource, value) in asked {
        let absent =
            ABSENT.iter().find(|(name, until, _)| name == resource && call.version < Version(*until));
        if RESOURCES.iter().any(|(name, _)| name == resource) {
            wanted.insert(resource.clone(), read::number(resource, value, (-1, read::LARGEST))?);
        } else if absent.is_some() {
            read::number(resource, value, (-1, read::LARGEST))?;
        } else {
            return Err(Refused::bad(format!(
                "Invalid input for field/attribute quota_set. Additional properties are not allowed ('{resource}' was unexpected)"
            )));
        }
    }
    Ok(wanted)
}

/// `PUT /os-quota-sets/{id}`.
pub async fn update(call: Call) -> Answered {
    let mut asked = read::only(&call.body, "quota_set")?;
    let force = read::truth(&asked, "force")?.unwrap_or(false);
    asked.remove("force");
    asked.remove("tenant_id");
    let wanted = wanted(&asked, &call)?;
    let quota = call.verbs()?.set_quota(call.capture("id"), wanted, force).await?;
    Ok(answered(set(&quota.limits, call.version), None))
}

/// `DELETE /os-quota-sets/{id}`: the class's limits hold again.
pub async fn delete(call: Call) -> Answered {
    call.verbs()?.reset_quota(call.capture("id")).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

fn class(limits: &Effective, version: Version, id: Option<&str>) -> Response {
    let mut set = set(limits, version);
    if version < Version(50) {
        set.remove("server_groups");
        set.remove("server_group_members");
    }
    if let Some(id) = id {
        set.insert("id".into(), id.into());
    }
    value(StatusCode::OK, &json!({ "quota_class_set": set }))
}

/// `GET /os-quota-class-sets/{id}`.
pub async fn show_class(call: Call) -> Answered {
    let id = call.capture("id");
    let limits = call.verbs()?.default_quota(id).await?;
    Ok(class(&limits, call.version, Some(id)))
}

/// `PUT /os-quota-class-sets/{id}`.
pub async fn update_class(call: Call) -> Answered {
    let asked = read::only(&call.body, "quota_class_set")?;
    let wanted = wanted(&asked, &call)?;
    let limits = call.verbs()?.set_default_quota(call.capture("id"), wanted).await?;
    Ok(class(&limits, call.version, None))
}

/// `GET /limits`.
pub async fn limits(call: Call) -> Answered {
    let project = match call.params.last("tenant_id").filter(|project| **project != *call.caller.project) {
        None => call.caller.project.clone(),
        Some(project) => {
            call.allow("os_compute_api:limits:other_project").await?;
            project.to_owned()
        }
    };
    let quota = call.verbs()?.quota(&project).await?;
    let absolute = absolute(&quota, call.version);
    Ok(answer(StatusCode::OK, |body| {
        body.object("limits", |limits| {
            limits.put("rate", &[0_u8; 0]);
            limits.put("absolute", &absolute);
        });
    }))
}

/// Nova's names, by microversion (`nova/api/openstack/compute/views/limits.py`).
fn absolute(quota: &Quota, version: Version) -> BTreeMap<&'static str, i64> {
    let used = |resource: &str| quota.used.get(resource).copied().unwrap_or_default();
    let mut absolute: BTreeMap<&'static str, i64> = [
        ("maxTotalInstances", "instances"),
        ("maxTotalCores", "cores"),
        ("maxTotalRAMSize", "ram"),
        ("maxServerMeta", "metadata_items"),
        ("maxTotalKeypairs", "key_pairs"),
        ("maxServerGroups", "server_groups"),
        ("maxServerGroupMembers", "server_group_members"),
    ]
    .map(|(name, resource)| (name, quota.limits.get(resource)))
    .into();
    absolute.extend([
        ("totalInstancesUsed", used("instances")),
        ("totalCoresUsed", used("cores")),
        ("totalRAMUsed", used("ram")),
        ("totalServerGroupsUsed", used("server_groups")),
    ]);
    if version < Version(36) {
        absolute.extend([
            ("maxSecurityGroups", -1),
            ("maxSecurityGroupRules", -1),
            ("maxTotalFloatingIps", -1),
            ("totalFloatingIpsUsed", 0),
            ("totalSecurityGroupsUsed", 0),
        ]);
    }
    if version < Version(39) {
        absolute.insert("maxImageMeta", quota.limits.get("metadata_items"));
    }
    if version < Version(57) {
        absolute.extend([("maxPersonality", 5), ("maxPersonalitySize", 10_240)]);
    }
    absolute
}
