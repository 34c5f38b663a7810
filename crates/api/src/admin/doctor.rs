//! `/admin/v1/doctor`: whether everything fits together.

use axum::http::StatusCode;
use serde::Deserialize;

use super::{admin, by, denied, read, whole};
use crate::edge::call::{Answered, Call};

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
