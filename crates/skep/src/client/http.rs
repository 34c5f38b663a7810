//! One small HTTP client: JSON in, JSON out, a deadline on every request.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use serde_json::Value;

use super::settings::{Resolved, Settings};
use super::tls;
use crate::config::secret::Secret;
use crate::exit::{Code, Failure};

/// Longest that one request may take. The API's own deadlines are shorter.
const DEADLINE: Duration = Duration::from_secs(60);
/// Largest answer that is read, in bytes.
const LARGEST: usize = 256 * 1024 * 1024;

/// A way to the API.
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    token: Secret,
    dark: RefCell<Vec<String>>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The body; null if there is none or it is no JSON.
    pub body: Value,
    request_id: String,
}

impl Http {
    /// A way to the API that `settings` and the environment name. Nothing is connected yet.
    pub fn new(settings: &Settings) -> Result<Self, Failure> {
        let Resolved { base, token, ca_file } = settings.resolve()?;
        // Reading the system's certificates takes milliseconds, which plain HTTP does not have to wait for.
        let tls = match base.starts_with("https://") {
            true => tls::config(tls::trusted(ca_file.as_deref())?)?,
            false => tls::config(RootCertStore::empty())?,
        };
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(10)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, base, token, dark: RefCell::default() })
    }

    /// `GET`, refused unless the answer is a success.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.call(Method::GET, path, None).await?.ok()?.body)
    }

    /// `POST`, refused unless the answer is a success.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        Ok(self.call(Method::POST, path, Some(body)).await?.ok()?.body)
    }

    /// One request, whatever its answer's status.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, Failure> {
        match tokio::time::timeout(DEADLINE, self.exchange(method, path, body)).await {
            Ok(reply) => reply,
            Err(_) => Err(Failure::timeout(format!("{} did not answer within {DEADLINE:?}", self.base))),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, Failure> {
        let token = HeaderValue::from_str(self.token.reveal())
            .map_err(|_| Failure::usage("the token has characters that no header may hold"))?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("X-Auth-Token", token)
            .header("X-Skep-API", "1")
            .header("OpenStack-API-Version", "compute 2.96")
            .header("X-OpenStack-Nova-API-Version", "2.96")
            .header("Accept", "application/json");
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|why| Failure::usage(format!("'{}{path}' is no address: {why}", self.base)))?;
        let response = self.client.request(request).await.map_err(|why| self.unreachable(&why))?;
        self.note_dark(&response);
        let status = response.status().as_u16();
        let header = response.headers().get("x-openstack-request-id").and_then(|id| id.to_str().ok());
        let request_id = header.unwrap_or_default().to_owned();
        let body = Limited::new(response.into_body(), LARGEST)
            .collect()
            .await
            .map_err(|why| Failure::new(format!("the answer of {} broke off: {why}", self.base)))?
            .to_bytes();
        Ok(Reply { status, body: serde_json::from_slice(&body).unwrap_or_default(), request_id })
    }

    fn unreachable(&self, why: &hyper_util::client::legacy::Error) -> Failure {
        let mut cause: &dyn std::error::Error = why;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let hint = match cause.to_string().contains("certificate") {
            true => "give the certificates to trust by --ca-file",
            false => "is the API running there?",
        };
        Failure::new(format!("cannot reach {}: {cause}; {hint}", self.base))
    }

    /// Remembers that cells did not answer, from the header `X-Skep-Dark-Cells`.
    fn note_dark<B>(&self, response: &Response<B>) {
        let header = response.headers().get("x-skep-dark-cells").and_then(|names| names.to_str().ok());
        let mut dark = self.dark.borrow_mut();
        for name in header.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !dark.iter().any(|known| known == name) {
                dark.push(name.to_owned());
            }
        }
    }

    /// How a command that read something ends: partial, and said so, if a cell did not answer.
    pub fn verdict(&self) -> Code {
        let dark = self.dark.borrow();
        if dark.is_empty() {
            return Code::Done;
        }
        let names: Vec<_> = dark.iter().map(|name| super::table::clean(name)).collect();
        // The header holds names, or only how many there are.
        let who = match names.iter().filter_map(|name| name.parse::<u32>().ok()).max() {
            Some(1) => "1 cell".to_owned(),
            Some(count) => format!("{count} cells"),
            None => format!("cell {}", names.join(", ")),
        };
        crate::exit::complain(&format!(
            "incomplete: no answer from {who}; what is shown of it is the last heard"
        ));
        Code::Partial
    }
}

impl Reply {
    /// Refuses an answer that is no success, with the API's own words.
    pub fn ok(self) -> Result<Self, Failure> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(self.failure())
    }

    /// The failure that this answer tells of.
    pub fn failure(&self) -> Failure {
        // Nova: {"itemNotFound": {"code", "message"}}; Keystone: {"error": {"code", "message"}}.
        let fault = self.body.as_object().and_then(|body| body.values().next());
        let words = fault.and_then(|fault| fault.get("message")).and_then(Value::as_str);
        let mut text = super::table::clean(words.unwrap_or("the API gave no reason"));
        if words.is_none() || self.status >= 500 {
            text =
                format!("{text} (HTTP {}, request {})", self.status, super::table::clean(&self.request_id));
        }
        match self.status {
            401 => Failure::new(format!("{text}: is SKEP_TOKEN of this cloud?")),
            504 => Failure::timeout(text),
            _ => Failure::new(text),
        }
    }
}

/// Makes text safe inside a path or a query (RFC 3986, section 2.3: all but unreserved is escaped).
pub fn escape(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn faults_are_told_in_the_apis_words() {
        let reply = |status, body| Reply { status, body, request_id: "req-1".into() };
        let nova = json!({"itemNotFound": {"code": 404, "message": "no such\u{1b}[2J server"}});
        assert_eq!(reply(404, nova).failure().message, "no such[2J server");
        assert!(reply(502, Value::Null).failure().message.contains("HTTP 502, request req-1"));
    }

    #[test]
    fn escapes() {
        assert_eq!(escape("a b/ü^"), "a%20b%2F%C3%BC%5E");
    }
}
