//! A cloud with instances of every kind, and what the index says of them once all is at rest.

use std::collections::BTreeSet;
use std::time::Duration;

use api_db::index::Entry;
use api_db::pages::{self, Among};
use model::drill::Drill;
use model::instance::Action;
use model::listing::{Deleted, Narrow, Order, Sort, Value};
use model::{Caller, ContainerSpec, Extra, Instance, InstanceId, Timestamp};
use sql::Work;
use tests::cloud::{Cloud, Plan, context};
use tests::eventually;
use verbs::{Amendment, Boot, Query, Read, Seen};

pub const CELLS: [&str; 4] = ["cell0", "cell1", "cell2", "cell3"];

/// A member of project `p`, which most instances belong to.
pub fn member(user: &str, project: &str) -> Caller {
    Caller { user: user.into(), project: project.into(), roles: vec!["member".into()] }
}

pub async fn boot(cloud: &Cloud, n: usize, flavor: &str) -> InstanceId {
    let caller = member(["u", "v"][n % 2], if n % 8 == 5 { "q" } else { "p" });
    let tags = ["red", "green", "blue"].into_iter().enumerate().filter(|(t, _)| n >> t & 1 == 1);
    let extra = Extra {
        tags: tags.map(|(_, tag)| tag.to_owned()).collect(),
        key_name: [None, Some("laptop"), Some("desk")][n % 3].map(str::to_owned),
        // Some have the same one, and others the one that is made of their name.
        hostname: (n % 4 == 2).then(|| format!("node-{}", n % 7)),
        ..Extra::default()
    };
    let wish = Boot {
        name: format!("{}{n}", ["web", "db", "x.y"][n % 3]),
        image: ["skep/web:1", "skep/db:1"][n / 2 % 2].parse().expect("legal"),
        flavor: flavor.into(),
        container: ContainerSpec { no_network: n % 11 == 4, ..ContainerSpec::default() },
        metadata: Default::default(),
        // Of two of every four that fit nowhere as well, so that it is told of what has no host.
        zone: (n % 20 > 15).then(|| "nova".to_owned()),
        region: ["", "r"][n / 5 % 2].into(),
        description: n.is_multiple_of(4).then(|| format!("the {n}th")),
        extra,
        count: 1,
    };
    let context = model::Context { request_id: format!("req-{}", n / 3), ..context() };
    cloud.verbs.boot(&caller, &context, wish).await.expect("is accepted")[0].id
}

pub async fn at_rest(cloud: &Cloud) {
    eventually(Duration::from_secs(120), "the cloud is at rest", async || {
        let violations = cloud.check().await.0;
        if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
    })
    .await;
}

/// Sixty instances in three cells and cell0: running, stopped, paused, in error, locked, and some that are
/// gone; and the whole index, when it has heard of everything.
pub async fn populated(postgres: bool) -> (Cloud, Vec<Entry>) {
    let cloud = Cloud::start(Plan { hosts: 2, postgres, ..Plan::default() }).await;
    let entries = populate(&cloud).await;
    (cloud, entries)
}

/// Puts them into a cloud.
pub async fn populate(cloud: &Cloud) -> Vec<Entry> {
    let admin = tests::cloud::admin();
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(boot(cloud, n, if n % 10 == 9 { "5" } else { ["1", "2"][n % 2] }).await);
    }
    at_rest(cloud).await;
    for (n, id) in ids.iter().enumerate() {
        let action = match n % 12 {
            _ if n % 10 == 9 => None,
            1 | 5 | 9 => Some(Action::Stop),
            3 => Some(Action::Pause),
            _ => None,
        };
        if let Some(action) = action {
            let done = cloud.verbs.act(&admin, &context(), *id, action).await;
            done.unwrap_or_else(|fault| panic!("{n}: {fault}"));
        }
        if n % 6 == 3 {
            let locked = cloud.verbs.amend(&admin, &context(), *id, Amendment::Lock(None)).await;
            locked.unwrap_or_else(|fault| panic!("{n}: {fault}"));
        }
    }
    let gone: Vec<InstanceId> = ids.into_iter().skip(6).step_by(7).collect();
    for id in &gone {
        cloud.verbs.delete(&admin, &context(), *id).await.expect("is accepted");
    }
    let entries = heard(cloud, &gone).await;
    at_rest(cloud).await;
    entries
}

/// The index, once it says of every instance what its cell does, and that these are gone.
pub async fn heard(cloud: &Cloud, gone: &[InstanceId]) -> Vec<Entry> {
    let api: api_db::Db = sql::Db::open(&sql::Settings::new(&cloud.api_url)).expect("opens");
    eventually(Duration::from_secs(60), "the index has heard of everything", async || {
        let read = api.read(|tx| -> Work<'_, Vec<Entry>> {
            Box::pin(async move {
                let all = Among::Everywhere(Deleted::Both);
                pages::page(tx, all, &Narrow::default(), &Order::default(), None, 1_000).await
            })
        });
        let entries = read.await.map_err(|error| error.to_string())?;
        if let Some(entry) = entries.iter().find(|entry| entry.deleted != gone.contains(&entry.id)) {
            return Err(format!("{entry:?} is being deleted"));
        }
        for entry in entries.iter().filter(|entry| !entry.deleted) {
            let seen = cloud.verbs.show(&tests::cloud::admin(), entry.id).await;
            match seen.map_err(|fault| fault.message)? {
                Seen::Fresh(instance) if agree(entry, &instance) => {}
                other => return Err(format!("{entry:?} is not yet {other:?}")),
            }
        }
        Ok(entries)
    })
    .await
}

