//! Reading `POST /servers`: Nova's schema (`nova/api/openstack/compute/schemas/servers.py`), and a
//! plain refusal of every field whose value skep would have to drop.

use std::collections::BTreeMap;

use model::image::ImageRef;
use model::{ContainerSpec, Extra};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::compute::container::{self, RESERVED};
use crate::compute::hints::{self, Hints};
use crate::compute::read::text;
use crate::compute::{tags, update};
use crate::edge::body;
use crate::edge::query::truth;
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Instances that one request may ask for.
const MAX_COUNT: u32 = 1000;

/// What a create asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// Name.
    pub name: String,
    /// The image, by id, name or reference.
    pub image: String,
    /// The flavor's id.
    pub flavor: String,
    /// The container's own wishes.
    pub container: ContainerSpec,
    /// Metadata, without what is reserved.
    pub metadata: BTreeMap<String, String>,
    /// Availability zone.
    pub zone: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// How many instances.
    pub count: u32,
    /// Whether the answer is to be the reservation's id, not the first server.
    pub reservation: bool,
    /// The password to echo.
    pub admin_pass: Option<String>,
    /// What is kept beside that. Its group is still to be looked up.
    pub extra: Extra,
    /// The server group that a scheduler hint names.
    pub group: Option<Uuid>,
    /// Whether a host was named: by the zone, or (2.74) as `host`.
    pub forced: Option<Forced>,
    /// The id of a network that was named.
    pub network: Option<String>,
    /// Security groups that were named, apart from `default`.
    pub security_groups: Vec<String>,
}

/// How a host was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forced {
    /// As `availability_zone: ZONE:HOST`.
    ByZone,
    /// As `host` or `hypervisor_hostname`.
    ByHost,
}

/// How a field is treated.
#[derive(Clone, Copy, PartialEq)]
enum Treat {
    /// It is read.
    Read,
    /// It is taken as long as it asks for nothing, because its value would be lost.
    Empty,
}

/// Every field of Nova's `server`, the microversions that have it, and how it is treated.
const FIELDS: &[(&str, u16, u16, Treat)] = &[
    ("name", 1, 96, Treat::Read),
    ("imageRef", 1, 96, Treat::Read),
    ("flavorRef", 1, 96, Treat::Read),
    ("min_count", 1, 96, Treat::Read),
    ("max_count", 1, 96, Treat::Read),
    ("metadata", 1, 96, Treat::Read),
    ("networks", 1, 96, Treat::Read),
    ("availability_zone", 1, 96, Treat::Read),
    ("block_device_mapping_v2", 1, 96, Treat::Read),
    ("adminPass", 1, 96, Treat::Read),
    ("security_groups", 1, 96, Treat::Read),
    ("OS-DCF:diskConfig", 1, 96, Treat::Read),
    ("description", 19, 96, Treat::Read),
    ("skep", 1, 96, Treat::Read),
    ("accessIPv4", 1, 96, Treat::Read),
    ("accessIPv6", 1, 96, Treat::Read),
    ("block_device_mapping", 1, 96, Treat::Empty),
    ("config_drive", 1, 96, Treat::Empty),
    ("key_name", 1, 96, Treat::Read),
    ("user_data", 1, 96, Treat::Empty),
    ("return_reservation_id", 1, 96, Treat::Read),
    ("personality", 1, 56, Treat::Empty),
    ("tags", 52, 96, Treat::Read),
    ("trusted_image_certificates", 63, 96, Treat::Empty),
    ("host", 74, 96, Treat::Read),
    ("hypervisor_hostname", 74, 96, Treat::Read),
    ("hostname", 90, 96, Treat::Read),
];

