//! Glance's schemas, as far as clients read them.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::edge::call::{Answered, Call};
use crate::edge::json::value;
use crate::edge::refused::Refused;

/// `GET /v2/schemas/{name}`.
pub async fn show(call: Call) -> Answered {
    let schema = match call.capture("name") {
        "image" => image(),
        "images" => list("images", "image", &image()),
        "member" => member(),
        "members" => list("members", "member", &member()),
        other => return Err(Refused::not_found(format!("There is no schema {other}."))),
    };
    Ok(value(StatusCode::OK, &schema))
}

fn image() -> Value {
    let text = || json!({"type": ["null", "string"], "maxLength": 255});
    let read_only = |kind: &str| json!({"type": ["null", kind], "readOnly": true});
    json!({
        "name": "image",
        "properties": {
            "id": {"type": "string"},
            "name": text(),
            "status": {"type": "string", "readOnly": true, "enum": ["queued", "active", "deactivated"]},
            "visibility": {"type": "string", "enum": ["public", "community", "private"]},
            "protected": {"type": "boolean"},
            "os_hidden": {"type": "boolean"},
            "container_format": text(),
            "disk_format": text(),
            "min_disk": {"type": "integer"},
            "min_ram": {"type": "integer"},
            "owner": text(),
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 255}},
            "oci_reference": {"type": "string", "maxLength": 512,
                "description": "What engines are asked for, as [registry/]name[:tag][@digest]"},
            "size": read_only("integer"),
            "virtual_size": read_only("integer"),
            "checksum": read_only("string"),
            "os_hash_algo": read_only("string"),
            "os_hash_value": read_only("string"),
            "created_at": read_only("string"),
            "updated_at": read_only("string"),
            "self": read_only("string"),
            "file": read_only("string"),
            "schema": read_only("string"),
        },
        "additionalProperties": {"type": "string"},
        "links": [{"rel": "self", "href": "{self}"}, {"rel": "describedby", "href": "{schema}"}],
    })
}

fn member() -> Value {
    let text = || json!({"type": "string"});
    json!({
        "name": "member",
        "properties": {"member_id": text(), "image_id": text(), "status": text(), "schema": text()},
    })
}

fn list(name: &'static str, item: &'static str, schema: &Value) -> Value {
    json!({
        "name": name,
        "properties": {
            name: {"type": "array", "items": schema},
            "first": {"type": "string"}, "next": {"type": "string"}, "schema": {"type": "string"},
        },
        "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"},
                  {"rel": "describedby", "href": format!("{{schema}}#{item}")}],
    })
}
