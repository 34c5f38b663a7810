//! Lists against an oracle: whatever is filtered, however it is sorted and paged, and whichever cells are
//! dark, a walk shows each instance that matches exactly once, in order.

use std::collections::BTreeSet;

use api_db::index::Entry;
use model::listing::{Deleted, Order, Sort};
use model::{Caller, Env, InstanceId};
use tests::cloud::{Cloud, admin};
use verbs::{Query, Read, Seen};

use crate::filters::{KINDS, Test, ZONE, any, narrow};
use crate::house::{CELLS, darken, light, member, populated, sorted, walk, walk_names};

const QUERIES: u64 = 250;

/// A list, who asks for it, and what it means.
struct Asked {
    caller: Caller,
    query: Query,
    tests: Vec<Test>,
}

impl Asked {
    /// Something random.
    fn any(env: &Env, known: &[Entry]) -> Self {
        let keys: Vec<(Sort, bool)> =
            (0..env.below(3)).map(|_| (*any(env, &Sort::ALL), env.below(2) == 0)).collect();
        let mut query = Query {
            limit: Some(1 + env.below(20) as usize),
            read: *any(env, &[Read::Auto, Read::Auto, Read::Index, Read::Cells]),
            order: if keys.is_empty() { Order::default() } else { Order::new(&keys) },
            deleted: *any(env, &[Deleted::No, Deleted::No, Deleted::Both, Deleted::Only]),
            ..Query::default()
        };
        let caller = match env.below(4) {
            0 => {
                query.all_projects = true;
                admin()
            }
            1 => member("v", "q"),
            _ => member("u", "p"),
        };
        let mut kinds: BTreeSet<u64> = (0..env.below(3)).map(|_| env.below(KINDS)).collect();
        if query.deleted != Deleted::No {
            // The index remembers the zone of what is deleted, and its cell does not: lists with details leave it out.
            kinds.remove(&ZONE);
        }
        let tests = kinds.into_iter().map(|kind| narrow(env, kind, known, &mut query)).collect();
        Self { caller, query, tests }
    }

    /// Whether an entry is on the list.
    fn is_meant(&self, entry: &Entry) -> bool {
        let deleted = match self.query.deleted {
            Deleted::No => !entry.deleted,
            Deleted::Only => entry.deleted,
            Deleted::Both => true,
        };
        (self.query.all_projects || entry.project == self.caller.project)
            && deleted
            && self.tests.iter().all(|test| test(entry))
    }

    /// Whether cells are to decide on an order that they do not know.
    fn is_refused(&self) -> bool {
        let mut keys = self.query.order.keys().iter();
        self.query.read == Read::Cells && keys.any(|(sort, _)| matches!(sort, Sort::Hostname | Sort::Locked))
    }
}

/// Asks for something random while these cells do not answer.
pub async fn one_walk(cloud: &Cloud, known: &[Entry], dark: &[&str]) {
    let asked = Asked::any(&cloud.env, known);
    let (caller, query) = (&asked.caller, &asked.query);
    if asked.is_refused() {
        for refused in
            [cloud.verbs.list(caller, query).await.err(), cloud.verbs.list_names(caller, query).await.err()]
        {
            assert_eq!(refused.expect("is refused").kind, model::FaultKind::Invalid, "{query:?}");
        }
        return;
    }
    let meant = known.iter().filter(|entry| asked.is_meant(entry)).cloned().collect();
    let expected = sorted(meant, &query.order);
    let (walked, silent) = walk(cloud, caller, query).await;
    for seen in &walked {
        agrees(cloud, known, seen, dark);
    }
    let shown: Vec<InstanceId> = walked.iter().map(Seen::id).collect();
    let wanted = wanted(cloud, &expected, &shown, &silent);
    assert_eq!(shown, wanted, "{query:?} with {dark:?} dark");
    let (named, silent) = walk_names(cloud, caller, query).await;
    let wanted = self::wanted(cloud, &expected, &named, &silent);
    assert_eq!(named, wanted, "names: {query:?} with {dark:?} dark");
}

