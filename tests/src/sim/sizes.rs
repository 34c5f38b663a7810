//! What the size of an instance may be, as far as its client was told.

use std::collections::BTreeSet;

/// The flavor that an instance has, and the one that is kept while its user has not decided.
pub type Size = (String, Option<String>);

/// What a client asks of a size.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Another one.
    To(String),
    /// To keep the new one.
    Keep,
    /// To have the old one back.
    Back,
}

impl Ask {
    /// What a size may be after it was carried out; a size of which it cannot be carried out was not the right one.
    fn after(&self, (has, kept): &Size) -> Vec<Size> {
        match (self, kept) {
            // It has the new one, or it stays as it was.
            (Self::To(wanted), None) if wanted != has => {
                vec![(wanted.clone(), Some(has.clone())), (has.clone(), None)]
            }
            (Self::Keep, Some(_)) => vec![(has.clone(), None)],
            (Self::Back, Some(kept)) => vec![(kept.clone(), None)],
            _ => Vec::new(),
        }
    }
}

/// All sizes that an instance may have.
#[derive(Clone, Debug)]
pub struct Sizes {
    may: BTreeSet<Size>,
    /// What may have been accepted: it may be carried out at any time.
    doubts: BTreeSet<Ask>,
}

impl Sizes {
    /// That of a new instance.
    pub fn new(flavor: &str) -> Self {
        Self { may: [(flavor.to_owned(), None)].into(), doubts: BTreeSet::new() }
    }

    /// It was promised that this is done.
    pub fn promised(&mut self, ask: &Ask) {
        self.may = self.may.iter().flat_map(|size| ask.after(size)).collect();
        self.spread();
    }

    /// Nobody can tell whether it is done.
    pub fn doubted(&mut self, ask: &Ask) {
        self.doubts.insert(ask.clone());
        self.spread();
    }

    fn spread(&mut self) {
        loop {
            let more: Vec<Size> =
                self.doubts.iter().flat_map(|ask| self.may.iter().flat_map(|size| ask.after(size))).collect();
            let before = self.may.len();
            self.may.extend(more);
            if self.may.len() == before {
                return;
            }
        }
    }

    /// Whether it may be so.
    pub fn may_be(&self, size: &Size) -> bool {
        self.may.contains(size)
    }

    /// Whether its user may have to decide.
    pub fn may_wait(&self) -> bool {
        self.may.iter().any(|(_, kept)| kept.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(has: &str, kept: Option<&str>) -> Size {
        (has.to_owned(), kept.map(str::to_owned))
    }

    #[test]
    fn promises_leave_what_can_be() {
        let mut sizes = Sizes::new("1");
        sizes.promised(&Ask::To("2".into()));
        assert!(sizes.may_be(&size("2", Some("1"))) && sizes.may_be(&size("1", None)) && sizes.may_wait());
        sizes.promised(&Ask::Back);
        assert!(sizes.may_be(&size("1", None)) && !sizes.may_be(&size("2", None)) && !sizes.may_wait());
        sizes.promised(&Ask::To("3".into()));
        sizes.promised(&Ask::Keep);
        assert!(sizes.may_be(&size("3", None)) && !sizes.may_be(&size("1", None)));
    }

    #[test]
    fn doubts_leave_both() {
        let mut sizes = Sizes::new("1");
        sizes.doubted(&Ask::To("2".into()));
        sizes.doubted(&Ask::Keep);
        for may in [size("1", None), size("2", Some("1")), size("2", None)] {
            assert!(sizes.may_be(&may), "{may:?}");
        }
        assert!(!sizes.may_be(&size("3", None)));
    }
}
