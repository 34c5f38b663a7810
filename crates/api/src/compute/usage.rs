//! The routes of `os-simple-tenant-usage`.

use axum::http::StatusCode;
use model::Timestamp;
use verbs::Used;

use crate::compute::moment;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::query::truth;
use crate::edge::refused::Refused;

/// Four weeks, what is shown if no beginning is given.
const SPAN: i64 = 28 * 86_400 * 1_000_000;

/// The time asked about, what was used in it, and now.
struct Span {
    from: Timestamp,
    until: Timestamp,
    now: Timestamp,
}

fn span(call: &Call) -> Result<Span, Refused> {
    let now = call.shared.env.now();
    let read = |name: &str, default: Timestamp| match call.params.last(name).filter(|text| !text.is_empty()) {
        None => Ok(default),
        Some(text) => {
            moment::parse(text).ok_or_else(|| Refused::bad(format!("Datetime is in invalid format: {text}")))
        }
    };
    let until = read("end", now)?;
    let from = read("start", Timestamp(now.0 - SPAN))?;
    if from > until {
        return Err(Refused::bad("Invalid start time. The start time cannot occur after the end time."));
    }
    Ok(Span { from, until, now })
}

impl Span {
    /// How many hours of a use lie inside.
    fn hours(&self, used: &Used) -> f64 {
        let ended = used.ended.unwrap_or(self.now).min(self.until);
        let begun = used.started.max(self.from);
        ended.since(begun).as_secs_f64() / 3_600.0
    }
}

/// `GET /os-simple-tenant-usage`.
pub async fn index(call: Call) -> Answered {
    let span = span(&call)?;
    let detailed = call.params.last("detailed").is_some_and(|word| truth(word) == Some(true));
    let used = call.verbs()?.usage(None, (span.from, span.until)).await?;
    let projects = used.chunk_by(|a, b| a.project == b.project);
    Ok(answer(StatusCode::OK, |body| {
        body.array("tenant_usages", projects, |object, used| {
            put(object, &used[0].project, used, &span, detailed);
        });
    }))
}

/// `GET /os-simple-tenant-usage/{id}`.
pub async fn show(call: Call) -> Answered {
    let (project, verbs) = (call.capture("id"), call.verbs()?);
    if project != call.caller.project && !call.caller.is_admin() {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "Policy doesn't allow os_compute_api:os-simple-tenant-usage:show to be performed.",
        ));
    }
    let span = span(&call)?;
    let used = verbs.usage(Some(project), (span.from, span.until)).await?;
    Ok(answer(StatusCode::OK, |body| {
        // Nova answers `{}` for who has used nothing, which breaks clients: zeros say the same.
        body.object("tenant_usage", |object| put(object, project, &used, &span, true));
    }))
}

fn put(object: &mut Object<'_>, project: &str, used: &[Used], span: &Span, detailed: bool) {
    let sum = |of: fn(&Used) -> f64| used.iter().map(|used| of(used) * span.hours(used)).sum::<f64>();
    object.put("tenant_id", project);
    object.put("total_hours", &sum(|_| 1.0));
    object.put("total_vcpus_usage", &sum(|used| used.vcpus as f64));
    object.put("total_memory_mb_usage", &sum(|used| used.memory_mib as f64));
    object.put("total_local_gb_usage", &sum(|used| used.disk_gib as f64));
    object.put("start", &span.from.micros_naive());
    object.put("stop", &span.until.micros_naive());
    if detailed {
        object.array("server_usages", used, |object, used| {
            let end = used.ended.unwrap_or(span.now);
            object.put("instance_id", &used.instance);
            object.put("name", &used.name);
            object.put("tenant_id", &used.project);
            object.put("flavor", &used.flavor);
            object.put("vcpus", &used.vcpus);
            object.put("memory_mb", &used.memory_mib);
            object.put("local_gb", &used.disk_gib);
            object.put("hours", &span.hours(used));
            object.put("started_at", &used.started.micros_naive());
            object.put("ended_at", &used.ended.map(Timestamp::micros_naive));
            object.put("state", if used.ended.is_some() { "terminated" } else { "active" });
            object.put("uptime", &end.since(used.started).as_secs());
        });
    }
}
