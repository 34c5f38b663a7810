//! A load generator that costs little: one keep-alive connection for each client, requests as bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use model::Env;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::figures::{ms, percentile};

/// The longest that one answer may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// Where requests go, and the headers that they all carry.
#[derive(Clone, Debug)]
pub struct Target {
    /// `127.0.0.1:8774`.
    pub address: String,
    /// Whole header lines.
    pub headers: String,
}

impl Target {
    /// The API of a cloud, for a token.
    pub fn api(address: impl Into<String>, token: &str) -> Self {
        let headers = format!("X-Auth-Token: {token}\r\nOpenStack-API-Version: compute 2.90\r\n");
        Self { address: address.into(), headers }
    }

    /// The bytes of a request.
    fn request(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let Self { address, headers } = self;
        let length = body.len();
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\n{headers}{kind}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }
}

/// One connection.
pub struct Connection {
    target: Target,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects at the first request.
    pub fn new(target: &Target) -> Self {
        Self { target: target.clone(), stream: None, buffer: Vec::with_capacity(16_384) }
    }

    /// Sends a request and returns status and body. A connection that the server has closed in the
    /// meantime is made anew, once.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, &[u8])> {
        let request = self.target.request(method, path, body);
        let answered = timeout(DEADLINE, self.exchange(&request)).await;
        let (status, start) = answered
            .with_context(|| format!("{method} {path}: no answer within {DEADLINE:?}"))?
            .with_context(|| format!("{method} {path}"))?;
        Ok((status, &self.buffer[start..]))
    }

    /// The JSON of a GET that is answered with 200.
    pub async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        match self.send("GET", path, "").await? {
            (200, body) => Ok(serde_json::from_slice(body)?),
            (status, body) => bail!("GET {path}: {status}: {}", String::from_utf8_lossy(body)),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, usize)> {
        if let Some(stream) = &mut self.stream {
            match answer(stream, request, &mut self.buffer).await {
                Ok(answered) => return Ok(answered),
                Err(_) => self.stream = None,
            }
        }
        let mut stream = TcpStream::connect(&self.target.address).await?;
        stream.set_nodelay(true)?;
        let answered = answer(&mut stream, request, &mut self.buffer).await?;
        self.stream = Some(stream);
        Ok(answered)
    }
}

/// Sends and reads one answer; returns its status and where its body starts in `buffer`.
async fn answer(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
) -> anyhow::Result<(u16, usize)> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            bail!("the connection was closed in the middle of an answer");
        }
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = str::from_utf8(&buffer[..end])?;
        let status: u16 = head.get(9..12).and_then(|text| text.parse().ok()).context("no status line")?;
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then_some(value)
        });
        let length: usize = match length {
            Some(text) => text.trim().parse()?,
            None if status == 204 || status == 304 => 0,
            None => bail!("an answer without a length"),
        };
        while buffer.len() < end + 4 + length {
            if stream.read_buf(buffer).await? == 0 {
                bail!("the connection was closed in the middle of a body");
            }
        }
        return Ok((status, end + 4));
    }
}

/// What a storm of GETs found.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Answers a second.
    pub rate: f64,
    /// Middle latency in milliseconds.
    pub p50: f64,
    /// Latency in milliseconds that one in a hundred exceeds.
    pub p99: f64,
    /// Bytes of the last body.
    pub bytes: usize,
}

/// Sends GETs over `connections` for a while, each path in turn; every one must be answered with 200.
pub async fn storm(
    target: &Target,
    paths: &Arc<Vec<String>>,
    connections: usize,
    length: Duration,
) -> anyhow::Result<Storm> {
    let env = Env::system();
    let next = Arc::new(AtomicUsize::new(0));
    let (start, mut clients) = (env.monotonic(), JoinSet::new());
    for _ in 0..connections {
        let (env, next, paths) = (env.clone(), next.clone(), paths.clone());
        let mut connection = Connection::new(target);
        clients.spawn(async move {
            let (mut times, mut bytes) = (Vec::new(), 0);
            while env.monotonic() - start < length {
                let path = &paths[next.fetch_add(1, Ordering::Relaxed) % paths.len()];
                let sent = env.monotonic();
                match connection.send("GET", path, "").await? {
                    (200, body) => bytes = body.len(),
                    (status, body) => bail!("GET {path}: {status}: {}", String::from_utf8_lossy(body)),
                }
                times.push(ms(env.monotonic() - sent));
            }
            Ok((times, bytes))
        });
    }
    let (mut times, mut bytes) = (Vec::new(), 0);
    while let Some(done) = clients.join_next().await {
        let (own, size) = done??;
        times.extend(own);
        bytes = size;
    }
    let took = (env.monotonic() - start).as_secs_f64();
    let (p50, p99) = (percentile(&times, 0.5), percentile(&times, 0.99));
    Ok(Storm { rate: times.len() as f64 / took, p50, p99, bytes })
}
