//! `/admin/v1/index`: the index that lists are made of.

use std::panic::resume_unwind;

use axum::http::StatusCode;
use serde::Deserialize;
use tracing::Instrument;

use super::{admin, by, denied, read, value};
use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rebuild {
    cell: Option<String>,
}

/// `POST /admin/v1/index/rebuild`, of one `cell` or of all.
pub async fn rebuild(call: Call) -> Answered {
    let Rebuild { cell } = read(&call.body)?;
    let (admin, by) = (admin(&call)?, by(&call));
    // In a task of its own: it takes longer in a far cell or a large cloud than a request may wait for a cell, and
    // it comes to its end when nobody waits for its answer any more.
    let work = async move { admin.rebuild_index(&by, cell.as_deref()).await };
    match tokio::spawn(work.in_current_span()).await {
        Ok(rebuilt) => Ok(value(StatusCode::OK, "rebuilt", &rebuilt.map_err(denied)?)),
        Err(why) if why.is_panic() => resume_unwind(why.into_panic()),
        Err(_) => Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "The API is shutting down; try again.")),
    }
}
