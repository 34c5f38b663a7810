//! What every role tells its operator on the port of `health.listen`.

use std::time::Duration;

use hyper::Method;
use tests::{Client, Estate};

/// The roles, as the names of their processes begin, and one thing that each counts once every cell has something.
const KINDS: [(&str, &str); 4] = [
    ("agent", "skep_agent_running"),
    ("api", "skep_api_request_seconds"),
    ("conductor", "skep_placed_total"),
    ("superconductor", "skep_index_lag_seconds"),
];

/// Asks every process the same; all of them are ready, and every cell has some servers.
pub async fn every_role_tells_of_itself(estate: &Estate) {
    for (kind, _) in KINDS {
        assert!(!estate.names(kind).is_empty(), "no {kind} runs");
    }
    for name in estate.names("") {
        let (_, counts) = KINDS.into_iter().find(|(kind, _)| name.starts_with(kind)).expect("a role");
        let client = Client::new(estate.health(&name)).deadline(Duration::from_secs(10));
        let ask = async |method: Method, path: &str, status: u16| {
            let reply = client.send(method, path, None).await;
            let reply = reply.unwrap_or_else(|why| panic!("{name}: {why:#}"));
            assert_eq!(reply.status.as_u16(), status, "{name}: {path}: {}", reply.body);
            let kind = reply.header("Content-Type").unwrap_or_default();
            assert!(kind.starts_with("text/plain; version=0.0.4"), "{name}: {path}: {kind}");
            reply.body.as_str().unwrap_or_default().to_owned()
        };
        assert_eq!(ask(Method::GET, "/healthz", 200).await, "ok\n", "{name}");
        assert_eq!(ask(Method::GET, "/readyz", 200).await, "ready\n", "{name}");
        let metrics = ask(Method::GET, "/metrics", 200).await;
        let type_of = format!("# TYPE {counts} ");
        assert!(metrics.lines().any(|line| line.starts_with(&type_of)), "{name} has no {counts}: {metrics}");
        for line in metrics.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (what, value) = line.rsplit_once(' ').unwrap_or_default();
            assert!(what.starts_with("skep_") && value.parse::<f64>().is_ok(), "{name}: {line}");
        }
        ask(Method::HEAD, "/readyz", 200).await;
        ask(Method::POST, "/metrics", 405).await;
        ask(Method::GET, "/else", 404).await;
    }
}
