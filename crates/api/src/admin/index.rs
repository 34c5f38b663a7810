//! `/admin/v1/index`: the index that lists are made of.

use axum::http::StatusCode;
use serde::Deserialize;

use super::{admin, by, denied, read, value};
use crate::edge::call::{Answered, Call};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rebuild {
    cell: Option<String>,
}

/// `POST /admin/v1/index/rebuild`, of one `cell` or of all.
pub async fn rebuild(call: Call) -> Answered {
    let Rebuild { cell } = read(&call.body)?;
    let rebuilt = admin(&call)?.rebuild_index(&by(&call), cell.as_deref()).await.map_err(denied)?;
    Ok(value(StatusCode::OK, "rebuilt", &rebuilt))
}
