//! Query strings: reading and writing.

use std::fmt::Write;

use axum::extract::Query as AxumQuery;
use axum::http::Uri;

use crate::edge::refused::Refused;

/// The parameters of a request, in their order.
#[derive(Clone, Debug, Default)]
pub struct Params(pub Vec<(String, String)>);

impl Params {
    /// Reads a URI's query.
    pub fn of(uri: &Uri) -> Result<Self, Refused> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        AxumQuery::try_from_uri(uri)
            .map(|AxumQuery(pairs)| Self(pairs))
            .map_err(|error| Refused::bad(format!("The query string cannot be read: {error}")))
    }

    /// The last value given for `name`.
    pub fn last(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values given for `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number that is not negative; nothing if absent or empty.
    pub fn number(&self, name: &str) -> Result<Option<usize>, Refused> {
        match self.last(name) {
            None | Some("") => Ok(None),
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                Ok(Some(text.parse().unwrap_or(usize::MAX)))
            }
            Some(text) => Err(Refused::bad(format!(
                "Invalid input for query parameters {name}. Value: {text}. '{text}' does not match '^[0-9]*$'"
            ))),
        }
    }

    /// A truth value as Nova's lists take them; a name without a value means true.
    pub fn truth(&self, name: &str) -> Result<bool, Refused> {
        match self.last(name) {
            None => Ok(false),
            Some("") => Ok(true),
            Some(text) => truth(text).ok_or_else(|| {
                Refused::bad(format!("Invalid value '{text}' for query parameter {name}: give true or false"))
            }),
        }
    }

    /// The same parameters, sorted, with `marker` set to `marker`: the query of a `next` link.
    pub fn with_marker(&self, marker: &str) -> String {
        let mut pairs: Vec<(&str, &str)> = self.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        pairs.retain(|(key, _)| *key != "marker");
        pairs.push(("marker", marker));
        pairs.sort_unstable();
        joined(&pairs)
    }

    /// The same parameters, in their order.
    pub fn encoded(&self) -> String {
        joined(&self.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>())
    }
}

fn joined(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (key, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        encode(&mut query, key);
        query.push('=');
        encode(&mut query, value);
    }
    query
}

/// Python's `strutils.bool_from_string` words, in any case.
pub fn truth(text: &str) -> Option<bool> {
    let is = |words: [&str; 6]| words.iter().any(|word| !word.is_empty() && text.eq_ignore_ascii_case(word));
    if is(["1", "t", "true", "on", "y", "yes"]) {
        Some(true)
    } else if is(["0", "f", "false", "off", "n", "no"]) {
        Some(false)
    } else {
        None
    }
}

/// Percent-encodes everything that is not unreserved (RFC 3986, section 2.3).
pub fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &'static str) -> Params {
        Params::of(&format!("/x?{query}").parse().expect("URI")).expect("query")
    }

    #[test]
    fn numbers_and_truths() {
        assert_eq!(params("limit=5").number("limit"), Ok(Some(5)));
        assert_eq!(params("limit=").number("limit"), Ok(None));
        for bad in ["limit=a", "limit=-1", "limit=1.5"] {
            assert!(params(bad).number("limit").is_err(), "{bad}");
        }
        assert_eq!(params("all_tenants").truth("all_tenants"), Ok(true));
        assert_eq!(params("all_tenants=True").truth("all_tenants"), Ok(true));
        assert_eq!(params("all_tenants=0").truth("all_tenants"), Ok(false));
        assert!(params("all_tenants=maybe").truth("all_tenants").is_err());
    }

    #[test]
    fn next_links_keep_the_rest() {
        let query = params("status=ACTIVE&limit=2&marker=old&name=a%20b%26c").with_marker("new");
        assert_eq!(query, "limit=2&marker=new&name=a%20b%26c&status=ACTIVE");
    }
}
