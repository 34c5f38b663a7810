//! `os-instance-actions`: what was done to a server, by which request.

use axum::http::StatusCode;
use model::{InstanceId, Timestamp};
use verbs::{Done, History};

use crate::compute::{moment, view};
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Largest page.
const MAX_LIMIT: usize = 1000;

async fn history(call: &Call) -> Result<(InstanceId, History), Refused> {
    let id = call.instance()?;
    let history = call.verbs()?.history(&call.caller, id).await?;
    if history.gone && call.version < Version(21) {
        return Err(Refused::not_found(format!("Instance {id} could not be found.")));
    }
    Ok((id, history))
}

fn put(object: &mut Object<'_>, id: InstanceId, done: &Done, version: Version) {
    let nothing: Option<&str> = None;
    object.put("action", &done.action);
    object.put("instance_uuid", &id);
    object.put("request_id", &done.request_id);
    object.put("user_id", &done.user);
    object.put("project_id", &done.project);
    object.put("start_time", &done.begun.micros_naive());
    match done.result.as_deref() {
        Some("Error") => object.put("message", "Error"),
        _ => object.put("message", &nothing),
    }
    if version >= Version(58) {
        object.put("updated_at", &done.ended.unwrap_or(done.begun).micros_naive());
    }
}

/// `GET /servers/{id}/os-instance-actions`, newest first.
pub async fn index(call: Call) -> Answered {
    let (id, history) = history(&call).await?;
    let mut done: Vec<&Done> = history.done.iter().collect();
    let paged = call.version >= Version(58);
    if paged {
        let moment = |name: &str| -> Result<Option<Timestamp>, Refused> {
            let text = call.params.last(name).filter(|text| !text.is_empty());
            let read = |text: &str| {
                moment::parse(text).ok_or_else(|| {
                    Refused::bad(format!(
                        "Invalid input for query parameters {name}. Value: {text}. It is no date"
                    ))
                })
            };
            text.map(read).transpose()
        };
        let changed = |done: &Done| done.ended.unwrap_or(done.begun);
        if let Some(since) = moment("changes-since")? {
            done.retain(|done| changed(done) >= since);
        }
        if let Some(before) = moment("changes-before")?.filter(|_| call.version >= Version(66)) {
            done.retain(|done| changed(done) <= before);
        }
        if let Some(marker) = call.params.last("marker").filter(|marker| !marker.is_empty()) {
            let at = done.iter().position(|done| done.request_id == marker);
            let at = at.ok_or_else(|| Refused::bad(format!("marker [{marker}] not found")))?;
            done.drain(..=at);
        }
    }
    let limit = match paged {
        true => call.params.number("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT),
        false => MAX_LIMIT,
    };
    let more = done.len() > limit && limit > 0;
    done.truncate(limit);
    Ok(answer(StatusCode::OK, |body| {
        body.array("instanceActions", &done, |object, done| put(object, id, done, call.version));
        if let (true, true, Some(last)) = (more, paged, done.last()) {
            let query = call.params.with_marker(&last.request_id);
            body.array("links", [()], |link, ()| {
                link.put("rel", "next");
                let base = call.base.versioned();
                link.text("href", format_args!("{base}/servers/{id}/os-instance-actions?{query}"));
            });
        }
    }))
}

/// Nova's name for the event behind an action.
fn event(action: &str) -> String {
    match action {
        "create" => "compute__do_build_and_run_instance".into(),
        "delete" => "compute_terminate_instance".into(),
        other => format!("compute_{other}_instance"),
    }
}

/// `GET /servers/{id}/os-instance-actions/{request}`.
pub async fn show(call: Call) -> Answered {
    let (id, history) = history(&call).await?;
    let request = call.capture("request");
    let done = history.done.iter().find(|done| done.request_id == request).ok_or_else(|| {
        Refused::not_found(format!("Action for request_id {request} on instance {id} not found"))
    })?;
    let events = call.version >= Version(51) || call.may("os_compute_api:os-instance-actions:events");
    let nothing: Option<&str> = None;
    let host = history.instance.as_ref();
    Ok(answer(StatusCode::OK, |body| {
        body.object("instanceAction", |object| {
            put(object, id, done, call.version);
            if !events {
                return;
            }
            object.array("events", [()], |object, ()| {
                object.put("event", &event(&done.action));
                object.put("start_time", &done.begun.micros_naive());
                object.put("finish_time", &done.ended.map(Timestamp::micros_naive));
                object.put("result", &done.result);
                let details = call.may("os_compute_api:os-instance-actions:events:details");
                if call.may("os_compute_api:os-instance-actions:events") {
                    object.put("traceback", &nothing);
                }
                if call.version >= Version(62) {
                    object.put("hostId", &host.map(view::host_id).unwrap_or_default());
                    if details {
                        let name = host.and_then(|row| row.host.as_ref()).map(|(_, name)| name);
                        object.put("host", &name);
                    }
                }
                if call.version >= Version(84) {
                    object.put("details", &done.details);
                }
            });
        });
    }))
}
