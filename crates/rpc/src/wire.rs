//! The envelope of calls and replies: JSON whose unknown fields are ignored. Message id, reply address and
//! expiry are not in it; they are the transport's.

use std::borrow::Cow;

use model::{Context, Fault};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::contract::Call;
use crate::signing::{Signature, Signer};

#[derive(Serialize)]
struct RequestOut<'a> {
    call: &'static str,
    context: &'a Context,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<Signature>,
    body: &'a RawValue,
}

/// A request as it came, its body not yet read.
#[derive(Deserialize)]
pub(crate) struct Request<'a> {
    /// [`Call::NAME`].
    #[serde(borrow)]
    pub call: Cow<'a, str>,
    #[serde(default)]
    pub context: Context,
    /// Who says that it is theirs; the body is signed as it came.
    #[serde(default)]
    pub signed: Option<Signature>,
    #[serde(borrow)]
    pub body: &'a RawValue,
}

#[derive(Serialize)]
struct ReplyOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a Fault>,
}

#[derive(Deserialize)]
struct ReplyIn<'a> {
    #[serde(borrow, default)]
    ok: Option<&'a RawValue>,
    #[serde(default)]
    fault: Option<Fault>,
}

/// Encodes a request, signed if there is a signer.
pub(crate) fn request<C: Call>(
    context: &Context,
    body: &C,
    signer: Option<&Signer>,
) -> Result<Vec<u8>, Fault> {
    let wrong = |error| Fault::internal(format!("call '{}' cannot be encoded: {error}", C::NAME));
    let body = serde_json::value::to_raw_value(body).map_err(wrong)?;
    let signed = signer.map(|signer| signer.sign(C::NAME, body.get()));
    serde_json::to_vec(&RequestOut { call: C::NAME, context, signed, body: &body }).map_err(wrong)
}

/// Encodes a reply.
pub(crate) fn reply(outcome: &Result<Box<RawValue>, Fault>) -> Vec<u8> {
    let out = match outcome {
        Ok(body) => ReplyOut { ok: Some(body), fault: None },
        Err(fault) => ReplyOut { ok: None, fault: Some(fault) },
    };
    // Raw JSON and two strings: this cannot fail; if it did, the caller would report an unreadable reply.
    serde_json::to_vec(&out).unwrap_or_default()
}

/// Decodes a reply; a fault in it is the call's fault.
pub(crate) fn outcome<C: Call>(bytes: &[u8]) -> Result<C::Reply, Fault> {
    let unreadable = |error: serde_json::Error| {
        Fault::internal(format!(
            "the answer to '{}' cannot be read: {error}; check the versions of both sides",
            C::NAME
        ))
    };
    let reply: ReplyIn<'_> = serde_json::from_slice(bytes).map_err(unreadable)?;
    match reply.fault {
        Some(fault) => Err(fault),
        None => serde_json::from_str(reply.ok.map_or("null", RawValue::get)).map_err(unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{ConsoleTail, Tail};

    #[test]
    fn unknown_fields_are_ignored() {
        let text =
            br#"{"new":1,"call":"console-tail","context":{"request_id":"req-1","x":2},"body":{"y":3}}"#;
        let request: Request<'_> = serde_json::from_slice(text).unwrap();
        assert_eq!((request.call.as_ref(), request.context.request_id.as_str()), ("console-tail", "req-1"));
        let reply = outcome::<ConsoleTail>(br#"{"new":1,"ok":{"text":"a","z":4}}"#);
        assert_eq!(reply, Ok(Tail { text: "a".into() }));
    }

    #[test]
    fn faults_pass_and_rubbish_is_a_fault() {
        let fault = Fault::conflict("no");
        assert_eq!(outcome::<ConsoleTail>(&reply(&Err(fault.clone()))), Err(fault));
        for rubbish in ["", "{}", "[]", r#"{"ok":{"txt":1}}"#] {
            let fault = outcome::<ConsoleTail>(rubbish.as_bytes()).unwrap_err();
            assert_eq!(fault.kind, model::FaultKind::Internal, "{rubbish}");
        }
    }
}
