//! What the journal holds of an instance, and how it is written down.
//!
//! Each value begins with one byte, the format's number; JSON follows. Fields are added with defaults
//! and never change their meaning; a value of an unknown format is refused, not guessed.

use std::sync::Arc;

use model::instance::Freeze;
use model::sync::Wanted;
use model::{At, Fault, Intent, RequestSpec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format that is written. Whatever was ever released is read.
pub(crate) const FORMAT: u8 = 1;

/// The newest wish that was accepted. Its default is above nothing and wishes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Epoch, placement and generation.
    pub at: At,
    /// What should be.
    pub intent: Intent,
    /// Grows with each reboot asked for.
    pub restart_seq: i64,
    /// Whether the newest reboot asked for is by force.
    pub restart_hard: bool,
    /// How it is to be frozen, if it should run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// What was asked for; absent where the intent is [`Intent::Gone`].
    pub spec: Option<Arc<RequestSpec>>,
    /// The request that asked for it; empty if that is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub request_id: String,
    /// Epoch and placement: nothing at or below them may live here, ever.
    pub tombstone: (i64, i64),
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            at: At::default(),
            intent: Intent::Gone,
            restart_seq: 0,
            restart_hard: false,
            freeze: None,
            spec: None,
            request_id: String::new(),
            tombstone: (0, 0),
        }
    }
}

impl Wish {
    /// Whether anything was ever wished.
    pub(crate) fn is_some(&self) -> bool {
        self.at != At::default()
    }

    /// Epoch and placement.
    pub(crate) fn place(&self) -> (i64, i64) {
        (self.at.epoch, self.at.placement)
    }

    /// The wish that follows from `wanted`, or `None` if that is not above this one, or is covered by
    /// the tombstone.
    pub(crate) fn succeeded_by(&self, wanted: &Wanted) -> Option<Self> {
        let place = (wanted.at.epoch, wanted.at.placement);
        let newer = wanted.at > self.at || (wanted.at == self.at && wanted.restart_seq > self.restart_seq);
        let gone = wanted.intent == Intent::Gone;
        if !newer || (!gone && place <= self.tombstone) {
            return None;
        }
        let spec = match &wanted.spec {
            _ if gone => None,
            Some(spec) => Some(Arc::new(RequestSpec::clone(spec))),
            None => self.spec.clone().filter(|_| place == self.place()),
        };
        Some(Self {
            at: wanted.at,
            intent: wanted.intent,
            restart_seq: wanted.restart_seq,
            restart_hard: wanted.restart_hard,
            freeze: wanted.freeze,
            spec,
            request_id: wanted.request_id.clone(),
            tombstone: if gone { self.tombstone.max(place) } else { self.tombstone },
        })
    }

    /// The wish that follows when the cell proved that everything up to `at` must go.
    pub(crate) fn buried_at(&self, at: At) -> Option<Self> {
        let place = (at.epoch, at.placement);
        if place <= self.tombstone {
            return None;
        }
        let tombstone = place;
        if place < self.place() {
            return Some(Self { tombstone, ..self.clone() });
        }
        Some(Self { at: self.at.max(at), intent: Intent::Gone, spec: None, tombstone, ..self.clone() })
    }
}

