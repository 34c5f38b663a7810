//! `/admin/v1/doctor` and `/admin/v1/tasks`.

use axum::http::StatusCode;
use serde::Deserialize;

use super::{admin, by, denied, read, value, whole};
use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Visit {
    fix: bool,
}

/// `POST /admin/v1/doctor`
pub async fn doctor(call: Call) -> Answered {
    let Visit { fix } = read(&call.body)?;
    let found = admin(&call)?.doctor(&by(&call), fix).await.map_err(denied)?;
    Ok(whole(StatusCode::OK, &found))
}

/// `GET /admin/v1/tasks`, with `parked` and `limit`.
pub async fn tasks(call: Call) -> Answered {
    let parked = call.params.truth("parked")?;
    let limit = match call.params.last("limit") {
        None => 100,
        Some(text) => text
            .parse::<i64>()
            .ok()
            .filter(|limit| (1..=10_000).contains(limit))
            .ok_or_else(|| Refused::bad("limit is a number from 1 to 10000"))?,
    };
    let tasks = admin(&call)?.tasks(&by(&call), parked, limit).await.map_err(denied)?;
    Ok(value(StatusCode::OK, "tasks", &tasks))
}
