//! The routes: tables of (method, path, rule, handler), and the router made of nothing else.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use axum::routing::{MethodFilter, on};

use crate::app::Shared;
use crate::compute::{
    actions, aggregates, audit_log, catalog, extensions, flavor_manage, flavors, groups, history, hosts,
    hypervisors, image_metadata, images, inside, keypairs, metadata, migrations, networks, quotas, servers,
    services, tags, update, usage, versions,
};
use crate::edge::call::{Answered, Route, Work};
use crate::edge::refused::{Refused, Style};
use crate::edge::seam;
use crate::{admin, image, keystone, network};

/// Where the compute face is mounted.
const COMPUTE_MOUNTS: &[&str] =
    &["/v2.1", "/v2.1/{project_id}", "/compute/v2.1", "/compute/v2.1/{project_id}"];
/// Where the image face is mounted.
const IMAGE_MOUNTS: &[&str] = &["/v2", "/image/v2"];

/// Where the network face is mounted.
const NETWORK_MOUNTS: &[&str] = &["/network/v2.0"];

macro_rules! routes {
    ($versioned:literal: $($method:ident $path:literal $rule:literal $handler:path;)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            rule: $rule,
            versioned: $versioned,
            run: |call| work($handler(call)),
        }),*]
    };
}

fn work(handler: impl Future<Output = Answered> + Send + 'static) -> Work {
    Box::pin(handler)
}

