//! The routes of `os-keypairs`.

use axum::http::StatusCode;
use model::hash::fnv64;
use serde_json::{Map, Value};
use verbs::KeyPair;

use crate::compute::{read, ssh};
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer, empty};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Largest page.
const MAX_LIMIT: usize = 1000;

/// Whose key pairs the request is about: the caller's, or for administrators `user_id`'s (2.10).
fn whose(call: &Call, rule: &str, asked: Option<&str>) -> Result<String, Refused> {
    match asked.filter(|user| call.version >= Version(10) && **user != *call.caller.user) {
        None => Ok(call.caller.user.clone()),
        Some(user) if call.caller.is_admin() => Ok(user.to_owned()),
        Some(_) => {
            Err(Refused::new(StatusCode::FORBIDDEN, format!("Policy doesn't allow {rule} to be performed.")))
        }
    }
}

/// `POST /os-keypairs`.
pub async fn create(call: Call) -> Answered {
    let asked = read::only(&call.body, "keypair")?;
    let mut names = vec!["name", "public_key"];
    if call.version >= Version(2) {
        names.push("type");
    }
    if call.version >= Version(10) {
        names.push("user_id");
    }
    read::known(&asked, &names)?;
    let name = name(&asked, call.version)?;
    let kind = match asked.get("type") {
        None => "ssh",
        Some(Value::String(kind)) if kind == "ssh" || kind == "x509" => kind,
        Some(other) => return Err(Refused::field("type", other, "It is not one of ['ssh', 'x509']")),
    };
    let user = read::text(&asked, "user_id", (1, 255))?;
    let user = whose(&call, "os_compute_api:os-keypairs:create", user.as_deref())?;
    let given = read::text(&asked, "public_key", (1, 16_384))?;
    let (public_key, private_key) = match given {
        Some(key) => (key, None),
        None if call.version >= Version(92) => return Err(read::required("public_key")),
        None if kind == "x509" => {
            return Err(Refused::bad("Certificates are not made here: give one as public_key."));
        }
        None => {
            let made = ssh::generate(&call.shared.env, "Generated-by-Nova")
                .ok_or_else(|| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "No key could be made."))?;
            (made.public_key, Some(made.private_key))
        }
    };
    let printed = match kind {
        "x509" => ssh::certificate_fingerprint(&public_key),
        _ => ssh::fingerprint(&public_key),
    };
    // Nova's text (`nova/exception.py`, InvalidKeypair).
    let fingerprint = printed.map_err(|why| Refused::bad(format!("Keypair data is invalid: {why}")))?;
    let created = call.shared.env.now();
    let pair = KeyPair { user, name, kind: kind.to_owned(), public_key, fingerprint, created };
    call.verbs()?.create_keypair(&call.caller, pair.clone()).await?;
    let status = if call.version >= Version(2) { StatusCode::CREATED } else { StatusCode::OK };
    Ok(answer(status, |body| {
        body.object("keypair", |object| {
            brief(object, &pair, call.version);
            object.put("user_id", &pair.user);
            if let Some(private_key) = &private_key {
                object.put("private_key", private_key);
            }
        });
    }))
}

fn name(asked: &Map<String, Value>, version: Version) -> Result<String, Refused> {
    let name = read::name(asked, "name")?.ok_or_else(|| read::required("name"))?;
    let more = if version >= Version(92) { "@._- " } else { "_- " };
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c)) {
        let why = format!("Keypair name contains unsafe characters; letters, digits and '{more}' are taken");
        return Err(Refused::bad(format!("Keypair data is invalid: {why}")));
    }
    Ok(name)
}

/// What lists and answers to a creation show.
fn brief(object: &mut Object<'_>, pair: &KeyPair, version: Version) {
    object.put("name", &pair.name);
    object.put("public_key", &pair.public_key);
    object.put("fingerprint", &pair.fingerprint);
    if version >= Version(2) {
        object.put("type", &pair.kind);
    }
}

/// `GET /os-keypairs`.
pub async fn index(call: Call) -> Answered {
    let user = whose(&call, "os_compute_api:os-keypairs:index", call.params.last("user_id"))?;
    let paged = call.version >= Version(35);
    let limit = match paged {
        true => call.params.number("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT),
        false => MAX_LIMIT,
    };
    let marker = call.params.last("marker").filter(|marker| paged && !marker.is_empty());
    let mut pairs = call.verbs()?.keypairs(&user, marker, limit as i64 + 1).await?;
    let more = pairs.len() > limit;
    pairs.truncate(limit);
    Ok(answer(StatusCode::OK, |body| {
        body.array("keypairs", &pairs, |object, pair| {
            object.object("keypair", |object| brief(object, pair, call.version));
        });
        if let (true, true, Some(last)) = (more, paged, pairs.last()) {
            let query = call.params.with_marker(&last.name);
            body.array("keypairs_links", [()], |link, ()| {
                link.put("rel", "next");
                link.text("href", format_args!("{}/os-keypairs?{query}", call.base.versioned()));
            });
        }
    }))
}

/// `GET /os-keypairs/{name}`.
pub async fn show(call: Call) -> Answered {
    let user = whose(&call, "os_compute_api:os-keypairs:show", call.params.last("user_id"))?;
    let pair = call.verbs()?.keypair(&user, call.capture("name")).await?;
    let nothing: Option<bool> = None;
    Ok(answer(StatusCode::OK, |body| {
        body.object("keypair", |object| {
            brief(object, &pair, call.version);
            object.put("user_id", &pair.user);
            // Nova numbers its rows; ours have no numbers, so one is made of what identifies it.
            let number = fnv64(format!("{}/{}", pair.user, pair.name).as_bytes()) as u32 >> 1;
            object.put("id", &number);
            object.put("created_at", &pair.created.micros_naive());
            object.put("deleted", &false);
            object.put("deleted_at", &nothing);
            object.put("updated_at", &nothing);
        });
    }))
}

/// `DELETE /os-keypairs/{name}`.
pub async fn delete(call: Call) -> Answered {
    let user = whose(&call, "os_compute_api:os-keypairs:delete", call.params.last("user_id"))?;
    call.verbs()?.delete_keypair(&user, call.capture("name")).await?;
    let status = if call.version >= Version(2) { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED };
    Ok(empty(status))
}
