//! Names of roles, and which role implies which, as of a revision.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use api_db::identity as db;
use sql::Error;

use crate::known::Role;

/// The newest that is known.
#[derive(Debug, Default)]
pub struct Roles(RwLock<Option<(i64, Arc<Known>)>>);

/// Roles as of one revision.
#[derive(Debug, Default)]
pub struct Known {
    names: HashMap<String, String>,
    implied: HashMap<String, Vec<String>>,
}

impl Roles {
    /// Roles as of `revision`, which the caller has read in `tx`.
    pub async fn at(&self, tx: &mut api_db::Tx, revision: i64) -> Result<Arc<Known>, Error> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((of, known)) = kept
            && of == revision
        {
            return Ok(known);
        }
        let known = Arc::new(Known::read(tx).await?);
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_none_or(|(of, _)| *of < revision) {
            *kept = Some((revision, Arc::clone(&known)));
        }
        Ok(known)
    }
}

impl Known {
    /// Reads them.
    pub async fn read(tx: &mut api_db::Tx) -> Result<Self, Error> {
        let all = db::entities::list(tx, "role", None, None).await?;
        let names = all.into_iter().map(|role| (role.id, role.name)).collect();
        let mut implied: HashMap<String, Vec<String>> = HashMap::new();
        for (prior, then) in db::entities::implied(tx).await? {
            implied.entry(prior).or_default().push(then);
        }
        Ok(Self { names, implied })
    }

    /// Ids of these roles and of all that they imply.
    pub fn with_implied(&self, roles: &[String]) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut left: Vec<&String> = roles.iter().collect();
        while let Some(role) = left.pop() {
            if all.insert(role.clone()) {
                left.extend(self.implied.get(role).into_iter().flatten());
            }
        }
        all
    }

    /// Roles with their names, by name; what has none is gone.
    pub fn named(&self, ids: impl IntoIterator<Item = String>) -> Vec<Role> {
        let mut roles: Vec<Role> = ids
            .into_iter()
            .filter_map(|id| self.names.get(&id).map(|name| Role { name: name.clone(), id }))
            .collect();
        roles.sort_by(|a, b| a.name.cmp(&b.name));
        roles
    }

    /// Whether `role`, or one that it implies and so on, implies `other`.
    pub fn implies(&self, role: &str, other: &str) -> bool {
        self.with_implied(&[role.to_owned()]).contains(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implied_roles_come_along_also_in_circles() {
        let text = |text: &str| text.to_owned();
        let known = Known {
            names: ["a", "b", "c"].map(|id| (text(id), id.to_uppercase())).into(),
            implied: [("a", "b"), ("b", "c"), ("c", "a")].map(|(p, i)| (text(p), vec![text(i)])).into(),
        };
        let all = known.with_implied(&[text("b")]);
        assert_eq!(all.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b", "c"]);
        let named = known.named([text("c"), text("gone"), text("a")]);
        assert_eq!(named.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["A", "C"]);
    }
}