/// The compute face.
static COMPUTE: &[Route] = routes! { true:
    GET "/servers" "os_compute_api:servers:index" servers::index;
    POST "/servers" "os_compute_api:servers:create" servers::create;
    GET "/servers/detail" "os_compute_api:servers:detail" servers::detail;
    GET "/servers/{id}" "os_compute_api:servers:show" servers::show;
    PUT "/servers/{id}" "os_compute_api:servers:update" update::update;
    DELETE "/servers/{id}" "os_compute_api:servers:delete" servers::delete;
    POST "/servers/{id}/action" "os_compute_api:servers:action" actions::act;
    GET "/servers/{id}/metadata" "os_compute_api:server-metadata:index" metadata::index;
    POST "/servers/{id}/metadata" "os_compute_api:server-metadata:create" metadata::create;
    PUT "/servers/{id}/metadata" "os_compute_api:server-metadata:update_all" metadata::replace;
    GET "/servers/{id}/metadata/{key}" "os_compute_api:server-metadata:show" metadata::show;
    PUT "/servers/{id}/metadata/{key}" "os_compute_api:server-metadata:update" metadata::update;
    DELETE "/servers/{id}/metadata/{key}" "os_compute_api:server-metadata:delete" metadata::delete;
    GET "/servers/{id}/tags" "os_compute_api:os-server-tags:index" tags::index;
    PUT "/servers/{id}/tags" "os_compute_api:os-server-tags:update_all" tags::replace;
    DELETE "/servers/{id}/tags" "os_compute_api:os-server-tags:delete_all" tags::clear;
    GET "/servers/{id}/tags/{tag}" "os_compute_api:os-server-tags:show" tags::show;
    PUT "/servers/{id}/tags/{tag}" "os_compute_api:os-server-tags:update" tags::add;
    DELETE "/servers/{id}/tags/{tag}" "os_compute_api:os-server-tags:delete" tags::remove;
    GET "/servers/{id}/os-instance-actions" "os_compute_api:os-instance-actions:list" history::index;
    GET "/servers/{id}/os-instance-actions/{request}" "os_compute_api:os-instance-actions:show" history::show;
    GET "/servers/{id}/diagnostics" "os_compute_api:os-server-diagnostics" inside::diagnostics;
    GET "/servers/{id}/topology" "compute:server:topology:index" inside::topology;
    GET "/servers/{id}/os-server-password" "os_compute_api:os-server-password:show" inside::password;
    DELETE "/servers/{id}/os-server-password" "os_compute_api:os-server-password:clear" inside::clear_password;
    POST "/servers/{id}/remote-consoles" "os_compute_api:os-remote-consoles" inside::console;
    GET "/servers/{id}/ips" "os_compute_api:ips:index" servers::ips;
    GET "/servers/{id}/ips/{network}" "os_compute_api:ips:show" servers::ips_of;
    GET "/servers/{id}/os-volume_attachments" "os_compute_api:os-volumes-attachments:index" servers::volumes;
    GET "/servers/{id}/os-security-groups" "os_compute_api:os-security-groups:list" servers::security_groups;
    GET "/flavors" "os_compute_api:flavors" flavors::index;
    GET "/flavors/detail" "os_compute_api:flavors" flavors::detail;
    GET "/flavors/{id}" "os_compute_api:flavors" flavors::show;
    POST "/flavors" "os_compute_api:os-flavor-manage:create" flavor_manage::create;
    PUT "/flavors/{id}" "os_compute_api:os-flavor-manage:update" flavor_manage::update;
    DELETE "/flavors/{id}" "os_compute_api:os-flavor-manage:delete" flavor_manage::delete;
    POST "/flavors/{id}/action" "os_compute_api:os-flavor-access" flavor_manage::act;
    GET "/flavors/{id}/os-flavor-access" "os_compute_api:os-flavor-access" flavor_manage::access;
    GET "/flavors/{id}/os-extra_specs" "os_compute_api:os-flavor-extra-specs:index" flavor_manage::specs;
    POST "/flavors/{id}/os-extra_specs" "os_compute_api:os-flavor-extra-specs:create" flavor_manage::put_specs;
    GET "/flavors/{id}/os-extra_specs/{key}" "os_compute_api:os-flavor-extra-specs:show" flavor_manage::spec;
    PUT "/flavors/{id}/os-extra_specs/{key}" "os_compute_api:os-flavor-extra-specs:update" flavor_manage::put_spec;
    DELETE "/flavors/{id}/os-extra_specs/{key}" "os_compute_api:os-flavor-extra-specs:delete" flavor_manage::delete_spec;
    GET "/os-keypairs" "os_compute_api:os-keypairs:index" keypairs::index;
    POST "/os-keypairs" "os_compute_api:os-keypairs:create" keypairs::create;
    GET "/os-keypairs/{name}" "os_compute_api:os-keypairs:show" keypairs::show;
    DELETE "/os-keypairs/{name}" "os_compute_api:os-keypairs:delete" keypairs::delete;
    GET "/os-server-groups" "os_compute_api:os-server-groups:index" groups::index;
    POST "/os-server-groups" "os_compute_api:os-server-groups:create" groups::create;
    GET "/os-server-groups/{id}" "os_compute_api:os-server-groups:show" groups::show;
    DELETE "/os-server-groups/{id}" "os_compute_api:os-server-groups:delete" groups::delete;
    GET "/os-aggregates" "os_compute_api:os-aggregates:index" aggregates::index;
    POST "/os-aggregates" "os_compute_api:os-aggregates:create" aggregates::create;
    GET "/os-aggregates/{id}" "os_compute_api:os-aggregates:show" aggregates::show;
    PUT "/os-aggregates/{id}" "os_compute_api:os-aggregates:update" aggregates::update;
    DELETE "/os-aggregates/{id}" "os_compute_api:os-aggregates:delete" aggregates::delete;
    POST "/os-aggregates/{id}/action" "os_compute_api:os-aggregates:show" aggregates::act;
    POST "/os-aggregates/{id}/images" "compute:aggregates:images" aggregates::images;
    GET "/os-quota-sets/{id}" "os_compute_api:os-quota-sets:show" quotas::show;
    PUT "/os-quota-sets/{id}" "os_compute_api:os-quota-sets:update" quotas::update;
    DELETE "/os-quota-sets/{id}" "os_compute_api:os-quota-sets:delete" quotas::delete;
    GET "/os-quota-sets/{id}/defaults" "os_compute_api:os-quota-sets:defaults" quotas::defaults;
    GET "/os-quota-sets/{id}/detail" "os_compute_api:os-quota-sets:detail" quotas::detail;
    GET "/os-quota-class-sets/{id}" "os_compute_api:os-quota-class-sets:show" quotas::show_class;
    PUT "/os-quota-class-sets/{id}" "os_compute_api:os-quota-class-sets:update" quotas::update_class;
    GET "/limits" "os_compute_api:limits" quotas::limits;
    GET "/os-simple-tenant-usage" "os_compute_api:os-simple-tenant-usage:list" usage::index;
    GET "/os-simple-tenant-usage/{id}" "os_compute_api:os-simple-tenant-usage:show" usage::show;
    GET "/extensions" "os_compute_api:extensions" extensions::index;
    GET "/extensions/{alias}" "os_compute_api:extensions" extensions::show;
    GET "/os-availability-zone" "os_compute_api:os-availability-zone:list" catalog::zones;
    GET "/os-availability-zone/detail" "os_compute_api:os-availability-zone:detail" catalog::zones_detail;
    GET "/os-services" "os_compute_api:os-services:list" hypervisors::services;
    PUT "/os-services/{id}" "os_compute_api:os-services:update" services::update;
    GET "/os-hypervisors" "os_compute_api:os-hypervisors:list" hypervisors::index;
    GET "/os-hypervisors/detail" "os_compute_api:os-hypervisors:list-detail" hypervisors::detail;
    GET "/os-hypervisors/statistics" "os_compute_api:os-hypervisors:statistics" hypervisors::statistics;
    GET "/os-hypervisors/{id}" "os_compute_api:os-hypervisors:show" hypervisors::show;
    GET "/os-migrations" "os_compute_api:os-migrations:index" migrations::index;
    GET "/servers/{id}/migrations" "os_compute_api:servers:migrations:index" migrations::of_server;
    GET "/servers/{id}/migrations/{migration}" "os_compute_api:servers:migrations:show" migrations::show;
    GET "/os-hypervisors/{id}/search" "os_compute_api:os-hypervisors:search" hosts::search;
    GET "/os-hypervisors/{id}/servers" "os_compute_api:os-hypervisors:servers" hosts::servers;
    GET "/os-hypervisors/{id}/uptime" "os_compute_api:os-hypervisors:uptime" hosts::uptime;
    GET "/os-hosts" "os_compute_api:os-hosts:list" hosts::index;
    GET "/os-hosts/{name}" "os_compute_api:os-hosts:show" hosts::show;
    PUT "/os-hosts/{name}" "os_compute_api:os-hosts:update" hosts::update;
    GET "/os-hosts/{name}/startup" "os_compute_api:os-hosts:start" hosts::power;
    GET "/os-hosts/{name}/shutdown" "os_compute_api:os-hosts:shutdown" hosts::power;
    GET "/os-hosts/{name}/reboot" "os_compute_api:os-hosts:reboot" hosts::power;
    GET "/os-instance_usage_audit_log" "os_compute_api:os-instance-usage-audit-log:list" audit_log::index;
    GET "/os-instance_usage_audit_log/{before}" "os_compute_api:os-instance-usage-audit-log:show" audit_log::show;
    GET "/images" "os_compute_api:images:index" images::index;
    GET "/images/detail" "os_compute_api:images:detail" images::detail;
    GET "/images/{id}" "os_compute_api:images:show" images::show;
    DELETE "/images/{id}" "os_compute_api:images:delete" images::delete;
    GET "/images/{id}/metadata" "os_compute_api:image-metadata:index" image_metadata::index;
    POST "/images/{id}/metadata" "os_compute_api:image-metadata:create" image_metadata::create;
    PUT "/images/{id}/metadata" "os_compute_api:image-metadata:update_all" image_metadata::replace;
    GET "/images/{id}/metadata/{key}" "os_compute_api:image-metadata:show" image_metadata::show;
    PUT "/images/{id}/metadata/{key}" "os_compute_api:image-metadata:update" image_metadata::update;
    DELETE "/images/{id}/metadata/{key}" "os_compute_api:image-metadata:delete" image_metadata::delete;
    GET "/os-networks" "os_compute_api:os-networks:list" networks::index;
    GET "/os-networks/{id}" "os_compute_api:os-networks:show" networks::show;
    GET "/os-tenant-networks" "os_compute_api:os-tenant-networks:list" networks::index_short;
    GET "/os-tenant-networks/{id}" "os_compute_api:os-tenant-networks:show" networks::show_short;
};

