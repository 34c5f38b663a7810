//! Wall clocks that jump while work is under way: leases, counters and the order of observations do not
//! depend on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::env::SystemRng;
use model::time::SystemClock;
use model::{Clock, Env, InstanceId, Timestamp};
use tests::cloud::{Cloud, Plan, caller, context, wish};
use tests::eventually;
use verbs::Seen;

const HOUR: i64 = 3_600_000_000;

/// A wall clock that is set; monotonic time goes on.
#[derive(Default)]
struct Jumping {
    system: SystemClock,
    /// Microseconds beside the true time.
    beside: AtomicI64,
}

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        Timestamp(self.system.now().0 + self.beside.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }
}

async fn boot(cloud: &Cloud, name: &str) -> InstanceId {
    cloud.verbs.boot(&caller(), &context(), wish(name)).await.expect("is accepted")[0].id
}

async fn active(cloud: &Cloud, ids: &[InstanceId]) {
    eventually(Duration::from_secs(90), "all are ACTIVE and nothing is violated", async || {
        for id in ids {
            match cloud.verbs.show(&caller(), *id).await {
                Ok(Seen::Fresh(instance)) if instance.status() == "ACTIVE" => {}
                Ok(Seen::Fresh(instance)) => {
                    return Err(format!("{id} is {}: {:?}", instance.status(), instance.fault));
                }
                other => return Err(format!("{id}: {other:?}")),
            }
        }
        let bad = cloud.check().await.0;
        if bad.is_empty() { Ok(()) } else { Err(bad.join("; ")) }
    })
    .await;
}

/// All of the first cell, and every superconductor but the first, have a clock that jumps an hour ahead, an
/// hour back, and back to the truth, in the middle of boots and deletes; and one of them dies each time.
#[tokio::test(flavor = "multi_thread")]
async fn wall_clocks_may_jump() {
    let plan = Plan { cells: 2, hosts: 1, build: Duration::from_secs(3 * 3_600), ..Plan::default() };
    let mut cloud = Cloud::start(plan).await;
    let clock = Arc::new(Jumping::default());
    cloud.env = Env::new(clock.clone(), Arc::new(SystemRng));
    for role in std::mem::take(&mut cloud.conductors[0]) {
        role.kill();
    }
    cloud.add_conductor(0);
    cloud.agents[0][0].take().expect("runs").kill();
    cloud.agents[0][0] = Some(cloud.start_agent(0, 0));
    cloud.add_superconductor();
    cloud.ready().await;
    let mut ids = Vec::new();
    for (round, beside) in [HOUR, -HOUR, 0].into_iter().enumerate() {
        for n in 0..8 {
            ids.push(boot(&cloud, &format!("a{round}-{n}")).await);
        }
        clock.beside.store(beside, Ordering::SeqCst);
        for n in 0..4 {
            ids.push(boot(&cloud, &format!("b{round}-{n}")).await);
        }
        for id in ids.drain(..4) {
            cloud.verbs.delete(&caller(), &context(), id).await.expect("is accepted");
        }
        // Its leases are taken over by one whose clock differs by an hour.
        cloud.superconductors.remove(0).kill();
        cloud.add_superconductor();
        active(&cloud, &ids).await;
        assert_eq!(cloud.engines().values().map(Vec::len).sum::<usize>(), ids.len());
    }
    // An agent that was told the truth before is heard an hour earlier, too.
    clock.beside.store(-HOUR, Ordering::SeqCst);
    cloud.agents[0][0].take().expect("runs").kill();
    cloud.agents[0][0] = Some(cloud.start_agent(0, 0));
    cloud.ready().await;
    for id in &ids {
        cloud.verbs.delete(&caller(), &context(), *id).await.expect("is accepted");
    }
    active(&cloud, &[]).await;
    assert_eq!(cloud.engines().values().map(Vec::len).sum::<usize>(), 0);
}
