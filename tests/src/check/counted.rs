//! What is counted and recorded at the API level: quotas, records of changed sizes, and the audit.

use std::collections::BTreeMap;

use sql::Error;
use uuid::Uuid;

use super::{Mapping, Row, Violations, all};

/// Each project's quota is what its instances have, resource by resource.
pub async fn quotas(
    api: &api_db::Db,
    mappings: &[Mapping],
    rows: impl Iterator<Item = &Row>,
    bad: &mut Violations,
) -> Result<(), Error> {
    let mut has: BTreeMap<String, [i64; 3]> = BTreeMap::new();
    for mapping in mappings.iter().filter(|mapping| mapping.state != "deleted") {
        has.entry(mapping.project.clone()).or_default()[0] += 1;
    }
    for row in rows {
        let project = has.entry(row.project.clone()).or_default();
        project[1] += row.cores;
        project[2] += row.memory_mib;
    }
    let counted: Vec<(String, i64, i64, i64)> =
        all(api, "SELECT project, instances, cores, memory_mib FROM quota").await?;
    for (project, instances, cores, memory) in counted {
        let (counted, has) = ([instances, cores, memory], has.remove(&project).unwrap_or_default());
        bad.unless(counted == has, || {
            format!("of {project} are counted {counted:?} instances, cores, and MiB; it has {has:?}")
        });
    }
    bad.unless(has.is_empty(), || format!("nothing is counted of {has:?}"));
    Ok(())
}

/// Whether records may be missing, because they were in the part of the database that a restore has lost.
async fn may_miss(api: &api_db::Db) -> Result<bool, Error> {
    let found: Vec<(i64,)> = all(
        api,
        "SELECT COUNT(*) FROM audit WHERE action IN ('api_db.restored', 'cell.restored', 'instance.map')",
    )
    .await?;
    Ok(found[0].0 > 0)
}

/// No change of a size is under way, and what its user has to decide upon is one that waits for that.
pub async fn resizes(
    api: &api_db::Db,
    waiting: &BTreeMap<Uuid, bool>,
    bad: &mut Violations,
) -> Result<(), Error> {
    let open: Vec<(Uuid, String)> = all(
        api,
        "SELECT instance, status FROM resize WHERE status NOT IN ('confirmed', 'reverted', 'error') ORDER BY id",
    )
    .await?;
    let mut told: BTreeMap<Uuid, usize> = BTreeMap::new();
    for (id, status) in open {
        bad.unless(status == "finished", || format!("a change of the size of {id} is recorded as {status}"));
        *told.entry(id).or_default() += 1;
    }
    let may_miss = may_miss(api).await?;
    for (id, waits) in waiting {
        let told = told.remove(id).unwrap_or_default();
        bad.unless(told == usize::from(*waits) || (may_miss && told == 0), || {
            format!("{id} waits for its user's word: {waits}; {told} records say that it does")
        });
    }
    bad.unless(told.is_empty(), || format!("records of sizes that wait, without an instance: {told:?}"));
    Ok(())
}

/// Every instance has one record of its creation, and one of its deletion once that was accepted. What was found
/// again after a restore may have none.
pub async fn audit(api: &api_db::Db, mappings: &[Mapping], bad: &mut Violations) -> Result<(), Error> {
    let records: Vec<(Uuid, String, i64)> = all(
        api,
        "SELECT target, action, COUNT(*) FROM audit WHERE target IS NOT NULL AND action IN ('create', 'delete')
         GROUP BY target, action",
    )
    .await?;
    let records: BTreeMap<(Uuid, &str), i64> =
        records.iter().map(|(id, action, count)| ((*id, action.as_str()), *count)).collect();
    let may_miss = may_miss(api).await?;
    for mapping in mappings {
        let count = |action| records.get(&(mapping.id, action)).copied().unwrap_or_default();
        let (has, wanted) = ((count("create"), count("delete")), (1, i64::from(mapping.state != "live")));
        let right = has == wanted || (may_miss && has.0 <= wanted.0 && has.1 <= 1);
        bad.unless(right, || format!("{mapping:?} has {has:?} records of its creation and deletion"));
    }
    Ok(())
}
