//! `PUT /os-services/{id}`: letting a host take new instances, or not (from 2.53 on).

use axum::http::StatusCode;
use model::Fault;
use serde_json::{Map, Value};

use crate::admin::{admin, by, denied};
use crate::compute::hypervisors::{UUIDS, hosts, service};
use crate::compute::read;
use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::answer;
use crate::edge::refused::Refused;

/// Nova asks for no reason, our books do.
const NO_REASON: &str = "No reason was given.";

/// Answers with the service as it is then.
pub async fn update(call: Call) -> Answered {
    if call.version < UUIDS {
        return Err(Refused::unsupported("changing services below microversion 2.53"));
    }
    let switch = switch(&body::object(&call.body)?)?;
    let id = call.capture("id");
    let not_found = || Refused::not_found(format!("Service {id} could not be found."));
    let host = hosts(&call).await?.hosts.into_iter().find(|row| row.id.to_string() == id);
    let name = host.ok_or_else(not_found)?.id.to_string();
    let (admin, by) = (admin(&call)?, by(&call));
    match switch {
        Switch::Enable => admin.enable_host(&by, &name, None, false).await.map_err(denied)?,
        Switch::Disable(reason) => admin
            .disable_host(&by, &name, None, reason.as_deref().unwrap_or(NO_REASON), false)
            .await
            .map_err(denied)?,
    };
    let found = hosts(&call).await?.hosts.into_iter().find(|row| row.id.to_string() == id);
    let row = found.ok_or_else(not_found)?;
    if row.told.is_none() {
        return Err(Fault::unavailable(format!("The cell of service {id} does not answer any more.")).into());
    }
    Ok(answer(StatusCode::OK, |body| body.object("service", |object| service(object, &row, call.version))))
}

#[derive(Debug, PartialEq)]
enum Switch {
    Enable,
    Disable(Option<String>),
}

/// Nova's schema (`nova/api/openstack/compute/schemas/services.py`) and rules.
fn switch(asked: &Map<String, Value>) -> Result<Switch, Refused> {
    read::known(asked, &["status", "disabled_reason", "forced_down"])?;
    let reason = read::text(asked, "disabled_reason", (1, 255))?;
    if asked.contains_key("forced_down") {
        return Err(Refused::unsupported("forced_down: a host is down when its agent is silent"));
    }
    match (asked.get("status").and_then(Value::as_str), reason) {
        (Some("enabled"), None) => Ok(Switch::Enable),
        (Some("disabled"), reason) => Ok(Switch::Disable(reason)),
        (_, Some(_)) => Err(Refused::bad("Specifying disabled_reason requires that status is \"disabled\".")),
        (None, None) if !asked.contains_key("status") => Err(Refused::bad(
            "No updates were requested. Fields 'status' or 'disabled_reason' should be specified.",
        )),
        _ => Err(Refused::field("status", &asked["status"], "It is not one of ['enabled', 'disabled']")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked() {
        let read = |asked: Value| switch(asked.as_object().expect("object")).map_err(|r| r.status.as_u16());
        assert_eq!(read(json!({"status": "enabled"})), Ok(Switch::Enable));
        assert_eq!(read(json!({"status": "disabled"})), Ok(Switch::Disable(None)));
        let with = json!({"status": "disabled", "disabled_reason": "disk"});
        assert_eq!(read(with), Ok(Switch::Disable(Some("disk".into()))));
        assert_eq!(read(json!({"forced_down": true})), Err(501));
        for bad in [
            json!({}),
            json!({"status": "off"}),
            json!({"status": 1}),
            json!({"disabled_reason": "disk"}),
            json!({"status": "enabled", "disabled_reason": "disk"}),
            json!({"state": "up"}),
        ] {
            assert_eq!(read(bad.clone()), Err(400), "{bad}");
        }
    }
}