/// Reads the body of a create.
pub fn parse(bytes: &[u8], version: Version) -> Result<Create, Refused> {
    let mut whole = body::object(bytes)?;
    let server = whole.remove("server");
    let mut hints = Hints::default();
    for (key, value) in &whole {
        match key.as_str() {
            "OS-SCH-HNT:scheduler_hints" | "os:scheduler_hints" => hints = hints::hints(value)?,
            other => return Err(unexpected(other)),
        }
    }
    let mut server = match server {
        Some(Value::Object(server)) => server,
        Some(other) => return Err(Refused::field("server", &other, "It is not of type 'object'")),
        None => {
            return Err(Refused::bad("Invalid input for field/attribute. 'server' is a required property"));
        }
    };
    check_fields(&server, version)?;
    for required in ["name", "flavorRef"] {
        if !server.contains_key(required) {
            return Err(Refused::bad(format!(
                "Invalid input for field/attribute server. '{required}' is a required property"
            )));
        }
    }
    let name = name(&server["name"])?;
    let image = image(server.get("imageRef"))?;
    check_block_devices(server.get("block_device_mapping_v2"), server.get("imageRef"))?;
    let security_groups = security_groups(server.get("security_groups"))?;
    let disk_auto = disk_config(&server)?.unwrap_or_default();
    let (no_network, network) = network(server.get("networks"), version)?;
    let (metadata, reserved) = metadata(server.get("metadata"))?;
    let container = container::parse(server.remove("skep"), reserved, no_network)?;
    let (zone, zone_host) = zone(server.get("availability_zone"))?;
    let named = [text(&server, "host", (1, 255))?, text(&server, "hypervisor_hostname", (1, 255))?];
    let mut hosts = named.into_iter().flatten().chain(zone_host.clone());
    let host = hosts.next();
    if hosts.any(|other| Some(&other) != host.as_ref()) {
        return Err(Refused::bad("Name one host, not two."));
    }
    let forced = match (&host, zone_host) {
        (None, _) => None,
        (Some(_), Some(_)) => Some(Forced::ByZone),
        (Some(_), None) => Some(Forced::ByHost),
    };
    let extra = Extra {
        tags: server.get("tags").map_or(Ok(Default::default()), tags::tags)?,
        key_name: text(&server, "key_name", (1, 255))?,
        hostname: update::hostname(&server, version)?,
        access_ipv4: update::access_ipv4(&server)?.unwrap_or_default(),
        access_ipv6: update::access_ipv6(&server)?.unwrap_or_default(),
        host,
        disk_auto,
        same_host: hints.same_host,
        different_host: hints.different_host,
        ..Extra::default()
    };
    Ok(Create {
        extra,
        group: hints.group,
        forced,
        network,
        security_groups,
        name,
        image,
        flavor: flavor(&server["flavorRef"])?,
        container,
        metadata,
        zone,
        description: optional_text(&server, "description", 255)?,
        count: count(&server)?,
        reservation: truth_of(&server, "return_reservation_id")?,
        admin_pass: optional_text(&server, "adminPass", 255)?,
    })
}

fn check_fields(server: &Map<String, Value>, version: Version) -> Result<(), Refused> {
    for (key, value) in server {
        let row = FIELDS
            .iter()
            .find(|(name, since, until, _)| name == key && (*since..=*until).contains(&version.0));
        match row {
            None => return Err(unexpected(key)),
            Some((.., Treat::Empty)) if !asks_nothing(value) => return Err(lost(key)),
            Some(_) => {}
        }
    }
    Ok(())
}

/// Whether a value asks for nothing: null, false, or empty.
pub(crate) fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || truth(text) == Some(false),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn unexpected(key: &str) -> Refused {
    Refused::bad(format!("Additional properties are not allowed ('{key}' was unexpected)"))
}

pub(crate) fn lost(key: &str) -> Refused {
    Refused::bad(format!("'{key}' is not supported: its value would be lost. Leave it out."))
}

fn name(value: &Value) -> Result<String, Refused> {
    let refuse = |why: String| Err(Refused::field("name", value, why));
    let Value::String(name) = value else { return refuse(format!("{value} is not of type 'string'")) };
    if name.is_empty() {
        return refuse("'' is too short".into());
    }
    if name.chars().count() > 255 {
        return refuse(format!("'{}…' is too long", name.chars().take(32).collect::<String>()));
    }
    if name.chars().any(char::is_control) || name.trim() != name {
        return refuse(format!("'{name}' has control characters, or begins or ends with blanks"));
    }
    Ok(name.clone())
}

pub(crate) fn image(value: Option<&Value>) -> Result<String, Refused> {
    match value {
        Some(Value::String(text)) if !text.is_empty() && text.len() <= ImageRef::MAX => Ok(text.clone()),
        None | Some(Value::Null | Value::String(_)) => Err(Refused::bad(
            "Invalid imageRef provided: give an image's id, its name, or a reference, for example busybox:1.36.",
        )),
        Some(other) => Err(Refused::field("imageRef", other, format!("{other} is not of type 'string'"))),
    }
}

