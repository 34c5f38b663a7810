//! What the tests of this crate share: an app without verbs, calls and instances made by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use model::spec::{PortWish, Protocol};
use model::sync::{Observed, PortBinding};
use model::{
    At, Caller, CellId, ContainerSpec, Context, Env, Flavor, HostId, Instance, InstanceId, Intent, Power,
    RequestSpec, RestartPolicy, Stage, Timestamp,
};
use serde_json::Value;
use verbs::Dark;

use crate::app::App;
use crate::edge::base::Base;
use crate::edge::call::{Call, Permit};
use crate::edge::query::Params;
use crate::edge::version::Version;
use crate::settings::Settings;
use identity::StaticToken;

/// The id of [`instance`].
pub const ID: &str = "0197f000-0000-7000-8000-000000000001";

/// Settings with one token for each role: `t-reader`, `t-member`, `t-admin`, in project `p1`.
pub fn settings() -> Settings {
    let token = |role: &str| StaticToken {
        token: format!("t-{role}"),
        user: format!("u-{role}"),
        project: "p1".into(),
        roles: vec![role.to_owned()],
    };
    Settings { tokens: ["reader", "member", "admin"].map(token).into(), ..Settings::default() }
}

/// An app without verbs.
pub fn app() -> App {
    App::without_verbs(Env::system(), settings())
}

/// A request of `method` for `path` with `headers`.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "cloud.example:8774");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).expect("request")
}

/// What `app` answers to a GET with a role's token.
pub async fn get(app: &App, path: &str, token: &str) -> (StatusCode, Value) {
    json(app.handle(request("GET", path, &[("x-auth-token", token)], Body::empty())).await).await
}

/// An answer's status and JSON body (null if empty).
pub async fn json(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let body = response.into_body().collect().await.expect("body").to_bytes();
    let value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
    (status, value)
}

/// A call with microversion `2.version` by a caller with `role`.
pub fn call(version: u16, role: &str, query: &str) -> Call {
    let shared = app().shared();
    let caller = Arc::new(Caller { user: "u1".into(), project: "p1".into(), roles: vec![role.into()] });
    Call {
        permit: Permit::new(&shared, Arc::clone(&caller), None),
        shared,
        caller,
        context: Context::default(),
        version: Version(version),
        base: Base { origin: "http://cloud.example".into(), mount: "/compute", project: None },
        path: "/compute/v2.1/servers".into(),
        captures: Vec::new(),
        params: Params::of(&format!("/?{query}").parse().expect("URI")).expect("query"),
        body: bytes::Bytes::new(),
        extended: false,
        key: None,
        once: None,
        from: None,
        subject: None,
    }
}

/// What was asked for.
pub fn spec() -> RequestSpec {
    let port = PortWish { container: 80, host: 8080, protocol: Protocol::Tcp };
    RequestSpec {
        name: "web one".into(),
        project: "p1".into(),
        user: "u1".into(),
        request_id: "req-1".into(),
        region: String::new(),
        zone: Some("az-a".into()),
        image: "busybox:1.36".parse().expect("reference"),
        flavor: Flavor {
            id: "1".into(),
            name: "c1.tiny".into(),
            vcpus: 1,
            memory_mib: 64,
            disk_gib: 1,
            pids: 100,
        },
        container: ContainerSpec {
            command: vec!["sleep".into(), "60".into()],
            env: BTreeMap::from([("A".into(), "b".into())]),
            ports: vec![port],
            restart: RestartPolicy::OnFailure { max: 3 },
            labels: BTreeMap::new(),
            no_network: false,
            read_only: false,
        },
        metadata: BTreeMap::from([("role".into(), "front".into())]),
        description: None,
        extra: Default::default(),
        deadline: Timestamp(0),
    }
}

/// A running instance.
pub fn instance() -> Instance {
    Instance {
        id: ID.parse::<InstanceId>().expect("id"),
        spec: spec(),
        cell: Some(CellId("0197f000-0000-7000-8000-0000000000c1".parse().expect("id"))),
        host: Some((HostId("0197f000-0000-7000-8000-0000000000a1".parse().expect("id")), "node-17".into())),
        zone: Some("az-a".into()),
        at: At { epoch: 1, placement: 2, generation: 3 },
        intent: Intent::Run,
        stage: Stage::Settled,
        task: None,
        power: Power::Running,
        phase: model::Phase::Plain,
        observed: Observed {
            container: "c0ffee".into(),
            address: "10.1.0.7".into(),
            mac: "02:42:0a:01:00:07".into(),
            ports: vec![PortBinding {
                container: 80,
                protocol: Protocol::Tcp,
                address: "192.0.2.1".into(),
                host: 8080,
            }],
            exit_code: None,
            restarts: 0,
        },
        fault: None,
        created: Timestamp(1_767_607_320_000_000),
        updated: Timestamp(1_767_607_323_000_000),
        launched: Some(Timestamp(1_767_607_323_120_000)),
        terminated: None,
    }
}

/// The same instance while its cell does not answer.
pub fn dark() -> Dark {
    Dark {
        id: ID.parse().expect("id"),
        spec: spec(),
        created: Timestamp(1_767_607_320_000_000),
        cell: "cell2".into(),
        last_status: Some(("ACTIVE".into(), Duration::from_secs(7))),
    }
}
