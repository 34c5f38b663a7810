//! Servers: create, list, show, delete, and what can be read below one.

use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue, LOCATION};
use axum::response::Response;
use model::extra::Group;
use model::{Env, Extra, Fault, FaultKind, Instance, InstanceId};
use uuid::Uuid;
use verbs::{Accepted, Boot, Names, Page, Seen};

use crate::compute::create::{self, Forced};
use crate::compute::fields::{self, GROUPS};
use crate::compute::listing;
use crate::compute::view::{self, Look};
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer, empty};
use crate::edge::once;
use crate::edge::refused::Refused;
use crate::network;

/// How many cells did not answer while a list was made.
const DARK_CELLS: HeaderName = HeaderName::from_static("x-skep-dark-cells");

/// `POST /servers`.
pub async fn create(call: Call) -> Answered {
    let asked = create::parse(&call.body, call.version)?;
    check_own_network(&call.caller.project, &asked)?;
    let verbs = call.verbs()?;
    let image = verbs.bootable(&call.caller, &asked.image).await?;
    verbs.check_fits(&call.caller, &image, &asked.flavor).await?;
    let mut extra = placing(&call, asked.extra, asked.group, asked.forced).await?;
    extra.image = image.listed();
    let image = image.reference.ok_or_else(|| Fault::invalid("The image has no reference."))?;
    let boot = Boot {
        name: asked.name,
        image,
        flavor: asked.flavor,
        container: asked.container,
        metadata: asked.metadata,
        zone: asked.zone,
        region: call.shared.settings.region.clone(),
        description: asked.description,
        extra,
        count: asked.count,
    };
    let (caller, context) = (&call.caller, &call.context);
    let prepared = verbs.prepare(caller, context, boot).await.map_err(missing_is_invalid)?;
    let first = prepared.instances().next();
    let first = first.ok_or_else(|| Fault::internal("Nothing was made and nothing was refused."))?;
    let password = asked.admin_pass.unwrap_or_else(|| password(&call.shared.env));
    let response = match asked.reservation {
        true => answer(StatusCode::ACCEPTED, |body| body.put("reservation_id", &first.spec.reservation())),
        false => created(&call, &first, &password),
    };
    let (keyed, response) = match &call.key {
        Some(key) => {
            let (answer, response) = once::keep(&call.shared.env, key, response).await?;
            (Some((key, answer)), response)
        }
        None => (None, response),
    };
    match (verbs.accept(caller, context, &prepared, keyed).await.map_err(missing_is_invalid)?, &call.key) {
        (Accepted::Before(known), Some(key)) => once::replay(key, known),
        _ => Ok(response),
    }
}

/// Refuses networks and security groups that are not the ones of the project.
fn check_own_network(project: &str, asked: &create::Create) -> Result<(), Refused> {
    let is = |named: &str, id: Uuid| Uuid::try_parse(named) == Ok(id);
    if let Some(named) = &asked.network
        && !is(named, network::network_id(project))
    {
        return Err(create::no_such_network(named));
    }
    match asked.security_groups.iter().find(|named| !is(named, network::group_id(project))) {
        Some(named) => Err(create::no_such_group(named)),
        None => Ok(()),
    }
}

/// What was asked about key pair, server group and host, looked up and allowed.
async fn placing(
    call: &Call,
    mut extra: Extra,
    group: Option<Uuid>,
    forced: Option<Forced>,
) -> Result<Extra, Refused> {
    let verbs = call.verbs()?;
    match forced {
        Some(Forced::ByZone) => call.allow("os_compute_api:servers:create:forced_host").await?,
        Some(Forced::ByHost) => call.allow("compute:servers:create:requested_destination").await?,
        None => {}
    }
    if let Some(name) = &extra.key_name {
        check_key(call, name).await?;
    }
    if let Some(id) = group {
        let group = verbs.group(&call.caller, id).await.map_err(missing_is_invalid)?;
        let max_per_host = group.max_per_host.max(1);
        extra.group = Some(Group { id, policy: group.policy, max_per_host });
    }
    Ok(extra)
}

