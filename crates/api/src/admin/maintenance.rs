//! `/admin/v1/hosts/{host}/maintenance`: a host that takes nothing new while somebody works on it.

use axum::http::StatusCode;
use serde::Deserialize;

use super::{admin, by, denied, read, value};
use crate::edge::call::{Answered, Call};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Maintenance {
    reason: Option<String>,
    cell: Option<String>,
    off: bool,
    dry_run: bool,
}

/// `POST /admin/v1/hosts/{host}/maintenance`: begins it for a `reason`, or ends it with `off`.
pub async fn maintenance(call: Call) -> Answered {
    let Maintenance { reason, cell, off, dry_run } = read(&call.body)?;
    let (admin, by, host) = (admin(&call)?, by(&call), call.capture("host"));
    let done = match off {
        true => admin.end_maintenance(&by, host, cell.as_deref(), dry_run).await,
        false => admin.maintain_host(&by, host, cell.as_deref(), &reason.unwrap_or_default(), dry_run).await,
    };
    Ok(value(StatusCode::OK, "host", &done.map_err(denied)?))
}
