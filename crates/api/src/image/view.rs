//! An image as Glance shows it.

use serde_json::{Map, Value, json};
use verbs::Image;

/// The property that holds the reference.
pub const REFERENCE: &str = "oci_reference";

/// All that is shown of an image; its own properties stand beside the attributes.
pub fn document(image: &Image) -> Map<String, Value> {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    let digest = image.reference.as_ref().and_then(|reference| reference.as_str().split_once("@sha256:"));
    put("id", json!(image.id));
    put("name", json!(image.name));
    put("status", json!(image.status()));
    put("visibility", json!(image.visibility.word()));
    put("protected", json!(image.protected));
    put("container_format", json!(image.container_format));
    put("disk_format", json!(image.disk_format));
    put("min_disk", json!(image.min_disk_gib));
    put("min_ram", json!(image.min_ram_mib));
    put("owner", json!(Some(&image.owner).filter(|owner| !owner.is_empty())));
    put("os_hidden", json!(image.hidden));
    put("size", Value::Null);
    put("virtual_size", Value::Null);
    put("checksum", Value::Null);
    put("os_hash_algo", json!(digest.map(|_| "sha256")));
    put("os_hash_value", json!(digest.map(|(_, hex)| hex)));
    put("tags", json!(image.tags));
    put("self", json!(format!("/v2/images/{}", image.id)));
    put("file", json!(format!("/v2/images/{}/file", image.id)));
    put("schema", json!("/v2/schemas/image"));
    if image.created.0 != 0 {
        put("created_at", json!(image.created.seconds_z()));
        put("updated_at", json!(image.updated.seconds_z()));
    }
    if let Some(reference) = &image.reference {
        put(REFERENCE, json!(reference));
    }
    for (name, value) in &image.properties {
        document.entry(name.clone()).or_insert_with(|| json!(value));
    }
    document
}
