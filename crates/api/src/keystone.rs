//! The identity face: Keystone's v3 API over users of our own, as far as clients and administrators need it.
//!
//! Where this cloud's users are in a real Keystone, or nowhere, only version documents and questions about
//! tokens are answered here.

mod assignments;
mod auth;
mod catalog;
mod credentials;
mod request;
mod things;
mod token;
mod versions;

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::Response;
use identity::{Backend, By, Embedded, Known, Refusal};
use serde_json::{Map, Value, json};

use crate::edge::body;
use crate::edge::call::{Call, Route, Work};
use crate::edge::json::answer;
use crate::edge::refused::Refused;

pub use versions::{version, versions};

/// Where the identity face is mounted.
pub const MOUNTS: &[&str] = &["/v3", "/identity/v3"];

macro_rules! routes {
    ($($method:ident $path:literal $rule:literal $handler:path;)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            rule: $rule,
            versioned: false,
            run: |call| -> Work { Box::pin($handler(call)) },
        }),*]
    };
}

/// The routes below each mount.
pub static ROUTES: &[Route] = routes! {
    POST "/auth/tokens" "identity:authenticate" auth::issue;
    GET "/auth/tokens" "identity:own_token" token::show;
    DELETE "/auth/tokens" "identity:own_token" token::revoke;
    GET "/auth/projects" "identity:own_token" token::projects;
    GET "/auth/domains" "identity:own_token" token::domains;
    GET "/auth/system" "identity:own_token" token::system;
    GET "/auth/catalog" "identity:own_token" catalog::own;

    GET "/projects" "identity:list_projects" things::index;
    POST "/projects" "identity:manage_projects" things::create;
    GET "/projects/{target}" "identity:get_project" things::show_project;
    PATCH "/projects/{target}" "identity:manage_projects" things::update;
    DELETE "/projects/{target}" "identity:manage_projects" things::delete;

    GET "/users" "identity:list_users" things::index;
    POST "/users" "identity:manage_users" things::create;
    GET "/users/{user_id}" "identity:get_user" things::show;
    PATCH "/users/{user_id}" "identity:manage_users" things::update;
    DELETE "/users/{user_id}" "identity:manage_users" things::delete;
    POST "/users/{user_id}/password" "identity:change_password" things::change_password;
    GET "/users/{user_id}/projects" "identity:list_user_projects" assignments::projects;
    GET "/users/{user_id}/groups" "identity:list_user_projects" assignments::no_groups;
    GET "/groups" "identity:list_users" assignments::no_groups;

    GET "/domains" "identity:list_domains" things::index;
    POST "/domains" "identity:manage_domains" things::create;
    GET "/domains/{target}" "identity:get_domain" things::show_domain;
    PATCH "/domains/{target}" "identity:manage_domains" things::update;
    DELETE "/domains/{target}" "identity:manage_domains" things::delete;

    GET "/roles" "identity:list_roles" things::index;
    POST "/roles" "identity:manage_roles" things::create;
    GET "/roles/{target}" "identity:list_roles" things::show;
    PATCH "/roles/{target}" "identity:manage_roles" things::update;
    DELETE "/roles/{target}" "identity:manage_roles" things::delete;
    GET "/roles/{target}/implies" "identity:list_roles" assignments::implied;
    GET "/roles/{target}/implies/{role}" "identity:list_roles" assignments::implies;
    PUT "/roles/{target}/implies/{role}" "identity:manage_roles" assignments::imply;
    DELETE "/roles/{target}/implies/{role}" "identity:manage_roles" assignments::unimply;
    GET "/role_inferences" "identity:list_roles" assignments::inferences;

    GET "/role_assignments" "identity:list_role_assignments" assignments::index;
    GET "/projects/{target}/users/{user_id}/roles" "identity:list_grants" assignments::roles;
    GET "/projects/{target}/users/{user_id}/roles/{role}" "identity:list_grants" assignments::check;
    PUT "/projects/{target}/users/{user_id}/roles/{role}" "identity:manage_grants" assignments::grant;
    DELETE "/projects/{target}/users/{user_id}/roles/{role}" "identity:manage_grants" assignments::revoke;
    GET "/domains/{target}/users/{user_id}/roles" "identity:list_grants" assignments::roles;
    GET "/domains/{target}/users/{user_id}/roles/{role}" "identity:list_grants" assignments::check;
    PUT "/domains/{target}/users/{user_id}/roles/{role}" "identity:manage_grants" assignments::grant;
    DELETE "/domains/{target}/users/{user_id}/roles/{role}" "identity:manage_grants" assignments::revoke;
    GET "/system/users/{user_id}/roles" "identity:list_grants" assignments::roles;
    GET "/system/users/{user_id}/roles/{role}" "identity:list_grants" assignments::check;
    PUT "/system/users/{user_id}/roles/{role}" "identity:manage_grants" assignments::grant;
    DELETE "/system/users/{user_id}/roles/{role}" "identity:manage_grants" assignments::revoke;

    GET "/users/{user_id}/application_credentials" "identity:list_application_credentials" credentials::index;
    POST "/users/{user_id}/application_credentials" "identity:create_application_credential" credentials::create;
    GET "/users/{user_id}/application_credentials/{target}" "identity:list_application_credentials" credentials::show;
    DELETE "/users/{user_id}/application_credentials/{target}" "identity:delete_application_credential" credentials::delete;
    GET "/users/{user_id}/access_rules" "identity:list_application_credentials" credentials::access_rules;

    GET "/regions" "identity:list_catalog" catalog::index;
    POST "/regions" "identity:manage_catalog" things::create;
    GET "/regions/{target}" "identity:list_catalog" catalog::show;
    PUT "/regions/{target}" "identity:manage_catalog" catalog::put_region;
    PATCH "/regions/{target}" "identity:manage_catalog" catalog::update;
    DELETE "/regions/{target}" "identity:manage_catalog" catalog::delete;
    GET "/services" "identity:list_catalog" catalog::index;
    POST "/services" "identity:manage_catalog" things::create;
    GET "/services/{target}" "identity:list_catalog" catalog::show;
    PATCH "/services/{target}" "identity:manage_catalog" catalog::update;
    DELETE "/services/{target}" "identity:manage_catalog" catalog::delete;
    GET "/endpoints" "identity:list_catalog" catalog::index;
    POST "/endpoints" "identity:manage_catalog" catalog::create_endpoint;
    GET "/endpoints/{target}" "identity:list_catalog" catalog::show;
    PATCH "/endpoints/{target}" "identity:manage_catalog" catalog::update;
    DELETE "/endpoints/{target}" "identity:manage_catalog" catalog::delete;
};

