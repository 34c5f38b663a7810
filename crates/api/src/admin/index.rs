//! `/admin/v1/index`: the index that lists are made of.

use axum::http::StatusCode;
use serde::Deserialize;

use super::restored::to_its_end;
use super::{admin, by, read, value};
use crate::edge::call::{Answered, Call};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rebuild {
    cell: Option<String>,
}

/// `POST /admin/v1/index/rebuild`, of one `cell` or of all.
pub async fn rebuild(call: Call) -> Answered {
    let Rebuild { cell } = read(&call.body)?;
    let (admin, by) = (admin(&call)?, by(&call));
    let work = async move { admin.rebuild_index(&by, cell.as_deref()).await };
    Ok(value(StatusCode::OK, "rebuilt", &to_its_end(work).await?))
}
