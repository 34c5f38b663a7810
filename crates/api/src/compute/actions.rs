//! `POST /servers/{id}/action`.

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION};
use model::instance::Action;
use serde_json::Value;
use verbs::{Amendment, UNLOCK_ANYONES};

use crate::compute::{create, fields, read, servers, update};
use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// What Nova does and skep does not: 501, so that a client can tell it from a mistyped action.
pub(crate) const NOT_YET: &[&str] = &[
    "addFixedIp",
    "addSecurityGroup",
    "changePassword",
    "createBackup",
    "evacuate",
    "migrate",
    "os-getRDPConsole",
    "os-getSPICEConsole",
    "os-getSerialConsole",
    "os-getVNCConsole",
    "os-migrateLive",
    "removeFixedIp",
    "removeSecurityGroup",
    "rescue",
    "shelveOffload",
    "trigger_crash_dump",
    "unrescue",
    "injectNetworkInfo",
    "resetNetwork",
];

/// An action that was asked for.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Act(Action),
    Delete,
    Console {
        lines: Option<u32>,
    },
    Lock {
        reason: Option<String>,
    },
    Unlock,
    Reset {
        in_error: bool,
    },
    Rebuild(Value),
    Resize {
        flavor: String,
        disk_auto: Option<bool>,
    },
    Decide(Action),
    /// An image is to be made of it, which cannot be yet.
    Image,
    /// One of [`NOT_YET`].
    NotYet(String),
    /// A floating address is given or taken away; there is none.
    Float(String),
    /// Bring back what was deleted softly; nothing is.
    Restore,
}

/// Answers an action.
pub async fn act(call: Call) -> Answered {
    let (asked, rule) = parse(&call.body, call.version)?;
    call.allow(rule).await?;
    let id = call.instance()?;
    let verbs = call.verbs()?;
    match asked {
        Asked::Act(action) => verbs.act_once(&call.caller, &call.context, id, action, call.once).await?,
        Asked::Delete => verbs.delete(&call.caller, &call.context, id).await?,
        Asked::Lock { reason } => {
            verbs.amend(&call.caller, &call.context, id, Amendment::Lock(reason)).await?;
        }
        Asked::Unlock => {
            let anyones = call.allow(UNLOCK_ANYONES).await.is_ok();
            verbs.amend(&call.caller, &call.context, id, Amendment::Unlock { anyones }).await?;
        }
        Asked::Reset { in_error } => {
            verbs.reset_state(&call.caller, &call.context, id, in_error).await?;
        }
        Asked::Rebuild(value) => return rebuild(&call, &value).await,
        Asked::Resize { flavor, disk_auto } => {
            verbs.resize(&call.caller, &call.context, id, (&flavor, disk_auto), call.once).await?;
        }
        Asked::Decide(action) => {
            verbs.decide_resize(&call.caller, &call.context, id, action, call.once).await?;
            if action == Action::ConfirmResize {
                return Ok(empty(StatusCode::NO_CONTENT));
            }
        }
        // A server that is not there is not found, whatever was to be done to it.
        Asked::Image => {
            verbs.show(&call.caller, id).await?;
            return Err(Refused::unsupported("action 'createImage'"));
        }
        Asked::NotYet(action) => {
            verbs.show(&call.caller, id).await?;
            return Err(Refused::unsupported(&format!("action '{action}'")));
        }
        Asked::Float(address) => {
            verbs.show(&call.caller, id).await?;
            return Err(Refused::not_found(format!("Floating IP not found for address {address}.")));
        }
        Asked::Restore => {
            let seen = verbs.show(&call.caller, id).await?;
            return Err(Refused::new(
                StatusCode::CONFLICT,
                format!("Cannot 'restore' instance {}: servers that are deleted are not kept.", seen.id()),
            ));
        }
        Asked::Console { lines } => {
            let mut output = verbs.console(&call.caller, &call.context, id, lines).await?;
            // So many lines as were asked for, also for who counts them by what stands between them.
            if lines.is_some() && output.ends_with('\n') {
                output.pop();
            }
            return Ok(answer(StatusCode::OK, |body| body.put("output", &output)));
        }
    }
    Ok(empty(StatusCode::ACCEPTED))
}

