//! Containers that end by themselves: the user's restart policy is carried out within seconds, whether the cell's
//! database and broker answer or not.

use std::time::Duration;

use model::drill::Drill;
use model::{ContainerSpec, InstanceId, Power, RestartPolicy};
use tests::cloud::{Cloud, Plan, wish};
use tests::eventually;
use verbs::Boot;

use crate::{all_gone, boot, delete, reaches, shown};

/// The longest that a policy may take to act: the exit is told at once, and the first pause is 100 ms.
const SECONDS: Duration = Duration::from_secs(5);

/// What containers with these policies do when they end with these codes: whether each is started again.
const CASES: [(RestartPolicy, i64, bool); 6] = [
    (RestartPolicy::No, 1, false),
    (RestartPolicy::OnFailure { max: 0 }, 0, false),
    (RestartPolicy::OnFailure { max: 0 }, 1, true),
    (RestartPolicy::OnFailure { max: 3 }, 137, true),
    (RestartPolicy::UnlessStopped, 0, true),
    (RestartPolicy::Always, 0, true),
];

/// Boots one container for each case; their ids, in the same order.
async fn boot_all(cloud: &Cloud) -> Vec<InstanceId> {
    let mut ids = Vec::new();
    for (restart, ..) in CASES {
        let container = ContainerSpec { restart, ..ContainerSpec::default() };
        ids.push(boot(cloud, Boot { container, ..wish("phoenix") }).await);
    }
    for id in &ids {
        reaches(cloud, *id, "ACTIVE").await;
    }
    ids
}

/// Lets every container end, and waits until those run again that have to.
async fn end_all(cloud: &Cloud, ids: &[InstanceId]) {
    let engine = &cloud.cells[0].hosts[0].1;
    let name = |id: &InstanceId| {
        let found = engine.containers().into_iter().find(|container| container.name.instance == *id);
        found.expect("it has a container").name
    };
    // Those first that stay dead, so that they have had their time when all others run.
    for (id, (_, code, _)) in ids.iter().zip(CASES) {
        assert!(engine.exit(name(id), code), "it ran");
    }
    let again: Vec<bool> = CASES.iter().map(|(.., again)| *again).collect();
    eventually(SECONDS, "the policies have acted", async || {
        let running = engine.running();
        let runs: Vec<bool> = ids.iter().map(|id| running.contains(&name(id))).collect();
        if runs == again { Ok(()) } else { Err(format!("{runs:?} run")) }
    })
    .await;
}

/// Waits until the cloud tells of every container what became of it, with so many restarts of those that restart.
async fn told(cloud: &Cloud, ids: &[InstanceId], restarts: i64) {
    for (id, (policy, code, again)) in ids.iter().zip(CASES) {
        let wanted = if again { (Power::Running, restarts) } else { (Power::Stopped, 0) };
        eventually(Duration::from_secs(40), &format!("{policy:?} after {code} is told"), async || {
            let instance = shown(cloud, *id).await?;
            let seen = (instance.power, instance.observed.restarts);
            if seen == wanted { Ok(()) } else { Err(format!("{seen:?}, wanted {wanted:?}")) }
        })
        .await;
    }
}

async fn clear(cloud: &Cloud, ids: &[InstanceId]) {
    for id in ids {
        delete(cloud, *id).await;
    }
    all_gone(cloud, ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_that_end_are_restarted_by_their_policies() {
    let cloud = Cloud::start(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    let ids = boot_all(&cloud).await;
    end_all(&cloud, &ids).await;
    told(&cloud, &ids, 1).await;
    clear(&cloud, &ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_wait_neither_for_the_cells_database_nor_for_its_broker() {
    let cloud = Cloud::start(Plan { cells: 1, hosts: 1, ..Plan::default() }).await;
    for drill in [Drill::Refuse, Drill::Hang] {
        let ids = boot_all(&cloud).await;
        cloud.cells[0].gate.set(drill);
        assert!(cloud.router.drill("cell1", drill));
        end_all(&cloud, &ids).await;
        assert!(shown(&cloud, ids[0]).await.is_err(), "nobody above has heard of it");
        cloud.router.drill("cell1", Drill::Off);
        cloud.cells[0].gate.set(Drill::Off);
        told(&cloud, &ids, 1).await;
        clear(&cloud, &ids).await;
    }
}