/// Refuses a key pair that the caller does not have.
pub(crate) async fn check_key(call: &Call, name: &str) -> Result<(), Refused> {
    match call.verbs()?.keypair(&call.caller.user, name).await {
        Ok(_) => Ok(()),
        Err(fault) if fault.kind == FaultKind::NotFound => Err(Refused::bad("Invalid key_name provided.")),
        Err(fault) => Err(fault.into()),
    }
}

fn created(call: &Call, instance: &Instance, password: &str) -> Response {
    let look = look(call, true);
    let mut response = answer(StatusCode::ACCEPTED, |body| {
        body.object("server", |server| {
            server.put("id", &instance.id);
            view::links(server, "links", &instance.id, &look);
            server.put("OS-DCF:diskConfig", fields::disk_config(instance));
            server.put("security_groups", &GROUPS);
            server.put("adminPass", password);
        });
    });
    let location = format!("{}/servers/{}", call.base.versioned(), instance.id);
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

/// An image or a flavor that a create names and that is not there makes the request wrong: 400.
pub(crate) fn missing_is_invalid(fault: Fault) -> Fault {
    match fault.kind {
        FaultKind::NotFound => Fault::invalid(fault.message),
        _ => fault,
    }
}

/// Twelve characters that are not mistaken for one another.
pub(crate) fn password(env: &Env) -> String {
    const LETTERS: &[u8; 56] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz";
    (0..12).map(|_| char::from(LETTERS[env.below(LETTERS.len() as u64) as usize])).collect()
}

/// `GET /servers`.
pub async fn index(call: Call) -> Answered {
    let names = match listing::query(&call, "os_compute_api:servers:index:get_all_tenants").await? {
        Some(query) if query.all_projects => call.verbs()?.list_names(&call.elevated(), &query).await?,
        Some(query) => call.verbs()?.list_names(&call.caller, &query).await?,
        None => Names { items: Vec::new(), next: None, dark_cells: Vec::new() },
    };
    complete(&call, &names.dark_cells)?;
    Ok(indexed(&call, &names))
}

fn indexed(call: &Call, names: &Names) -> Response {
    let look = look(call, false);
    let partial = call.version >= view::PARTIAL_SINCE;
    let items = names.items.iter().filter(|named| partial || !named.dark);
    let mut response = answer(StatusCode::OK, |body| {
        body.array("servers", items, |object, named| view::brief(object, named, &look));
        if let Some(next) = names.next {
            next_link(call, body, "/servers", next);
        }
    });
    count_dark(&mut response, names.dark_cells.len());
    response
}

/// `GET /servers/detail`.
pub async fn detail(call: Call) -> Answered {
    let page = match listing::query(&call, "os_compute_api:servers:detail:get_all_tenants").await? {
        Some(query) if query.all_projects => call.verbs()?.list(&call.elevated(), &query).await?,
        Some(query) => call.verbs()?.list(&call.caller, &query).await?,
        None => Page { items: Vec::new(), next: None, dark_cells: Vec::new() },
    };
    complete(&call, &page.dark_cells)?;
    Ok(listed(&call, &page))
}

fn listed(call: &Call, page: &Page) -> Response {
    let look = look(call, false);
    let partial = call.version >= view::PARTIAL_SINCE;
    let items = page.items.iter().filter(|seen| partial || matches!(seen, Seen::Fresh(_)));
    let mut response = answer(StatusCode::OK, |body| {
        body.array("servers", items, |object, seen| view::server(object, seen, &look));
        if let Some(next) = page.next {
            next_link(call, body, "/servers/detail", next);
        }
    });
    count_dark(&mut response, page.dark_cells.len());
    response
}

/// Refuses to leave servers out where the operator wants that (Nova's
/// `[api]list_records_by_skipping_down_cells`, which makes it 500).
fn complete(call: &Call, dark: &[String]) -> Result<(), Refused> {
    if dark.is_empty() || call.version >= view::PARTIAL_SINCE || call.shared.settings.skip_dark_cells {
        return Ok(());
    }
    let why = "Some cells do not answer. Try again, or use microversion 2.69 or later for what is known.";
    Err(Fault::unavailable(why).into())
}

fn next_link(call: &Call, body: &mut Object<'_>, path: &str, next: InstanceId) {
    let query = call.params.with_marker(&next.to_string());
    body.array("servers_links", [()], |link, ()| {
        link.put("rel", "next");
        link.text("href", format_args!("{}{path}?{query}", call.base.versioned()));
    });
}

/// Tells how many cells did not answer, if any.
pub fn count_dark(response: &mut Response, cells: usize) {
    if cells > 0 {
        response.headers_mut().insert(DARK_CELLS, HeaderValue::from(cells));
    }
}

/// How servers look to who asks.
pub(crate) fn look(call: &Call, show: bool) -> Look<'_> {
    Look {
        version: call.version,
        admin: call.may("os_compute_api:os-extended-server-attributes"),
        show,
        extended: call.extended,
        base: &call.base,
    }
}