/// Answers with the server as it is then, and a password because clients want one.
async fn rebuild(call: &Call, value: &Value) -> Answered {
    let (wish, password) = update::rebuild(call, value).await?;
    let id = call.instance()?;
    let instance = call.verbs()?.rebuild(&call.caller, &call.context, id, wish, call.once).await?;
    let password = password.unwrap_or_else(|| servers::password(&call.shared.env));
    let look = servers::look(call, true);
    let mut response = answer(StatusCode::ACCEPTED, |body| {
        body.object("server", |object| {
            fields::put_rebuilt(object, &instance, &look);
            object.put("adminPass", &password);
        });
    });
    let location = format!("{}/servers/{id}", call.base.versioned());
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, value);
    }
    Ok(response)
}

fn parse(bytes: &[u8], version: Version) -> Result<(Asked, &'static str), Refused> {
    let body = body::object(bytes)?;
    let mut members = body.iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else {
        return Err(Refused::bad("Malformed request body: give exactly one action"));
    };
    match name.as_str() {
        "os-start" => Ok((Asked::Act(Action::Start), "os_compute_api:servers:start")),
        "os-stop" => Ok((Asked::Act(Action::Stop), "os_compute_api:servers:stop")),
        "reboot" => Ok((Asked::Act(reboot(value)?), "os_compute_api:servers:reboot")),
        "pause" => Ok((Asked::Act(Action::Pause), "os_compute_api:os-pause-server:pause")),
        "unpause" => Ok((Asked::Act(Action::Unpause), "os_compute_api:os-pause-server:unpause")),
        "suspend" => Ok((Asked::Act(Action::Suspend), "os_compute_api:os-suspend-server:suspend")),
        "resume" => Ok((Asked::Act(Action::Resume), "os_compute_api:os-suspend-server:resume")),
        "lock" => Ok((Asked::Lock { reason: reason(value, version)? }, "os_compute_api:os-lock-server:lock")),
        "unlock" => Ok((Asked::Unlock, "os_compute_api:os-lock-server:unlock")),
        "os-resetState" => Ok((reset(value)?, "os_compute_api:os-admin-actions:reset_state")),
        "rebuild" => Ok((Asked::Rebuild(value.clone()), "os_compute_api:servers:rebuild")),
        "resize" => Ok((resize(value)?, "os_compute_api:servers:resize")),
        "confirmResize" => {
            Ok((Asked::Decide(Action::ConfirmResize), "os_compute_api:servers:confirm_resize"))
        }
        "revertResize" => Ok((Asked::Decide(Action::RevertResize), "os_compute_api:servers:revert_resize")),
        "createImage" => Ok((create_image(value)?, "os_compute_api:servers:create_image")),
        "shelve" => Ok((Asked::Act(Action::Shelve), "os_compute_api:os-shelve:shelve")),
        "unshelve" => Ok((unshelve(value, version)?, "os_compute_api:os-shelve:unshelve")),
        "forceDelete" => Ok((Asked::Delete, "os_compute_api:os-deferred-delete:force")),
        "os-getConsoleOutput" => {
            Ok((Asked::Console { lines: lines(value)? }, "os_compute_api:os-console-output"))
        }
        "restore" => Ok((Asked::Restore, "os_compute_api:os-deferred-delete:restore")),
        "addFloatingIp" => Ok((float(value)?, "os_compute_api:os-floating-ips:add")),
        "removeFloatingIp" => Ok((float(value)?, "os_compute_api:os-floating-ips:remove")),
        // The route's own rule has let the caller through.
        known if NOT_YET.contains(&known) => {
            Ok((Asked::NotYet(known.to_owned()), "os_compute_api:servers:action"))
        }
        other => Err(Refused::bad(format!("There is no such action: {other}"))),
    }
}