fn agree(entry: &Entry, instance: &Instance) -> bool {
    let last = &entry.last;
    last.status == instance.status()
        && last.vm_state == instance.vm_state()
        && last.power == instance.power.nova()
        && last.updated == instance.updated
        && last.launched == instance.launched
        && last.host == instance.host.as_ref().map_or("", |host| host.1.as_str())
        && last.address == instance.observed.address
        && entry.name == instance.spec.name
        && entry.hostname == instance.spec.hostname()
        && entry.locked == instance.spec.extra.locked.is_some()
}

/// What an entry has for a key.
pub fn value(entry: &Entry, sort: Sort) -> Value {
    let time = |at: Option<Timestamp>| Value::Number(at.map_or(0, |at| at.0));
    let last = &entry.last;
    match sort {
        Sort::Created => entry.created.0.into(),
        Sort::Updated => last.updated.0.into(),
        Sort::Launched => time(last.launched),
        Sort::Terminated => time(last.terminated),
        Sort::Name => entry.name.as_str().into(),
        Sort::Description => entry.description.as_str().into(),
        Sort::Hostname => entry.hostname.as_str().into(),
        Sort::KeyName => entry.key_name.as_str().into(),
        Sort::Locked => i64::from(entry.locked).into(),
        Sort::Host => last.host.as_str().into(),
        Sort::Zone => last.zone.as_str().into(),
        Sort::Image => entry.image.as_str().into(),
        Sort::Flavor => entry.flavor.as_str().into(),
        Sort::Project => entry.project.as_str().into(),
        Sort::User => entry.user.as_str().into(),
        Sort::VmState => last.vm_state.as_str().into(),
        Sort::TaskState => last.task_state.as_str().into(),
        Sort::Power => last.power.into(),
        Sort::Id => Value::Id(entry.id.uuid()),
    }
}

/// The entries in an order.
pub fn sorted(mut entries: Vec<Entry>, order: &Order) -> Vec<Entry> {
    entries.sort_by(|a, b| {
        let keys = order.keys().iter();
        let unequal = keys.map(|(sort, descending)| {
            let by = value(a, *sort).cmp(&value(b, *sort));
            if *descending { by.reverse() } else { by }
        });
        unequal.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    entries
}

/// Makes these cells dark and lights the others.
pub fn darken(cloud: &Cloud, dark: &[&str]) {
    for cell in CELLS {
        let drill = if dark.contains(&cell) { Drill::Refuse } else { Drill::Off };
        assert!(cloud.router.drill(cell, drill));
    }
}

/// Waits until every cell answers again.
pub async fn light(cloud: &Cloud) {
    darken(cloud, &[]);
    eventually(Duration::from_secs(60), "every cell answers", async || {
        let everything = Query { all_projects: true, read: Read::Cells, ..Query::default() };
        let page = cloud.verbs.list(&tests::cloud::admin(), &everything).await;
        let page = page.map_err(|fault| fault.message)?;
        if page.dark_cells.is_empty() { Ok(()) } else { Err(page.dark_cells.join(" ")) }
    })
    .await;
}

/// Walks a list page by page to its end; and which cells were dark meanwhile.
pub async fn walk(cloud: &Cloud, caller: &Caller, query: &Query) -> (Vec<Seen>, BTreeSet<String>) {
    let (mut query, mut walked, mut dark) = (query.clone(), Vec::new(), BTreeSet::new());
    loop {
        let page = cloud.verbs.list(caller, &query).await.expect("answers");
        assert!(page.items.len() <= query.limit.unwrap_or(1_000));
        walked.extend(page.items);
        dark.extend(page.dark_cells);
        match page.next {
            Some(next) => query.marker = Some(next),
            None => return (walked, dark),
        }
        assert!(walked.len() < 1_000, "a walk that does not end");
    }
}

/// Walks a list of names in the same way.
pub async fn walk_names(
    cloud: &Cloud,
    caller: &Caller,
    query: &Query,
) -> (Vec<InstanceId>, BTreeSet<String>) {
    let (mut query, mut walked, mut dark) = (query.clone(), Vec::new(), BTreeSet::new());
    loop {
        let page = cloud.verbs.list_names(caller, &query).await.expect("answers");
        walked.extend(page.items.iter().map(|named| named.id));
        dark.extend(page.dark_cells);
        match page.next {
            Some(next) => query.marker = Some(next),
            None => return (walked, dark),
        }
        assert!(walked.len() < 1_000, "a walk that does not end");
    }
}
