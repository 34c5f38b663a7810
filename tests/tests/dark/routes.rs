//! Every route of the API, asked with what lies in a certain cell.

use std::time::Duration;

use futures::StreamExt;
use model::Env;
use serde_json::{Value, json};
use tests::{Client, Reply};

/// The longest that an answer may take: the deadline of a cell, half a second, and what a machine needs
/// that does much else.
pub const LATE: Duration = Duration::from_secs(10);

/// Requests at a time.
const AT_A_TIME: usize = 6;

/// One request.
type Request = (hyper::Method, String, Option<Value>);

/// Every route with `instance` wherever one is named, and every action. What deletes an instance is left to
/// the story, and what would take a cell or a host away is only asked what it would do.
pub fn all(instance: &str) -> Vec<Request> {
    let mut all: Vec<Request> = api::paths()
        .filter(|(_, path)| !path.starts_with("/compute") && !path.contains("{project_id}"))
        .filter(|(method, path)| !(method == hyper::Method::DELETE && path.ends_with("/servers/{id}")))
        .map(|(method, path)| {
            let path = path
                .replace("{id}", instance)
                .replace("{cell}", "cell1")
                .replace("{host}", "cell1-h1")
                .replace("{key}", "none")
                .replace("{network}", "skep");
            let admin = path.starts_with("/admin");
            let path = if admin && method == hyper::Method::DELETE { path + "?dry_run=1" } else { path };
            let body = (method != hyper::Method::GET && method != hyper::Method::DELETE)
                .then(|| if admin { json!({"dry_run": true}) } else { json!({}) });
            (method, path, body)
        })
        .collect();
    for query in ["limit=2", "status=ACTIVE", "status=ERROR", "name=in", "all_tenants=1", "limit=1000"] {
        for path in ["/v2.1/servers", "/v2.1/servers/detail"] {
            all.push((hyper::Method::GET, format!("{path}?{query}"), None));
        }
    }
    all.push((hyper::Method::GET, format!("/v2.1/servers/detail?marker={instance}"), None));
    all.push((hyper::Method::GET, "/admin/v1/cells?ask=1".into(), None));
    all.push((hyper::Method::POST, "/admin/v1/hosts".into(), Some(json!({}))));
    all.push((hyper::Method::POST, "/admin/v1/index/rebuild".into(), Some(json!({}))));
    let action = json!({"os-getConsoleOutput": {}});
    all.push((hyper::Method::POST, format!("/v2.1/servers/{instance}/action"), Some(action)));
    all
}

/// Sends them; gives each path with its answer, and how long the slowest took.
///
/// # Panics
/// If one is not answered in time, or with a 5xx other than 503, which says when to come back, and 501, which
/// says that it never will.
pub async fn ask(client: &Client, requests: Vec<Request>) -> Duration {
    let env = Env::system();
    let asked = futures::stream::iter(requests.into_iter().map(|(method, path, body)| {
        let (client, env) = (client.clone(), env.clone());
        async move {
            let start = env.monotonic();
            let reply = client.send(method.clone(), &path, body.as_ref()).await;
            let reply = reply.unwrap_or_else(|error| panic!("{method} {path} is not answered: {error:#}"));
            let took = env.monotonic() - start;
            sound(&method, &path, &reply);
            assert!(took < LATE, "{method} {path} took {took:?}");
            took
        }
    }));
    asked.buffer_unordered(AT_A_TIME).fold(Duration::ZERO, |most, took| async move { most.max(took) }).await
}

fn sound(method: &hyper::Method, path: &str, reply: &Reply) {
    let status = reply.status.as_u16();
    assert!(status < 500 || status == 501 || status == 503, "{method} {path}: {status}: {}", reply.body);
    if status == 503 {
        assert!(reply.header("Retry-After").is_some(), "{method} {path}: 503 does not say when to come back");
    }
}
