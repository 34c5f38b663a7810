//! What a query means, checked.

use model::listing::{Deleted, Narrow, Order};
use model::{Caller, Fault, FaultKind};
use regex::{Regex, RegexBuilder};

use super::facts::{Facts, Field};
use crate::types::{Query, Read};

/// Largest compiled form of a caller's regular expression, in bytes.
const PATTERN: usize = 256 * 1024;

/// A query, checked.
pub(crate) struct Plan {
    pub(crate) narrow: Narrow,
    patterns: Vec<(Field, Regex)>,
    pub(crate) deleted: Deleted,
    pub(crate) order: Order,
    pub(crate) limit: usize,
    /// Whether the cells' rows decide what is on the page, and not the index.
    pub(crate) by_cells: bool,
}

impl Plan {
    pub(crate) fn of(caller: &Caller, query: &Query, most: usize) -> Result<Self, Fault> {
        let project = match (query.all_projects, &query.project) {
            (false, _) => Some(caller.project.clone()),
            (true, _) if !caller.is_admin() => {
                let why =
                    "Policy doesn't allow os_compute_api:servers:index:get_all_tenants to be performed.";
                return Err(Fault::new(FaultKind::Forbidden, why));
            }
            (true, project) => project.clone(),
        };
        let name = query.name.iter().map(|name| (Field::Name, name));
        let mut patterns = Vec::new();
        for (field, text) in query.patterns.iter().map(|(field, text)| (*field, text)).chain(name) {
            patterns.push((field, pattern(field, text)?));
        }
        let narrow = Narrow {
            project,
            region: (!query.region.is_empty()).then(|| query.region.clone()),
            ids: query.ids.clone(),
            user: query.user.clone(),
            image: query.image,
            flavor: query.flavor.clone(),
            locked: query.locked,
            tags: query.tags.clone(),
            tags_any: query.tags_any.clone(),
            not_tags: query.not_tags.clone(),
            not_tags_any: query.not_tags_any.clone(),
            status: query.status.clone(),
            vm_state: query.vm_state.clone(),
            task_state: query.task_state.clone(),
            host: query.host.clone().filter(|host| !host.is_empty()),
            since: query.since,
            before: query.before,
        };
        let observed = narrow.is_observed()
            || query.order.is_observed()
            || patterns.iter().any(|(field, _)| field.is_observed());
        let by_cells = match query.read {
            Read::Index => false,
            Read::Cells => true,
            Read::Auto => observed,
        };
        let knows = cell_db::pages::knows(&query.order);
        if query.read == Read::Cells && !knows {
            let why =
                "skep_read=cells does not sort by hostname or locked, which only the index does: use another";
            return Err(Fault::invalid(why));
        }
        // What is deleted does not change any more, and cells do not list it.
        let possible = query.deleted != Deleted::Only && knows;
        Ok(Self {
            narrow,
            patterns,
            deleted: query.deleted,
            order: query.order.clone(),
            limit: query.limit.unwrap_or(most).min(most),
            by_cells: by_cells && possible,
        })
    }

    /// Whether more may fall away than what databases leave out.
    pub(crate) fn has_patterns(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// Whether it matches the regular expressions.
    pub(crate) fn matches(&self, facts: &Facts<'_>) -> bool {
        let matches = |(field, pattern): &(Field, Regex)| {
            facts.text(*field).is_some_and(|text| pattern.is_match(&text))
        };
        self.patterns.iter().all(matches)
    }

    /// Whether it is what was asked for.
    pub(crate) fn takes(&self, facts: &Facts<'_>) -> bool {
        facts.are(&self.narrow) && self.matches(facts)
    }
}

fn pattern(field: Field, text: &str) -> Result<Regex, Fault> {
    RegexBuilder::new(text).size_limit(PATTERN).build().map_err(|_| {
        let field = field.as_str();
        Fault::invalid(format!(
            "Invalid input for query parameters {field}. Value: {text}. '{text}' is not a regular expression"
        ))
    })
}
