//! `/admin/v1/hosts`: hosts of all cells, and their mappings.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;

use super::{admin, by, denied, read, value, whole};
use crate::edge::call::{Answered, Call};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Disable {
    reason: String,
    cell: Option<String>,
    dry_run: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Act {
    cell: Option<String>,
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Join {
    count: usize,
    lifetime_s: u64,
}

impl Default for Join {
    fn default() -> Self {
        Self { count: 1, lifetime_s: 3_600 }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Discover {
    cell: Option<String>,
}

/// `GET /admin/v1/hosts`, of one `cell` or of all; cells that do not answer are told in `dark`.
pub async fn index(call: Call) -> Answered {
    let hosts = admin(&call)?.hosts_view(&by(&call), call.params.last("cell")).await;
    Ok(whole(StatusCode::OK, &hosts.map_err(denied)?))
}

/// `POST /admin/v1/hosts`: maps the hosts that cells hold.
pub async fn discover(call: Call) -> Answered {
    let Discover { cell } = read(&call.body)?;
    let scan = admin(&call)?.discover_hosts(&by(&call), cell.as_deref()).await;
    Ok(whole(StatusCode::OK, &scan.map_err(denied)?))
}

/// `GET /admin/v1/hosts/{host}`
pub async fn show(call: Call) -> Answered {
    let host = admin(&call)?.host_view(&by(&call), call.capture("host"), call.params.last("cell")).await;
    Ok(value(StatusCode::OK, "host", &host.map_err(denied)?))
}

/// `POST /admin/v1/hosts/{host}/disable`
pub async fn disable(call: Call) -> Answered {
    let Disable { reason, cell, dry_run } = read(&call.body)?;
    let (admin, by, host) = (admin(&call)?, by(&call), call.capture("host"));
    let host = admin.disable_host(&by, host, cell.as_deref(), &reason, dry_run).await;
    Ok(value(StatusCode::OK, "host", &host.map_err(denied)?))
}

/// `POST /admin/v1/hosts/{host}/enable`
pub async fn enable(call: Call) -> Answered {
    let Act { cell, dry_run } = read(&call.body)?;
    let (admin, by, host) = (admin(&call)?, by(&call), call.capture("host"));
    let host = admin.enable_host(&by, host, cell.as_deref(), dry_run).await;
    Ok(value(StatusCode::OK, "host", &host.map_err(denied)?))
}

/// `POST /admin/v1/hosts/{host}/revoke`
pub async fn revoke(call: Call) -> Answered {
    let Act { cell, dry_run } = read(&call.body)?;
    let (admin, by, host) = (admin(&call)?, by(&call), call.capture("host"));
    let host = admin.revoke_host(&by, host, cell.as_deref(), dry_run).await;
    Ok(value(StatusCode::OK, "host", &host.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/join-tokens`
pub async fn join_tokens(call: Call) -> Answered {
    let Join { count, lifetime_s } = read(&call.body)?;
    let (admin, by, cell) = (admin(&call)?, by(&call), call.capture("cell"));
    let made = admin.join_tokens(&by, cell, count, Duration::from_secs(lifetime_s)).await;
    Ok(whole(StatusCode::CREATED, &made.map_err(denied)?))
}

/// `DELETE /admin/v1/hosts/{host}`, with `cell`, `force` and `dry_run`.
pub async fn delete(call: Call) -> Answered {
    let (force, dry_run) = (call.params.truth("force")?, call.params.truth("dry_run")?);
    let (admin, by, host) = (admin(&call)?, by(&call), call.capture("host"));
    let host = admin.delete_host(&by, host, call.params.last("cell"), (false, force, dry_run)).await;
    Ok(value(StatusCode::OK, "host", &host.map_err(denied)?))
}
