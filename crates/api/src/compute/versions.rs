//! Version documents of the compute face (`nova/api/openstack/compute/versions.py`).

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::edge::base::Base;
use crate::edge::call::{Answered, Call};
use crate::edge::json::answer;
use crate::edge::version::Version;

/// `GET /`: both versions, the older one first.
pub async fn list(call: Call) -> Answered {
    let versions = [entry(&call.base, "v2.0"), entry(&call.base, "v2.1")];
    Ok(answer(StatusCode::OK, |object| object.put("versions", &versions)))
}

/// `GET /v2.1/`.
pub async fn current(call: Call) -> Answered {
    Ok(single(&call.base, "v2.1"))
}

/// `GET /v2/`: a document only, for clients that follow every link of the list.
pub async fn legacy(call: Call) -> Answered {
    Ok(single(&call.base, "v2.0"))
}

fn entry(base: &Base, id: &str) -> Value {
    let (path, status, version, minimum, updated) = match id {
        "v2.0" => ("v2", "SUPPORTED", String::new(), String::new(), "2011-01-21T11:33:21Z"),
        _ => ("v2.1", "CURRENT", Version::MAX.to_string(), Version::MIN.to_string(), "2013-07-23T11:33:21Z"),
    };
    json!({
        "id": id,
        "status": status,
        "version": version,
        "min_version": minimum,
        "updated": updated,
        "links": [{"rel": "self", "href": format!("{}{}/{path}/", base.origin, base.mount)}],
    })
}

fn single(base: &Base, id: &str) -> axum::response::Response {
    let mut version = entry(base, id);
    if let Some(links) = version["links"].as_array_mut() {
        links.push(json!({"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"}));
    }
    let media = if id == "v2.0" { "2" } else { "2.1" };
    version["media-types"] = json!([{
        "base": "application/json",
        "type": format!("application/vnd.openstack.compute+json;version={media}"),
    }]);
    answer(StatusCode::OK, |object| object.put("version", &version))
}
