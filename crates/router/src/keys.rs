//! Sealing: with a file of keys, what a cell mapping holds is kept in the API database encrypted.
//!
//! A sealed value is `sealed:1:KEY:DATA`: the id of its key, and base64 of a nonce of 12 bytes and what
//! ChaCha20-Poly1305 (RFC 8439) made of the text. The cell's id and the field are authenticated with it, so
//! that a value is of no use in another row or field.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{CellId, Env, Fault};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// What a sealed value begins with.
const MARK: &str = "sealed:1:";

/// Keys: the first seals, all open.
pub(crate) struct Keys {
    all: Vec<(String, LessSafeKey)>,
}

/// Whether a stored value is sealed.
pub(crate) fn is_sealed(stored: &str) -> bool {
    stored.starts_with(MARK)
}

/// The id of the key that a stored value is sealed with, if it is sealed.
pub fn key_of(stored: &str) -> Option<&str> {
    Some(stored.strip_prefix(MARK)?.split_once(':')?.0).filter(|id| is_id(id))
}

fn is_id(id: &str) -> bool {
    (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl Keys {
    /// Reads a file of keys: on each line an id and base64 of 32 bytes. What follows a `#` is a comment.
    pub(crate) fn read(path: &Path) -> Result<Self, Fault> {
        let file = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|why| Fault::invalid(format!("cannot read the key file {file}: {why}")))?;
        Self::parse(&text).map_err(|why| Fault::invalid(format!("key file {file}: {why}")))
    }

    /// The error names a line and quotes nothing.
    fn parse(text: &str) -> Result<Self, String> {
        let mut all: Vec<(String, LessSafeKey)> = Vec::new();
        for (n, line) in text.lines().enumerate() {
            let wrong = |why: &str| format!("line {}: {why}", n + 1);
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (id, key) = match words[..] {
                [] => continue,
                [id, key] if is_id(id) => (id, key),
                _ => {
                    return Err(wrong(
                        "is not 'ID KEY', where an ID has 1 to 32 letters, digits, '-', '_' or '.'",
                    ));
                }
            };
            if all.iter().any(|(known, _)| known == id) {
                return Err(wrong("an earlier line has this ID"));
            }
            let key =
                BASE64.decode(key).ok().and_then(|bytes| UnboundKey::new(&CHACHA20_POLY1305, &bytes).ok());
            let key = key.ok_or_else(|| wrong("the key is not base64 of 32 bytes"))?;
            all.push((id.to_owned(), LessSafeKey::new(key)));
        }
        if all.is_empty() {
            return Err("holds no key".to_owned());
        }
        Ok(Self { all })
    }

    fn first(&self) -> Option<&(String, LessSafeKey)> {
        self.all.first()
    }

    /// Whether a value is sealed with the first key.
    pub(crate) fn is_current(&self, stored: &str) -> bool {
        self.first().is_some_and(|(id, _)| key_of(stored) == Some(id))
    }

    /// Seals a text with the first key.
    pub(crate) fn seal(&self, env: &Env, cell: CellId, field: &str, text: &str) -> Result<String, Fault> {
        let failed = || Fault::internal("a cell's URL could not be sealed");
        let (id, key) = self.first().ok_or_else(failed)?;
        let mut nonce = [0; NONCE_LEN];
        for (at, byte) in env.random().to_le_bytes().into_iter().chain(env.random().to_le_bytes()).enumerate()
        {
            if let Some(place) = nonce.get_mut(at) {
                *place = byte;
            }
        }
        let mut sealed = text.as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound(cell, field), &mut sealed)
            .map_err(|_| failed())?;
        Ok(format!("{MARK}{id}:{}", BASE64.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens a sealed value. `None` if the key of that id is not here.
    pub(crate) fn open(&self, cell: CellId, field: &str, stored: &str) -> Option<Result<String, Refused>> {
        let id = key_of(stored)?;
        let (_, key) = self.all.iter().find(|(known, _)| known == id)?;
        let data = stored.rsplit_once(':').map(|(_, data)| data).unwrap_or_default();
        let opened = BASE64.decode(data).ok().and_then(|mut bytes| {
            let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
            let nonce = Nonce::assume_unique_for_key(*nonce);
            let text = key.open_in_place(nonce, bound(cell, field), sealed).ok()?;
            String::from_utf8(text.to_vec()).ok()
        });
        Some(opened.ok_or(Refused))
    }
}

/// The key of that id does not open it: it is another one, or the value was changed or moved.
pub(crate) struct Refused;

/// What a sealed value is bound to.
fn bound(cell: CellId, field: &str) -> Aad<Vec<u8>> {
    Aad::from([b"skep cell mapping\0".as_slice(), cell.uuid().as_bytes(), field.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "a AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const B: &str = "b HwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn keys(text: &str) -> Keys {
        Keys::parse(text).unwrap_or_else(|why| panic!("{why}"))
    }

    #[test]
    fn a_value_opens_where_it_was_sealed_and_nowhere_else() {
        let (env, all) = (Env::system(), keys(&format!("# newest first\n{A}\n\n{B} # old\n")));
        let (one, two): (CellId, CellId) = (env.id(), env.id());
        let seal = |keys: &Keys| keys.seal(&env, one, "database", "hunter2").expect("is sealed");
        let sealed = seal(&all);
        assert!(is_sealed(&sealed) && all.is_current(&sealed) && !sealed.contains("hunter2"), "{sealed}");
        assert_ne!(seal(&all), sealed, "no two look alike");
        let open =
            |keys: &Keys, cell, field, value: &str| keys.open(cell, field, value).map(|text| text.ok());
        assert_eq!(open(&all, one, "database", &sealed), Some(Some("hunter2".to_owned())));
        for (cell, field) in [(two, "database"), (one, "transport")] {
            assert_eq!(open(&all, cell, field, &sealed), Some(None));
        }
        let old = seal(&keys(B));
        assert!(!all.is_current(&old));
        assert_eq!(open(&all, one, "database", &old), Some(Some("hunter2".to_owned())));
        assert_eq!(open(&keys(A), one, "database", &old), None, "its key is not there");
        let other = B.replacen('b', "a", 1);
        assert_eq!(open(&keys(&other), one, "database", &sealed), Some(None), "another key of that id");
        let at = sealed.len() - 6;
        let flipped = if sealed.as_bytes()[at] == b'A' { "B" } else { "A" };
        let changed = format!("{}{flipped}{}", &sealed[..at], &sealed[at + 1..]);
        for bad in [changed.as_str(), "sealed:1:a:", "sealed:1:a:AAAA"] {
            assert_eq!(open(&all, one, "database", bad), Some(None), "{bad}");
        }
        assert_eq!(open(&all, one, "database", "sealed:1:"), None);
    }

    #[test]
    fn bad_files_are_refused_without_a_quote() {
        for (text, wanted) in [
            ("", "no key"),
            ("# nothing", "no key"),
            (&format!("{A}\n{A}") as &str, "line 2: an earlier"),
            ("a hunter2", "line 1: the key is not base64 of 32 bytes"),
            ("hunter2", "line 1: is not 'ID KEY'"),
            ("a b hunter2", "line 1: is not 'ID KEY'"),
            ("a:b AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "line 1: is not 'ID KEY'"),
        ] {
            let why = Keys::parse(text).err().unwrap_or_default();
            assert!(why.contains(wanted) && !why.contains("hunter2"), "{text}: {why}");
        }
    }
}
