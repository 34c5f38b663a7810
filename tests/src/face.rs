//! The HTTP face of a cloud in this process, asked as clients ask it, without a socket between.

use api::{App, Settings, StaticToken};
use http_body_util::BodyExt;
use hyper::{Request, StatusCode};
use model::Env;
use serde_json::Value;
use verbs::Verbs;

/// A face with three callers: `admin` in project `admin`, `ann` (member) and `bob` (reader) in project `p`,
/// `cid` (member) in project `q`. Their tokens are their names.
pub struct Face {
    app: App,
}

/// What it answered.
#[derive(Debug)]
pub struct Said {
    /// Status.
    pub status: u16,
    /// Body; null if there is none.
    pub body: Value,
    /// The request's id.
    pub request_id: String,
}

impl Said {
    /// The body, if the status is this.
    ///
    /// # Panics
    /// If it is another.
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

impl Face {
    /// The face of the cloud that `verbs` work on.
    pub fn new(verbs: Verbs, env: Env) -> Self {
        let token = |user: &str, project: &str, role: &str| StaticToken {
            token: user.into(),
            user: user.into(),
            project: project.into(),
            roles: vec![role.to_owned()],
        };
        let tokens = vec![
            token("admin", "admin", "admin"),
            token("ann", "p", "member"),
            token("bob", "p", "reader"),
            token("cid", "q", "member"),
        ];
        Self { app: api::app(verbs, env, Settings { tokens, ..Settings::default() }) }
    }

    /// Asks for `path` below `/v2.1` as `who`, with microversion `2.version`.
    ///
    /// # Panics
    /// If the answer is no JSON.
    pub async fn ask(&self, who: &str, version: u16, method: &str, path: &str, body: Value) -> Said {
        self.send(who, version, method, &format!("/v2.1{path}"), body).await
    }

    /// Asks another face than compute, by the whole path.
    ///
    /// # Panics
    /// If the answer is no JSON.
    pub async fn at(&self, who: &str, method: &str, path: &str, body: Value) -> Said {
        self.send(who, 1, method, path, body).await
    }

    async fn send(&self, who: &str, version: u16, method: &str, path: &str, body: Value) -> Said {
        let bytes = if body.is_null() { String::new() } else { body.to_string() };
        let patch = method == "PATCH" && path.starts_with("/image/");
        let media = if patch { "application/openstack-images-v2.1-json-patch" } else { "application/json" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "cloud.example")
            .header("x-auth-token", who)
            .header("content-type", media)
            .header("openstack-api-version", format!("compute 2.{version}"))
            .body(bytes.into())
            .expect("a request");
        let response = self.app.handle(request).await;
        let status: StatusCode = response.status();
        let headers = response.headers();
        let id = headers.get("x-compute-request-id").or_else(|| headers.get("x-openstack-request-id"));
        let request_id = id.and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        let body = match bytes.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&bytes).expect("JSON"),
        };
        Said { status: status.as_u16(), body, request_id }
    }

    /// A GET.
    pub async fn get(&self, who: &str, version: u16, path: &str) -> Said {
        self.ask(who, version, "GET", path, Value::Null).await
    }

    /// A POST.
    pub async fn post(&self, who: &str, version: u16, path: &str, body: Value) -> Said {
        self.ask(who, version, "POST", path, body).await
    }

    /// A PUT.
    pub async fn put(&self, who: &str, version: u16, path: &str, body: Value) -> Said {
        self.ask(who, version, "PUT", path, body).await
    }

    /// A DELETE.
    pub async fn delete(&self, who: &str, version: u16, path: &str) -> Said {
        self.ask(who, version, "DELETE", path, Value::Null).await
    }
}
