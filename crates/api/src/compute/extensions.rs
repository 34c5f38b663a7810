//! `extensions`: a frozen list, kept because clients look into it. Everything is switched by microversion.

use axum::http::StatusCode;

use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::refused::Refused;

/// Aliases and names of Nova's extensions whose routes are here (`nova/api/openstack/compute/extension_info.py`).
const EXTENSIONS: [(&str, &str); 25] = [
    ("NMN", "Multinic"),
    ("OS-DCF", "DiskConfig"),
    ("OS-EXT-AZ", "ExtendedAvailabilityZone"),
    ("OS-EXT-IPS", "ExtendedIps"),
    ("OS-EXT-SRV-ATTR", "ExtendedServerAttributes"),
    ("OS-EXT-STS", "ExtendedStatus"),
    ("OS-FLV-DISABLED", "FlavorDisabled"),
    ("OS-FLV-EXT-DATA", "FlavorExtraData"),
    ("OS-SCH-HNT", "SchedulerHints"),
    ("OS-SRV-USG", "ServerUsage"),
    ("os-aggregates", "Aggregates"),
    ("os-availability-zone", "AvailabilityZone"),
    ("os-consoles", "Consoles"),
    ("os-flavor-access", "FlavorAccess"),
    ("os-flavor-extra-specs", "FlavorExtraSpecs"),
    ("os-flavor-manage", "FlavorManage"),
    ("os-hosts", "Hosts"),
    ("os-instance-actions", "InstanceActions"),
    ("os-instance_usage_audit_log", "OSInstanceUsageAuditLog"),
    ("os-keypairs", "Keypairs"),
    ("os-quota-class-sets", "QuotaClasses"),
    ("os-quota-sets", "Quotas"),
    ("os-server-groups", "ServerGroups"),
    ("os-services", "Services"),
    ("os-simple-tenant-usage", "SimpleTenantUsage"),
];

fn put(object: &mut Object<'_>, (alias, name): (&str, &str)) {
    object.put("alias", alias);
    object.put("name", name);
    object.put("description", "");
    object.put("links", &[0_u8; 0]);
    object.put("namespace", "http://docs.openstack.org/compute/ext/fake_xml");
    object.put("updated", "2014-12-03T00:00:00Z");
}

/// `GET /extensions`.
pub async fn index(_: Call) -> Answered {
    Ok(answer(StatusCode::OK, |body| body.array("extensions", EXTENSIONS, put)))
}

/// `GET /extensions/{alias}`.
pub async fn show(call: Call) -> Answered {
    let alias = call.capture("alias");
    let found = EXTENSIONS.into_iter().find(|(known, _)| *known == alias);
    let found = found.ok_or_else(|| Refused::not_found("The resource could not be found."))?;
    Ok(answer(StatusCode::OK, |body| body.object("extension", |object| put(object, found))))
}
