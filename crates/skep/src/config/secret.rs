//! Text that is never shown: not in `Debug`, not in a dump, not in an error.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// A secret.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str("****")
    }
}

/// Puts the contents of files and variables in the place of `{file:PATH}` and `{env:NAME}`, without the
/// white space around them. `read` gets the kind and what follows the colon.
pub fn expand(text: &str, read: &dyn Fn(&str, &str) -> Result<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = ["{file:", "{env:"].iter().filter_map(|mark| rest.find(mark)).min() {
        let (before, marked) = rest.split_at(at);
        let Some((inside, after)) = marked[1..].split_once('}') else {
            return Err("'{file:' or '{env:' without a closing '}'".to_owned());
        };
        let (kind, name) = inside.split_once(':').unwrap_or((inside, ""));
        out.push_str(before);
        out.push_str(read(kind, name)?.trim());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_secret() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {}", serde_json::json!(secret)), "**** \"****\"");
    }

    #[test]
    fn expands() {
        let read = |kind: &str, name: &str| match (kind, name) {
            ("file", "/pw") => Ok("s3c\n".to_owned()),
            ("env", "U") => Ok("me".to_owned()),
            _ => Err("missing".to_owned()),
        };
        assert_eq!(expand("pg://{env:U}:{file:/pw}@h", &read).as_deref(), Ok("pg://me:s3c@h"));
        assert_eq!(expand("plain {x}", &read).as_deref(), Ok("plain {x}"));
        assert!(expand("{file:/no}", &read).is_err());
        assert!(expand("{file:/pw", &read).is_err());
    }
}
