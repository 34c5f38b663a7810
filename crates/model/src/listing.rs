//! What lists are narrowed and ordered by: the same words for the index and for the cells.

use std::cmp::Ordering;

use uuid::Uuid;

use crate::ids::InstanceId;
use crate::time::Timestamp;

/// What a list of instances can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sort {
    /// When it was asked for.
    Created,
    /// When anything visible last changed.
    Updated,
    /// When it first ran; what never did comes first.
    Launched,
    /// When it was deleted; what was not comes first.
    Terminated,
    /// Its name.
    Name,
    /// Its description; without one, as if it were empty.
    Description,
    /// Its host name.
    Hostname,
    /// Name of its key pair; what has none comes first.
    KeyName,
    /// Whether it is locked; what is not comes first.
    Locked,
    /// Its host's name; what has none comes first.
    Host,
    /// Its availability zone.
    Zone,
    /// Its image's reference.
    Image,
    /// Its flavor's id.
    Flavor,
    /// Its project.
    Project,
    /// The user who asked for it.
    User,
    /// Nova's `vm_state`.
    VmState,
    /// Nova's `task_state`; none comes first.
    TaskState,
    /// Nova's number of the power state.
    Power,
    /// Its id.
    Id,
}

impl Sort {
    /// Everything there is.
    pub const ALL: [Self; 19] = [
        Self::Created,
        Self::Updated,
        Self::Launched,
        Self::Terminated,
        Self::Name,
        Self::Description,
        Self::Hostname,
        Self::KeyName,
        Self::Locked,
        Self::Host,
        Self::Zone,
        Self::Image,
        Self::Flavor,
        Self::Project,
        Self::User,
        Self::VmState,
        Self::TaskState,
        Self::Power,
        Self::Id,
    ];

    /// Whether it is observed, so that only the cells know it for certain.
    pub fn is_observed(self) -> bool {
        match self {
            Self::Updated
            | Self::Launched
            | Self::Terminated
            | Self::Host
            | Self::Zone
            | Self::VmState
            | Self::TaskState
            | Self::Power => true,
            Self::Created
            | Self::Name
            | Self::Description
            | Self::Hostname
            | Self::KeyName
            | Self::Locked
            | Self::Image
            | Self::Flavor
            | Self::Project
            | Self::User
            | Self::Id => false,
        }
    }
}

/// What one key of an order has for one instance. Texts are compared by their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// A number or a time.
    Number(i64),
    /// A text.
    Text(String),
    /// An id.
    Id(Uuid),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// An order that no two instances share a place in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    keys: Vec<(Sort, bool)>,
}

impl Default for Order {
    /// Newest first.
    fn default() -> Self {
        Self::new(&[(Sort::Created, true)])
    }
}

impl Order {
    /// By these keys, each with whether the largest comes first; the id, in the direction of the last of
    /// them, decides between equals. Of a key that is named twice the first counts.
    pub fn new(keys: &[(Sort, bool)]) -> Self {
        let mut order = Self { keys: Vec::new() };
        let last = keys.last().is_none_or(|(_, descending)| *descending);
        for (sort, descending) in keys.iter().copied().chain([(Sort::Id, last)]) {
            if !order.keys.iter().any(|(known, _)| *known == sort) {
                order.keys.push((sort, descending));
            }
            if sort == Sort::Id {
                break;
            }
        }
        order
    }

    /// Its keys, the last of which is the id.
    pub fn keys(&self) -> &[(Sort, bool)] {
        &self.keys
    }

    /// Whether only the cells know it for certain.
    pub fn is_observed(&self) -> bool {
        self.keys.iter().any(|(sort, _)| sort.is_observed())
    }

    /// Which of two places comes first.
    pub fn compare(&self, a: &Place, b: &Place) -> Ordering {
        let pairs = self.keys.iter().zip(a.0.iter().zip(&b.0));
        pairs.fold(Ordering::Equal, |so_far, ((_, descending), (a, b))| {
            so_far.then_with(|| if *descending { b.cmp(a) } else { a.cmp(b) })
        })
    }
}

/// Where an instance stands in an order: a value for each of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(pub Vec<Value>);

/// Which instances by whether they are deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deleted {
    /// Those that are not.
    #[default]
    No,
    /// Those that are.
    Only,
    /// All.
    Both,
}

/// What a list is narrowed to by plain comparison, which databases do. Nothing given narrows nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrow {
    /// Of this project.
    pub project: Option<String>,
    /// That asked for this region.
    pub region: Option<String>,
    /// One of these; empty means any.
    pub ids: Vec<InstanceId>,
    /// Asked for by this user.
    pub user: Option<String>,
    /// Of the image with this id.
    pub image: Option<Uuid>,
    /// Of the flavor with this id.
    pub flavor: Option<String>,
    /// Locked, or not.
    pub locked: Option<bool>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// With at least one of these tags; empty means any.
    pub tags_any: Vec<String>,
    /// Without at least one of these tags; empty means any.
    pub not_tags: Vec<String>,
    /// Without all of these tags.
    pub not_tags_any: Vec<String>,
    /// Whose status is one of these (Nova's words, upper case); empty means any.
    pub status: Vec<String>,
    /// In this `vm_state`.
    pub vm_state: Option<String>,
    /// In this `task_state`.
    pub task_state: Option<String>,
    /// On the host of this name.
    pub host: Option<String>,
    /// Changed then or later.
    pub since: Option<Timestamp>,
    /// Changed then or earlier.
    pub before: Option<Timestamp>,
}

impl Narrow {
    /// Whether only the cells know for certain what it narrows to.
    pub fn is_observed(&self) -> bool {
        !self.status.is_empty()
            || self.vm_state.is_some()
            || self.task_state.is_some()
            || self.host.is_some()
            || self.since.is_some()
            || self.before.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_ends_with_the_id() {
        let keys = |keys: &[(Sort, bool)]| Order::new(keys).keys().to_vec();
        assert_eq!(keys(&[]), [(Sort::Id, true)]);
        assert_eq!(keys(&[(Sort::Name, false)]), [(Sort::Name, false), (Sort::Id, false)]);
        assert_eq!(keys(&[(Sort::Id, false), (Sort::Name, true)]), [(Sort::Id, false)], "nothing is equal");
        let twice = [(Sort::Host, true), (Sort::Name, false), (Sort::Host, false)];
        assert_eq!(keys(&twice), [(Sort::Host, true), (Sort::Name, false), (Sort::Id, false)]);
    }

    #[test]
    fn places_are_compared_key_by_key() {
        let order = Order::new(&[(Sort::Name, false), (Sort::Created, true)]);
        let place = |name: &str, created: i64| {
            Place(vec![name.into(), created.into(), Value::Id(Uuid::from_u128(created as u128))])
        };
        assert_eq!(order.compare(&place("a", 1), &place("b", 2)), Ordering::Less);
        assert_eq!(order.compare(&place("a", 1), &place("a", 2)), Ordering::Greater);
        assert_eq!(order.compare(&place("a", 1), &place("a", 1)), Ordering::Equal);
    }
}