/// `GET /servers/{id}`.
pub async fn show(call: Call) -> Answered {
    let id = call.instance()?;
    let seen = call.verbs()?.show(&call.caller, id).await?;
    shown(&call, &seen)
}

fn shown(call: &Call, seen: &Seen) -> Answered {
    let dark = matches!(seen, Seen::Dark(_));
    if dark && call.version < view::PARTIAL_SINCE {
        return Err(away(seen));
    }
    let mut response = answer(StatusCode::OK, |body| {
        body.object("server", |object| view::server(object, seen, &look(call, true)));
    });
    if dark {
        response.headers_mut().insert(DARK_CELLS, HeaderValue::from(1));
    }
    Ok(response)
}

/// Nova answers 500 here; but it is the cell that is away, and it comes back.
fn away(seen: &Seen) -> Refused {
    Fault::unavailable(format!(
        "The cell of instance {} does not answer. Try again, or use microversion 2.69 or later for what is known of it.",
        seen.id()
    ))
    .into()
}

/// `DELETE /servers/{id}`.
pub async fn delete(call: Call) -> Answered {
    let id = call.instance()?;
    call.verbs()?.delete(&call.caller, &call.context, id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The instance that the path names, with current facts.
pub(crate) async fn fresh(call: &Call) -> Result<Box<Instance>, Refused> {
    let id = call.instance()?;
    match call.verbs()?.show(&call.caller, id).await? {
        Seen::Fresh(instance) => Ok(instance),
        dark => Err(away(&dark)),
    }
}

/// `GET /servers/{id}/ips`.
pub async fn ips(call: Call) -> Answered {
    let instance = fresh(&call).await?;
    Ok(answer(StatusCode::OK, |body| view::addresses(body, "addresses", &instance, false)))
}

/// `GET /servers/{id}/ips/{network}`.
pub async fn ips_of(call: Call) -> Answered {
    let instance = fresh(&call).await?;
    if call.capture("network") != view::NETWORK || !view::has_address(&instance) {
        return Err(Refused::not_found("Network name not found"));
    }
    Ok(answer(StatusCode::OK, |body| view::address_list(body, &instance, false)))
}

/// `GET /servers/{id}/os-volume_attachments`: there are none.
pub async fn volumes(call: Call) -> Answered {
    fresh(&call).await?;
    Ok(answer(StatusCode::OK, |body| body.put("volumeAttachments", &[0_u8; 0])))
}

/// `GET /servers/{id}/os-security-groups`: a network has the one group.
pub async fn security_groups(call: Call) -> Answered {
    let instance = fresh(&call).await?;
    let some = (!instance.spec.container.no_network).then_some(());
    Ok(answer(StatusCode::OK, |body| {
        body.array("security_groups", some, |group, ()| {
            group.put("id", "default");
            group.put("name", "default");
            group.put("description", "Default");
            group.put("tenant_id", &instance.spec.project);
            group.put("rules", &[0_u8; 0]);
        });
    }))
}

#[cfg(test)]
#[path = "servers_tests.rs"]
mod tests;