/// What is told of an instance is what is known of it, and it is not told as fresh while its cell is dark.
pub fn agrees(cloud: &Cloud, known: &[Entry], seen: &Seen, dark: &[&str]) {
    let entry = known.iter().find(|entry| entry.id == seen.id()).expect("one of ours");
    let cell = name_of(cloud, entry);
    match seen {
        Seen::Fresh(instance) => {
            assert!(!dark.contains(&cell), "{entry:?} is told as fresh, and {cell} does not answer");
            assert_eq!(instance.status(), entry.last.status);
        }
        // A cell that has just come back may be taken for dark until it is probed again.
        Seen::Dark(told) => {
            assert_eq!(told.last_status.as_ref().map(|last| &last.0), Some(&entry.last.status));
            assert_eq!((told.spec.name.as_str(), told.cell.as_str()), (entry.name.as_str(), cell));
            assert_eq!(told.created, entry.created);
        }
    }
}

/// The name of an instance's cell.
fn name_of<'a>(cloud: &'a Cloud, entry: &Entry) -> &'a str {
    let cells = cloud.cells.iter().map(|parts| &parts.cell).chain([&cloud.cell0]);
    let mut mine = cells.filter(|cell| Some(cell.id) == entry.cell);
    &mine.next().expect("all of them are bound").name
}

/// What is to be shown: what is deleted in a cell that was dark is left out, and so is nothing else.
fn wanted(
    cloud: &Cloud,
    expected: &[Entry],
    shown: &[InstanceId],
    silent: &BTreeSet<String>,
) -> Vec<InstanceId> {
    let left_out = |entry: &&Entry| {
        entry.deleted && silent.contains(name_of(cloud, entry)) && !shown.contains(&entry.id)
    };
    expected.iter().filter(|entry| !left_out(entry)).map(|entry| entry.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_walk_agrees_with_the_oracle() {
    let (cloud, known) = populated(false).await;
    for _ in 0..QUERIES {
        let dark: Vec<&str> = CELLS.into_iter().filter(|_| cloud.env.below(4) == 0).collect();
        darken(&cloud, &dark);
        one_walk(&cloud, &known, &dark).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_ones_are_listed_with_what_their_cells_keep() {
    let (cloud, known) = populated(false).await;
    light(&cloud).await;
    let gone: Vec<InstanceId> = known.iter().filter(|entry| entry.deleted).map(|entry| entry.id).collect();
    assert_eq!(gone.len(), 8);
    let query = Query { deleted: Deleted::Only, all_projects: true, ..Query::default() };
    let (listed, _) = walk(&cloud, &admin(), &query).await;
    assert_eq!(listed.iter().map(Seen::id).collect::<Vec<_>>(), gone);
    for seen in listed {
        let Seen::Fresh(instance) = seen else { panic!("{seen:?} is told by its cell") };
        assert_eq!((instance.status(), instance.terminated.is_some()), ("DELETED", true));
    }
    // Whoever asks what has changed hears of them too.
    let since = known.iter().filter(|entry| entry.deleted).map(|entry| entry.last.updated).min();
    let query = Query { deleted: Deleted::Both, since, all_projects: true, ..Query::default() };
    let (changed, _) = walk(&cloud, &admin(), &query).await;
    assert_eq!(changed.iter().filter(|seen| gone.contains(&seen.id())).count(), gone.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_in_a_dark_cell_is_a_marker() {
    let (cloud, known) = populated(false).await;
    let mine: Vec<Entry> = known.into_iter().filter(|entry| entry.project == "p" && !entry.deleted).collect();
    let caller = member("u", "p");
    for order in [Order::default(), Order::new(&[(Sort::Updated, true)])] {
        let mine = sorted(mine.clone(), &order);
        darken(&cloud, &CELLS);
        for at in [0, 10, mine.len() - 1] {
            let query = Query { marker: Some(mine[at].id), order: order.clone(), ..Query::default() };
            let page = cloud.verbs.list(&caller, &query).await.expect("answers");
            assert_eq!(page.items.len(), mine.len() - at - 1);
        }
    }
    let nobody = Query { marker: Some(cloud.env.id()), ..Query::default() };
    let refused = cloud.verbs.list(&caller, &nobody).await.expect_err("no such marker");
    assert_eq!(refused.kind, model::FaultKind::Invalid);
    let foreign = Query { marker: Some(mine[0].id), ..Query::default() };
    let refused = cloud.verbs.list(&member("v", "q"), &foreign).await.expect_err("another's marker");
    assert_eq!(refused.kind, model::FaultKind::Invalid);
}