/// What was done about the wish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// The wish that was carried out last.
    pub done: At,
    /// Whether that was to be gone: a copy that ran as wished and is then superseded is not gone by having run.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The wish that failed for good, and why.
    pub failed: Option<(At, Fault)>,
    /// The newest reboot that was carried out.
    pub restart_done: i64,
    /// How often the container was restarted by us since somebody asked for a start.
    pub restarts: i64,
    /// The counter of observations, when agents numbered them by the clock: kept for the format.
    pub seq: i64,
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    let mut bytes = vec![FORMAT];
    serde_json::to_writer(&mut bytes, value)
        .map_err(|why| Fault::internal(format!("a journal entry cannot be written: {why}")))?;
    Ok(bytes)
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    match bytes.split_first() {
        Some((&FORMAT, json)) => serde_json::from_slice(json).map_err(|why| {
            Fault::internal(format!("the journal is damaged: {why}; move it away and restart"))
        }),
        Some((format, _)) => Err(Fault::internal(format!(
            "the journal has entries of format {format}, and this agent knows format {FORMAT}: start a newer \
             agent, or move the journal away so that this one asks its cell for everything"
        ))),
        None => Err(Fault::internal("the journal is damaged: an empty entry; move it away and restart")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the first release. These bytes are read for ever: add others, do not change them.
    const WISH_1: &str = r#"{"at":{"epoch":2,"placement":3,"generation":7},"intent":"run","restart_seq":4,"restart_hard":true,"spec":{"name":"web","project":"p","user":"u","request_id":"req-1","region":"","zone":null,"image":"skep/web:1","flavor":{"id":"1","name":"small","vcpus":1,"memory_mib":64,"disk_gib":1,"pids":100},"container":{"command":["sleep","9"],"env":{"A":"b"},"ports":["8080/tcp"],"restart":"on-failure:3","labels":{},"no_network":false},"metadata":{},"description":null,"deadline":17},"tombstone":[1,9]}"#;
    const MARKS_1: &str = r#"{"done":{"epoch":2,"placement":3,"generation":6},"failed":[{"epoch":2,"placement":3,"generation":7},{"kind":"engine","message":"no"}],"restart_done":3,"restarts":5,"seq":99}"#;

    fn bytes(format: u8, json: &str) -> Vec<u8> {
        [&[format], json.as_bytes()].concat()
    }

    #[test]
    fn the_first_format_is_read_for_ever() {
        let wish: Wish = decode(&bytes(1, WISH_1)).expect("reads");
        assert_eq!(wish.at, At { epoch: 2, placement: 3, generation: 7 });
        assert_eq!((wish.intent, wish.restart_seq, wish.restart_hard), (Intent::Run, 4, true));
        assert_eq!(wish.tombstone, (1, 9));
        let spec = wish.spec.as_ref().expect("has a spec");
        assert_eq!(spec.container.restart, model::RestartPolicy::OnFailure { max: 3 });
        assert_eq!(encode(&wish).expect("writes"), bytes(1, WISH_1));

        let marks: Marks = decode(&bytes(1, MARKS_1)).expect("reads");
        assert_eq!((marks.restart_done, marks.restarts, marks.seq), (3, 5, 99));
        assert_eq!(marks.failed.as_ref().map(|(_, fault)| fault.message.as_str()), Some("no"));
        assert_eq!(encode(&marks).expect("writes"), bytes(1, MARKS_1));
        assert_eq!(decode::<Marks>(b"\x01{}").expect("defaults"), Marks::default());
    }

    #[test]
    fn other_formats_are_refused() {
        let fault = decode::<Wish>(&bytes(2, WISH_1)).expect_err("is refused");
        assert!(fault.message.contains("format 2") && fault.message.contains("newer"), "{fault}");
        assert!(decode::<Wish>(b"").is_err());
        assert!(decode::<Wish>(b"\x01rubbish").is_err());
    }

    fn wanted(epoch: i64, placement: i64, generation: i64, intent: Intent) -> Wanted {
        Wanted {
            instance: model::Env::system().id(),
            at: At { epoch, placement, generation },
            intent,
            restart_seq: 0,
            restart_hard: false,
            freeze: None,
            spec: None,
            request_id: String::new(),
        }
    }

    #[test]
    fn only_what_is_above_succeeds() {
        let wish = Wish::default().succeeded_by(&wanted(1, 2, 3, Intent::Run)).expect("is above nothing");
        for (epoch, placement, generation) in [(1, 2, 3), (1, 2, 2), (1, 1, 9), (0, 9, 9)] {
            assert_eq!(wish.succeeded_by(&wanted(epoch, placement, generation, Intent::Run)), None);
            assert_eq!(wish.succeeded_by(&wanted(epoch, placement, generation, Intent::Gone)), None);
        }
        assert!(wish.succeeded_by(&wanted(1, 2, 4, Intent::Stop)).is_some());
        assert!(wish.succeeded_by(&Wanted { restart_seq: 1, ..wanted(1, 2, 3, Intent::Run) }).is_some());

        let gone = wish.succeeded_by(&wanted(1, 2, 4, Intent::Gone)).expect("is above");
        assert_eq!(gone.tombstone, (1, 2));
        // The tombstone covers the placement, whatever the generation.
        assert_eq!(gone.succeeded_by(&wanted(1, 2, 9, Intent::Run)), None);
        let again = gone.succeeded_by(&wanted(1, 3, 1, Intent::Run)).expect("is a new placement");
        assert_eq!(again.tombstone, (1, 2));
    }

    #[test]
    fn a_burial_covers_what_it_names() {
        let wish = Wish::default().succeeded_by(&wanted(2, 5, 1, Intent::Run)).expect("is above nothing");
        let older = wish.buried_at(At { epoch: 2, placement: 4, generation: 9 }).expect("is new");
        assert_eq!((older.intent, older.tombstone), (Intent::Run, (2, 4)));
        let same = wish.buried_at(At { epoch: 2, placement: 5, generation: 0 }).expect("is new");
        assert_eq!((same.intent, same.tombstone, same.at), (Intent::Gone, (2, 5), wish.at));
        assert_eq!(same.buried_at(same.at), None);
    }
}
