//! Image references: what an engine is asked for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::fault::Fault;
use crate::hash::uuid_of;

/// A reference to an image, as `[registry/]name[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef(String);

impl ImageRef {
    /// The longest reference that is taken, in bytes.
    pub const MAX: usize = 512;

    /// The reference as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A UUID that is the same for the same reference everywhere, for clients which insist on one
    /// (it identifies, it does not protect).
    pub fn uuid(&self) -> Uuid {
        uuid_of(&self.0)
    }
}

impl FromStr for ImageRef {
    type Err = Fault;

    /// The grammar of the distribution project's reference package, without its length rules per part.
    fn from_str(text: &str) -> Result<Self, Fault> {
        let refuse = |why: &str| Err(Fault::invalid(format!("image reference '{text}' {why}")));
        if text.is_empty() || text.len() > Self::MAX {
            return refuse("must have 1 to 512 characters");
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if let Some(digest) = digest {
            let hex = digest.strip_prefix("sha256:").unwrap_or_default();
            if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                return refuse("has a digest that is not sha256: and 64 hex digits");
            }
        }
        let last_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[last_slash..].rfind(':') {
            Some(at) => (&rest[..last_slash + at], Some(&rest[last_slash + at + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag {
            let word = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
            if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(word) || tag.starts_with(['.', '-']) {
                return refuse("has a tag that is not made of letters, digits, '_', '.', '-'");
            }
        }
        let mut parts = name.split('/').peekable();
        let first_is_registry =
            name.contains('/') && parts.peek().is_some_and(|p| p.contains(['.', ':']) || *p == "localhost");
        for (index, part) in parts.enumerate() {
            let registry = index == 0 && first_is_registry;
            let legal = |b: u8| {
                b.is_ascii_lowercase()
                    || b.is_ascii_digit()
                    || b"._-".contains(&b)
                    || (registry && (b == b':' || b.is_ascii_uppercase()))
            };
            if part.is_empty() || !part.bytes().all(legal) || part.starts_with(['.', '-', '_', ':']) {
                return refuse("must be [registry/]name[:tag][@digest] with a name in lower case");
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ImageRef {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(image: ImageRef) -> Self {
        image.0
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references() {
        for good in [
            "busybox",
            "skep/web:1",
            "localhost:5000/a/b:v1.2",
            "reg.example.com/x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        ] {
            assert!(good.parse::<ImageRef>().is_ok(), "{good}");
        }
        for bad in ["", "UPPER", "a//b", "a:", "a@sha256:00", "a b", "/a", "a/", "-x", "a:.x", "../x"] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad}");
        }
        let web: ImageRef = "skep/web:1".parse().expect("legal");
        assert_eq!(web.uuid(), web.clone().uuid());
        assert_eq!(web.uuid().get_version_num(), 8);
    }
}
