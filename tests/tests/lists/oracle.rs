//! Lists against an oracle: whatever is filtered, however it is sorted and paged, and whichever cells are
//! dark, a walk shows each instance that matches exactly once, in order.

use api_db::index::Entry;
use model::listing::{Deleted, Order, Sort};
use model::{Env, InstanceId};
use tests::cloud::{Cloud, admin};
use verbs::{Field, Query, Read, Seen};

use crate::house::{CELLS, darken, light, member, populated, sorted, walk, walk_names};

const QUERIES: u64 = 250;

/// Kinds of filters.
const KINDS: u64 = 19;

/// Whether an entry is what was asked for, told by other means than the lists have.
type Test = Box<dyn Fn(&Entry) -> bool>;

/// A regular expression, and what it means of a name.
type Named = (&'static str, fn(&str) -> bool);

fn any<'a, T>(env: &Env, of: &'a [T]) -> &'a T {
    &of[env.below(of.len() as u64) as usize]
}

/// Adds a random filter of a kind to a query and gives what it means.
fn narrow(env: &Env, kind: u64, known: &[Entry], query: &mut Query) -> Test {
    let one = any(env, known).clone();
    let some: Vec<InstanceId> = (0..4).map(|_| any(env, known).id).collect();
    let tags = |n: u64| -> Vec<String> {
        (0..=n).map(|_| (*any(env, &["red", "green", "blue", "gr"])).to_owned()).collect()
    };
    let mut pattern = |field, text: &str| query.patterns.push((field, text.to_owned()));
    match kind {
        0 => {
            let names: [Named; 7] = [
                ("web", |name| name.contains("web")),
                ("^db", |name| name.starts_with("db")),
                ("1$", |name| name.ends_with('1')),
                ("x.y", |name| name.contains("x.y")),
                ("[02468]$", |name| name.ends_with(['0', '2', '4', '6', '8'])),
                ("none", |_| false),
                ("", |_| true),
            ];
            let (text, test) = *any(env, &names);
            query.name = Some(text.to_owned());
            Box::new(move |entry| test(&entry.name))
        }
        1 => {
            let all = ["ACTIVE", "SHUTOFF", "ERROR", "BUILD", "PAUSED", "REBOOT"];
            let wanted: Vec<String> = (0..2).map(|_| (*any(env, &all)).to_owned()).collect();
            query.status.clone_from(&wanted);
            Box::new(move |entry| wanted.contains(&entry.last.status))
        }
        2 => {
            query.vm_state = Some(one.last.vm_state.clone());
            Box::new(move |entry| entry.last.vm_state == one.last.vm_state)
        }
        3 => {
            query.image = Some(one.image_id);
            Box::new(move |entry| entry.image == one.image)
        }
        4 => {
            query.flavor = Some(one.flavor.clone());
            Box::new(move |entry| entry.flavor == one.flavor)
        }
        5 => {
            query.host = Some(one.last.host.clone());
            // No name is no host, and narrows nothing.
            Box::new(move |entry| one.last.host.is_empty() || entry.last.host == one.last.host)
        }
        6 => {
            query.user = Some(one.user.clone());
            Box::new(move |entry| entry.user == one.user)
        }
        7 => {
            query.ids.clone_from(&some);
            Box::new(move |entry| some.contains(&entry.id))
        }
        8 => {
            query.since = Some(one.last.updated);
            Box::new(move |entry| entry.last.updated >= one.last.updated)
        }
        9 => {
            query.before = Some(one.last.updated);
            Box::new(move |entry| entry.last.updated <= one.last.updated)
        }
        10 => {
            let wanted = tags(1);
            query.tags.clone_from(&wanted);
            Box::new(move |entry| wanted.iter().all(|tag| entry.tags.contains(tag)))
        }
        11 => {
            let wanted = tags(1);
            query.tags_any.clone_from(&wanted);
            Box::new(move |entry| wanted.iter().any(|tag| entry.tags.contains(tag)))
        }
        12 => {
            let not = tags(1);
            query.not_tags.clone_from(&not);
            Box::new(move |entry| !not.iter().all(|tag| entry.tags.contains(tag)))
        }
        13 => {
            let not = tags(0);
            query.not_tags_any.clone_from(&not);
            Box::new(move |entry| !not.iter().any(|tag| entry.tags.contains(tag)))
        }
        14 => {
            let locked = env.below(2) == 0;
            query.locked = Some(locked);
            Box::new(move |entry| entry.locked == locked)
        }
        15 => {
            pattern(Field::Reservation, &format!("^{}$", one.reservation));
            Box::new(move |entry| entry.reservation == one.reservation)
        }
        16 => {
            pattern(Field::Description, "th$");
            Box::new(|entry| entry.description.ends_with("th"))
        }
        17 => {
            pattern(Field::Power, "[14]");
            Box::new(|entry| entry.last.power == 1 || entry.last.power == 4)
        }
        _ => {
            pattern(Field::Host, "-h1$");
            Box::new(|entry| entry.last.host.ends_with("-h1"))
        }
    }
}

