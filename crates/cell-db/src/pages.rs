//! Pages of a cell's instances, in any order, narrowed by what databases compare.

use model::instance::{Power, Stage, Task, status};
use model::listing::{Narrow, Order, Place, Sort};
use model::{CellId, Instance, Phase};
use sql::{Error, Key, Paged, args};

use crate::Tx;
use crate::instances::{Row, select};

/// Whether a cell can list in this order.
pub fn knows(order: &Order) -> bool {
    order.keys().iter().all(|(sort, _)| expr(*sort).is_some())
}

/// The first `limit` instances in an order, after a place in it, tombstones left out. What a cell's database
/// cannot compare – image, tags, lock – narrows nothing here: whoever asks looks at the rows once more.
///
/// # Errors
/// An order that a cell does not know; see [`knows`].
pub async fn page(
    tx: &mut Tx,
    cell: CellId,
    narrow: &Narrow,
    order: &Order,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<Instance>, Error> {
    const HEAD: &str = select!("WHERE i.stage <> 'tombstone'");
    let key = |(sort, descending): &(Sort, bool)| Some(Key { expr: expr(*sort)?, descending: *descending });
    let keys: Option<Vec<Key>> = order.keys().iter().map(key).collect();
    let keys = keys.ok_or_else(|| Error::Statement(format!("a cell cannot list in the order {order:?}")))?;
    let after = after.map(|place| place.0.iter().cloned().map(Into::into).collect());
    let rows: Vec<Row> =
        tx.page(narrowed(Paged::new(HEAD, args![]), narrow).page(&keys, after, limit)).await?;
    rows.into_iter().map(|row| row.instance(cell)).collect()
}

fn narrowed(paged: Paged, narrow: &Narrow) -> Paged {
    let mut paged = paged
        .and_if("i.project = ?", narrow.project.as_deref())
        .and_if("COALESCE(i.spec->>'region', '') = ?", narrow.region.as_deref())
        .and_if("i.spec->>'user' = ?", narrow.user.as_deref())
        .and_if("i.spec->'flavor'->>'id' = ?", narrow.flavor.as_deref())
        .and_if("i.task = ?", narrow.task_state.as_deref())
        .and_if("h.name = ?", narrow.host.as_deref())
        .and_if("i.updated_at >= ?", narrow.since)
        .and_if("i.updated_at <= ?", narrow.before);
    if !narrow.ids.is_empty() {
        let marks = vec!["?"; narrow.ids.len()].join(", ");
        paged = paged.and(&format!("i.id IN ({marks})"), narrow.ids.iter().map(|id| (*id).into()).collect());
    }
    if !narrow.status.is_empty() {
        let tasks: Vec<Option<Task>> = Task::ALL.into_iter().map(Some).chain([None]).collect();
        let wanted = |stage, power, phase| {
            tasks.iter().any(|task| {
                let is = status(stage, power, *task, phase);
                narrow.status.iter().any(|word| word == is)
            })
        };
        paged = standing(paged, &wanted);
    }
    if let Some(word) = &narrow.vm_state {
        paged =
            standing(paged, &|stage, power, phase| word == model::instance::vm_state(stage, power, phase));
    }
    paged
}

/// Narrows to rows whose stage, power and phase are wanted.
fn standing(paged: Paged, wanted: &dyn Fn(Stage, Power, Phase) -> bool) -> Paged {
    let pairs = Stage::ALL.into_iter().flat_map(|stage| Power::ALL.map(|power| (stage, power)));
    let all = pairs.flat_map(|(stage, power)| Phase::ALL.map(|phase| (stage, power, phase)));
    let all: Vec<_> = all.filter(|(stage, power, phase)| wanted(*stage, *power, *phase)).collect();
    if all.is_empty() {
        return paged.and("false", args![]);
    }
    let marks = vec!["(?, ?, ?)"; all.len()].join(", ");
    let args = all
        .iter()
        .flat_map(|(stage, power, phase)| args![stage.as_str(), power.as_str(), phase.as_str()])
        .collect();
    paged.and(&format!("(i.stage, i.power, i.phase) IN (VALUES {marks})"), args)
}

/// What a key is in a cell; never NULL.
fn expr(sort: Sort) -> Option<&'static str> {
    Some(match sort {
        Sort::Created => "i.created_at",
        Sort::Updated => "i.updated_at",
        Sort::Launched => "COALESCE(i.launched_at, 0)",
        Sort::Terminated => "COALESCE(i.terminated_at, 0)",
        Sort::Name => "i.name",
        Sort::Description => "COALESCE(i.spec->>'description', '')",
        Sort::KeyName => "COALESCE(i.spec->'extra'->>'key_name', '')",
        Sort::Host => "COALESCE(h.name, '')",
        Sort::Zone => "COALESCE(h.zone, i.spec->>'zone', '')",
        Sort::Image => "i.spec->>'image'",
        Sort::Flavor => "i.spec->'flavor'->>'id'",
        Sort::Project => "i.project",
        Sort::User => "i.spec->>'user'",
        Sort::VmState => {
            "CASE i.stage WHEN 'error' THEN 'error' WHEN 'settled' THEN
             CASE WHEN i.phase IN ('resized', 'confirming', 'revert-wanted', 'reverting') THEN 'resized'
             WHEN i.phase = 'shelved' THEN 'shelved' ELSE CASE i.power WHEN 'running' THEN 'active' WHEN 'paused' THEN 'paused' ELSE 'stopped' END END
             ELSE 'building' END"
        }
        Sort::TaskState => "COALESCE(i.task, '')",
        Sort::Power => {
            "CASE i.power WHEN 'running' THEN 1 WHEN 'paused' THEN 3 WHEN 'stopped' THEN 4 ELSE 0 END"
        }
        Sort::Id => "i.id",
        // Made of the name where none was asked for, and a lock is an object.
        Sort::Hostname | Sort::Locked => return None,
    })
}