/// The image face.
static IMAGE: &[Route] = routes! { false:
    GET "/images" "get_images" image::index;
    POST "/images" "add_image" image::create;
    GET "/images/{id}" "get_image" image::show;
    PATCH "/images/{id}" "modify_image" image::update;
    DELETE "/images/{id}" "delete_image" image::delete;
    PUT "/images/{id}/tags/{tag}" "modify_image" image::tag;
    DELETE "/images/{id}/tags/{tag}" "modify_image" image::untag;
    POST "/images/{id}/actions/deactivate" "deactivate" image::deactivate;
    POST "/images/{id}/actions/reactivate" "reactivate" image::reactivate;
    PUT "/images/{id}/file" "upload_image" image::upload;
    GET "/images/{id}/file" "download_image" image::download;
    GET "/images/{id}/members" "get_members" image::members;
    POST "/images/{id}/members" "add_member" image::members;
    GET "/images/{id}/members/{member}" "get_member" image::members;
    PUT "/images/{id}/members/{member}" "modify_member" image::members;
    DELETE "/images/{id}/members/{member}" "delete_member" image::members;
    GET "/schemas/{name}" "get_images" image::schema;
};

/// The network face.
static NETWORK: &[Route] = routes! { false:
    GET "/networks" "get_network" network::networks;
    GET "/networks/{id}" "get_network" network::show_network;
    GET "/subnets" "get_subnet" network::none;
    GET "/ports" "get_port" network::ports;
    GET "/ports/{id}" "get_port" network::port;
    GET "/security-groups" "get_security_group" network::groups;
    GET "/security-groups/{id}" "get_security_group" network::show_group;
    DELETE "/security-groups/{id}" "delete_security_group" network::delete_group;
    GET "/security-group-rules" "get_security_group" network::none;
    GET "/floatingips" "get_floatingip" network::none;
    GET "/routers" "get_router" network::none;
    GET "/extensions" "skep:network:extensions" network::extensions;
    GET "/extensions/{alias}" "skep:network:extensions" network::show_extension;
    GET "/quotas/{project}" "get_quota" network::quota;
    GET "/quotas/{project}/default" "get_quota" network::default_quota;
    GET "/quotas/{project}/details" "get_quota" network::quota_details;
    DELETE "/quotas/{project}" "delete_quota" network::reset_quota;
};

