//! Tests of the whole app on routes and refusals that need no verbs.

use axum::http::header::WWW_AUTHENTICATE;
use serde_json::json;

use super::*;
use crate::edge::room::Lane;
use crate::testing::{app, get, json as body_of, request};

#[tokio::test]
async fn version_documents_and_their_links() {
    let app = app();
    for root in ["/", "/compute", "/compute/"] {
        let (status, body) = get(&app, root, "").await;
        assert_eq!(status, 200, "{root}");
        let ids: Vec<_> =
            body["versions"].as_array().expect("array").iter().map(|v| v["id"].clone()).collect();
        assert_eq!(ids, ["v2.0", "v2.1"], "{root}");
        for version in body["versions"].as_array().expect("array") {
            let href = version["links"][0]["href"].as_str().expect("href");
            let path = href.strip_prefix("http://cloud.example:8774").expect("this host");
            let (status, body) = get(&app, path, "").await;
            assert_eq!(status, 200, "{path}");
            assert_eq!(body["version"]["id"], version["id"]);
        }
    }
    for path in ["/v2.1", "/v2.1/", "/compute/v2.1", "/compute/v2.1/"] {
        let (status, body) = get(&app, path, "").await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(body["version"]["version"], "2.96");
        assert_eq!(body["version"]["min_version"], "2.1");
    }
    for path in ["/image", "/image/", "/image/v2/"] {
        let (status, body) = get(&app, path, "").await;
        assert_eq!((status.as_u16(), &body["versions"][0]["status"]), (300, &json!("CURRENT")), "{path}");
    }
    let (status, body) = get(&app, "/identity", "").await;
    assert_eq!((status.as_u16(), &body["versions"]["values"][0]["id"]), (300, &json!("v3.14")));
    for path in ["/v3", "/v3/", "/identity/v3"] {
        let (status, body) = get(&app, path, "").await;
        assert_eq!((status.as_u16(), &body["version"]["id"]), (200, &json!("v3.14")), "{path}");
    }
}

#[tokio::test]
async fn who_is_not_known_gets_401_with_a_challenge() {
    let app = app();
    let paths = [
        "/v2.1/servers",
        "/compute/v2.1/servers/detail",
        "/v2.1/p1/flavors",
        "/v2/images",
        "/image/v2/images",
        "/admin/v1/status",
    ];
    for path in paths {
        for headers in [&[][..], &[("x-auth-token", "wrong")][..], &[("x-auth-token", "")][..]] {
            let response = app.handle(request("GET", path, headers, Body::empty())).await;
            let challenge = response.headers().get(WWW_AUTHENTICATE).map(HeaderValue::as_bytes);
            assert_eq!(
                challenge,
                Some(&b"Keystone uri=\"http://cloud.example:8774/identity\""[..]),
                "{path}"
            );
            let (status, body) = body_of(response).await;
            assert_eq!((status.as_u16(), &body["unauthorized"]["code"]), (401, &json!(401)), "{path}");
        }
    }
}

#[tokio::test]
async fn roles_are_asked_for() {
    let app = app();
    let (status, body) = get(&app, "/admin/v1/status", "t-member").await;
    assert_eq!(status, 403);
    assert_eq!(body["forbidden"]["message"], "Policy doesn't allow skep:status to be performed.");
    let create = |token: &'static str| {
        let app = app.clone();
        async move {
            app.handle(request("POST", "/v2.1/servers", &[("x-auth-token", token)], "{}")).await.status()
        }
    };
    assert_eq!(create("t-reader").await, 403);
    assert_eq!(create("t-member").await, 400);
    let (status, _) = get(&app, "/v2.1/servers?all_tenants=1", "t-member").await;
    assert_eq!(status, 403);
    // What passes all of that meets the verbs, which this app has none of.
    for (path, token) in [
        ("/v2.1/servers", "t-reader"),
        ("/v2.1/p1/servers", "t-reader"),
        ("/v2.1/servers?all_tenants=1", "t-admin"),
        ("/admin/v1/status", "t-admin"),
        ("/v2/images", "t-reader"),
        ("/compute/v2.1/flavors/1", "t-reader"),
    ] {
        assert_eq!(get(&app, path, token).await.0, 503, "{path}");
    }
}

