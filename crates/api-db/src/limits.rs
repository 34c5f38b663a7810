//! Limits: how much of each resource a project may have. A project's own goes before its class's, and that
//! before the configuration's.

use std::collections::BTreeMap;

use model::{Fault, FaultKind};
use sql::{Error, args};

use crate::Tx;
use crate::quotas::Limits;

/// What is limited, and how much of it there may be if nobody says otherwise; Nova's names and defaults.
pub const RESOURCES: [(&str, i64); 7] = [
    ("instances", 10),
    ("cores", 20),
    ("ram", 51_200),
    ("metadata_items", 128),
    ("key_pairs", 100),
    ("server_groups", 10),
    ("server_group_members", 10),
];

/// The class that every project is in.
pub const CLASS: &str = "default";

/// The limits that hold, by resource; -1 means without limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective(BTreeMap<&'static str, i64>);

impl Effective {
    fn of(default: Limits) -> Self {
        let mut all: BTreeMap<&'static str, i64> = RESOURCES.into_iter().collect();
        all.insert("instances", default.instances);
        all.insert("cores", default.cores);
        all.insert("ram", default.memory_mib);
        Self(all)
    }

    fn apply(&mut self, rows: Vec<(String, i64)>) {
        for (resource, maximum) in rows {
            if let Some((name, _)) = RESOURCES.iter().find(|(name, _)| *name == resource) {
                self.0.insert(name, maximum);
            }
        }
    }

    /// The limit of one resource.
    pub fn get(&self, resource: &str) -> i64 {
        self.0.get(resource).copied().unwrap_or(-1)
    }

    /// Refuses `need` more of a resource that is used `used` times.
    pub fn check(&self, resource: &str, used: i64, need: i64) -> Result<(), Fault> {
        let maximum = self.get(resource);
        if maximum >= 0 && used + need > maximum {
            return Err(Fault::new(
                FaultKind::OverQuota,
                // Nova's text (`nova/exception.py`, TooManyInstances).
                format!(
                    "Quota exceeded for {resource}: Requested {need}, but already used {used} of {maximum} {resource}"
                ),
            ));
        }
        Ok(())
    }
}

/// What holds for a project.
pub async fn of(tx: &mut Tx, project: &str, default: Limits) -> Result<Effective, Error> {
    const SQL: &str = "SELECT resource, maximum FROM quota_limit WHERE project = $1";
    let mut limits = of_class(tx, CLASS, default).await?;
    limits.apply(tx.all(SQL, args![project]).await?);
    Ok(limits)
}

/// What holds for the projects of a class that have no limits of their own.
pub async fn of_class(tx: &mut Tx, class: &str, default: Limits) -> Result<Effective, Error> {
    const SQL: &str = "SELECT resource, maximum FROM quota_class WHERE class = $1";
    let mut limits = Effective::of(default);
    limits.apply(tx.all(SQL, args![class]).await?);
    Ok(limits)
}

/// Sets limits of a project.
pub async fn set(tx: &mut Tx, project: &str, limits: &BTreeMap<String, i64>) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO quota_limit (project, resource, maximum) VALUES ($1, $2, $3)
        ON CONFLICT (project, resource) DO UPDATE SET maximum = excluded.maximum";
    for (resource, maximum) in limits {
        tx.exec(SQL, args![project, resource.as_str(), *maximum]).await?;
    }
    Ok(())
}

/// Sets limits of a class.
pub async fn set_class(tx: &mut Tx, class: &str, limits: &BTreeMap<String, i64>) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO quota_class (class, resource, maximum) VALUES ($1, $2, $3)
        ON CONFLICT (class, resource) DO UPDATE SET maximum = excluded.maximum";
    for (resource, maximum) in limits {
        tx.exec(SQL, args![class, resource.as_str(), *maximum]).await?;
    }
    Ok(())
}

/// Forgets the limits of a project: its class's hold again.
pub async fn reset(tx: &mut Tx, project: &str) -> Result<(), Error> {
    tx.exec("DELETE FROM quota_limit WHERE project = $1", args![project]).await.map(drop)
}

/// Takes the lock under which things of `scope` are counted and added, until the commit.
pub async fn lock(tx: &mut Tx, scope: &str) -> Result<(), Error> {
    const SQL: &str = "INSERT INTO counting (scope) VALUES ($1)
        ON CONFLICT (scope) DO UPDATE SET scope = excluded.scope";
    tx.exec(SQL, args![scope]).await.map(drop)
}
