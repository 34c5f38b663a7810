//! A real Keystone, played by a few lines: what we ask it, and what we make of its answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use identity::{Backend, Identity, Keystone, KeystoneSettings};
use model::Env;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PAST: &str = "2020-01-05T11:00:00.000000Z";
const FUTURE: &str = "2099-01-05T11:00:00.000000Z";

/// What a token stands for there, and what was asked, in order.
type Asked = Arc<Mutex<Vec<String>>>;

fn token(role: &str, expires: &str) -> Value {
    let domain = json!({"id": "default", "name": "Default"});
    json!({"token": {
        "methods": ["password"], "audit_ids": ["a"], "expires_at": expires, "issued_at": PAST,
        "user": {"id": role, "name": role, "domain": domain}, "roles": [{"id": "r", "name": role}],
        "project": {"id": "p", "name": "p", "domain": domain},
    }})
}

/// Answers a request as Keystone does: a token that has ended only if that is allowed.
fn answer(head: &str, asked: &Asked) -> (u16, &'static str, Value) {
    if head.starts_with("POST") {
        return (201, "X-Subject-Token: ours\r\n", token("admin", FUTURE));
    }
    let subject = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("x-subject-token").then(|| value.trim().to_owned())
    });
    let subject = subject.unwrap_or_default();
    let allowed = head.lines().next().unwrap_or_default().contains("allow_expired=1");
    asked.lock().expect("no panic").push(format!("{subject}{}", if allowed { "+ended" } else { "" }));
    match subject.as_str() {
        "a-service" => (200, "", token("service", FUTURE)),
        "a-member" => (200, "", token("member", FUTURE)),
        "ended" if allowed => (200, "", token("member", PAST)),
        _ => (404, "", json!({"error": {"code": 404}})),
    }
}

async fn serve(mut stream: TcpStream, asked: Asked) {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let Ok(n @ 1..) = stream.read(&mut chunk).await else { return };
        bytes.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() < length.unwrap_or_default() {
            continue;
        }
        let (status, extra, said) = answer(head, &asked);
        let said = said.to_string();
        let reply = format!("HTTP/1.1 {status} X\r\n{extra}Content-Length: {}\r\n\r\n{said}", said.len());
        if stream.write_all(reply.as_bytes()).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

async fn keystone() -> (Identity, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Asked::default();
    let told = asked.clone();
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, told.clone()));
        }
    };
    tokio::spawn(accept);
    let settings = KeystoneSettings {
        url,
        public_url: None,
        user: "skep".into(),
        password: "secret".into(),
        user_domain: "Default".into(),
        project: "service".into(),
        project_domain: "Default".into(),
        cached: Duration::from_secs(60),
        stale: Duration::from_secs(600),
        tls: rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth(),
    };
    let env = Env::system();
    (Identity::new(&[], Backend::Keystone(Keystone::new(settings, env.clone())), &env), asked)
}

#[tokio::test]
async fn a_service_may_bring_a_token_that_has_ended() {
    let (identity, asked) = keystone().await;
    let alone =
        async |token: &str| identity.validate(token).await.expect("answers").map(|k| k.user.id.clone());
    let beside = async |token: &str, service: &str| {
        identity.validate_for(token, service).await.expect("answers").map(|known| known.user.id.clone())
    };
    assert_eq!(alone("ended").await, None);
    assert_eq!(beside("ended", "a-service").await.as_deref(), Some("member"));
    assert_eq!(beside("a-member", "a-service").await.as_deref(), Some("member"));
    assert_eq!(beside("nobody", "a-service").await, None);
    // A service's token that is none, or is not a service's, spoils even a good one.
    assert_eq!(beside("a-member", "nobody").await, None);
    assert_eq!(beside("a-member", "a-member").await, None);
    // What was heard for a service is good for nobody else.
    assert_eq!(alone("ended").await, None);
    assert_eq!(beside("ended", "a-service").await.as_deref(), Some("member"));
    let asked = asked.lock().expect("no panic").clone();
    assert_eq!(asked, ["ended", "a-service", "ended+ended", "a-member", "nobody", "nobody+ended"]);
}
