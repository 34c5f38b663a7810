//! The API process fails or dies before and after the commit that accepts something; whoever asked asks again, under the
//! same key, and it is done once.

use std::collections::BTreeMap;
use std::time::Duration;

use model::failpoint::{self, Mode, Point};
use model::instance::Action;
use model::{Fault, InstanceId};
use tests::cloud::{Cloud, Plan, caller, context, wish};
use tests::eventually;
use uuid::Uuid;
use verbs::{Answer, Key, Query, Verbs};

const MODES: [Mode; 5] = [Mode::FailBefore, Mode::FailAfter, Mode::HoldBefore, Mode::HoldAfter, Mode::Twice];

/// What is asked for.
#[derive(Clone, Copy)]
struct Asked {
    point: Point,
    /// What all attempts have in common.
    once: Uuid,
    instance: InstanceId,
}

async fn ask(verbs: Verbs, asked: Asked) -> Result<(), Fault> {
    let (caller, context) = (caller(), context());
    match asked.point {
        failpoint::BOOT => {
            let prepared = verbs.prepare(&caller, &context, wish("new")).await?;
            let route = ["POST", "/servers", &asked.once.to_string()];
            let key = Key::new(&caller, &context, Uuid::nil(), &route, &[b"body"]);
            let (headers, request_id) = (BTreeMap::new(), "req-1".to_owned());
            let answer = Answer { status: 202, headers, body: Vec::new(), request_id };
            verbs.accept(&caller, &context, &prepared, Some((&key, answer))).await.map(drop)
        }
        failpoint::DELETE => verbs.delete(&caller, &context, asked.instance).await,
        _ => verbs.act_once(&caller, &context, asked.instance, Action::Stop, Some(asked.once)).await,
    }
}

async fn statuses(cloud: &Cloud) -> BTreeMap<InstanceId, String> {
    let page = cloud.verbs.list(&caller(), &Query::default()).await.expect("answers");
    let status = |seen: &verbs::Seen| match seen {
        verbs::Seen::Fresh(instance) => (instance.id, instance.status().to_owned()),
        verbs::Seen::Dark(dark) => panic!("{dark:?}"),
    };
    page.items.iter().map(status).collect()
}

/// There are so many instances, and this one is in a certain state.
async fn outcome(cloud: &Cloud, case: &str, count: usize, which: Option<(InstanceId, &str)>) {
    eventually(Duration::from_secs(45), case, async || {
        let all = statuses(cloud).await;
        let (known, mut wrong) = (all.len(), cloud.check().await.0);
        wrong.extend((known != count).then(|| format!("{all:?}")));
        for (id, status) in &all {
            let wanted = which.filter(|(which, _)| which == id).map_or("ACTIVE", |(_, status)| status);
            wrong.extend((status != wanted).then(|| format!("{id} is {status}")));
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    })
    .await;
}

/// One case over a running cloud: `there` instances run, one of which is asked about.
async fn case(cloud: &Cloud, point: Point, mode: Mode, there: usize) -> usize {
    let env = &cloud.env;
    let instance = *statuses(cloud).await.keys().next().expect("some run");
    let asked = Asked { point, once: env.uuid(), instance };
    let (case, before) = (format!("{point} {mode:?}"), cloud.failpoints.fired(point));
    cloud.failpoints.arm(point, mode, 1);
    // This process is the one that fails or dies.
    let first = tokio::spawn(ask(cloud.another_api().await, asked));
    eventually(Duration::from_secs(30), &format!("{case} fires"), async || {
        if cloud.failpoints.fired(point) > before { Ok(()) } else { Err("it has not".into()) }
    })
    .await;
    if matches!(mode, Mode::HoldBefore | Mode::HoldAfter) {
        first.abort();
        assert!(first.await.is_err_and(|end| end.is_cancelled()), "{case}: it stood still");
    } else {
        let answered = first.await.expect("runs");
        assert_eq!(answered.is_ok(), mode == Mode::Twice, "{case}: {answered:?}");
    }
    cloud.failpoints.release();
    let again = cloud.another_api().await;
    eventually(Duration::from_secs(30), &format!("{case} is asked again"), async || {
        ask(again.clone(), asked).await.map_err(|fault| fault.message)
    })
    .await;
    match point {
        failpoint::BOOT => outcome(cloud, &case, there + 1, None).await,
        failpoint::DELETE => outcome(cloud, &case, there - 1, None).await,
        _ => {
            outcome(cloud, &case, there, Some((instance, "SHUTOFF"))).await;
            cloud.verbs.act(&caller(), &context(), instance, Action::Start).await.expect("is accepted");
            outcome(cloud, &case, there, None).await;
        }
    }
    match point {
        failpoint::BOOT => there + 1,
        failpoint::DELETE => there - 1,
        _ => there,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_may_fail_and_die_where_it_accepts() {
    let cloud = Cloud::start(Plan { cells: 2, hosts: 1, ..Plan::default() }).await;
    // One more than deletions are asked for, less the new ones.
    let mut there = 3;
    for n in 0..there {
        crate::boot(&cloud, wish(&format!("a{n}"))).await;
    }
    outcome(&cloud, "some run", there, None).await;
    for point in failpoint::ALL.iter().filter(|point| crate::is_api(**point)) {
        for mode in MODES {
            // Two promises of one instance are refused by the database, as they have one id.
            if (*point, mode) != (failpoint::BOOT, Mode::Twice) {
                there = case(&cloud, *point, mode, there).await;
            }
        }
    }
}