#[tokio::test]
async fn another_projects_path_is_malformed() {
    let (status, body) = get(&app(), "/v2.1/p2/servers", "t-member").await;
    assert_eq!(status, 400);
    assert!(
        body["badRequest"]["message"].as_str().is_some_and(|text| text.contains("project_id 'p2'")),
        "{body}"
    );
}

#[tokio::test]
async fn microversions_are_announced_and_refused() {
    let app = app();
    let ask = |value: &'static str| {
        let headers = [("x-auth-token", "t-reader"), ("openstack-api-version", value)];
        let request = request("GET", "/v2.1/servers/x", &headers, Body::empty());
        let app = app.clone();
        async move { app.handle(request).await }
    };
    let response = ask("compute 2.79").await;
    assert_eq!(response.status(), 404, "what is no UUID is not found");
    let header =
        |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(header("openstack-api-version").as_deref(), Some("compute 2.79"));
    assert_eq!(header("x-openstack-nova-api-version").as_deref(), Some("2.79"));
    assert!(header("vary").is_some_and(|vary| vary.contains("OpenStack-API-Version")));
    let response = ask("compute 2.200").await;
    assert!(response.headers().contains_key("vary"));
    let (status, body) = body_of(response).await;
    assert_eq!(status, 406);
    assert_eq!(
        body["computeFault"],
        json!({"code": 406,
            "message": "Version 2.200 is not supported by the API. Minimum is 2.1 and maximum is 2.96."})
    );
    assert_eq!(ask("compute two").await.status(), 400);
}

#[tokio::test]
async fn refusals_of_the_framework_have_bodies_too() {
    let app = app();
    let ask = |method: &'static str,
               path: &'static str,
               headers: &'static [(&'static str, &'static str)],
               body: Body| {
        let mut all = vec![("x-auth-token", "t-member")];
        all.extend_from_slice(headers);
        let request = request(method, path, &all, body);
        let app = app.clone();
        async move { body_of(app.handle(request).await).await }
    };
    let none: &[(&str, &str)] = &[];
    let (status, body) = ask("GET", "/v2.1/nowhere", none, Body::empty()).await;
    assert_eq!((status.as_u16(), &body["itemNotFound"]["code"]), (404, &json!(404)));
    let (status, body) = ask("GET", "/v3/nowhere", none, Body::empty()).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (404, &json!(404)));
    let (status, body) = ask("PATCH", "/v2.1/servers", none, Body::empty()).await;
    assert_eq!((status.as_u16(), &body["badMethod"]["code"]), (405, &json!(405)));
    let (status, body) = ask("POST", "/v2.1/servers", none, "{".into()).await;
    assert_eq!((status.as_u16(), &body["badRequest"]["code"]), (400, &json!(400)));
    let (status, body) = ask("POST", "/v2.1/servers", &[("content-type", "text/plain")], "{}".into()).await;
    assert_eq!((status.as_u16(), &body["badMediaType"]["code"]), (415, &json!(415)));
    let large = vec![b' '; 1024 * 1024 + 1];
    let (status, body) = ask("POST", "/v2.1/servers", none, large.into()).await;
    assert_eq!((status.as_u16(), &body["overLimit"]["code"]), (413, &json!(413)));
    let (status, body) = ask("POST", "/v2.1/servers/x/action", none, "{\"shelve\": null}".into()).await;
    assert_eq!((status.as_u16(), &body["itemNotFound"]["code"]), (404, &json!(404)));
    let (status, _) = ask("GET", "/v2.1/servers/%ff", none, Body::empty()).await;
    assert_eq!(status, 404);
    let (status, body) = ask("GET", "/v2.1/servers", none, Body::empty()).await;
    assert_eq!((status.as_u16(), &body["serviceUnavailable"]["code"]), (503, &json!(503)));
}

