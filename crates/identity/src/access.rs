//! Access rules of application credentials: which requests a token is good for.
//!
//! The form of paths is that of keystonemiddleware (`auth_token/__init__.py`, `_path_matches`): `{name}` and `*`
//! stand for one part of a path, `**` for any rest.

use serde::{Deserialize, Serialize};

/// One kind of request that a token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRule {
    /// Its id; empty before it is stored.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The service's type, as in the catalog.
    pub service: String,
    /// The method.
    pub method: String,
    /// The path, below the service's endpoint or whole.
    pub path: String,
}

impl AccessRule {
    /// Whether it is about this request; `path` is whole.
    pub fn covers(&self, service: &str, method: &str, path: &str) -> bool {
        self.service == service && self.method == method && matches(&self.path, path)
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut parts = path.trim_end_matches('/').split('/');
    for wanted in pattern.trim_end_matches('/').split('/') {
        if wanted == "**" {
            return true;
        }
        let any = wanted == "*" || (wanted.starts_with('{') && wanted.ends_with('}'));
        match parts.next() {
            Some(part) if any && !part.is_empty() => {}
            Some(part) if part == wanted => {}
            _ => return false,
        }
    }
    parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (pattern, path, wanted) in [
            ("/v2.1/servers", "/v2.1/servers", true),
            ("/v2.1/servers", "/v2.1/servers/", true),
            ("/v2.1/servers", "/v2.1/servers/1", false),
            ("/v2.1/servers/{server_id}", "/v2.1/servers/1", true),
            ("/v2.1/servers/*", "/v2.1/servers", false),
            ("/v2.1/servers/*/ips", "/v2.1/servers/1/ips", true),
            ("/v2.1/servers/*", "/v2.1/servers/1/ips", false),
            ("/v2.1/**", "/v2.1/servers/1/ips", true),
            ("/v2.1/**", "/v2/images", false),
        ] {
            assert_eq!(matches(pattern, path), wanted, "{pattern} {path}");
        }
        let rule = AccessRule {
            id: String::new(),
            service: "compute".into(),
            method: "GET".into(),
            path: "/v2.1/**".into(),
        };
        assert!(rule.covers("compute", "GET", "/v2.1/servers"));
        assert!(!rule.covers("compute", "POST", "/v2.1/servers"));
        assert!(!rule.covers("image", "GET", "/v2.1/servers"));
    }
}
