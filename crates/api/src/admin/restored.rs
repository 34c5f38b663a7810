//! `/admin/v1/…/restored`: databases that were put back from a backup.

use std::panic::resume_unwind;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use verbs::admin::Denied;

use super::{admin, by, denied, read, value};
use crate::edge::call::{Answered, Call};
use crate::edge::json::empty;
use crate::edge::refused::Refused;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Confirm {
    force: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `POST /admin/v1/cells/{cell}/restored`: from now on it waits.
pub async fn cell(call: Call) -> Answered {
    let Nothing {} = read(&call.body)?;
    let (admin, by, cell) = (admin(&call)?, by(&call), call.capture("cell").to_owned());
    to_its_end(async move { admin.restored_cell(&by, &cell).await }).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /admin/v1/cells/{cell}/confirm`: it is compared and works again.
pub async fn confirm_cell(call: Call) -> Answered {
    let Confirm { force } = read(&call.body)?;
    let (admin, by, cell) = (admin(&call)?, by(&call), call.capture("cell").to_owned());
    confirmed(to_its_end(async move { admin.confirm_cell(&by, &cell, force).await }).await?)
}

/// `POST /admin/v1/restored`: the API database, from now on its tasks wait.
pub async fn api(call: Call) -> Answered {
    let Nothing {} = read(&call.body)?;
    let (admin, by) = (admin(&call)?, by(&call));
    to_its_end(async move { admin.restored_api(&by).await }).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /admin/v1/confirm`: it is compared with all cells and works again.
pub async fn confirm_api(call: Call) -> Answered {
    let Confirm { force } = read(&call.body)?;
    let (admin, by, limits) = (admin(&call)?, by(&call), call.verbs()?.default_limits());
    confirmed(to_its_end(async move { admin.confirm_api(&by, force, limits).await }).await?)
}

fn confirmed<T: Serialize>(done: T) -> Answered {
    Ok(value(StatusCode::OK, "confirmed", &done))
}

/// Runs in a task of its own: it takes longer than a request may, and comes to its end when nobody waits for its
/// answer any more.
pub(super) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Denied>> + Send + 'static,
) -> Result<T, Refused> {
    match tokio::spawn(work.in_current_span()).await {
        Ok(done) => done.map_err(denied),
        Err(why) if why.is_panic() => resume_unwind(why.into_panic()),
        Err(_) => Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "The API is shutting down; try again.")),
    }
}
