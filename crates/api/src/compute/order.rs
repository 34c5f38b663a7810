//! Reading the order of a server list (`nova/api/openstack/common.py`, `get_sort_params`; the keys are those of
//! `nova/api/openstack/compute/schemas/servers.py`).

use model::listing::{Order, Sort};

use crate::edge::query::Params;
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Keys that a server list can be sorted by. Those that every server of ours has the same value for decide
/// nothing.
const KEYS: &[(&str, Option<Sort>)] = &[
    ("access_ip_v4", None),
    ("access_ip_v6", None),
    ("auto_disk_config", None),
    ("availability_zone", Some(Sort::Zone)),
    ("config_drive", None),
    ("created_at", Some(Sort::Created)),
    ("display_description", Some(Sort::Description)),
    ("display_name", Some(Sort::Name)),
    ("host", Some(Sort::Host)),
    ("hostname", Some(Sort::Hostname)),
    ("image_ref", Some(Sort::Image)),
    ("instance_type_id", Some(Sort::Flavor)),
    ("kernel_id", None),
    ("key_name", Some(Sort::KeyName)),
    ("launch_index", None),
    ("launched_at", Some(Sort::Launched)),
    ("locked_by", None),
    ("node", Some(Sort::Host)),
    ("power_state", Some(Sort::Power)),
    ("progress", None),
    ("project_id", Some(Sort::Project)),
    ("ramdisk_id", None),
    ("root_device_name", None),
    ("task_state", Some(Sort::TaskState)),
    ("terminated_at", Some(Sort::Terminated)),
    ("updated_at", Some(Sort::Updated)),
    ("user_id", Some(Sort::User)),
    ("uuid", Some(Sort::Id)),
    ("vm_state", Some(Sort::VmState)),
];

/// Keys that are taken and decide nothing, until 2.75 refuses them.
const IGNORED: &[&str] = &[
    "architecture",
    "cell_name",
    "cleaned",
    "default_ephemeral_device",
    "default_swap_device",
    "deleted",
    "deleted_at",
    "disable_terminate",
    "ephemeral_gb",
    "ephemeral_key_uuid",
    "id",
    "key_data",
    "launched_on",
    "locked",
    "memory_mb",
    "os_type",
    "reservation_id",
    "root_gb",
    "shutdown_terminate",
    "user_data",
    "vcpus",
    "vm_mode",
];

/// The order that a list asks for, newest first if it says nothing. `every` tells whether the caller may
/// know of hosts; for others they decide nothing.
pub fn of(params: &Params, version: Version, every: bool) -> Result<Order, Refused> {
    let mut keys: Vec<&str> = params.all("sort_key").map(str::trim).filter(|key| !key.is_empty()).collect();
    let dirs: Vec<&str> = params.all("sort_dir").map(str::trim).filter(|dir| !dir.is_empty()).collect();
    if keys.is_empty() {
        keys.push("created_at");
    }
    if dirs.len() > keys.len() {
        return Err(Refused::bad("Sort direction size exceeds sort key size"));
    }
    let descending: Result<Vec<bool>, Refused> = dirs
        .into_iter()
        .map(|dir| match dir {
            "asc" => Ok(false),
            "desc" => Ok(true),
            _ => Err(Refused::bad("Unknown sort direction, must be one of: asc, desc")),
        })
        .collect();
    let descending = descending?;
    let first = descending.first().copied().unwrap_or(true);
    let mut order = Vec::new();
    for (n, key) in keys.into_iter().enumerate() {
        let sort = match KEYS.iter().find(|(name, _)| *name == key) {
            Some((_, sort)) => *sort,
            None if key == "locked" && version >= Version(73) => Some(Sort::Locked),
            None if IGNORED.contains(&key) && version < Version(75) => None,
            None => {
                return Err(Refused::bad(format!(
                    "Invalid input for query parameters sort_key. Value: {key}. '{key}' is not one of the keys \
                     that servers can be sorted by"
                )));
            }
        };
        let Some(sort) = sort.filter(|sort| every || *sort != Sort::Host) else { continue };
        order.push((sort, descending.get(n).copied().unwrap_or(first)));
    }
    if order.is_empty() {
        order.push((Sort::Created, first));
    }
    Ok(Order::new(&order))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, version: u16, every: bool) -> Result<Vec<(Sort, bool)>, String> {
        let params = Params::of(&format!("/servers?{query}").parse().expect("URI")).expect("query");
        of(&params, Version(version), every)
            .map(|order| order.keys().to_vec())
            .map_err(|refused| refused.message)
    }

    #[test]
    fn keys_and_directions() {
        let newest = Ok(vec![(Sort::Created, true), (Sort::Id, true)]);
        assert_eq!(ask("", 96, false), newest);
        assert_eq!(ask("sort_key=created_at&sort_dir=desc", 96, false), newest);
        assert_eq!(ask("sort_dir=asc", 1, false), Ok(vec![(Sort::Created, false), (Sort::Id, false)]));
        let two = "sort_key=display_name&sort_dir=asc&sort_key=vm_state";
        let keys = Ok(vec![(Sort::Name, false), (Sort::VmState, false), (Sort::Id, false)]);
        assert_eq!(ask(two, 96, false), keys, "the first direction goes on");
        let mixed = "sort_key=host&sort_dir=asc&sort_key=uuid&sort_dir=desc";
        assert_eq!(ask(mixed, 96, true), Ok(vec![(Sort::Host, false), (Sort::Id, true)]));
        assert_eq!(ask(mixed, 96, false), Ok(vec![(Sort::Id, true)]), "hosts are not for everybody");
        assert_eq!(ask("sort_key=progress", 96, false), newest, "all are the same");
    }

    #[test]
    fn what_is_refused() {
        for bad in ["sort_key=name", "sort_key=skep", "sort_dir=up", "sort_dir=asc&sort_dir=asc"] {
            assert!(ask(bad, 96, true).is_err(), "{bad}");
        }
        assert!(ask("sort_key=vcpus", 74, false).is_ok(), "ignored");
        assert!(ask("sort_key=vcpus", 75, false).is_err());
        let locked = |version| ask("sort_key=locked", version, false).map(|keys| keys[0].0);
        assert_eq!((locked(72), locked(73)), (Ok(Sort::Created), Ok(Sort::Locked)));
    }
}