fn flavor(value: &Value) -> Result<String, Refused> {
    match value {
        Value::String(id) if !id.is_empty() && id.len() <= 255 => Ok(id.clone()),
        Value::Number(id) if id.is_u64() => Ok(id.to_string()),
        other => Err(Refused::field("flavorRef", other, "Give a flavor's id")),
    }
}

/// Whether there is to be no network, and the id of the one that is named: `auto`, `none` or a list, mandatory from
/// 2.37 on. The only network is the project's own, so a list is empty or names that.
fn network(value: Option<&Value>, version: Version) -> Result<(bool, Option<String>), Refused> {
    match value {
        None if version >= Version(37) => {
            Err(Refused::bad("Invalid input for field/attribute server. 'networks' is a required property"))
        }
        None => Ok((false, None)),
        Some(Value::String(word)) if version >= Version(37) && word == "none" => Ok((true, None)),
        Some(Value::String(word)) if version >= Version(37) && word == "auto" => Ok((false, None)),
        Some(Value::Array(list)) => match list.as_slice() {
            [] => Ok((false, None)),
            [Value::Object(one)] if one.iter().all(|(key, value)| key == "uuid" || asks_nothing(value)) => {
                match one.get("uuid").and_then(Value::as_str) {
                    Some(id) => Ok((false, Some(id.to_owned()))),
                    None => Err(no_such_network("(without uuid)")),
                }
            }
            [first, ..] => {
                let named = ["uuid", "port"].iter().find_map(|key| first.get(key)?.as_str());
                Err(no_such_network(named.unwrap_or("(without uuid)")))
            }
        },
        Some(other) if version >= Version(37) => {
            Err(Refused::field("networks", other, "It is none of 'auto', 'none' and a list"))
        }
        Some(other) => Err(Refused::field(
            "networks",
            other,
            "It is no list; 'auto' and 'none' are known from microversion 2.37 on",
        )),
    }
}

/// Refuses a network that is not the one of the caller's project.
pub fn no_such_network(named: &str) -> Refused {
    Refused::bad(format!(
        "Network {named} could not be found, or not in the way asked for. Each project has one network of its own: use its id, 'auto' or 'none' for networks."
    ))
}

type Pairs = BTreeMap<String, String>;

/// The user's metadata, and apart from it what is reserved for us.
fn metadata(value: Option<&Value>) -> Result<(Pairs, Pairs), Refused> {
    let (mut kept, mut reserved) = (Pairs::new(), Pairs::new());
    let members = match value {
        None => return Ok((kept, reserved)),
        Some(Value::Object(members)) => members,
        Some(other) => return Err(Refused::field("metadata", other, "It is not of type 'object'")),
    };
    for (key, value) in members {
        let path = || format!("metadata/{key}");
        let Value::String(text) = value else {
            return Err(Refused::field(&path(), value, format!("{value} is not of type 'string'")));
        };
        if key.starts_with(RESERVED) {
            reserved.insert(key.clone(), text.clone());
            continue;
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || "-_:. ".contains(c);
        if key.is_empty() || key.len() > 255 || !key.chars().all(legal) {
            return Err(Refused::field(
                "metadata",
                &Value::String(key.clone()),
                "A key does not match '^[a-zA-Z0-9-_:. ]{1,255}$'",
            ));
        }
        if text.chars().count() > 255 {
            return Err(Refused::field(&path(), value, "It is too long: at most 255 characters"));
        }
        kept.insert(key.clone(), text.clone());
    }
    Ok((kept, reserved))
}

/// The zone, and the host that is named behind a ':'.
fn zone(value: Option<&Value>) -> Result<(Option<String>, Option<String>), Refused> {
    let refuse = |other| Err(Refused::field("availability_zone", other, "Give a zone's name, or ZONE:HOST"));
    match value {
        None | Some(Value::Null) => Ok((None, None)),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= 255 => match text.split_once(':') {
            None => Ok((Some(text.clone()), None)),
            // A third part is Nova's node; a host has one.
            Some((zone, host)) => match host.split(':').collect::<Vec<_>>().as_slice() {
                [host] | [host, ""] if !host.is_empty() => {
                    let zone = Some(zone.to_owned()).filter(|zone| !zone.is_empty());
                    Ok((zone, Some((*host).to_owned())))
                }
                _ => refuse(&Value::String(text.clone())),
            },
        },
        Some(other) => refuse(other),
    }
}

fn optional_text(server: &Map<String, Value>, key: &str, max: usize) -> Result<Option<String>, Refused> {
    match server.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.chars().count() <= max => Ok(Some(text.clone())),
        // The value is not repeated: it may be a password.
        Some(_) => Err(Refused::bad(format!(
            "Invalid input for field/attribute {key}. It is not a text of at most {max} characters"
        ))),
    }
}

