//! Pages of the index, in any order, narrowed by what it knows.

use model::CellId;
use model::listing::{Deleted, Narrow, Order, Place, Sort};
use sql::{Error, Key, Paged, args};

use crate::Tx;
use crate::index::{Entry, Row, select};

/// Which entries of the index are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    /// By whether they are deleted. What was deleted before it was bound has left no trace anywhere, as in
    /// Nova.
    Everywhere(Deleted),
    /// Those that were last heard of as being built, or not yet at all.
    Building,
    /// Those that are mapped to a cell and are not deleted.
    Cell(CellId),
}

/// The first `limit` entries in an order, after a place in it.
pub async fn page(
    tx: &mut Tx,
    among: Among,
    narrow: &Narrow,
    order: &Order,
    after: Option<&Place>,
    limit: i64,
) -> Result<Vec<Entry>, Error> {
    const NOT: &str = select!("WHERE NOT i.deleted");
    const ONLY: &str = select!("WHERE i.deleted AND m.cell IS NOT NULL");
    const BOTH: &str = select!("WHERE (NOT i.deleted OR m.cell IS NOT NULL)");
    const BUILDING: &str = select!("WHERE NOT i.deleted AND i.vm_state = 'building'");
    const CELL: &str = select!("WHERE NOT i.deleted AND m.cell = ?");
    let head = match among {
        Among::Everywhere(Deleted::No) => Paged::new(NOT, args![]),
        Among::Everywhere(Deleted::Only) => Paged::new(ONLY, args![]),
        Among::Everywhere(Deleted::Both) => Paged::new(BOTH, args![]),
        Among::Building => Paged::new(BUILDING, args![]),
        Among::Cell(cell) => Paged::new(CELL, args![cell]),
    };
    let keys: Vec<Key> =
        order.keys().iter().map(|&(sort, descending)| Key { expr: expr(sort), descending }).collect();
    let after = after.map(|place| place.0.iter().cloned().map(Into::into).collect());
    let rows: Vec<Row> = tx.page(narrowed(head, narrow, among).page(&keys, after, limit)).await?;
    Ok(rows.into_iter().map(Entry::from).collect())
}

/// What is mapped to a cell and was not heard to be made there is left to the caller, as its deadline may have passed
/// since: of that nothing is left out by what only cells know.
fn narrowed(paged: Paged, narrow: &Narrow, among: Among) -> Paged {
    let or = if matches!(among, Among::Cell(_)) { "i.vm_state = 'building' OR " } else { "" };
    let mut paged = paged
        .and_if("i.project = ?", narrow.project.as_deref())
        .and_if("i.region = ?", narrow.region.as_deref())
        .and_if("i.user_id = ?", narrow.user.as_deref())
        .and_if("i.image_id = ?", narrow.image)
        .and_if("i.flavor = ?", narrow.flavor.as_deref())
        .and_if("i.locked = ?", narrow.locked)
        .and_if(&format!("{or}i.vm_state = ?"), narrow.vm_state.as_deref())
        .and_if(&format!("{or}i.task_state = ?"), narrow.task_state.as_deref())
        .and_if("i.host_name = ?", narrow.host.as_deref())
        .and_if(&format!("{or}i.updated_at >= ?"), narrow.since)
        .and_if(&format!("{or}i.updated_at <= ?"), narrow.before);
    for (or, column, values) in [
        ("", "i.instance", narrow.ids.iter().map(|id| (*id).into()).collect::<sql::Args>()),
        (or, "i.status", narrow.status.iter().map(|status| status.as_str().into()).collect()),
    ] {
        if !values.is_empty() {
            let marks = vec!["?"; values.len()].join(", ");
            paged = paged.and(&format!("{or}{column} IN ({marks})"), values);
        }
    }
    tagged(paged, narrow)
}

/// Narrows by tags. Both engines know REPLACE; what finds a text in a text has two names, and LIKE wants escapes.
fn tagged(mut paged: Paged, narrow: &Narrow) -> Paged {
    const HAS: &str = "i.tags <> REPLACE(i.tags, ?, '')";
    const LACKS: &str = "i.tags = REPLACE(i.tags, ?, '')";
    for (tags, has, join) in [
        (&narrow.tags, HAS, " AND "),
        (&narrow.tags_any, HAS, " OR "),
        (&narrow.not_tags, LACKS, " OR "),
        (&narrow.not_tags_any, LACKS, " AND "),
    ] {
        if !tags.is_empty() {
            let args = tags.iter().map(|tag| format!("\n{tag}\n").into()).collect();
            paged = paged.and(&vec![has; tags.len()].join(join), args);
        }
    }
    paged
}

/// What a key is in the index; never NULL.
fn expr(sort: Sort) -> &'static str {
    match sort {
        Sort::Created => "i.created_at",
        Sort::Updated => "i.updated_at",
        Sort::Launched => "i.launched_at",
        Sort::Terminated => "i.terminated_at",
        Sort::Name => "i.name",
        Sort::Description => "i.description",
        Sort::Hostname => "i.hostname",
        Sort::KeyName => "i.key_name",
        Sort::Locked => "CASE WHEN i.locked THEN 1 ELSE 0 END",
        Sort::Host => "i.host_name",
        Sort::Zone => "i.zone",
        Sort::Image => "i.image",
        Sort::Flavor => "i.flavor",
        Sort::Project => "i.project",
        Sort::User => "i.user_id",
        Sort::VmState => "i.vm_state",
        Sort::TaskState => "i.task_state",
        Sort::Power => "i.power_state",
        Sort::Id => "i.instance",
    }
}
