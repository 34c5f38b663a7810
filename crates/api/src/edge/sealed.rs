//! Answers that are kept under an `Idempotency-Key` are sealed with it (ChaCha20-Poly1305, RFC 8439). The database
//! knows the key's digest only, so that secrets in answers, of key pairs or credentials, can be read by who has the
//! key and asks as the same user, and by nobody who has a copy of the database.

use axum::http::StatusCode;
use model::Env;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use verbs::{Answer, Key};

use crate::edge::refused::Refused;

/// Puts a sealed body in the place of an answer's body: a nonce, and what the cipher made of it.
pub fn seal(env: &Env, key: &Key, mut answer: Answer) -> Result<Answer, Refused> {
    let random = [env.random().to_le_bytes(), env.random().to_le_bytes()].concat();
    let mut sealed = answer.body;
    let nonce = nonce(&random).ok_or_else(lost)?;
    cipher(key)?
        .seal_in_place_append_tag(nonce, Aad::from(&answer.request_id), &mut sealed)
        .map_err(|_| lost())?;
    answer.body = [&random[..NONCE_LEN], &sealed].concat();
    Ok(answer)
}

/// The body of an answer that was sealed.
pub fn open(key: &Key, answer: &Answer) -> Result<Vec<u8>, Refused> {
    let nonce = nonce(&answer.body).ok_or_else(lost)?;
    let mut sealed = answer.body[NONCE_LEN..].to_vec();
    let opened = cipher(key)?.open_in_place(nonce, Aad::from(&answer.request_id), &mut sealed);
    Ok(opened.map_err(|_| lost())?.to_vec())
}

fn nonce(bytes: &[u8]) -> Option<Nonce> {
    Some(Nonce::assume_unique_for_key(bytes.get(..NONCE_LEN)?.try_into().ok()?))
}

fn cipher(key: &Key) -> Result<LessSafeKey, Refused> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.secret()).map_err(|_| lost())?;
    Ok(LessSafeKey::new(key))
}

fn lost() -> Refused {
    let text = "The answer that is kept under this Idempotency-Key cannot be read.";
    Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::{Caller, Context};

    use super::*;

    fn key(text: &str) -> Key {
        let caller = Caller { user: "u".into(), project: "p".into(), roles: Vec::new() };
        Key::new(
            &caller,
            &Context::default(),
            Env::system().uuid(),
            &["POST", "/os-keypairs", text],
            &[b"{}"],
        )
    }

    #[test]
    fn only_the_key_opens() {
        let (headers, request_id) = (BTreeMap::new(), "req-1".to_owned());
        let answer = Answer { status: 200, headers, body: b"private".to_vec(), request_id };
        let sealed = seal(&Env::system(), &key("k"), answer).expect("seals");
        assert!(!sealed.body.windows(7).any(|bytes| bytes == b"private"));
        assert_eq!(open(&key("k"), &sealed), Ok(b"private".to_vec()));
        assert!(open(&key("l"), &sealed).is_err());
        for cut in 0..sealed.body.len() {
            let body = sealed.body[..cut].to_vec();
            assert!(open(&key("k"), &Answer { body, ..sealed.clone() }).is_err(), "{cut}");
        }
    }
}
