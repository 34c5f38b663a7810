//! Lists against an oracle: whatever is filtered, however it is paged, and whichever cells are dark, a walk
//! shows each instance that matches exactly once, newest first.

use std::time::Duration;

use model::drill::Drill;
use model::instance::Action;
use model::{ContainerSpec, InstanceId};
use regex::Regex;
use tests::cloud::{Cloud, Plan, caller, context};
use tests::eventually;
use verbs::{Boot, Query, Seen};

const QUERIES: u64 = 250;

/// What the oracle knows of an instance.
#[derive(Clone, Debug)]
struct Known {
    id: InstanceId,
    name: String,
    status: &'static str,
}

async fn boot(cloud: &Cloud, name: &str, flavor: &str) -> InstanceId {
    let wish = Boot {
        name: name.into(),
        image: "skep/web:1".parse().expect("legal"),
        flavor: flavor.into(),
        container: ContainerSpec::default(),
        metadata: Default::default(),
        zone: None,
        region: String::new(),
        description: None,
        extra: Default::default(),
        count: 1,
    };
    cloud.verbs.boot(&caller(), &context(), wish).await.expect("is accepted")[0].id
}

async fn at_rest(cloud: &Cloud) {
    eventually(Duration::from_secs(60), "the cloud is at rest", async || {
        let violations = cloud.check().await.0;
        if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
    })
    .await;
}

/// Sixty instances in three cells and cell0: running, stopped, in error, and some that are gone.
async fn populated() -> (Cloud, Vec<Known>) {
    let cloud = Cloud::start(Plan { hosts: 1, ..Plan::default() }).await;
    let mut known = Vec::new();
    for n in 0..60 {
        let name = format!("{}{n}", ["web", "db", "x.y"][n % 3]);
        let (flavor, status) = if n % 10 == 9 { ("5", "ERROR") } else { ("1", "ACTIVE") };
        known.push(Known { id: boot(&cloud, &name, flavor).await, name, status });
    }
    at_rest(&cloud).await;
    for known in known.iter_mut().filter(|known| known.status == "ACTIVE").step_by(4) {
        cloud.verbs.act(&caller(), &context(), known.id, Action::Stop).await.expect("is accepted");
        known.status = "SHUTOFF";
    }
    let mut index = 0;
    for known in &known {
        index += 1;
        if index % 7 == 0 {
            cloud.verbs.delete(&caller(), &context(), known.id).await.expect("is accepted");
        }
    }
    at_rest(&cloud).await;
    let mut left: Vec<Known> =
        known.into_iter().enumerate().filter(|(at, _)| (at + 1) % 7 != 0).map(|(_, known)| known).collect();
    left.reverse();
    (cloud, left)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_walk_agrees_with_the_oracle() {
    let (cloud, known) = populated().await;
    let env = &cloud.env;
    let any = |of: &[&str]| of[env.below(of.len() as u64) as usize].to_owned();
    for _ in 0..QUERIES {
        let dark: Vec<&str> =
            ["cell0", "cell1", "cell2", "cell3"].into_iter().filter(|_| env.below(4) == 0).collect();
        for cell in ["cell0", "cell1", "cell2", "cell3"] {
            let drill = if dark.contains(&cell) { Drill::Refuse } else { Drill::Off };
            assert!(cloud.router.drill(cell, drill));
        }
        let status: Vec<String> = (0..env.below(3))
            .map(|_| any(&["ACTIVE", "SHUTOFF", "ERROR", "BUILD", "PAUSED", "REBOOT"]))
            .collect();
        let name = (env.below(2) == 0).then(|| any(&["web", "^db", "1$", "x.y", "[02468]$", "none", ""]));
        let limit = 1 + env.below(20) as usize;
        let mut query =
            Query { name: name.clone(), status: status.clone(), limit: Some(limit), ..Query::default() };
        let pattern = name.map(|name| Regex::new(&name).expect("legal"));
        let expected: Vec<InstanceId> = known
            .iter()
            .filter(|known| pattern.as_ref().is_none_or(|pattern| pattern.is_match(&known.name)))
            .filter(|known| status.is_empty() || status.iter().any(|status| status == known.status))
            .map(|known| known.id)
            .collect();
        let (mut walked, mut named) = (Vec::new(), Vec::new());
        let names_query = query.clone();
        loop {
            let page = cloud.verbs.list(&caller(), &query).await.expect("answers");
            assert!(page.items.len() <= limit);
            for seen in &page.items {
                let known = known.iter().find(|known| known.id == seen.id()).expect("one of ours");
                match seen {
                    Seen::Fresh(instance) => assert_eq!(instance.status(), known.status),
                    // A cell that has just come back may be taken for dark until it is probed again.
                    Seen::Dark(told) => {
                        assert_eq!(told.last_status.as_ref().map(|last| last.0.as_str()), Some(known.status));
                    }
                }
            }
            walked.extend(page.items.iter().map(Seen::id));
            match page.next {
                Some(next) => query.marker = Some(next),
                None => break,
            }
        }
        assert_eq!(walked, expected, "{query:?} with {dark:?} dark");
        let mut query = names_query;
        loop {
            let page = cloud.verbs.list_names(&caller(), &query).await.expect("answers");
            named.extend(page.items.iter().map(|named| named.id));
            match page.next {
                Some(next) => query.marker = Some(next),
                None => break,
            }
        }
        assert_eq!(named, expected, "names: {query:?} with {dark:?} dark");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_in_a_dark_cell_is_a_marker() {
    let (cloud, known) = populated().await;
    for cell in ["cell0", "cell1", "cell2", "cell3"] {
        assert!(cloud.router.drill(cell, Drill::Refuse));
    }
    for at in [0, 10, known.len() - 1] {
        let query = Query { marker: Some(known[at].id), ..Query::default() };
        let page = cloud.verbs.list(&caller(), &query).await.expect("answers");
        assert_eq!(page.items.len(), known.len() - at - 1);
    }
    let nobody = Query { marker: Some(cloud.env.id()), ..Query::default() };
    let refused = cloud.verbs.list(&caller(), &nobody).await.expect_err("no such marker");
    assert_eq!(refused.kind, model::FaultKind::Invalid);
}
