//! Our own administration, for the command line.

mod cells;
mod doctor;
mod hosts;
mod index;
mod instances;
mod maintenance;
mod openapi;
mod restored;
mod tasks;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use model::{Fault, Resources};
use serde::Serialize;
use serde::de::DeserializeOwned;
use verbs::CellStatus;
use verbs::admin::{Admin, By, Denied};

use crate::edge::call::{Answered, Call, Route, Work};
use crate::edge::json::{Object, answer};
use crate::edge::refused::Refused;

/// Looking at cells and hosts.
const SHOW: &str = "skep:admin:show";
/// Changing them.
const CHANGE: &str = "skep:admin:change";

/// The routes below `/admin/v1` that are about cells and hosts.
pub static ROUTES: &[Route] = &[
    route(Method::GET, "/admin/v1/openapi.json", SHOW, |call| Box::pin(openapi::openapi(call))),
    route(Method::GET, "/admin/v1/cells", SHOW, |call| Box::pin(cells::index(call))),
    route(Method::POST, "/admin/v1/cells", CHANGE, |call| Box::pin(cells::create(call))),
    route(Method::GET, "/admin/v1/cells/{cell}", SHOW, |call| Box::pin(cells::show(call))),
    route(Method::PUT, "/admin/v1/cells/{cell}", CHANGE, |call| Box::pin(cells::update(call))),
    route(Method::DELETE, "/admin/v1/cells/{cell}", CHANGE, |call| Box::pin(cells::delete(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/rotate", CHANGE, |call| Box::pin(cells::rotate(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/sync", CHANGE, |call| Box::pin(cells::sync(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/cordon", CHANGE, |call| Box::pin(cells::cordon(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/uncordon", CHANGE, |call| Box::pin(cells::uncordon(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/activate", CHANGE, |call| Box::pin(cells::activate(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/testing", CHANGE, |call| Box::pin(cells::testing(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/drain", CHANGE, |call| Box::pin(cells::drain(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/retire", CHANGE, |call| Box::pin(cells::retire(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/preflight", CHANGE, |call| Box::pin(cells::preflight(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/test", SHOW, |call| Box::pin(cells::test(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/restored", CHANGE, |call| Box::pin(restored::cell(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/confirm", CHANGE, |call| {
        Box::pin(restored::confirm_cell(call))
    }),
    route(Method::POST, "/admin/v1/restored", CHANGE, |call| Box::pin(restored::api(call))),
    route(Method::POST, "/admin/v1/confirm", CHANGE, |call| Box::pin(restored::confirm_api(call))),
    route(Method::GET, "/admin/v1/cells/{cell}/processes", SHOW, |call| Box::pin(cells::processes(call))),
    route(Method::POST, "/admin/v1/keys/rotate", CHANGE, |call| Box::pin(cells::rotate_keys(call))),
    route(Method::POST, "/admin/v1/doctor", CHANGE, |call| Box::pin(doctor::doctor(call))),
    route(Method::GET, "/admin/v1/tasks", SHOW, |call| Box::pin(tasks::index(call))),
    route(Method::GET, "/admin/v1/tasks/{task}", SHOW, |call| Box::pin(tasks::show(call))),
    route(Method::POST, "/admin/v1/tasks/{task}/retry", CHANGE, |call| Box::pin(tasks::retry(call))),
    route(Method::POST, "/admin/v1/index/rebuild", CHANGE, |call| Box::pin(index::rebuild(call))),
    route(Method::GET, "/admin/v1/instances", SHOW, |call| Box::pin(instances::index(call))),
    route(Method::GET, "/admin/v1/instances/{instance}", SHOW, |call| Box::pin(instances::show(call))),
    route(Method::GET, "/admin/v1/offers", SHOW, |call| Box::pin(instances::offers(call))),
    route(Method::GET, "/admin/v1/hosts", SHOW, |call| Box::pin(hosts::index(call))),
    route(Method::POST, "/admin/v1/hosts", CHANGE, |call| Box::pin(hosts::discover(call))),
    route(Method::GET, "/admin/v1/hosts/{host}", SHOW, |call| Box::pin(hosts::show(call))),
    route(Method::DELETE, "/admin/v1/hosts/{host}", CHANGE, |call| Box::pin(hosts::delete(call))),
    route(Method::POST, "/admin/v1/hosts/{host}/disable", CHANGE, |call| Box::pin(hosts::disable(call))),
    route(Method::POST, "/admin/v1/hosts/{host}/enable", CHANGE, |call| Box::pin(hosts::enable(call))),
    route(Method::POST, "/admin/v1/hosts/{host}/revoke", CHANGE, |call| Box::pin(hosts::revoke(call))),
    route(Method::POST, "/admin/v1/cells/{cell}/join-tokens", CHANGE, |call| {
        Box::pin(hosts::join_tokens(call))
    }),
    route(Method::POST, "/admin/v1/hosts/{host}/maintenance", CHANGE, |call| {
        Box::pin(maintenance::maintenance(call))
    }),
];

const fn route(method: Method, path: &'static str, rule: &'static str, run: fn(Call) -> Work) -> Route {
    Route { method, path, rule, versioned: false, run }
}

/// The operator's verbs.
pub(crate) fn admin(call: &Call) -> Result<Admin, Fault> {
    Ok(call.verbs()?.admin())
}

/// On whose behalf.
pub(crate) fn by(call: &Call) -> By {
    By { caller: call.elevated(), context: call.context.clone() }
}

pub(crate) fn denied(denied: Denied) -> Refused {
    Fault::from(denied).into()
}

/// Reads a body; an empty one is an empty object.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let body = if body.is_empty() { b"{}" } else { body };
    // The parser's own text may quote a URL, which holds a password: only where and of what kind is told.
    serde_json::from_slice(body).map_err(|error| {
        let why = match error.classify() {
            serde_json::error::Category::Data => "a member is unknown, missing or of a wrong type",
            _ => "it is no JSON object",
        };
        let (line, column) = (error.line(), error.column());
        Refused::bad(format!("Malformed request body: {why} (line {line}, column {column})"))
    })
}

/// An answer with one member.
fn value<T: Serialize>(status: StatusCode, name: &'static str, value: &T) -> Response {
    answer(status, |body| body.put(name, value))
}

/// An answer that is a value as it is.
fn whole<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

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
    object.put("breaker_open", &cell.breaker_open);
    object.put("index_behind", &cell.behind);
    object.put("index_lag_seconds", &cell.lag.map(|lag| lag.as_secs_f64()));
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
