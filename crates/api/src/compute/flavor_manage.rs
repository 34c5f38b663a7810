//! Flavors: making, describing and removing them, their extra specs, and who may use them.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use model::Flavor;
use serde_json::{Map, Value, json};
use verbs::Offer;

use crate::compute::{flavors, read};
use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// `POST /flavors`.
pub async fn create(call: Call) -> Answered {
    let offer = parse(&call)?;
    call.verbs()?.create_flavor(offer.clone()).await?;
    Ok(flavors::shown(&call, &offer))
}

fn parse(call: &Call) -> Result<Offer, Refused> {
    let asked = read::only(&call.body, "flavor")?;
    let mut names = vec![
        "name",
        "id",
        "ram",
        "vcpus",
        "disk",
        "swap",
        "rxtx_factor",
        "OS-FLV-EXT-DATA:ephemeral",
        "os-flavor-access:is_public",
    ];
    if call.version >= Version(55) {
        names.push("description");
    }
    read::known(&asked, &names)?;
    let number = |name: &str, least: i64| -> Result<Option<i64>, Refused> {
        asked.get(name).map(|value| read::number(name, value, (least, read::LARGEST))).transpose()
    };
    let must = |name: &str, least: i64| number(name, least)?.ok_or_else(|| read::required(name));
    let vcpus = must("vcpus", 1)?;
    let flavor = Flavor {
        id: id(call, asked.get("id"))?,
        name: read::name(&asked, "name")?.ok_or_else(|| read::required("name"))?,
        vcpus,
        memory_mib: must("ram", 1)?,
        disk_gib: must("disk", 0)?,
        pids: (256 * vcpus).clamp(256, 32_768),
    };
    Ok(Offer {
        flavor,
        public: read::truth(&asked, "os-flavor-access:is_public")?.unwrap_or(true),
        description: read::text(&asked, "description", (0, 65_535))?,
        swap_mib: number("swap", 0)?.unwrap_or(0),
        ephemeral_gib: number("OS-FLV-EXT-DATA:ephemeral", 0)?.unwrap_or(0),
        rxtx_milli: rxtx(asked.get("rxtx_factor"))?,
        extra_specs: BTreeMap::new(),
    })
}

fn id(call: &Call, value: Option<&Value>) -> Result<String, Refused> {
    let id = match value {
        None | Some(Value::Null) => return Ok(call.shared.env.uuid().to_string()),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) if text == "auto" => return Ok(call.shared.env.uuid().to_string()),
        Some(Value::String(text)) => text.clone(),
        Some(other) => return Err(Refused::field("id", other, "It is not of type 'string'")),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || ". _-".contains(c);
    if id.is_empty() || id.len() > 255 || id.trim() != id || !id.chars().all(legal) {
        return Err(Refused::field("id", &Value::String(id), "It does not match '^[a-zA-Z0-9. _-]{1,255}$'"));
    }
    Ok(id)
}

/// A factor in thousandths.
fn rxtx(value: Option<&Value>) -> Result<i64, Refused> {
    let Some(value) = value else { return Ok(1_000) };
    let factor = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match factor {
        Some(factor) if factor > 0.0 && factor < 1e9 => Ok((factor * 1_000.0).round() as i64),
        _ => Err(Refused::field("rxtx_factor", value, "It is not a positive number")),
    }
}

/// `PUT /flavors/{id}`: its description, from 2.55 on.
pub async fn update(call: Call) -> Answered {
    call.since(55)?;
    let asked = read::only(&call.body, "flavor")?;
    read::known(&asked, &["description"])?;
    if !asked.contains_key("description") {
        return Err(read::required("description"));
    }
    let description = read::text(&asked, "description", (0, 65_535))?;
    let offer = call.verbs()?.describe_flavor(call.capture("id"), description).await?;
    Ok(flavors::shown(&call, &offer))
}

/// `DELETE /flavors/{id}`.
pub async fn delete(call: Call) -> Answered {
    call.verbs()?.delete_flavor(call.capture("id")).await?;
    Ok(empty(StatusCode::ACCEPTED))
}

/// `GET /flavors/{id}/os-extra_specs`.
pub async fn specs(call: Call) -> Answered {
    let offer = call.verbs()?.flavor(&call.caller, call.capture("id")).await?;
    Ok(answer(StatusCode::OK, |body| body.put("extra_specs", &offer.extra_specs)))
}

