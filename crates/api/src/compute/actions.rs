//! `POST /servers/{id}/action`.

use axum::http::StatusCode;
use model::instance::Action;
use serde_json::Value;

use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty};
use crate::edge::refused::Refused;

/// What Nova does and skep does not: 501, so that a client can tell it from a mistyped action.
const NOT_YET: &[&str] = &[
    "addFixedIp",
    "addFloatingIp",
    "addSecurityGroup",
    "changePassword",
    "confirmResize",
    "createBackup",
    "createImage",
    "evacuate",
    "lock",
    "migrate",
    "os-getRDPConsole",
    "os-getSPICEConsole",
    "os-getSerialConsole",
    "os-getVNCConsole",
    "os-migrateLive",
    "os-resetState",
    "pause",
    "rebuild",
    "removeFixedIp",
    "removeFloatingIp",
    "removeSecurityGroup",
    "rescue",
    "resize",
    "restore",
    "resume",
    "revertResize",
    "shelve",
    "shelveOffload",
    "suspend",
    "trigger_crash_dump",
    "unlock",
    "unpause",
    "unrescue",
    "unshelve",
    "injectNetworkInfo",
    "resetNetwork",
];

/// An action that was asked for.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Act(Action),
    Delete,
    Console { lines: Option<u32> },
}

/// Answers an action.
pub async fn act(call: Call) -> Answered {
    let (asked, rule) = parse(&call.body)?;
    call.allow(rule).await?;
    let id = call.instance()?;
    let verbs = call.verbs()?;
    match asked {
        Asked::Act(action) => verbs.act_once(&call.caller, &call.context, id, action, call.once).await?,
        Asked::Delete => verbs.delete(&call.caller, &call.context, id).await?,
        Asked::Console { lines } => {
            let output = verbs.console(&call.caller, &call.context, id, lines).await?;
            return Ok(answer(StatusCode::OK, |body| body.put("output", &output)));
        }
    }
    Ok(empty(StatusCode::ACCEPTED))
}

fn parse(bytes: &[u8]) -> Result<(Asked, &'static str), Refused> {
    let body = body::object(bytes)?;
    let mut members = body.iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else {
        return Err(Refused::bad("Malformed request body: give exactly one action"));
    };
    match name.as_str() {
        "os-start" => Ok((Asked::Act(Action::Start), "os_compute_api:servers:start")),
        "os-stop" => Ok((Asked::Act(Action::Stop), "os_compute_api:servers:stop")),
        "reboot" => Ok((Asked::Act(reboot(value)?), "os_compute_api:servers:reboot")),
        "forceDelete" => Ok((Asked::Delete, "os_compute_api:os-deferred-delete:force")),
        "os-getConsoleOutput" => {
            Ok((Asked::Console { lines: lines(value)? }, "os_compute_api:os-console-output"))
        }
        known if NOT_YET.contains(&known) => Err(Refused::unsupported(&format!("action '{known}'"))),
        other => Err(Refused::bad(format!("There is no such action: {other}"))),
    }
}

fn reboot(value: &Value) -> Result<Action, Refused> {
    match value.get("type").and_then(Value::as_str) {
        Some("SOFT" | "Soft" | "soft") => Ok(Action::Reboot { hard: false }),
        Some("HARD" | "Hard" | "hard") => Ok(Action::Reboot { hard: true }),
        _ => Err(Refused::field("reboot/type", value, "It is not one of ['HARD', 'SOFT']")),
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
        parse(text.as_bytes()).map(|(asked, _)| asked).map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn what_clients_send() {
        assert_eq!(read(r#"{"os-start": null}"#), Ok(Asked::Act(Action::Start)));
        assert_eq!(read(r#"{"os-stop": null}"#), Ok(Asked::Act(Action::Stop)));
        assert_eq!(read(r#"{"reboot": {"type": "SOFT"}}"#), Ok(Asked::Act(Action::Reboot { hard: false })));
        assert_eq!(read(r#"{"reboot": {"type": "HARD"}}"#), Ok(Asked::Act(Action::Reboot { hard: true })));
        assert_eq!(read(r#"{"forceDelete": null}"#), Ok(Asked::Delete));
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
        ] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
        for known in ["pause", "resize", "createImage", "os-resetState"] {
            assert_eq!(read(&format!("{{\"{known}\": null}}")), Err(501), "{known}");
        }
    }
}
