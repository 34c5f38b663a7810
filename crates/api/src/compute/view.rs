//! How a server looks: fresh ones by the table in `fields`, dark ones in Nova's exact partial shapes.

use std::fmt;

use model::{Instance, InstanceId, Stage};
use verbs::{Dark, Named, Seen};

use crate::compute::fields;
use crate::edge::base::Base;
use crate::edge::json::Object;
use crate::edge::query;
use crate::edge::version::Version;

/// Partial results for down cells begin here.
pub const PARTIAL_SINCE: Version = Version(69);

/// What decides how a server looks.
pub struct Look<'a> {
    /// The microversion.
    pub version: Version,
    /// Whether the caller sees what is for administrators.
    pub admin: bool,
    /// Whether this is a show and not a list.
    pub show: bool,
    /// Whether to add our own object.
    pub extended: bool,
    /// Where links point to.
    pub base: &'a Base,
}

/// Puts a server of a detailed list or of a show.
pub fn server(object: &mut Object<'_>, seen: &Seen, look: &Look<'_>) {
    match seen {
        Seen::Fresh(instance) => {
            fields::put_all(object, instance, look);
            if look.extended {
                extension(object, instance, look);
            }
        }
        Seen::Dark(dark) => {
            partial(object, dark, look);
            if look.extended {
                dark_extension(object, dark, look);
            }
        }
    }
}

/// Puts a server of a plain list; of one in a cell that does not answer Nova's three keys.
pub fn brief(object: &mut Object<'_>, named: &Named, look: &Look<'_>) {
    object.put("id", &named.id);
    match named.dark {
        false => object.put("name", &named.name),
        true => object.put("status", "UNKNOWN"),
    }
    links(object, "links", &named.id, look);
}

/// Nova's partial shapes (`nova/api/openstack/compute/views/servers.py`, `_show_from_down_cell`): five
/// keys in a detailed list; in a show, what the request spec knows as well.
fn partial(object: &mut Object<'_>, dark: &Dark, look: &Look<'_>) {
    object.put("id", &dark.id);
    object.put("status", "UNKNOWN");
    object.put("tenant_id", &dark.spec.project);
    object.put("created", &dark.created.seconds_z());
    links(object, "links", &dark.id, look);
    if !look.show {
        return;
    }
    fields::image(object, "image", &dark.spec, look);
    fields::flavor(object, "flavor", &dark.spec, look);
    object.put("OS-EXT-AZ:availability_zone", dark.spec.zone.as_deref().unwrap_or("UNKNOWN"));
    object.put("OS-EXT-STS:power_state", &0);
    object.put("user_id", &dark.spec.user);
    if look.version >= Version(71) {
        object.put("server_groups", &dark.spec.extra.group.iter().map(|group| group.id).collect::<Vec<_>>());
    }
}

/// `links`: with a version and without.
pub fn links(object: &mut Object<'_>, name: &'static str, id: &InstanceId, look: &Look<'_>) {
    object.array(name, [true, false], |link, versioned| {
        if versioned {
            link.put("rel", "self");
            link.text("href", format_args!("{}/servers/{id}", look.base.versioned()));
        } else {
            link.put("rel", "bookmark");
            link.text("href", format_args!("{}/servers/{id}", look.base.bookmark()));
        }
    });
}

/// Name of the one network that a project has.
pub const NETWORK: &str = "skep";

/// `addresses`: nothing while building or without a network.
pub fn addresses(object: &mut Object<'_>, name: &'static str, instance: &Instance, extended: bool) {
    object.object(name, |networks| {
        if has_address(instance) {
            address_list(networks, instance, extended);
        }
    });
}

/// Whether an address is known and to be shown.
pub fn has_address(instance: &Instance) -> bool {
    !instance.observed.address.is_empty() && !matches!(instance.stage, Stage::Unplaced | Stage::Building)
}

/// The addresses on the project's network.
pub fn address_list(object: &mut Object<'_>, instance: &Instance, extended: bool) {
    let observed = &instance.observed;
    object.array(NETWORK, [()], |entry, ()| {
        entry.put("version", if observed.address.contains(':') { &6 } else { &4 });
        entry.put("addr", &observed.address);
        if extended {
            entry.put("OS-EXT-IPS:type", "fixed");
            entry.put("OS-EXT-IPS-MAC:mac_addr", &observed.mac);
        }
    });
}

/// Our own object, for clients that asked for it.
fn extension(object: &mut Object<'_>, instance: &Instance, look: &Look<'_>) {
    let (wishes, observed) = (&instance.spec.container, &instance.observed);
    object.object("skep", |skep| {
        skep.put("image", &instance.spec.image);
        skep.put("command", &wishes.command);
        skep.put("env", &wishes.env);
        skep.put("ports", &wishes.ports);
        skep.put("bindings", &observed.ports);
        skep.put("restart", &wishes.restart);
        skep.put("labels", &wishes.labels);
        skep.put("read_only", &wishes.read_only);
        skep.put("container", &observed.container);
        skep.put("exit_code", &observed.exit_code);
        skep.put("restarts", &observed.restarts);
        if look.admin {
            skep.put("cell", &instance.cell);
        }
    });
}

fn dark_extension(object: &mut Object<'_>, dark: &Dark, look: &Look<'_>) {
    object.object("skep", |skep| {
        skep.put("dark", &true);
        skep.put("name", &dark.spec.name);
        skep.put("last_status", &dark.last_status.as_ref().map(|(status, _)| status));
        skep.put("last_status_age_seconds", &dark.last_status.as_ref().map(|(_, age)| age.as_secs()));
        if look.admin {
            skep.put("cell", &dark.cell);
        }
    });
}

/// `hostId`: opaque, the same for one project's instances on one host, telling nothing of the host.
pub fn host_id(instance: &Instance) -> String {
    let Some((host, _)) = &instance.host else { return String::new() };
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    let bytes = instance.spec.project.bytes().chain(host.uuid().into_bytes());
    for byte in bytes {
        hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}{:024x}", hash.wrapping_mul(hash | 1) >> 32)
}

pub use model::spec::hostname;

/// A text percent-encoded for a path.
pub struct Encoded<'a>(pub &'a str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut encoded = String::with_capacity(self.0.len());
        query::encode(&mut encoded, self.0);
        f.write_str(&encoded)
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
