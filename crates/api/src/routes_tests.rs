//! Every route by the tables: its rule, who gets past it, and its row in the documents.

use super::*;
use identity::StaticToken;
use model::Env;

use crate::app::App;
use crate::edge::policy::{self, Need, RULES};
use crate::edge::room::Lane;
use crate::settings::Settings;
use crate::testing::{json, request};

#[test]
fn every_route_has_a_rule() {
    for (path, route) in all() {
        assert!(policy::need(route.rule).is_some(), "{} {path} names no rule: {}", route.method, route.rule);
    }
}

#[test]
fn only_version_documents_are_public() {
    for (path, route) in all() {
        let public = policy::need(route.rule) == Some(policy::Need::Anyone);
        let expected = ["skep:versions", "identity:authenticate"].contains(&route.rule);
        assert_eq!(public, expected, "{} {path}", route.method);
        let places = Lane::before_routing(&route.method, &fill(&path)).is_some();
        assert_eq!(places, !public, "{} {path}", route.method);
    }
}

#[test]
fn every_rule_of_a_route_face_is_used() {
    // Rules that handlers ask for themselves.
    let inner = [
        "skep:cells:show",
        "identity:validate_token",
        "os_compute_api:servers:index:get_all_tenants",
        "os_compute_api:servers:detail:get_all_tenants",
        "os_compute_api:servers:allow_all_filters",
        "os_compute_api:servers:start",
        "os_compute_api:servers:stop",
        "os_compute_api:servers:reboot",
        "os_compute_api:os-deferred-delete:force",
        "os_compute_api:os-deferred-delete:restore",
        "os_compute_api:os-floating-ips:add",
        "os_compute_api:os-floating-ips:remove",
        "os_compute_api:os-console-output",
        "os_compute_api:os-extended-server-attributes",
        "os_compute_api:servers:rebuild",
        "os_compute_api:servers:create_image",
        "os_compute_api:servers:resize",
        "os_compute_api:servers:confirm_resize",
        "os_compute_api:servers:revert_resize",
        "os_compute_api:os-shelve:shelve",
        "os_compute_api:os-shelve:unshelve",
        "os_compute_api:os-pause-server:pause",
        "os_compute_api:os-pause-server:unpause",
        "os_compute_api:os-suspend-server:suspend",
        "os_compute_api:os-suspend-server:resume",
        "os_compute_api:os-lock-server:lock",
        "os_compute_api:os-lock-server:unlock",
        "os_compute_api:os-lock-server:unlock:unlock_override",
        "os_compute_api:os-admin-actions:reset_state",
        "os_compute_api:os-instance-actions:events",
        "os_compute_api:os-instance-actions:events:details",
        "os_compute_api:servers:create:forced_host",
        "compute:servers:create:requested_destination",
        "os_compute_api:os-flavor-access:add_tenant_access",
        "os_compute_api:os-flavor-access:remove_tenant_access",
        "os_compute_api:os-server-groups:index:all_projects",
        "os_compute_api:os-aggregates:add_host",
        "os_compute_api:os-aggregates:remove_host",
        "os_compute_api:os-aggregates:set_metadata",
        "os_compute_api:limits:other_project",
        "publicize_image",
        "communitize_image",
    ];
    for (rule, _) in RULES {
        let used = inner.contains(rule) || all().any(|(_, route)| route.rule == *rule);
        assert!(used, "{rule} guards nothing");
    }
}

