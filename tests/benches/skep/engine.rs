//! Docker's own API over its socket, as bare as it gets: the limit of boots with real containers.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// The longest that one call may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// One keep-alive connection to the engine.
pub struct Engine {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Engine {
    /// Connects to a URL such as `unix:///var/run/docker.sock`.
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let path =
            url.strip_prefix("unix://").with_context(|| format!("{url}: only a socket is measured"))?;
        let stream = UnixStream::connect(path).await.with_context(|| path.to_owned())?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    async fn call(&mut self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let what = format!("{method} {path}");
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header(HOST, "docker");
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(bytes))?;
        let exchange = async {
            self.sender.ready().await?;
            let answer = self.sender.send_request(request).await?;
            let status = answer.status();
            anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = timeout(DEADLINE, exchange).await.with_context(|| what.clone())??;
        if !status.is_success() {
            bail!("{what}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }

    /// What it takes to make the same container again as the one with this label.
    pub async fn recipe(&mut self, label: &str) -> anyhow::Result<Value> {
        let filters = json!({"label": [label]}).to_string();
        let filters: String = filters.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = self.call(Method::GET, &format!("/containers/json?filters={filters}"), None).await?;
        let id = found[0]["Id"].as_str().context("no container with that label")?.to_owned();
        let found = self.call(Method::GET, &format!("/containers/{id}/json"), None).await?;
        let mut recipe = found["Config"].clone();
        // Nobody is to take it for a container of skep, and a hostname that was made up is made up again.
        recipe["Labels"] = json!({"bench": "bare"});
        recipe["Hostname"] = Value::Null;
        recipe["HostConfig"] = found["HostConfig"].clone();
        let networks = found["NetworkSettings"]["Networks"].as_object();
        let names = networks.into_iter().flatten().map(|(name, _)| (name.clone(), json!({})));
        recipe["NetworkingConfig"] = json!({"EndpointsConfig": names.collect::<serde_json::Map<_, _>>()});
        Ok(recipe)
    }

    /// Creates and starts a container; returns its id.
    pub async fn run(&mut self, recipe: &Value) -> anyhow::Result<String> {
        let name = tests::unique("bare");
        let made = self.call(Method::POST, &format!("/containers/create?name={name}"), Some(recipe)).await?;
        let id = made["Id"].as_str().context("a created container has an id")?.to_owned();
        self.call(Method::POST, &format!("/containers/{id}/start"), None).await?;
        Ok(id)
    }

    /// Kills and removes a container.
    pub async fn remove(&mut self, id: &str) -> anyhow::Result<()> {
        self.call(Method::DELETE, &format!("/containers/{id}?force=true&v=true"), None).await.map(drop)
    }
}