#[tokio::test]
async fn every_answer_has_our_request_ids() {
    let app = app();
    let theirs = "req-0197f000-0000-7000-8000-000000000001";
    for path in ["/", "/v2.1/servers", "/nowhere"] {
        let response =
            app.handle(request("GET", path, &[("x-openstack-request-id", theirs)], Body::empty())).await;
        let id = response.headers().get("x-openstack-request-id").expect("id").clone();
        assert_eq!(response.headers().get("x-compute-request-id"), Some(&id), "{path}");
        assert!(is_request_id(&id), "{id:?}");
        assert_ne!(id, theirs, "the id is ours, {path}");
    }
}

#[test]
fn only_well_formed_trace_parents_travel() {
    let parent = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(text));
        trace_parent(&headers)
    };
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assert_eq!(parent(good), good);
    for bad in [
        "",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-1-2-3",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert_eq!(parent(bad), "", "{bad}");
    }
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let broken = App {
        shared: app().shared(),
        router: Router::new().route("/panic", axum::routing::get(|| async { boom() })),
    };
    let (status, body) = get(&broken, "/panic", "").await;
    assert_eq!(status, 500);
    let message = body["computeFault"]["message"].as_str().expect("text");
    assert!(message.contains("req-"), "{message}");
}

fn boom() -> &'static str {
    panic!("a defect, for the test")
}

#[tokio::test]
async fn configured_links_win_over_the_host_header() {
    let settings =
        Settings { public_url: Some("https://cloud.example/api/".into()), ..crate::testing::settings() };
    let app = App::without_verbs(Env::system(), settings);
    let (_, body) = get(&app, "/compute/v2.1/", "").await;
    assert_eq!(body["version"]["links"][0]["href"], "https://cloud.example/api/compute/v2.1/");
}

#[tokio::test]
async fn log_lines_below_a_request_carry_its_id() {
    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Kept(Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let kept = Kept::default();
    let writer = kept.clone();
    let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let logs = App {
        shared: app().shared(),
        router: Router::new().route("/", axum::routing::get(async || tracing::warn!("below"))),
    };
    // The span and the line are known before there is anybody who keeps them: were the span's first user another test,
    // on a thread without a subscriber, it would be taken for unwanted everywhere.
    logs.handle(request("GET", "/", &[], Body::empty())).await;
    let logging = tracing::subscriber::set_default(lines);
    let response = logs.handle(request("GET", "/", &[], Body::empty())).await;
    drop(logging);
    let id = response.headers().get("x-openstack-request-id").and_then(|id| id.to_str().ok()).expect("id");
    let text = String::from_utf8(kept.0.lock().expect("no panic").clone()).expect("text");
    let line = text.lines().find(|line| line.ends_with("below")).expect("was logged");
    assert!(line.contains(&format!("request{{request_id=\"{id}\"}}")), "{line}");
}

#[tokio::test]
async fn the_policy_may_change_between_two_requests() {
    let settings = crate::testing::settings();
    let app = App::without_verbs(Env::system(), settings.clone());
    let zones = "/v2.1/os-availability-zone/detail";
    assert_eq!(get(&app, zones, "t-reader").await.0, 403);
    let text = "os_compute_api:os-availability-zone:detail: role:reader\nskep:status: '!'\n";
    settings.policy.replace(crate::Policy::parse(text).expect("legal"));
    // 503: it passed, and this app has no verbs.
    assert_eq!(get(&app, zones, "t-reader").await.0, 503);
    let (status, body) = get(&app, "/admin/v1/status", "t-admin").await;
    assert_eq!(status, 403);
    assert_eq!(body["forbidden"]["message"], "Policy doesn't allow skep:status to be performed.");
    // Whose a server is must be looked up, which needs the verbs.
    let server = format!("/v2.1/servers/{}", crate::testing::ID);
    settings
        .policy
        .replace(crate::Policy::parse("os_compute_api:servers:show: user_id:%(user_id)s\n").expect("legal"));
    let response = app.handle(request("GET", &server, &[("x-auth-token", "t-admin")], Body::empty())).await;
    assert_eq!(response.status(), 503);
    settings.policy.replace(crate::Policy::parse("context_is_admin: '!'").expect("legal"));
    let admin =
        Arc::new(model::Caller { user: "u".into(), project: "p1".into(), roles: vec!["admin".into()] });
    let permit = crate::edge::permit::Permit::new(&app.shared(), admin, None);
    assert!(!permit.caller().is_admin(), "not for the verbs either");
}

#[tokio::test]
async fn a_full_house_turns_away_but_lets_deletes_and_administrators_in() {
    let settings =
        Settings { max_in_flight: 1, queue_wait: Duration::from_millis(5), ..crate::testing::settings() };
    let app = App::without_verbs(Env::system(), settings);
    let ask = async |method: &'static str, path: &'static str, token: &'static str| {
        app.handle(request(method, path, &[("x-auth-token", token)], "")).await
    };
    let shared = app.shared();
    let taken = shared.room.enter(Lane::Ordinary, &shared.env).await.expect("is free");
    let shed = ask("GET", "/v2.1/servers", "t-member").await;
    assert_eq!(shed.headers().get("retry-after").map(HeaderValue::as_bytes), Some(&b"1"[..]));
    let (status, body) = body_of(shed).await;
    assert_eq!(status, 503);
    let text = &body["serviceUnavailable"]["message"];
    assert_eq!(text, "Too much is being asked for; try again.");
    // Without verbs, whoever gets in is told another reason.
    for (method, path, token) in [
        ("DELETE", "/v2.1/servers/0197f000-0000-7000-8000-000000000001", "t-member"),
        ("GET", "/admin/v1/status", "t-admin"),
    ] {
        let (status, body) = body_of(ask(method, path, token).await).await;
        assert_eq!(status, 503, "{path}");
        assert_ne!(&body["serviceUnavailable"]["message"], text, "{path}");
    }
    assert_eq!(ask("GET", "/v2.1/", "").await.status(), 200, "version documents are always there");
    drop(taken);
    let (_, body) = body_of(ask("GET", "/v2.1/servers", "t-member").await).await;
    assert_ne!(&body["serviceUnavailable"]["message"], text);
}

