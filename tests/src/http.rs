//! A small JSON client, which knows nothing of the API that it speaks to.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A client of one server. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    headers: HeaderMap,
    deadline: Duration,
    inner: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: what it says if it is JSON, null if it is empty, else its text.
    pub body: Value,
}

impl Client {
    /// A client for URLs that start with `base`, as in `http://127.0.0.1:8774`. A request has 30 s.
    pub fn new(base: impl Into<String>) -> Self {
        let inner = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http();
        Self { base: base.into(), headers: HeaderMap::new(), deadline: Duration::from_secs(30), inner }
    }

    /// The same client, sending one more header each time.
    ///
    /// # Panics
    /// If it is no legal header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => self.headers.insert(name, value),
            _ => panic!("'{name}: {value}' is no header"),
        };
        self
    }

    /// The same client with another deadline for each request, body included.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// GET.
    ///
    /// # Errors
    /// If no whole answer came before the deadline. Any status is an answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::GET, path, None).await
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.send(Method::POST, path, Some(body)).await
    }

    /// PUT of a JSON body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Reply> {
        self.send(Method::PUT, path, Some(body)).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn delete(&self, path: &str) -> anyhow::Result<Reply> {
        self.send(Method::DELETE, path, None).await
    }

    /// Any request.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let what = format!("{method} {}{path}", self.base);
        match tokio::time::timeout(self.deadline, self.exchange(method, path, body)).await {
            Ok(reply) => reply.context(what),
            Err(_) => bail!("{what}: no answer within {:?}", self.deadline),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Reply> {
        let bytes = body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        let mut request =
            Request::builder().method(method).uri(format!("{}{path}", self.base)).body(Full::new(bytes))?;
        *request.headers_mut() = self.headers.clone();
        if body.is_some() {
            request.headers_mut().entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        }
        let (head, body) = self.inner.request(request).await?.into_parts();
        let bytes = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body: parse(&bytes) })
    }
}

impl Reply {
    /// The body, if the status is `status`.
    ///
    /// # Panics
    /// If it is another, with the body.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "the server answered {}: {}", self.status, self.body);
        self.body
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

fn parse(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Serves one connection with one answer; gives the address, and then what was asked.
    async fn serve(answer: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = vec![0; 4096];
            let mut seen = String::new();
            // The one body that these tests send ends with a brace; a request without one ends with an empty line.
            while !(seen.ends_with("\r\n\r\n") && !seen.contains("content-length") || seen.ends_with('}')) {
                let read = stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0, "the request ended early: {seen}");
                seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            seen
        });
        (base, asked)
    }

    #[tokio::test]
    async fn a_body_goes_out_and_comes_back() {
        let (base, asked) =
            serve("HTTP/1.1 202 Accepted\r\nx-id: 7\r\ncontent-length: 8\r\n\r\n{\"a\": 1}").await;
        let client = Client::new(base).header("X-Auth-Token", "t");
        let reply = client.post("/v", &json!({"b": 2})).await.unwrap();
        assert_eq!(reply.header("X-Id"), Some("7"));
        assert_eq!(reply.expect(202), json!({"a": 1}));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("POST /v HTTP/1.1"), "{asked}");
        assert!(asked.contains("x-auth-token: t") && asked.ends_with("{\"b\":2}"), "{asked}");
    }

    #[tokio::test]
    async fn text_is_kept_and_nothing_is_null() {
        let (base, _) = serve("HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops").await;
        assert_eq!(Client::new(base).get("/").await.unwrap().expect(500), json!("oops"));
        let (base, _) = serve("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(Client::new(base).delete("/").await.unwrap().expect(204), Value::Null);
    }

    #[tokio::test]
    async fn a_silent_server_costs_the_deadline_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let error = Client::new(base).deadline(Duration::from_millis(50)).get("/slow").await.unwrap_err();
        assert!(error.to_string().ends_with("/slow: no answer within 50ms"), "{error}");
    }

    #[tokio::test]
    #[should_panic(expected = "the server answered 404")]
    async fn another_status_fails() {
        let (base, _) = serve("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        Client::new(base).get("/").await.unwrap().expect(200);
    }
}
