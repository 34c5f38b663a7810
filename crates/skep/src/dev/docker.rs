//! The few requests that only a development cloud makes of Docker Engine: which images it has, and the
//! removal of networks. An agent keeps its networks for its next containers and only knows those of its
//! own run; a cloud that is gone needs none of them, and engines have room for a few dozen in all.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use model::HostId;
use model::image::ImageRef;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::client::escape;

/// Longest that one request may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Largest answer that is read, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// The tags of the images that the engine at `url` has, at most 100.
pub async fn tags(url: &str) -> Result<Vec<String>, String> {
    let images = ask(url, Method::GET, "/images/json").await?;
    let tags =
        images.as_array().into_iter().flatten().filter_map(|image| image["RepoTags"].as_array()).flatten();
    let legal = |tag: &&str| tag.parse::<ImageRef>().is_ok() && !tag.starts_with("skep/probe");
    Ok(tags.filter_map(Value::as_str).filter(legal).map(str::to_owned).take(100).collect())
}

/// Removes the networks of `host` from the engine at `url`. One that is in use stays.
pub async fn remove_networks(url: &str, host: HostId) -> Result<(), String> {
    let filters = json!({"label": [format!("skep.host={host}")]}).to_string();
    let listed = ask(url, Method::GET, &format!("/networks?filters={}", escape(&filters))).await?;
    for network in listed.as_array().into_iter().flatten() {
        if let Some(id) = network["Id"].as_str() {
            ask(url, Method::DELETE, &format!("/networks/{}", escape(id))).await?;
        }
    }
    Ok(())
}

/// One request of the Docker Engine API, in the engine's own version of it.
async fn ask(url: &str, method: Method, path: &str) -> Result<Value, String> {
    let asked = async {
        match url.split_once("://") {
            Some(("unix", socket)) => {
                let stream = UnixStream::connect(socket).await.map_err(|why| why.to_string())?;
                exchange(stream, method, path).await
            }
            Some((_, address)) => {
                let stream = TcpStream::connect(address.trim_end_matches('/')).await;
                exchange(stream.map_err(|why| why.to_string())?, method, path).await
            }
            None => Err(format!("'{url}' is no engine URL")),
        }
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {DEADLINE:?}")),
    }
}

async fn exchange<S>(stream: S, method: Method, path: &str) -> Result<Value, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broke = |why: hyper::Error| why.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke)?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("Host", "engine");
    let request = request.body(Full::new(Bytes::new())).map_err(|why| why.to_string())?;
    let response = sender.send_request(request).await.map_err(broke)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|why| why.to_string())?;
    let body: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    match status.is_success() {
        true => Ok(body),
        false => Err(body["message"].as_str().unwrap_or(status.as_str()).to_owned()),
    }
}
