//! `/admin/v1/cells`: cell mappings.

use axum::http::StatusCode;
use model::CellState;
use serde::Deserialize;
use verbs::admin::{Change, NewCell, Options, Rotation};

use super::{admin, by, denied, read, value};
use crate::edge::call::{Answered, Call};
use crate::edge::refused::Refused;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    name: String,
    #[serde(default)]
    region: String,
    database_url: String,
    #[serde(default)]
    transport_url: String,
    state: Option<String>,
    #[serde(default)]
    if_not_exists: bool,
    prepare: Option<bool>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    name: Option<String>,
    database_url: Option<String>,
    transport_url: Option<String>,
    second_database_url: Option<String>,
    second_transport_url: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rotate {
    database_url: Option<String>,
    transport_url: Option<String>,
    pending: bool,
    force: bool,
    dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Testing {
    projects: Vec<String>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Act {
    force: bool,
    dry_run: bool,
}

/// `GET /admin/v1/cells`; with `ask=1` each cell is asked, with `show_secrets=1` URLs are shown whole.
pub async fn index(call: Call) -> Answered {
    let secrets = secrets(&call).await?;
    let cells = admin(&call)?.cells_view(&by(&call), call.params.truth("ask")?, secrets).await;
    Ok(value(StatusCode::OK, "cells", &cells.map_err(denied)?))
}

/// `POST /admin/v1/cells`
pub async fn create(call: Call) -> Answered {
    let Create { name, region, database_url, transport_url, state, if_not_exists, prepare, dry_run } =
        read(&call.body)?;
    let state = match state.as_deref() {
        None => CellState::New,
        Some(word) => CellState::parse(word)
            .filter(|state| matches!(state, CellState::New | CellState::Active | CellState::Cordoned))
            .ok_or_else(|| Refused::bad("state is one of new, active, cordoned"))?,
    };
    let new = NewCell { name, region, database_url, transport_url, state };
    let options = Options { dry_run, if_not_exists, prepare: prepare.unwrap_or(true) };
    let created = admin(&call)?.create_cell(&by(&call), new, options).await.map_err(denied)?;
    let status = if created.new && !dry_run { StatusCode::CREATED } else { StatusCode::OK };
    Ok(super::whole(status, &created))
}

/// `GET /admin/v1/cells/{cell}`
pub async fn show(call: Call) -> Answered {
    let secrets = secrets(&call).await?;
    let cell = admin(&call)?.cell_view(&by(&call), call.capture("cell"), secrets).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `GET /admin/v1/cells/{cell}/processes`: who works with which version of the mapping.
pub async fn processes(call: Call) -> Answered {
    let processes = admin(&call)?.processes(&by(&call), call.capture("cell")).await;
    Ok(value(StatusCode::OK, "processes", &processes.map_err(denied)?))
}

/// `PUT /admin/v1/cells/{cell}`: what is not named stays as it is.
pub async fn update(call: Call) -> Answered {
    let Update { name, database_url, transport_url, second_database_url, second_transport_url, dry_run } =
        read(&call.body)?;
    let change =
        Change { name, database_url, transport_url, second_database_url, second_transport_url, state: None };
    let cell = admin(&call)?.change_cell(&by(&call), call.capture("cell"), change, dry_run).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/rotate`: the next step towards other credentials; again and again until it is done.
pub async fn rotate(call: Call) -> Answered {
    let Rotate { database_url, transport_url, pending, force, dry_run } = read(&call.body)?;
    let wanted = Rotation { database_url, transport_url, pending, force };
    let rotated = admin(&call)?.rotate_cell(&by(&call), call.capture("cell"), &wanted, dry_run).await;
    Ok(value(StatusCode::OK, "rotation", &rotated.map_err(denied)?))
}

/// `DELETE /admin/v1/cells/{cell}`, with `force` and `dry_run`.
pub async fn delete(call: Call) -> Answered {
    let (force, dry_run) = (call.params.truth("force")?, call.params.truth("dry_run")?);
    let removed = admin(&call)?.delete_cell(&by(&call), call.capture("cell"), force, dry_run).await;
    Ok(value(StatusCode::OK, "removed", &removed.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/cordon`
pub async fn cordon(call: Call) -> Answered {
    let Act { dry_run, .. } = read(&call.body)?;
    let cell = admin(&call)?.cordon_cell(&by(&call), call.capture("cell"), dry_run).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/uncordon`
pub async fn uncordon(call: Call) -> Answered {
    let Act { dry_run, .. } = read(&call.body)?;
    let cell = admin(&call)?.uncordon_cell(&by(&call), call.capture("cell"), dry_run).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/activate`
pub async fn activate(call: Call) -> Answered {
    let Act { force, dry_run } = read(&call.body)?;
    let cell = admin(&call)?.activate_cell(&by(&call), call.capture("cell"), force, dry_run).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/testing`
pub async fn testing(call: Call) -> Answered {
    let Testing { projects, dry_run } = read(&call.body)?;
    let cell = admin(&call)?.put_cell_under_test(&by(&call), call.capture("cell"), projects, dry_run).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/drain`
pub async fn drain(call: Call) -> Answered {
    let Act { dry_run, .. } = read(&call.body)?;
    let cell = admin(&call)?.drain_cell(&by(&call), call.capture("cell"), dry_run).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/retire`
pub async fn retire(call: Call) -> Answered {
    let Act { dry_run, .. } = read(&call.body)?;
    let cell = admin(&call)?.retire_cell(&by(&call), call.capture("cell"), dry_run).await;
    Ok(value(StatusCode::OK, "cell", &cell.map_err(denied)?))
}

/// `POST /admin/v1/cells/{cell}/preflight`: a container runs there and is removed.
pub async fn preflight(call: Call) -> Answered {
    let preflight = admin(&call)?.preflight_cell(&by(&call), call.capture("cell")).await.map_err(denied)?;
    Ok(super::whole(StatusCode::OK, &preflight))
}

/// `POST /admin/v1/cells/{cell}/test`: nothing is changed.
pub async fn test(call: Call) -> Answered {
    let preflight = admin(&call)?.test_cell(&by(&call), call.capture("cell")).await.map_err(denied)?;
    Ok(super::whole(StatusCode::OK, &preflight))
}

/// `POST /admin/v1/cells/{cell}/sync`: schema, queues, mappings of hosts and summary are brought up to date.
pub async fn sync(call: Call) -> Answered {
    let Act { dry_run, .. } = read(&call.body)?;
    let synced = admin(&call)?.sync_cell(&by(&call), call.capture("cell"), dry_run).await.map_err(denied)?;
    Ok(super::whole(StatusCode::OK, &synced))
}

/// `POST /admin/v1/keys/rotate`: every mapping is sealed with the first key.
pub async fn rotate_keys(call: Call) -> Answered {
    let Act { dry_run, .. } = read(&call.body)?;
    let cells = admin(&call)?.rotate_keys(&by(&call), dry_run).await.map_err(denied)?;
    Ok(value(StatusCode::OK, "cells", &cells))
}

/// Whether secrets are to be shown: whoever may not change mappings may not see them either.
async fn secrets(call: &Call) -> Result<bool, Refused> {
    let wanted = call.params.truth("show_secrets")?;
    if wanted {
        call.allow("skep:admin:change").await?;
    }
    Ok(wanted)
}
