//! What can be said of an image, one attribute or property at a time.

use model::{Fault, FaultKind};
use serde_json::Value;
use verbs::{Image, Visibility};

use super::MOST;
use super::view::REFERENCE;
use crate::edge::call::Call;
use crate::edge::query;

/// Glance's words (`glance/common/config.py`).
const CONTAINERS: &[&str] = &["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"];
const DISKS: &[&str] =
    &["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "ploop", "iso", "gpt"];
/// What is shown, and nobody sets.
const READ_ONLY: &[&str] = &[
    "id",
    "status",
    "created_at",
    "updated_at",
    "size",
    "virtual_size",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "self",
    "file",
    "schema",
    "direct_url",
    "locations",
    "stores",
];
/// What is there always.
const BASE: &[&str] = &[
    "name",
    "visibility",
    "protected",
    "os_hidden",
    "container_format",
    "disk_format",
    "min_disk",
    "min_ram",
    "tags",
    "owner",
];

/// What a caller may do with images beside changing them.
#[derive(Clone, Copy, Debug)]
pub struct Powers {
    /// To make them public.
    pub publicize: bool,
    /// To let everybody use them who knows them.
    pub communitize: bool,
    /// To give them away.
    pub admin: bool,
}

impl Powers {
    /// By the policy.
    pub fn of(call: &Call) -> Self {
        Self {
            publicize: call.may("publicize_image"),
            communitize: call.may("communitize_image"),
            admin: call.caller.is_admin(),
        }
    }
}

fn forbidden(why: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Forbidden, why)
}

fn wrong(name: &str, value: &Value, why: &str) -> Fault {
    let mut shown: String = value.to_string().chars().take(100).collect();
    if shown.is_empty() {
        shown = "nothing".to_owned();
    }
    Fault::invalid(format!("Provided object does not match schema 'image': {name}: {shown} {why}"))
}

/// Whether a name is an attribute of every image, and no property.
pub fn is_attribute(name: &str) -> bool {
    READ_ONLY.contains(&name) || BASE.contains(&name) || name == REFERENCE
}

/// Sets an attribute or a property.
///
/// # Errors
/// It cannot have that value, or is not the caller's to set.
pub fn set(image: &mut Image, name: &str, value: &Value, powers: Powers) -> Result<(), Fault> {
    let text = || match value {
        Value::String(text) if text.chars().count() <= 255 => Ok(text.clone()),
        Value::String(_) => Err(wrong(name, value, "is too long: at most 255 characters")),
        _ => Err(wrong(name, value, "is not of type 'string'")),
    };
    match name {
        _ if READ_ONLY.contains(&name) => return Err(forbidden(format!("Attribute '{name}' is read-only."))),
        "name" if value.is_null() => image.name = None,
        "name" => image.name = Some(text()?),
        "visibility" => {
            let visibility = match text()?.as_str() {
                "shared" => {
                    let why = "is not supported: images have no members. Use public, community or private";
                    return Err(wrong(name, value, why));
                }
                word => Visibility::parse(word)
                    .ok_or_else(|| wrong(name, value, "is not one of public, community, private"))?,
            };
            let rule = match visibility {
                Visibility::Public if !powers.publicize => Some("publicize_image"),
                Visibility::Community if !powers.communitize => Some("communitize_image"),
                _ => None,
            };
            if let (Some(rule), true) = (rule, visibility != image.visibility) {
                return Err(forbidden(format!("Policy doesn't allow {rule} to be performed.")));
            }
            image.visibility = visibility;
        }
        "protected" => image.protected = truth(name, value)?,
        "os_hidden" => image.hidden = truth(name, value)?,
        "container_format" => image.container_format = format(name, value, CONTAINERS)?,
        "disk_format" => image.disk_format = format(name, value, DISKS)?,
        "min_disk" => image.min_disk_gib = number(name, value)?,
        "min_ram" => image.min_ram_mib = number(name, value)?,
        "tags" => {
            let Value::Array(tags) = value else { return Err(wrong(name, value, "is not of type 'array'")) };
            let text = |value: &Value| match value {
                Value::String(text) => tag(text),
                _ => Err(wrong(name, value, "is not of type 'string'")),
            };
            image.tags = tags.iter().map(text).collect::<Result<_, _>>()?;
        }
        "owner" => {
            let owner = text()?;
            if owner.is_empty() || (owner != image.owner && !powers.admin) {
                let why = format!("You are not permitted to create or change images owned by '{owner}'.");
                return Err(forbidden(why));
            }
            image.owner = owner;
        }
        REFERENCE => match &image.reference {
            None => {
                let Value::String(text) = value else {
                    return Err(wrong(name, value, "is not of type 'string'"));
                };
                image.reference = Some(text.parse()?);
            }
            Some(reference) if Some(reference.as_str()) == value.as_str() => {}
            Some(_) => return Err(of_active_image()),
        },
        _ if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) => {
            return Err(Fault::invalid("A property's name has 1 to 255 printable characters."));
        }
        _ => {
            let Value::String(text) = value else {
                return Err(wrong(name, value, "is not of type 'string'"));
            };
            if text.len() > 4_096 {
                return Err(wrong(name, value, "is too long: at most 4096 bytes"));
            }
            image.properties.insert(name.to_owned(), text.clone());
        }
    }
    Ok(())
}

/// Removes a property.
///
/// # Errors
/// It is an attribute, which can only be changed.
pub fn unset(image: &mut Image, name: &str) -> Result<(), Fault> {
    match name {
        REFERENCE => Err(of_active_image()),
        _ if READ_ONLY.contains(&name) => Err(forbidden(format!("Attribute '{name}' is read-only."))),
        _ if BASE.contains(&name) => Err(forbidden(format!("Property {name} may not be removed."))),
        _ => {
            image.properties.remove(name);
            Ok(())
        }
    }
}

fn of_active_image() -> Fault {
    forbidden("What an active image stands for does not change: make another image.")
}

/// A tag.
pub fn tag(text: &str) -> Result<String, Fault> {
    match text.chars().count() {
        1..=255 => Ok(text.to_owned()),
        _ => Err(Fault::invalid("A tag has 1 to 255 characters.")),
    }
}

/// Refuses an image with more than there may be of anything.
pub fn check(image: &Image) -> Result<(), Fault> {
    if image.tags.len() > MOST {
        return Err(Fault::new(FaultKind::OverQuota, format!("An image has at most {MOST} tags.")));
    }
    if image.properties.len() > MOST {
        return Err(Fault::new(FaultKind::OverQuota, format!("An image has at most {MOST} properties.")));
    }
    Ok(())
}

fn truth(name: &str, value: &Value) -> Result<bool, Fault> {
    let truth = match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(word) => query::truth(word),
        _ => None,
    };
    truth.ok_or_else(|| wrong(name, value, "is not of type 'boolean'"))
}

fn number(name: &str, value: &Value) -> Result<i64, Fault> {
    let number = match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let range = 0..=0x7fff_ffff;
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| wrong(name, value, "is not an integer between 0 and 2147483647"))
}

fn format(name: &str, value: &Value, words: &[&str]) -> Result<Option<String>, Fault> {
    match value {
        Value::Null => Ok(None),
        Value::String(word) if words.contains(&word.as_str()) => Ok(Some(word.clone())),
        _ => Err(wrong(name, value, &format!("is not one of {}", words.join(", ")))),
    }
}
