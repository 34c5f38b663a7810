//! Offering back: what the cell says it does not know is kept, and told of page by page, so that an operator of a
//! restored database can see it and have it taken back.

use model::sync::Offer;
use rpc::contract::Offers;

/// What is offered in one call takes at most about so many bytes, but for a single offer.
const PAGE: usize = 64 * 1024;

/// What was offered, and what has yet to be.
#[derive(Debug, Default)]
pub(crate) struct Offering {
    /// What the cell was told, or is being told; none if it is not sure to know.
    told: Option<Vec<Offer>>,
    /// How much of it was told, once anything was.
    done: Option<usize>,
    /// The cell said that it does not know something.
    pub unknown: bool,
}

impl Offering {
    /// Begins anew if there is something else to offer than was told.
    pub fn look(&mut self, now: Vec<Offer>) {
        if self.told.as_ref() != Some(&now) {
            (self.told, self.done) = (Some(now), None);
        }
    }

    /// The next page, if there is anything left to tell; that there is nothing is told too.
    pub fn page(&self) -> Option<Offers> {
        let told = self.told.as_ref()?;
        if !self.is_under_way() {
            return None;
        }
        let (mut page, mut size) = (Vec::new(), 0);
        for offer in told.iter().skip(self.done.unwrap_or_default()) {
            // Numbers and texts: it never fails.
            size += serde_json::to_vec(offer).map_or(0, |json| json.len());
            if size > PAGE && !page.is_empty() {
                break;
            }
            page.push(offer.clone());
        }
        Some(Offers { first: self.done.is_none(), page })
    }

    /// The page arrived.
    pub fn arrived(&mut self, page: &Offers) {
        self.done = Some(self.done.unwrap_or_default() + page.page.len());
    }

    /// It may not have arrived, or the cell is not what it was.
    pub fn forget(&mut self) {
        (self.told, self.done) = (None, None);
    }

    /// Whether there is something that has yet to be told.
    pub fn is_under_way(&self) -> bool {
        self.told.as_ref().is_some_and(|told| self.done.is_none_or(|done| done < told.len()))
    }

    /// Whether all that there is was told.
    pub fn is_told(&self) -> bool {
        !self.unknown && self.told.is_some() && !self.is_under_way()
    }
}