/// Users of our own; refused where users are elsewhere.
fn users(call: &Call) -> Result<&Embedded, Refused> {
    match call.shared.identity.backend() {
        Backend::Embedded(embedded) => Ok(embedded),
        Backend::Keystone(keystone) => Err(Refused::not_found(format!(
            "This cloud's users are in another identity service: {}.",
            keystone.public_url()
        ))),
        Backend::Fixed => Err(Refused::not_found(
            "This cloud keeps no users; it knows the tokens of its configuration only.",
        )),
    }
}

/// On whose behalf.
fn by(call: &Call) -> By {
    By { caller: Arc::clone(&call.caller), context: call.context.clone() }
}

/// What the request's token stands for.
fn known(call: &Call) -> Result<&Arc<Known>, Refused> {
    call.permit.known().ok_or_else(|| Refused::new(StatusCode::UNAUTHORIZED, "A token is needed."))
}

/// What a body says of one thing: `{"user": {…}}`.
fn said(call: &Call, name: &str) -> Result<Map<String, Value>, Refused> {
    match body::object(&call.body)?.remove(name) {
        Some(Value::Object(said)) => Ok(said),
        _ => Err(Refused::bad(format!("'{name}' is a required property"))),
    }
}

/// An answer with one member.
fn one(status: StatusCode, name: &'static str, value: &Value) -> Response {
    answer(status, |body| body.put(name, value))
}

/// A list and its links, all on one page.
fn list(call: &Call, name: &'static str, all: &[Value]) -> Response {
    let links = json!({"self": href(call, &call.path), "previous": null, "next": null});
    answer(StatusCode::OK, |body| {
        body.put(name, all);
        body.put("links", &links);
    })
}

/// The whole address of a path.
fn href(call: &Call, path: &str) -> String {
    format!("{}{path}", call.base.origin)
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Fault(fault) => fault.into(),
            Refusal::Wait(wait) => {
                let seconds = wait.as_secs().max(1);
                let why = format!("Too many failed attempts; try again in {seconds} seconds.");
                let mut refused = Self::new(StatusCode::TOO_MANY_REQUESTS, why);
                refused.header = Some((axum::http::header::RETRY_AFTER, seconds.into()));
                refused
            }
        }
    }
}

#[cfg(test)]
#[path = "keystone/tests.rs"]
mod tests;
