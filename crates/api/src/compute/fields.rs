//! The one table of a server's fields: which microversions have them, who sees them, and what they are.
//!
//! From `nova/api/openstack/compute/views/servers.py` and the microversion history.

use model::spec::RequestSpec;
use model::{Instance, Power};
use serde::Serialize;

use crate::compute::view::{self, Look};
use crate::edge::json::Object;
use crate::edge::refused::fault_code;
use crate::edge::version::Version;

/// Who sees a field, or where.
#[derive(Clone, Copy, PartialEq)]
pub enum Seen {
    /// Everybody, in details and in show.
    All,
    /// Administrators.
    Admin,
    /// Everybody, in show only.
    Show,
}

/// One field.
pub struct Field {
    name: &'static str,
    since: u16,
    seen: Seen,
    put: fn(&mut Object<'_>, &'static str, &Instance, &Look<'_>),
}

const fn field(
    name: &'static str,
    since: u16,
    seen: Seen,
    put: fn(&mut Object<'_>, &'static str, &Instance, &Look<'_>),
) -> Field {
    Field { name, since, seen, put }
}

const NULL: Option<bool> = None;
const NOTHING: [bool; 0] = [];

/// A group as a server shows it.
#[derive(Serialize)]
pub struct Group {
    name: &'static str,
}

/// The only security group there is.
pub const GROUPS: [Group; 1] = [Group { name: "default" }];

/// The fields, in Nova's order as far as it has one.
pub static FIELDS: &[Field] = &[
    field("id", 1, Seen::All, |o, n, i, _| o.put(n, &i.id)),
    field("name", 1, Seen::All, |o, n, i, _| o.put(n, &i.spec.name)),
    field("status", 1, Seen::All, |o, n, i, _| o.put(n, i.status())),
    field("tenant_id", 1, Seen::All, |o, n, i, _| o.put(n, &i.spec.project)),
    field("user_id", 1, Seen::All, |o, n, i, _| o.put(n, &i.spec.user)),
    field("metadata", 1, Seen::All, |o, n, i, _| o.put(n, &i.spec.metadata)),
    field("hostId", 1, Seen::All, |o, n, i, _| o.put(n, &view::host_id(i))),
    field("image", 1, Seen::All, |o, n, i, l| image(o, n, &i.spec, l)),
    field("flavor", 1, Seen::All, |o, n, i, l| flavor(o, n, &i.spec, l)),
    field("created", 1, Seen::All, |o, n, i, _| o.put(n, &i.created.seconds_z())),
    field("updated", 1, Seen::All, |o, n, i, _| o.put(n, &i.updated.seconds_z())),
    field("addresses", 1, Seen::All, |o, n, i, _| view::addresses(o, n, i, true)),
    field("accessIPv4", 1, Seen::All, |o, n, i, _| o.put(n, &i.spec.extra.access_ipv4)),
    field("accessIPv6", 1, Seen::All, |o, n, i, _| o.put(n, &i.spec.extra.access_ipv6)),
    field("links", 1, Seen::All, |o, n, i, l| view::links(o, n, &i.id, l)),
    field("OS-DCF:diskConfig", 1, Seen::All, |o, n, i, _| o.put(n, disk_config(i))),
    field("progress", 1, Seen::All, |o, n, i, _| {
        if matches!(i.status(), "ACTIVE" | "BUILD" | "REBUILD" | "RESIZE" | "VERIFY_RESIZE") {
            o.put(n, &0);
        }
    }),
    field("fault", 1, Seen::All, |o, n, i, _| fault(o, n, i)),
    field("OS-EXT-AZ:availability_zone", 1, Seen::All, |o, n, i, _| {
        o.put(n, i.zone.as_deref().or(i.spec.zone.as_deref()).unwrap_or_default());
    }),
    field("config_drive", 1, Seen::All, |o, n, _, _| o.put(n, "")),
    field("key_name", 1, Seen::All, |o, n, i, _| o.put(n, &i.spec.extra.key_name)),
    field("OS-SRV-USG:launched_at", 1, Seen::All, |o, n, i, _| {
        o.put(n, &i.launched.map(model::Timestamp::micros_naive));
    }),
    field("OS-SRV-USG:terminated_at", 1, Seen::All, |o, n, i, _| {
        o.put(n, &i.terminated.map(model::Timestamp::micros_naive));
    }),
    field("security_groups", 1, Seen::All, |o, n, i, _| {
        if !i.spec.container.no_network {
            o.put(n, &GROUPS);
        }
    }),
    field("OS-EXT-STS:task_state", 1, Seen::All, |o, n, i, _| o.put(n, &i.task.map(model::Task::as_str))),
    field("OS-EXT-STS:vm_state", 1, Seen::All, |o, n, i, _| o.put(n, i.vm_state())),
    field("OS-EXT-STS:power_state", 1, Seen::All, |o, n, i, _| o.put(n, &Power::nova(i.power))),
    field("os-extended-volumes:volumes_attached", 1, Seen::All, |o, n, _, _| o.put(n, &NOTHING)),
    field("OS-EXT-SRV-ATTR:host", 1, Seen::Admin, |o, n, i, _| o.put(n, &host(i))),
    field("OS-EXT-SRV-ATTR:hypervisor_hostname", 1, Seen::Admin, |o, n, i, _| o.put(n, &host(i))),
    field("OS-EXT-SRV-ATTR:instance_name", 1, Seen::Admin, |o, n, i, _| {
        o.text(n, format_args!("skep-{}-{}-{}", i.id, i.at.epoch, i.at.placement));
    }),
    field("OS-EXT-SRV-ATTR:reservation_id", 3, Seen::Admin, |o, n, i, _| o.put(n, &i.spec.reservation())),
    field("OS-EXT-SRV-ATTR:launch_index", 3, Seen::Admin, |o, n, _, _| o.put(n, &0)),
    field("OS-EXT-SRV-ATTR:kernel_id", 3, Seen::Admin, |o, n, _, _| o.put(n, "")),
    field("OS-EXT-SRV-ATTR:ramdisk_id", 3, Seen::Admin, |o, n, _, _| o.put(n, "")),
    field("OS-EXT-SRV-ATTR:root_device_name", 3, Seen::Admin, |o, n, _, _| o.put(n, &NULL)),
    field("OS-EXT-SRV-ATTR:user_data", 3, Seen::Admin, |o, n, _, _| o.put(n, &NULL)),
    field("OS-EXT-SRV-ATTR:hostname", 3, Seen::All, |o, n, i, l| {
        if l.admin || l.version >= Version(90) {
            match &i.spec.extra.hostname {
                Some(hostname) => o.put(n, hostname),
                None => o.put(n, &view::hostname(&i.spec.name)),
            }
        }
    }),
    field("locked", 9, Seen::All, |o, n, i, _| o.put(n, &i.spec.extra.locked.is_some())),
    // The API level hears of cells, not of hosts: while a host is chosen its state is not known here.
    field("host_status", 16, Seen::Admin, |o, n, i, _| {
        o.put(n, if i.host.is_some() { "UNKNOWN" } else { "" });
    }),
    field("description", 19, Seen::All, |o, n, i, _| o.put(n, &i.spec.description)),
    field("tags", 26, Seen::All, |o, n, i, _| o.put(n, &i.spec.extra.tags)),
    field("trusted_image_certificates", 63, Seen::All, |o, n, _, _| o.put(n, &NULL)),
    field("server_groups", 71, Seen::Show, |o, n, i, _| {
        o.put(n, &i.spec.extra.group.iter().map(|group| group.id).collect::<Vec<_>>());
    }),
    field("locked_reason", 73, Seen::All, |o, n, i, _| {
        o.put(n, &i.spec.extra.locked.as_ref().and_then(|lock| lock.reason.as_deref()));
    }),
    field("pinned_availability_zone", 96, Seen::All, |o, n, i, _| o.put(n, &i.spec.zone)),
];

/// Puts all the fields that `look` allows.
pub fn put_all(object: &mut Object<'_>, instance: &Instance, look: &Look<'_>) {
    put_but(object, instance, look, "");
}

/// The same but for one.
fn put_but(object: &mut Object<'_>, instance: &Instance, look: &Look<'_>, but: &str) {
    for field in FIELDS.iter().filter(|field| field.name != but) {
        let seen = match field.seen {
            Seen::All => true,
            Seen::Admin => look.admin,
            Seen::Show => look.show,
        };
        if seen && look.version >= Version(field.since) {
            (field.put)(object, field.name, instance, look);
        }
    }
}

/// What answers to a change leave out below 2.75 (`nova/api/openstack/compute/servers.py`, update and rebuild).
const NOT_IN_CHANGES: [&str; 7] = [
    "OS-EXT-",
    "OS-SRV-USG",
    "config_drive",
    "key_name",
    "security_groups",
    "os-extended-volumes",
    "host_status",
];

/// Puts the fields that the answer to a rebuild has: also what a rebuild may change of those that are left out otherwise.
pub fn put_rebuilt(object: &mut Object<'_>, instance: &Instance, look: &Look<'_>) {
    if look.version >= Version(75) {
        // Here it is called by its other name, and everybody sees it.
        put_but(object, instance, look, "OS-EXT-SRV-ATTR:user_data");
    } else {
        put_changed(object, instance, look);
        if look.version >= Version(54) {
            object.put("key_name", &instance.spec.extra.key_name);
        }
    }
    if look.version >= Version(57) {
        object.put("user_data", &NULL);
    }
}

/// What the user said of its disk, which a container does not have.
pub fn disk_config(instance: &Instance) -> &'static str {
    if instance.spec.extra.disk_auto { "AUTO" } else { "MANUAL" }
}

/// Puts the fields that an answer to a change has.
pub fn put_changed(object: &mut Object<'_>, instance: &Instance, look: &Look<'_>) {
    if look.version >= Version(75) {
        return put_all(object, instance, look);
    }
    for field in FIELDS.iter().filter(|field| look.version >= Version(field.since)) {
        if field.name == "addresses" {
            view::addresses(object, field.name, instance, false);
        } else if field.seen != Seen::Admin
            && !NOT_IN_CHANGES.iter().any(|prefix| field.name.starts_with(prefix))
        {
            (field.put)(object, field.name, instance, look);
        }
    }
}

fn host(instance: &Instance) -> Option<&str> {
    instance.host.as_ref().map(|(_, name)| name.as_str())
}

/// `image`: its id and a bookmark.
pub fn image(object: &mut Object<'_>, name: &'static str, spec: &RequestSpec, look: &Look<'_>) {
    let id = spec.image_id();
    object.object(name, |image| {
        image.put("id", &id);
        image.array("links", [()], |link, ()| {
            link.put("rel", "bookmark");
            link.text("href", format_args!("{}/images/{id}", look.base.bookmark()));
        });
    });
}

/// `flavor`: its id and a bookmark, from 2.47 on what it was when the instance was asked for.
pub fn flavor(object: &mut Object<'_>, name: &'static str, spec: &RequestSpec, look: &Look<'_>) {
    let flavor = &spec.flavor;
    object.object(name, |object| {
        if look.version < Version(47) {
            object.put("id", &flavor.id);
            object.array("links", [()], |link, ()| {
                link.put("rel", "bookmark");
                link.text(
                    "href",
                    format_args!("{}/flavors/{}", look.base.bookmark(), view::Encoded(&flavor.id)),
                );
            });
            return;
        }
        object.put("vcpus", &flavor.vcpus);
        object.put("ram", &flavor.memory_mib);
        object.put("disk", &flavor.disk_gib);
        object.put("ephemeral", &0);
        object.put("swap", &0);
        object.put("original_name", &flavor.name);
        object.put("extra_specs", &spec.extra.extra_specs);
    });
}

/// `fault`: for ERROR and DELETED only.
fn fault(object: &mut Object<'_>, name: &'static str, instance: &Instance) {
    if !matches!(instance.status(), "ERROR" | "DELETED") {
        return;
    }
    let Some((fault, at)) = &instance.fault else { return };
    object.object(name, |object| {
        object.put("code", &fault_code(fault.kind));
        object.put("created", &at.seconds_z());
        object.put("message", &fault.message);
    });
}
