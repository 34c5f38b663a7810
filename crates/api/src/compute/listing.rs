//! Reading the query of a server list.

use std::str::FromStr;

use model::InstanceId;
use verbs::Query;

use crate::edge::call::Call;
use crate::edge::query::Params;
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

/// Filters that Nova honours and skep does not. Ignoring one would answer with servers that were not
/// asked for, and a script might delete them.
const NOT_YET: &[&str] = &[
    "access_ip_v4",
    "access_ip_v6",
    "availability_zone",
    "changes-before",
    "changes-since",
    "config_drive",
    "created_at",
    "description",
    "flavor",
    "host",
    "hostname",
    "image",
    "ip",
    "ip6",
    "kernel_id",
    "key_name",
    "launch_index",
    "launched_at",
    "locked",
    "locked_by",
    "node",
    "not-tags",
    "not-tags-any",
    "power_state",
    "progress",
    "ramdisk_id",
    "reservation_id",
    "root_device_name",
    "soft_deleted",
    "tags",
    "tags-any",
    "task_state",
    "terminated_at",
    "user_id",
    "uuid",
    "vm_state",
];

/// What a list asks for; nothing if no server can match.
pub async fn query(call: &Call) -> Result<Option<Query>, Refused> {
    let params = &call.params;
    let all_projects = params.truth("all_tenants")?;
    if all_projects {
        call.allow("os_compute_api:servers:index:get_all_tenants").await?;
    }
    parse(params, call.version, all_projects, &call.shared.settings.region)
}

fn parse(
    params: &Params,
    version: Version,
    all_projects: bool,
    region: &str,
) -> Result<Option<Query>, Refused> {
    if let Some(filter) = NOT_YET.iter().find(|name| params.last(name).is_some()) {
        return Err(Refused::bad(format!(
            "The filter '{filter}' is not supported; use name, status, project_id (with all_tenants), limit and marker."
        )));
    }
    check_sort(params)?;
    let limit = params.number("limit")?;
    let marker = match params.last("marker") {
        None | Some("") => None,
        Some(text) => {
            Some(InstanceId::from_str(text).map_err(|_| Refused::bad(format!("marker [{text}] not found")))?)
        }
    };
    let statuses: Vec<String> =
        params.all("status").filter(|status| !status.is_empty()).map(str::to_ascii_uppercase).collect();
    let (known, unknown): (Vec<String>, Vec<String>) =
        statuses.into_iter().partition(|status| STATUSES.contains(&status.as_str()));
    if known.is_empty() && !unknown.is_empty() {
        if version >= Version(38) {
            return Err(Refused::bad("Invalid status value"));
        }
        return Ok(None);
    }
    // Rows of deleted servers are not kept, so a list of them is empty. (Nova ignores it from members.)
    if limit == Some(0) || params.truth("deleted")? {
        return Ok(None);
    }
    let project = params.last("project_id").or_else(|| params.last("tenant_id"));
    Ok(Some(Query {
        all_projects,
        project: project.filter(|_| all_projects).map(str::to_owned),
        region: region.to_owned(),
        name: params.last("name").filter(|name| !name.is_empty()).map(str::to_owned),
        status: known,
        marker,
        limit,
    }))
}

/// The only order is newest first; any other that is asked for is refused and not ignored.
fn check_sort(params: &Params) -> Result<(), Refused> {
    let keys = params.all("sort_key").all(|key| key.is_empty() || key == "created_at");
    let dirs = params.all("sort_dir").all(|dir| dir.is_empty() || dir == "desc");
    if keys && dirs {
        return Ok(());
    }
    Err(Refused::bad(
        "Servers are listed by created_at, newest first; no other sort_key or sort_dir is supported.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, version: u16, all_projects: bool) -> Result<Option<Query>, String> {
        let params = Params::of(&format!("/servers?{query}").parse().expect("URI")).expect("query");
        parse(&params, Version(version), all_projects, "r1").map_err(|refused| refused.message)
    }

    #[test]
    fn what_clients_send() {
        let query = ask("status=ACTIVE&name=bench-1&limit=1000", 79, false).expect("legal").expect("some");
        assert_eq!(query.status, ["ACTIVE"]);
        assert_eq!((query.name.as_deref(), query.limit), (Some("bench-1"), Some(1000)));
        assert_eq!(query.region, "r1");
        let query =
            ask("deleted=False&status=active&status=error&foo=bar", 96, false).expect("legal").expect("some");
        assert_eq!(query.status, ["ACTIVE", "ERROR"]);
        let id = "3f1c5b62-8f2e-8f2e-8f2e-3f1c5b628f2e";
        let query = ask(&format!("marker={id}&limit=2"), 96, false).expect("legal").expect("some");
        assert_eq!(query.marker.map(|marker| marker.to_string()).as_deref(), Some(id));
    }

    #[test]
    fn projects_only_with_all_tenants() {
        let project = |all| ask("project_id=p2", 96, all).expect("legal").expect("some").project;
        assert_eq!(project(false), None);
        assert_eq!(project(true).as_deref(), Some("p2"));
        let alias = ask("tenant_id=p3", 96, true).expect("legal").expect("some");
        assert_eq!(alias.project.as_deref(), Some("p3"));
    }

    #[test]
    fn refuses_and_finds_nothing() {
        assert_eq!(ask("marker=x", 96, false).expect_err("marker"), "marker [x] not found");
        assert_eq!(ask("status=sleepy", 38, false).expect_err("status"), "Invalid status value");
        assert!(ask("status=sleepy", 37, false).expect("legal").is_none());
        assert!(ask("limit=0", 96, false).expect("legal").is_none());
        assert!(ask("deleted=True", 96, false).expect("legal").is_none());
        assert!(ask("limit=-1", 96, false).is_err());
        assert!(ask("flavor=1", 96, false).expect_err("filter").contains("'flavor'"));
        assert!(ask("sort_key=name", 96, false).is_err());
        assert!(ask("sort_key=created_at&sort_dir=desc", 96, false).is_ok());
    }
}