/// `max_count` if given, else `min_count`, else one.
fn count(server: &Map<String, Value>) -> Result<u32, Refused> {
    let read = |key: &str| -> Result<Option<u32>, Refused> {
        let Some(value) = server.get(key) else { return Ok(None) };
        let number = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| (1..=u64::from(MAX_COUNT)).contains(number));
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Refused::field(key, value, format!("It is not a number from 1 to {MAX_COUNT}"))),
        }
    };
    let (min, max) = (read("min_count")?, read("max_count")?);
    let least = min.unwrap_or(1);
    let most = max.unwrap_or(least);
    if least > most {
        return Err(Refused::bad("min_count must be <= max_count"));
    }
    Ok(most)
}

/// Clients restate the image as a block device; anything else would be a volume.
fn check_block_devices(value: Option<&Value>, image: Option<&Value>) -> Result<(), Refused> {
    let devices = match value {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(devices)) => devices,
        Some(other) => {
            return Err(Refused::field("block_device_mapping_v2", other, "It is not of type 'array'"));
        }
    };
    let restates = |device: &Value| {
        let Value::Object(members) = device else { return false };
        members.iter().all(|(key, value)| match key.as_str() {
            "uuid" => Some(value) == image,
            "boot_index" => value == 0 || value == "0",
            "source_type" => value == "image",
            "destination_type" => value == "local",
            "delete_on_termination" => true,
            _ => value.is_null(),
        }) && members.contains_key("uuid")
    };
    if devices.len() > 1 || !devices.iter().all(restates) {
        return Err(Refused::bad(
            "Block Device Mapping is Invalid: volumes are not supported; the only mapping taken is the one of the image itself.",
        ));
    }
    Ok(())
}

/// The security groups that are named, apart from `default`.
fn security_groups(value: Option<&Value>) -> Result<Vec<String>, Refused> {
    let groups = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(groups)) => groups,
        Some(other) => return Err(Refused::field("security_groups", other, "It is not of type 'array'")),
    };
    let name = |group: &Value| match group.get("name").and_then(Value::as_str) {
        Some(name) => Ok(name.to_owned()),
        None => Err(no_such_group("(without name)")),
    };
    let names: Result<Vec<String>, Refused> = groups.iter().map(name).collect();
    Ok(names?.into_iter().filter(|name| name != "default").collect())
}

/// Refuses a security group that is not the one there is.
pub fn no_such_group(named: &str) -> Refused {
    Refused::bad(format!("Security group {named} not found: the only one is 'default'."))
}

/// `OS-DCF:diskConfig`: whether it is `AUTO`. A container has no partitions, so it is kept and shown, and nothing else.
pub(crate) fn disk_config(server: &Map<String, Value>) -> Result<Option<bool>, Refused> {
    match server.get("OS-DCF:diskConfig").map(|value| value.as_str()) {
        None => Ok(None),
        Some(Some("MANUAL")) => Ok(Some(false)),
        Some(Some("AUTO")) => Ok(Some(true)),
        Some(_) => Err(Refused::bad(
            "Invalid input for field/attribute OS-DCF:diskConfig. It is not one of ['AUTO', 'MANUAL']",
        )),
    }
}

/// A truth, also as text, as Nova takes them in bodies; false if it is absent.
fn truth_of(server: &Map<String, Value>, key: &str) -> Result<bool, Refused> {
    let refuse = |value| Refused::field(key, value, format!("{value} is not of type 'boolean'"));
    match server.get(key) {
        None => Ok(false),
        Some(Value::Bool(said)) => Ok(*said),
        Some(value @ Value::String(text)) => truth(text).ok_or_else(|| refuse(value)),
        Some(value) => Err(refuse(value)),
    }
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
