//! Changing servers: `PUT /servers/{id}` and the body of a rebuild.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use axum::http::StatusCode;
use serde_json::{Map, Value};
use verbs::{Amendment, Rebuild};

use crate::compute::{create, fields, metadata, read, servers};
use crate::edge::call::{Answered, Call};
use crate::edge::json::answer;
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// `PUT /servers/{id}`.
pub async fn update(call: Call) -> Answered {
    let asked = read::only(&call.body, "server")?;
    let mut names = vec!["name", "accessIPv4", "accessIPv6", "OS-DCF:diskConfig"];
    if call.version >= Version(19) {
        names.push("description");
    }
    if call.version >= Version(90) {
        names.push("hostname");
    }
    read::known(&asked, &names)?;
    let amendment = Amendment::Describe {
        name: read::name(&asked, "name")?,
        description: description(&asked)?,
        hostname: hostname(&asked, call.version)?,
        access_ipv4: access_ipv4(&asked)?,
        access_ipv6: access_ipv6(&asked)?,
        disk_auto: create::disk_config(&asked)?,
    };
    let id = call.instance()?;
    let instance = call.verbs()?.amend(&call.caller, &call.context, id, amendment).await?;
    let look = servers::look(&call, true);
    Ok(answer(StatusCode::OK, |body| {
        body.object("server", |object| fields::put_changed(object, &instance, &look));
    }))
}

fn description(asked: &Map<String, Value>) -> Result<Option<Option<String>>, Refused> {
    asked.contains_key("description").then(|| read::text(asked, "description", (0, 255))).transpose()
}

/// A host name (RFC 1123): letters, digits and '-', at most 63 characters; from 2.94 on a whole domain name, with
/// '.' and at most 255.
pub fn hostname(asked: &Map<String, Value>, version: Version) -> Result<Option<String>, Refused> {
    let Some(hostname) = read::text(asked, "hostname", (1, 255))? else { return Ok(None) };
    let (dots, most) = if version >= Version(94) { (true, 255) } else { (false, 63) };
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || (dots && c == '.');
    let ends = hostname.starts_with(['-', '.']) || hostname.ends_with(['-', '.']);
    if ends || hostname.len() > most || !hostname.chars().all(legal) {
        let dots = if dots { " and '.'" } else { "" };
        let why = format!("It is not a host name: letters, digits, '-'{dots}, at most {most} characters");
        return Err(Refused::field("hostname", &Value::String(hostname), &why));
    }
    Ok(Some(hostname))
}

/// `accessIPv4`; an empty text takes it away.
pub fn access_ipv4(asked: &Map<String, Value>) -> Result<Option<String>, Refused> {
    address::<Ipv4Addr>(asked, "accessIPv4", "ipv4")
}

/// `accessIPv6`, in the form of RFC 5952; an empty text takes it away.
pub fn access_ipv6(asked: &Map<String, Value>) -> Result<Option<String>, Refused> {
    address::<Ipv6Addr>(asked, "accessIPv6", "ipv6")
}

fn address<A: FromStr + ToString>(
    asked: &Map<String, Value>,
    field: &str,
    format: &str,
) -> Result<Option<String>, Refused> {
    let Some(text) = read::text(asked, field, (0, 64))? else { return Ok(None) };
    match text.parse::<A>() {
        _ if text.is_empty() => Ok(Some(text)),
        Ok(address) => Ok(Some(address.to_string())),
        Err(_) => Err(Refused::field(field, &Value::String(text), format!("It is not an '{format}'"))),
    }
}

/// The body of a rebuild, and the password to echo.
pub async fn rebuild(call: &Call, value: &Value) -> Result<(Rebuild, Option<String>), Refused> {
    let Value::Object(asked) = value else {
        return Err(Refused::field("rebuild", value, "It is not of type 'object'"));
    };
    let mut names = vec![
        "imageRef",
        "name",
        "metadata",
        "adminPass",
        "accessIPv4",
        "accessIPv6",
        "OS-DCF:diskConfig",
        "preserve_ephemeral",
    ];
    let more = [
        ("description", 19),
        ("key_name", 54),
        ("user_data", 57),
        ("trusted_image_certificates", 63),
        ("hostname", 90),
    ];
    names.extend(more.iter().filter(|(_, since)| call.version >= Version(*since)).map(|(name, _)| *name));
    read::known(asked, &names)?;
    for lost in ["user_data", "trusted_image_certificates", "hostname", "preserve_ephemeral"] {
        if asked.get(lost).is_some_and(|value| !create::asks_nothing(value)) {
            return Err(create::lost(lost));
        }
    }
    let image = create::image(asked.get("imageRef"))?;
    let image = call.verbs()?.bootable(&call.caller, &image).await?;
    let metadata = match asked.get("metadata") {
        None => None,
        Some(Value::Object(items)) => Some(metadata::items(items)?),
        Some(other) => return Err(Refused::field("metadata", other, "It is not of type 'object'")),
    };
    let wish = Rebuild {
        image,
        name: read::name(asked, "name")?,
        metadata,
        description: description(asked)?,
        access_ipv4: access_ipv4(asked)?,
        access_ipv6: access_ipv6(asked)?,
        disk_auto: create::disk_config(asked)?,
        key_name: key_name(call, asked).await?,
    };
    Ok((wish, read::text(asked, "adminPass", (0, 255))?))
}

/// `key_name`; null takes it away.
async fn key_name(call: &Call, asked: &Map<String, Value>) -> Result<Option<Option<String>>, Refused> {
    if !asked.contains_key("key_name") {
        return Ok(None);
    }
    let name = read::text(asked, "key_name", (1, 255))?;
    if let Some(name) = &name {
        servers::check_key(call, name).await?;
    }
    Ok(Some(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("object").clone()
    }

    #[test]
    fn addresses_and_host_names() {
        let six = |text: &str| access_ipv6(&object(json!({"accessIPv6": text}))).map_err(|_| ());
        assert_eq!(six("0:0:0:0:0:babe:220.12.22.2"), Ok(Some("::babe:dc0c:1602".into())));
        assert_eq!((six(""), six("1.2.3.4")), (Ok(Some(String::new())), Err(())));
        let four = |text: &str| access_ipv4(&object(json!({"accessIPv4": text}))).map_err(|_| ());
        assert_eq!((four("192.0.2.1"), four("::1")), (Ok(Some("192.0.2.1".into())), Err(())));
        let host = |version: u16, text: &str| {
            hostname(&object(json!({"hostname": text})), Version(version)).map_err(|_| ())
        };
        assert_eq!(host(90, "web-1"), Ok(Some("web-1".into())));
        assert_eq!(host(94, "web-1.example"), Ok(Some("web-1.example".into())));
        assert!(host(94, &"x".repeat(255)).is_ok());
        for (version, bad) in [(94, "-a"), (94, "a_b"), (94, "a b"), (94, ""), (94, &"x".repeat(256))] {
            assert_eq!(host(version, bad), Err(()), "{bad}");
        }
        for bad in ["web-1.example", &"x".repeat(64)] {
            assert_eq!(host(93, bad), Err(()), "{bad}");
        }
    }
}
