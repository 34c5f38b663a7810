//! Our own administration, for the command line.

use axum::http::StatusCode;
use model::Resources;
use verbs::CellStatus;

use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};

/// `GET /admin/v1/status`: cells, their hosts, and totals.
pub async fn status(call: Call) -> Answered {
    let cells = call.verbs()?.cells(&call.elevated()).await?;
    Ok(answer(StatusCode::OK, |body| {
        body.array("cells", &cells, cell);
        body.object("totals", |object| totals(object, &cells));
    }))
}

fn cell(object: &mut Object<'_>, cell: &CellStatus) {
    object.put("id", &cell.id);
    object.put("name", &cell.name);
    object.put("region", &cell.region);
    object.put("state", cell.state.as_str());
    object.put("up", &cell.up);
    object.put("instances", &cell.instances);
    object.array("hosts", &cell.hosts, |object, host| {
        object.put("id", &host.id);
        object.put("name", &host.name);
        object.put("zone", &host.zone);
        object.put("enabled", &host.enabled);
        object.put("healthy", &host.healthy);
        object.put("capacity", &host.capacity);
        object.put("used", &host.used);
    });
}

fn totals(object: &mut Object<'_>, cells: &[CellStatus]) {
    let hosts = || cells.iter().flat_map(|cell| &cell.hosts);
    let sum =
        |amounts: &mut dyn Iterator<Item = Resources>| amounts.fold(Resources::default(), Resources::plus);
    object.put("cells", &cells.len());
    object.put("cells_up", &cells.iter().filter(|cell| cell.up).count());
    object.put("hosts", &hosts().count());
    object.put("hosts_ready", &hosts().filter(|host| host.enabled && host.healthy).count());
    object.put("instances", &cells.iter().map(|cell| cell.instances).sum::<i64>());
    object.put("capacity", &sum(&mut hosts().map(|host| host.capacity)));
    object.put("used", &sum(&mut hosts().map(|host| host.used)));
}