/// Version documents and our own administration.
static ROOT: &[Route] = routes! { false:
    GET "/" "skep:versions" versions::list;
    GET "/compute" "skep:versions" versions::list;
    GET "/compute/" "skep:versions" versions::list;
    GET "/v2.1" "skep:versions" versions::current;
    GET "/v2.1/" "skep:versions" versions::current;
    GET "/compute/v2.1" "skep:versions" versions::current;
    GET "/compute/v2.1/" "skep:versions" versions::current;
    GET "/v2" "skep:versions" versions::legacy;
    GET "/v2/" "skep:versions" versions::legacy;
    GET "/compute/v2" "skep:versions" versions::legacy;
    GET "/compute/v2/" "skep:versions" versions::legacy;
    GET "/image" "skep:versions" image::versions;
    GET "/image/" "skep:versions" image::versions;
    GET "/image/versions" "skep:versions" image::versions;
    GET "/image/v2" "skep:versions" image::versions;
    GET "/image/v2/" "skep:versions" image::versions;
    GET "/network" "skep:versions" network::versions;
    GET "/network/" "skep:versions" network::versions;
    GET "/network/v2.0" "skep:versions" network::resources;
    GET "/network/v2.0/" "skep:versions" network::resources;
    GET "/identity" "skep:versions" keystone::versions;
    GET "/identity/" "skep:versions" keystone::versions;
    GET "/identity/v3" "skep:versions" keystone::version;
    GET "/identity/v3/" "skep:versions" keystone::version;
    GET "/v3" "skep:versions" keystone::version;
    GET "/v3/" "skep:versions" keystone::version;
    GET "/admin/v1/status" "skep:status" admin::status;
};

/// Method and path of every route, with the names of the path's parameters in braces.
pub fn paths() -> impl Iterator<Item = (Method, String)> {
    all().map(|(path, route)| (route.method.clone(), path))
}

/// Every route with the full path of each of its mounts.
fn all() -> impl Iterator<Item = (String, &'static Route)> {
    let faces: [(&[&str], &'static [Route]); 6] = [
        (COMPUTE_MOUNTS, COMPUTE),
        (IMAGE_MOUNTS, IMAGE),
        (NETWORK_MOUNTS, NETWORK),
        (&[""], ROOT),
        (&[""], admin::ROUTES),
        (keystone::MOUNTS, keystone::ROUTES),
    ];
    faces.into_iter().flat_map(|(mounts, routes)| {
        mounts
            .iter()
            .flat_map(move |mount| routes.iter().map(move |route| (format!("{mount}{}", route.path), route)))
            .collect::<Vec<_>>()
    })
}

/// The router over all tables.
pub fn router(shared: &Arc<Shared>) -> Router {
    let mut router = Router::new();
    for (path, route) in all() {
        let shared = Arc::clone(shared);
        let filter = match route.method {
            Method::POST => MethodFilter::POST,
            Method::PUT => MethodFilter::PUT,
            Method::PATCH => MethodFilter::PATCH,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        router = router.route(
            &path,
            on(filter, move |request: Request<Body>| seam::enter(Arc::clone(&shared), route, request)),
        );
    }
    router.method_not_allowed_fallback(wrong_method).fallback(no_such_route)
}

async fn wrong_method(request: Request<Body>) -> axum::response::Response {
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("The method {} is not allowed for this resource.", request.method()),
    )
    .render(Style::of(request.uri().path()))
}

async fn no_such_route(request: Request<Body>) -> axum::response::Response {
    Refused::not_found("The resource could not be found.").render(Style::of(request.uri().path()))
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
