//! `/admin/v1/tasks`: what the API level's workers have to do.

use axum::http::StatusCode;
use model::TaskId;
use serde::Deserialize;

use super::{admin, by, denied, read, value};
use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Retry {
    dry_run: bool,
}

/// `GET /admin/v1/tasks`, with `parked` and `limit`.
pub async fn index(call: Call) -> Answered {
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

/// `GET /admin/v1/tasks/{task}`
pub async fn show(call: Call) -> Answered {
    let task = admin(&call)?.task(&by(&call), id(&call)?).await.map_err(denied)?;
    Ok(value(StatusCode::OK, "task", &task))
}

/// `POST /admin/v1/tasks/{task}/retry`: it is tried again at once, also if it was set aside.
pub async fn retry(call: Call) -> Answered {
    let Retry { dry_run } = read(&call.body)?;
    let task = admin(&call)?.retry_task(&by(&call), id(&call)?, dry_run).await.map_err(denied)?;
    Ok(value(StatusCode::OK, "task", &task))
}

fn id(call: &Call) -> Result<TaskId, Refused> {
    call.capture("task").parse().map_err(|_| Refused::bad("a task is named by its id"))
}