/// Every route with every role, through the whole seam: what the table asks for is what is let through.
#[tokio::test]
async fn every_route_asks_every_role_for_what_its_rule_says() {
    let token = |token: &str, project: &str, roles: &[&str]| StaticToken {
        token: token.to_owned(),
        user: "u".to_owned(),
        project: project.to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    };
    let roles = ["", "auditor", "reader", "member", "manager", "admin", "service"];
    let mut tokens: Vec<StaticToken> =
        roles.iter().filter(|role| !role.is_empty()).map(|role| token(role, "p1", &[role])).collect();
    // A token that is good for no project, as one for the cloud itself.
    tokens.push(token("nowhere", "", &["admin"]));
    let app = App::without_verbs(Env::system(), Settings { tokens, ..Settings::default() });
    for (path, route) in all() {
        let need = policy::need(route.rule).unwrap_or_else(|| panic!("{path} has no rule"));
        let path = path.replace("{project_id}", "p1").replace("{user_id}", "someone");
        let path = fill(&path);
        for role in roles.iter().copied().chain(["nowhere"]) {
            if path.contains("/p1/") && role == "nowhere" {
                continue;
            }
            let wanted = match (need, role) {
                (Need::Anyone, _) => Let::In,
                (_, "") => Let::Unknown,
                (Need::Token, _) => Let::In,
                (Need::Reader, "reader" | "member" | "manager" | "admin") => Let::In,
                (Need::Member, "member" | "manager" | "admin") => Let::In,
                (Need::Admin | Need::Own | Need::Service, "admin" | "nowhere") => Let::In,
                (Need::Service, "service") => Let::In,
                _ => Let::Out,
            };
            let headers: &[(&str, &str)] = if role.is_empty() { &[] } else { &[("x-auth-token", role)] };
            let request = request(route.method.as_str(), &path, headers, "{}");
            let (status, body) = json(app.handle(request).await).await;
            let refused = format!("Policy doesn't allow {} to be performed.", route.rule);
            let found = match status.as_u16() {
                401 => Let::Unknown,
                403 if body.to_string().contains(&refused) => Let::Out,
                _ => Let::In,
            };
            assert_eq!(
                found, wanted,
                "{} {path} ({}) by {role:?}: {status} {body}",
                route.method, route.rule
            );
        }
    }
}

#[derive(Debug, PartialEq)]
enum Let {
    In,
    Out,
    Unknown,
}

/// The path with something in the place of each parameter.
fn fill(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    for part in &mut parts {
        if part.starts_with('{') {
            *part = crate::testing::ID;
        }
    }
    parts.join("/")
}

/// The first cells of all rows of tables in a document, from one heading to another.
fn rows<'t>(text: &'t str, from: &str, to: &str) -> Vec<&'t str> {
    let begin = text.find(from).unwrap_or_else(|| panic!("there is no '{from}'"));
    let part = &text[begin..];
    let end = part[1..].find(to).map_or(part.len(), |end| end + 1);
    part[..end].lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect()
}

/// What stands in backticks, in words.
fn words(cell: &str) -> Vec<&str> {
    let quoted = cell.split('`').skip(1).step_by(2);
    quoted.flat_map(|text| text.split(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)))).collect()
}

#[test]
fn every_route_has_a_row_in_the_documents() {
    let ours = include_str!("../../../docs/compatibility.md");
    let api = include_str!("../../../docs/api.md");
    let compute = rows(ours, "# Compatibility with Nova's compute API", "\n# ");
    let faces: [(&str, &[Route], Vec<&str>); 5] = [
        ("compute", COMPUTE, compute.clone()),
        ("admin", admin::ROUTES, rows(ours, "## For people", "\n# ")),
        ("identity", keystone::ROUTES, rows(api, "## Identity routes", "\n## ")),
        ("image", IMAGE, rows(api, "## Image routes", "\n## ")),
        ("network", NETWORK, rows(api, "## Network routes", "\n## ")),
    ];
    let mut missing = Vec::new();
    for (face, routes, rows) in faces {
        assert!(rows.len() > 5, "{face}: {rows:?}");
        for route in routes {
            let fixed: Vec<&str> =
                route.path.split('/').filter(|part| !part.is_empty() && !part.starts_with('{')).collect();
            let tells = |row: &&str| {
                let words = words(row);
                fixed.iter().all(|part| words.contains(part))
            };
            if !rows.iter().any(tells) {
                missing.push(format!("{face}: {} {}", route.method, route.path));
            }
        }
    }
    // The arms of the one match over names of actions.
    let source = include_str!("compute/actions.rs");
    let arms = source.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => "));
    let actions: Vec<&str> = arms.map(|(name, _)| name).collect();
    assert!(actions.len() > 20, "{actions:?}");
    let told: Vec<&str> = compute.iter().flat_map(|row| words(row)).collect();
    for action in actions.into_iter().chain(crate::compute::actions::NOT_YET.iter().copied()) {
        let console = action.starts_with("os-get") && action.ends_with("Console");
        if !told.contains(&action) && !console {
            missing.push(format!("action {action}"));
        }
    }
    assert!(missing.is_empty(), "without a row: {missing:#?}");
}
