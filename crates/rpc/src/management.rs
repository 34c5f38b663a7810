//! The broker's management API, as far as users are made and removed by it
//! (<https://www.rabbitmq.com/docs/http-api-reference>).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use model::Fault;
use serde_json::{Value, json};

use crate::user::BrokerUser;

/// Longest that one request may take.
const DEADLINE: Duration = Duration::from_secs(3);
/// How much of an answer is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// A way to the broker's management API. Clones share it; its password is never printed.
#[derive(Clone)]
pub struct Management {
    base: Arc<str>,
    authorization: Arc<str>,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Management").field(&self.base).finish()
    }
}

impl Management {
    /// The management API at `http://USER:PASSWORD@HOST:PORT`, or the same with https, whose servers `tls` trusts.
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// `Invalid`: the URL is not of that form.
    pub fn new(url: &str, tls: rustls::ClientConfig) -> Result<Self, Fault> {
        // The URL holds a password: it is not quoted.
        let wrong = || {
            Fault::invalid(
                "the URL of a broker's management API is http://USER:PASSWORD@HOST:PORT, or the same with https; \
                 escape what is special in USER and PASSWORD as %..",
            )
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (who, place) = rest.rsplit_once('@').ok_or_else(wrong)?;
        let (user, password) = who.split_once(':').ok_or_else(wrong)?;
        let (Some(user), Some(password)) = (unescaped(user), unescaped(password)) else {
            return Err(wrong());
        };
        let base = format!("{scheme}://{}", place.trim_end_matches('/'));
        if !["http", "https"].contains(&scheme) || place.is_empty() || base.parse::<Uri>().is_err() {
            return Err(wrong());
        }
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Self {
            base: base.into(),
            authorization: format!("Basic {}", BASE64.encode(format!("{user}:{password}"))).into(),
            http: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Makes a user who may configure, write and read what these expressions name in this vhost, and nothing
    /// elsewhere. One who is there gets this password and these permissions.
    pub(crate) async fn make(
        &self,
        user: &BrokerUser,
        vhost: &str,
        [configure, write, read]: &[String; 3],
    ) -> Result<(), Fault> {
        let BrokerUser { name, password } = user;
        let (name, vhost) = (escaped(name), escaped(vhost));
        self.ask(Method::PUT, &format!("users/{name}"), &json!({"password": password, "tags": ""})).await?;
        let may = json!({"configure": configure, "write": write, "read": read});
        self.ask(Method::PUT, &format!("permissions/{vhost}/{name}"), &may).await?;
        Ok(())
    }

    /// Removes a user, whose connections the broker closes; without effect if there is none.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), Fault> {
        self.ask(Method::DELETE, &format!("users/{}", escaped(name)), &Value::Null).await
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<(), Fault> {
        let wrong = |why: &dyn fmt::Display| {
            Fault::unavailable(format!("the broker's management API at {}: {why}", self.base))
        };
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder()
            .method(&method)
            .uri(format!("{}/api/{path}", self.base))
            .header(AUTHORIZATION, &*self.authorization)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|why| wrong(&why))?;
        let answer = async {
            let answer = self.http.request(request).await.map_err(|why| wrong(&why))?;
            let status = answer.status();
            let text = Limited::new(answer.into_body(), LONGEST).collect().await;
            Ok((status, text.map(|text| text.to_bytes()).unwrap_or_default()))
        };
        let (status, text) = match tokio::time::timeout(DEADLINE, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(wrong(&format!("no answer within {DEADLINE:?}"))),
        };
        match status {
            _ if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND if method == Method::DELETE => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(wrong(&"it refuses our user; that needs the tag administrator"))
            }
            _ => {
                let said: Value = serde_json::from_slice(&text).unwrap_or_default();
                let reason: String = said["reason"].as_str().unwrap_or_default().chars().take(200).collect();
                Err(wrong(&format!("{method} is answered with {status} {reason}")))
            }
        }
    }
}

/// A text as a segment of a path (RFC 3986, section 2).
fn escaped(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}

/// What an escaped text stands for; `None` if it is not well escaped.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn management(url: &str) -> Result<Management, Fault> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let roots = rustls::RootCertStore::empty();
        Management::new(url, tls.unwrap().with_root_certificates(roots).with_no_client_auth())
    }

    #[test]
    fn a_url_is_read_and_its_password_is_not_told() {
        let one = management("http://a%40b:s3c%3aret%25@192.0.2.1:15672/").unwrap();
        assert_eq!(&*one.base, "http://192.0.2.1:15672");
        assert_eq!(*one.authorization, format!("Basic {}", BASE64.encode("a@b:s3c:ret%")));
        assert!(!format!("{one:?}").contains("s3c"));
        for wrong in [
            "",
            "http://s3cret",
            "http://s3cret@h",
            "amqp://u:s3cret@h",
            "http://u:s3cret%@h",
            "http://u:s3cret@",
        ] {
            let fault = management(wrong).unwrap_err();
            assert!(!fault.message.contains("s3c"), "{fault}");
        }
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(escaped("/.host.é"), "%2F.host.%C3%A9");
        assert_eq!(unescaped(&escaped("/.host.é%")).as_deref(), Some("/.host.é%"));
        assert!(["%", "%1", "%zz", "%é"].iter().all(|text| unescaped(text).is_none()));
    }

    #[tokio::test]
    async fn nobody_there_is_said_without_the_password() {
        let fault = management("http://u:s3cret@127.0.0.1:1").unwrap().remove("x").await.unwrap_err();
        assert!(fault.is_passing() && !fault.message.contains("s3c"), "{fault}");
    }
}
