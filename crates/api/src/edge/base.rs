//! Where links in answers point to.

use std::fmt;

use axum::http::header::{HOST, HeaderMap};
use axum::http::uri::Authority;

/// The front part of links: the origin that the client used, or the configured one, and how the
/// compute face was addressed on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// `https://host[:port][/path]`, without a slash at the end.
    pub origin: String,
    /// `/compute` where the request came in there, else nothing.
    pub mount: &'static str,
    /// The project's id where the request's path carries it.
    pub project: Option<String>,
}

impl Base {
    /// The base for links in the answer to a request for `path`, which came over TLS or not.
    pub fn new(public_url: Option<&str>, tls: bool, headers: &HeaderMap, path: &str) -> Self {
        let scheme = if tls { "https" } else { "http" };
        let origin = match public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let host = headers.get(HOST).and_then(|host| host.to_str().ok());
                match host.filter(|host| host.parse::<Authority>().is_ok()) {
                    Some(host) => format!("{scheme}://{host}"),
                    None => format!("{scheme}://localhost"),
                }
            }
        };
        let compute = path == "/compute" || path.starts_with("/compute/");
        Self { origin, mount: if compute { "/compute" } else { "" }, project: None }
    }

    /// Prefix of `self` links: `…/v2.1[/PROJECT]`.
    pub fn versioned(&self) -> impl fmt::Display + '_ {
        Prefix { base: self, version: "/v2.1" }
    }

    /// Prefix of `bookmark` links: the same without a version.
    pub fn bookmark(&self) -> impl fmt::Display + '_ {
        Prefix { base: self, version: "" }
    }
}

struct Prefix<'a> {
    base: &'a Base,
    version: &'static str,
}

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base.origin)?;
        f.write_str(self.base.mount)?;
        f.write_str(self.version)?;
        match &self.base.project {
            Some(project) => write!(f, "/{project}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn from_the_host_or_from_the_configuration() {
        let mut headers = HeaderMap::new();
        assert_eq!(Base::new(None, false, &headers, "/v2.1/servers").origin, "http://localhost");
        headers.insert(HOST, HeaderValue::from_static("cloud.example:8774"));
        let base = Base::new(None, false, &headers, "/compute/v2.1/servers");
        assert_eq!(base.versioned().to_string(), "http://cloud.example:8774/compute/v2.1");
        assert_eq!(base.bookmark().to_string(), "http://cloud.example:8774/compute");
        let base = Base {
            project: Some("p1".into()),
            ..Base::new(Some("https://x/y/"), false, &headers, "/v2.1/p1/servers")
        };
        assert_eq!(base.versioned().to_string(), "https://x/y/v2.1/p1");
        assert_eq!(Base::new(None, true, &headers, "/").origin, "https://cloud.example:8774");
        headers.insert(HOST, HeaderValue::from_static("bad host\""));
        assert_eq!(Base::new(None, false, &headers, "/").origin, "http://localhost");
    }
}