#[tokio::test]
async fn who_sends_slowly_keeps_nobody_waiting() {
    let settings =
        Settings { max_in_flight: 1, queue_wait: Duration::from_secs(60), ..crate::testing::settings() };
    let app = App::without_verbs(Env::system(), settings);
    let (send, sent) = tokio::sync::oneshot::channel::<&'static str>();
    let body = futures::stream::once(async { Ok::<_, std::io::Error>(sent.await.unwrap_or_default()) });
    let token = [("x-auth-token", "t-member")];
    let slow = app.handle(request("POST", "/v2.1/servers", &token, Body::from_stream(body)));
    let mut slow = std::pin::pin!(slow);
    assert!(futures::poll!(&mut slow).is_pending(), "it has the only place");
    let other = tokio::select! {
        _ = &mut slow => panic!("its body is not there"),
        other = app.handle(request("GET", "/v2.1/servers", &token, "")) => other,
    };
    let text = &body_of(other).await.1["serviceUnavailable"]["message"];
    assert_ne!(text, "Too much is being asked for; try again.");
    send.send("[]").expect("is read");
    assert_eq!(slow.await.status(), 400, "it was looked at then");
}

#[tokio::test]
async fn a_project_that_asks_too_often_is_told_when_to_come_back() {
    let rate = crate::settings::Rate { per_second: 0.001, burst: 2.0 };
    let settings = Settings { project_rate: Some(rate), ..crate::testing::settings() };
    let app = App::without_verbs(Env::system(), settings);
    let ask = async |path: &'static str, token: &'static str| {
        app.handle(request("GET", path, &[("x-auth-token", token)], "")).await
    };
    for _ in 0..2 {
        assert_ne!(ask("/v2.1/servers", "t-member").await.status(), 429);
    }
    let limited = ask("/v2.1/servers", "t-reader").await;
    let when = limited.headers().get("retry-after").cloned().expect("says when");
    let (status, body) = body_of(limited).await;
    assert_eq!((status.as_u16(), &body["overLimit"]["code"]), (429, &json!(429)));
    assert_eq!(body["overLimit"]["retryAfter"], when.to_str().expect("text"));
    assert_ne!(ask("/admin/v1/status", "t-admin").await.status(), 429, "administration is not counted");
}