/// `locked_reason`, from 2.73 on.
fn reason(value: &Value, version: Version) -> Result<Option<String>, Refused> {
    match value {
        Value::Object(members) if version >= Version(73) => {
            read::known(members, &["locked_reason"])?;
            read::text(members, "locked_reason", (1, 255))
        }
        _ => Ok(None),
    }
}

/// `flavorRef`, a text or a number (`nova/api/openstack/compute/schemas/servers.py`, resize).
fn resize(value: &Value) -> Result<Asked, Refused> {
    let Value::Object(members) = value else {
        return Err(Refused::field("resize", value, "It is not of type 'object'"));
    };
    read::known(members, &["flavorRef", "OS-DCF:diskConfig"])?;
    let flavor = match members.get("flavorRef") {
        Some(Value::String(flavor)) if !flavor.is_empty() => flavor.clone(),
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(other) => return Err(Refused::field("resize/flavorRef", other, "It is no flavor's id")),
        None => return Err(Refused::field("resize", value, "'flavorRef' is a required property")),
    };
    Ok(Asked::Resize { flavor, disk_auto: create::disk_config(members)? })
}

/// A `name`, and `metadata` if any (`nova/api/openstack/compute/schemas/servers.py`, create_image).
fn create_image(value: &Value) -> Result<Asked, Refused> {
    let Value::Object(members) = value else {
        return Err(Refused::field("createImage", value, "It is not of type 'object'"));
    };
    read::known(members, &["name", "metadata"])?;
    read::name(members, "name")?.ok_or_else(|| read::required("name"))?;
    match members.get("metadata") {
        None => Ok(Asked::Image),
        Some(Value::Object(metadata)) => read::pairs("createImage/metadata", metadata).map(|_| Asked::Image),
        Some(other) => Err(Refused::field("createImage/metadata", other, "It is not of type 'object'")),
    }
}

/// A zone may be named from 2.77 on, but what is set aside stays on its host.
fn unshelve(value: &Value, version: Version) -> Result<Asked, Refused> {
    match value {
        Value::Object(members) if version >= Version(77) && !members.is_empty() => {
            read::known(members, &["availability_zone", "host"])?;
            Err(Refused::bad("A server that is on its host cannot be unshelved into another zone or host"))
        }
        _ => Ok(Asked::Act(Action::Unshelve)),
    }
}

fn reset(value: &Value) -> Result<Asked, Refused> {
    match value.get("state").and_then(Value::as_str) {
        Some("active") => Ok(Asked::Reset { in_error: false }),
        Some("error") => Ok(Asked::Reset { in_error: true }),
        _ => Err(Refused::field("os-resetState/state", value, "It is not one of ['active', 'error']")),
    }
}

fn reboot(value: &Value) -> Result<Action, Refused> {
    match value.get("type").and_then(Value::as_str) {
        Some("SOFT" | "Soft" | "soft") => Ok(Action::Reboot { hard: false }),
        Some("HARD" | "Hard" | "hard") => Ok(Action::Reboot { hard: true }),
        _ => Err(Refused::field("reboot/type", value, "It is not one of ['HARD', 'SOFT']")),
    }
}

/// `address`, which must be there.
fn float(value: &Value) -> Result<Asked, Refused> {
    match value.get("address").and_then(Value::as_str) {
        Some(address) => Ok(Asked::Float(address.to_owned())),
        None => Err(Refused::field("address", value, "'address' is a required property")),
    }
}

