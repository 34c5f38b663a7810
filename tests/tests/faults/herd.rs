//! Fifty agents with two thousand instances that come back at once.

use std::time::Duration;

use futures::future::join_all;
use model::Env;
use tests::estate::{Engine, Plan, server};
use tests::{Estate, Faults, eventually, within};

/// Until all agents have told everything, and until all is at rest after that (case 34: synced within 30 s).
const SYNCED: Duration = Duration::from_secs(30);

/// Their broker and their conductor go away together and come back together; deletes that were accepted
/// meanwhile are carried out. It tells how long the return took.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes one to two minutes: docs/guarantees.md has the command for the whole matrix"]
async fn fifty_agents_come_back_at_once() {
    let _alone = crate::alone().await;
    let plan =
        Plan { cells: 1, hosts: 50, slots: 50, engine: Engine::Scripted, proxied: true, ..Plan::default() };
    let mut estate = Estate::start(plan).await;
    let alice = estate.user("alice");
    let mut ids = Vec::new();
    for wave in 0..40 {
        let boots = (0..50).map(|n| alice.boot(server(&format!("s{wave}-{n}"))));
        ids.extend(join_all(boots).await);
    }
    for wave in ids.chunks(200) {
        let counts = alice.settle(wave).await;
        assert_eq!(counts.get("ACTIVE"), Some(&wave.len()), "{counts:?}");
    }
    estate.at_rest().await;
    let agents = estate.names("agent-");
    let mut before = Vec::new();
    for agent in &agents {
        before.push(crate::failures(&estate, agent).await);
    }
    estate.proxies().broker.set(Faults { refuse: true, ..Faults::default() });
    estate.proxies().broker.reset();
    estate.bounce("conductor-cell1");
    for id in &ids[..100] {
        alice.delete(id).await;
    }
    for (agent, before) in agents.iter().zip(before) {
        crate::felt(&estate, agent, before).await;
    }
    // Else it would say nothing that they are ready afterwards.
    crate::hosts_ready(&estate, 0).await;
    let env = Env::system();
    let start = env.monotonic();
    estate.proxies().broker.heal();
    eventually(SYNCED, "all agents have told everything", async || {
        let mut left = 0.0;
        for agent in &agents {
            left += estate.metric(agent, "skep_agent_unreported").await?;
        }
        let status = estate.user("operator").get("/admin/v1/status").await?;
        match status["totals"]["hosts_ready"].as_u64() {
            Some(50) if left == 0.0 => Ok(()),
            ready => Err(format!("{ready:?} hosts are ready, {left} instances are unreported")),
        }
    })
    .await;
    eprintln!("50 agents with {} instances were back after {:?}", ids.len(), env.monotonic() - start);
    within(SYNCED, async {
        for id in &ids[..100] {
            alice.gone(id).await;
        }
        estate.at_rest().await;
    })
    .await;
    eprintln!("all of it was at rest after {:?}", env.monotonic() - start);
}