/// `GET /flavors/{id}/os-extra_specs/{key}`.
pub async fn spec(call: Call) -> Answered {
    let offer = call.verbs()?.flavor(&call.caller, call.capture("id")).await?;
    let key = call.capture("key");
    let value = offer.extra_specs.get(key).ok_or_else(|| no_spec(&call))?;
    Ok(one(key, value))
}

fn no_spec(call: &Call) -> Refused {
    let (id, key) = (call.capture("id"), call.capture("key"));
    Refused::not_found(format!("Flavor {id} has no extra specs with key {key}."))
}

fn one(key: &str, value: &str) -> Response {
    crate::edge::json::value(StatusCode::OK, &json!({ key: value }))
}

/// `POST /flavors/{id}/os-extra_specs`.
pub async fn put_specs(call: Call) -> Answered {
    let wanted = wanted(&read::only(&call.body, "extra_specs")?)?;
    call.verbs()?.change_extra_specs(call.capture("id"), wanted.clone(), None).await?;
    Ok(answer(StatusCode::OK, |body| body.put("extra_specs", &wanted)))
}

/// `PUT /flavors/{id}/os-extra_specs/{key}`.
pub async fn put_spec(call: Call) -> Answered {
    let wanted = wanted(&body::object(&call.body)?)?;
    let key = call.capture("key");
    let (Some(value), 1) = (wanted.get(key).cloned(), wanted.len()) else {
        return Err(Refused::bad("Request body and URI mismatch"));
    };
    call.verbs()?.change_extra_specs(call.capture("id"), wanted, None).await?;
    Ok(one(key, &value))
}

/// `DELETE /flavors/{id}/os-extra_specs/{key}`.
pub async fn delete_spec(call: Call) -> Answered {
    let (id, key) = (call.capture("id"), call.capture("key"));
    if !call.verbs()?.flavor(&call.caller, id).await?.extra_specs.contains_key(key) {
        return Err(no_spec(&call));
    }
    call.verbs()?.change_extra_specs(id, BTreeMap::new(), Some(key.to_owned())).await?;
    Ok(empty(StatusCode::OK))
}

/// Extra specs: values may be numbers, too.
fn wanted(object: &Map<String, Value>) -> Result<BTreeMap<String, String>, Refused> {
    let mut texts = object.clone();
    for value in texts.values_mut() {
        if let Value::Number(number) = value {
            *value = Value::String(number.to_string());
        }
    }
    if texts.is_empty() {
        return Err(Refused::bad("Invalid input for field/attribute extra_specs. {} has no properties"));
    }
    read::pairs("extra_specs", &texts)
}

/// `GET /flavors/{id}/os-flavor-access`.
pub async fn access(call: Call) -> Answered {
    let id = call.capture("id");
    let projects = call.verbs()?.flavor_access(id).await?;
    Ok(who(id, &projects))
}

fn who(id: &str, projects: &[String]) -> Response {
    answer(StatusCode::OK, |body| {
        body.array("flavor_access", projects, |object, project| {
            object.put("flavor_id", id);
            object.put("tenant_id", project);
        });
    })
}

/// `POST /flavors/{id}/action`: lets a project use the flavor, or takes that back.
pub async fn act(call: Call) -> Answered {
    let asked = body::object(&call.body)?;
    let mut members = asked.iter();
    let (Some((action, value)), None) = (members.next(), members.next()) else {
        return Err(Refused::bad("Malformed request body: give exactly one action"));
    };
    let (rule, allow) = match action.as_str() {
        "addTenantAccess" => ("os_compute_api:os-flavor-access:add_tenant_access", true),
        "removeTenantAccess" => ("os_compute_api:os-flavor-access:remove_tenant_access", false),
        other => return Err(Refused::bad(format!("There is no such action: {other}"))),
    };
    call.allow(rule).await?;
    let Value::Object(members) = value else {
        return Err(Refused::field(action, value, "It is not of type 'object'"));
    };
    read::known(members, &["tenant"])?;
    let project = read::text(members, "tenant", (1, 255))?.ok_or_else(|| read::required("tenant"))?;
    let id = call.capture("id");
    let projects = call.verbs()?.change_flavor_access(id, &project, allow).await?;
    Ok(who(id, &projects))
}