/// `length`: a number of lines, also as text; -1 and null mean all.
fn lines(value: &Value) -> Result<Option<u32>, Refused> {
    let refuse = |value: &Value| {
        Err(Refused::field(
            "os-getConsoleOutput/length",
            value,
            "It is not a number of lines, nor -1 for all",
        ))
    };
    match value {
        Value::Object(members) => match members.get("length") {
            None | Some(Value::Null) => Ok(None),
            Some(length) => {
                let number = match length {
                    Value::Number(number) => number.as_i64(),
                    Value::String(text) => text.parse().ok(),
                    _ => None,
                };
                match number {
                    Some(-1) => Ok(None),
                    Some(number) if number >= 0 => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
                    _ => refuse(length),
                }
            }
        },
        Value::Null => Ok(None),
        other => refuse(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Asked, u16> {
        parse(text.as_bytes(), Version::MAX)
            .map(|(asked, _)| asked)
            .map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn what_clients_send() {
        assert_eq!(read(r#"{"os-start": null}"#), Ok(Asked::Act(Action::Start)));
        assert_eq!(read(r#"{"os-stop": null}"#), Ok(Asked::Act(Action::Stop)));
        assert_eq!(read(r#"{"reboot": {"type": "SOFT"}}"#), Ok(Asked::Act(Action::Reboot { hard: false })));
        assert_eq!(read(r#"{"reboot": {"type": "HARD"}}"#), Ok(Asked::Act(Action::Reboot { hard: true })));
        assert_eq!(read(r#"{"forceDelete": null}"#), Ok(Asked::Delete));
        for flavor in [r#""2""#, "2"] {
            let body = format!(r#"{{"resize": {{"flavorRef": {flavor}}}}}"#);
            assert_eq!(read(&body), Ok(Asked::Resize { flavor: "2".into(), disk_auto: None }));
        }
        let auto = r#"{"resize": {"flavorRef": "2", "OS-DCF:diskConfig": "AUTO"}}"#;
        assert_eq!(read(auto), Ok(Asked::Resize { flavor: "2".into(), disk_auto: Some(true) }));
        assert_eq!(read(r#"{"createImage": {"name": "x", "metadata": {"a": "b"}}}"#), Ok(Asked::Image));
        assert_eq!(read(r#"{"confirmResize": null}"#), Ok(Asked::Decide(Action::ConfirmResize)));
        assert_eq!(read(r#"{"revertResize": null}"#), Ok(Asked::Decide(Action::RevertResize)));
        assert_eq!(read(r#"{"shelve": null}"#), Ok(Asked::Act(Action::Shelve)));
        assert_eq!(read(r#"{"unshelve": null}"#), Ok(Asked::Act(Action::Unshelve)));
        for (body, lines) in [
            ("{}", None),
            (r#"{"length": 10}"#, Some(10)),
            (r#"{"length": "10"}"#, Some(10)),
            (r#"{"length": -1}"#, None),
            (r#"{"length": null}"#, None),
            ("null", None),
        ] {
            let body = format!("{{\"os-getConsoleOutput\": {body}}}");
            assert_eq!(read(&body), Ok(Asked::Console { lines }), "{body}");
        }
    }

    #[test]
    fn what_is_wrong_and_what_is_not_there() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"os-start": null, "os-stop": null}"#,
            r#"{"reboot": {}}"#,
            r#"{"reboot": null}"#,
            r#"{"reboot": {"type": "FIRM"}}"#,
            r#"{"os-getConsoleOutput": {"length": "x"}}"#,
            r#"{"os-getConsoleOutput": {"length": -2}}"#,
            r#"{"fly": null}"#,
            r#"{"createImage": {}}"#,
            r#"{"createImage": {"name": "x", "metadata": {"": ""}}}"#,
            r#"{"createImage": {"name": "x", "metadata": {"a": 1}}}"#,
            r#"{"resize": {"flavorRef": "1", "OS-DCF:diskConfig": "SOME"}}"#,
            r#"{"resize": null}"#,
            r#"{"resize": {}}"#,
            r#"{"resize": {"flavorRef": null}}"#,
            r#"{"resize": {"flavorRef": "1", "more": 1}}"#,
            r#"{"unshelve": {"availability_zone": "z"}}"#,
            r#"{"addFloatingIp": {}}"#,
        ] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
        for known in ["shelveOffload", "migrate", "createBackup", "changePassword"] {
            assert_eq!(read(&format!("{{\"{known}\": null}}")), Ok(Asked::NotYet(known.into())), "{known}");
        }
    }
}