async fn one_walk(cloud: &Cloud, known: &[Entry]) {
    let env = &cloud.env;
    let dark: Vec<&str> = CELLS.into_iter().filter(|_| env.below(4) == 0).collect();
    darken(cloud, &dark);
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
    let kinds: std::collections::BTreeSet<u64> = (0..env.below(3)).map(|_| env.below(KINDS)).collect();
    let tests: Vec<Test> = kinds.into_iter().map(|kind| narrow(env, kind, known, &mut query)).collect();
    let (everyone, deleted) = (query.all_projects, query.deleted);
    let is_meant = |entry: &Entry| {
        (everyone || entry.project == caller.project)
            && match deleted {
                Deleted::No => !entry.deleted,
                Deleted::Only => entry.deleted,
                Deleted::Both => true,
            }
            && tests.iter().all(|test| test(entry))
    };
    let expected = sorted(known.iter().filter(|entry| is_meant(entry)).cloned().collect(), &query.order);
    let walked = walk(cloud, &caller, &query).await;
    for seen in &walked {
        let entry = known.iter().find(|entry| entry.id == seen.id()).expect("one of ours");
        match seen {
            Seen::Fresh(instance) => assert_eq!(instance.status(), entry.last.status),
            // A cell that has just come back may be taken for dark until it is probed again.
            Seen::Dark(told) => {
                assert_eq!(told.last_status.as_ref().map(|last| &last.0), Some(&entry.last.status));
            }
        }
    }
    let shown: Vec<InstanceId> = walked.iter().map(Seen::id).collect();
    // What is deleted in a dark cell is left out, and so are no others.
    let wanted: Vec<InstanceId> = expected
        .iter()
        .filter(|entry| !entry.deleted || shown.contains(&entry.id))
        .map(|entry| entry.id)
        .collect();
    assert_eq!(shown, wanted, "{query:?} with {dark:?} dark");
    let named = walk_names(cloud, &caller, &query).await;
    let wanted: Vec<InstanceId> = expected
        .iter()
        .filter(|entry| !entry.deleted || named.contains(&entry.id))
        .map(|entry| entry.id)
        .collect();
    assert_eq!(named, wanted, "names: {query:?} with {dark:?} dark");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_walk_agrees_with_the_oracle() {
    let (cloud, known) = populated(false).await;
    for _ in 0..QUERIES {
        one_walk(&cloud, &known).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_walk_agrees_with_the_oracle_on_postgresql() {
    let (cloud, known) = populated(true).await;
    for _ in 0..QUERIES / 2 {
        one_walk(&cloud, &known).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_ones_are_listed_with_what_their_cells_keep() {
    let (cloud, known) = populated(false).await;
    light(&cloud).await;
    let gone: Vec<InstanceId> = known.iter().filter(|entry| entry.deleted).map(|entry| entry.id).collect();
    assert_eq!(gone.len(), 8);
    let query = Query { deleted: Deleted::Only, all_projects: true, ..Query::default() };
    let listed = walk(&cloud, &admin(), &query).await;
    assert_eq!(listed.iter().map(Seen::id).collect::<Vec<_>>(), gone);
    for seen in listed {
        let Seen::Fresh(instance) = seen else { panic!("{seen:?} is told by its cell") };
        assert_eq!((instance.status(), instance.terminated.is_some()), ("DELETED", true));
    }
    // Whoever asks what has changed hears of them too.
    let since = known.iter().filter(|entry| entry.deleted).map(|entry| entry.last.updated).min();
    let query = Query { deleted: Deleted::Both, since, all_projects: true, ..Query::default() };
    let changed = walk(&cloud, &admin(), &query).await;
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
