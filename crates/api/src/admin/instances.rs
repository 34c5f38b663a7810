//! `/admin/v1/instances` and `/admin/v1/offers`: what cells hold, what is mapped, and what hosts have that cells do
//! not know.

use axum::http::StatusCode;
use model::InstanceId;

use super::{admin, by, denied, value, whole};
use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

/// `GET /admin/v1/instances`, of one `cell`, on one `host`, up to `limit` of them.
pub async fn index(call: Call) -> Answered {
    let limit = match call.params.last("limit") {
        None => 100,
        Some(text) => text.parse().map_err(|_| Refused::bad("limit is a number"))?,
    };
    let (cell, host) = (call.params.last("cell"), call.params.last("host"));
    let found = admin(&call)?.instances_view(&by(&call), cell, host, limit).await;
    Ok(whole(StatusCode::OK, &found.map_err(denied)?))
}

/// `GET /admin/v1/instances/{instance}`
pub async fn show(call: Call) -> Answered {
    let id: InstanceId =
        call.capture("instance").parse().map_err(|_| Refused::bad("an instance is named by its id here"))?;
    let found = admin(&call)?.instance_view(&by(&call), id).await;
    Ok(value(StatusCode::OK, "instance", &found.map_err(denied)?))
}

/// `GET /admin/v1/offers`, of one `cell` or of all.
pub async fn offers(call: Call) -> Answered {
    let found = admin(&call)?.offered(&by(&call), call.params.last("cell")).await;
    Ok(whole(StatusCode::OK, &found.map_err(denied)?))
}
