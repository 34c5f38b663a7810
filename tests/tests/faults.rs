//! Faults of what separate processes stand on: brokers, databases, engines, disks, networks and messages that
//! freeze, die, lose, double and lie. Each case ends by the checker.
//!
//! What a case hurts belongs to it: services of its own, proxies, vhosts, or a disk. One is not part of every run:
//! `docs/guarantees.md` has the command for all of them.

#[path = "faults/above.rs"]
mod above;
#[path = "faults/brokers.rs"]
mod brokers;
#[path = "faults/databases.rs"]
mod databases;
#[path = "faults/disks.rs"]
mod disks;
#[path = "faults/engines.rs"]
mod engines;
#[path = "faults/herd.rs"]
mod herd;
#[path = "faults/hosts.rs"]
mod hosts;
#[path = "faults/messages.rs"]
mod messages;

use std::time::Duration;

use tests::{Estate, eventually};
use tokio::sync::{Mutex, MutexGuard};

static ALONE: Mutex<()> = Mutex::const_new(());

/// The longest until a fault shows: half-open connections are noticed within 20 s (case 20), and the machine is busy.
/// Cases are those of the fault matrix (`docs/guarantees.md`); what each is given is twice what it is promised there.
const SHOWS: Duration = Duration::from_secs(40);

/// Waits until no other story of this file runs.
async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// Waits until an agent has failed to reach its cell since the count was `before`: the fault is felt.
async fn felt(estate: &Estate, agent: &str, before: f64) {
    eventually(SHOWS, &format!("{agent} cannot reach its cell"), async || {
        match failures(estate, agent).await {
            now if now > before => Ok(()),
            now => Err(format!("{now} calls failed")),
        }
    })
    .await;
}

/// How often an agent failed to reach its cell.
async fn failures(estate: &Estate, agent: &str) -> f64 {
    estate.metric(agent, "skep_agent_sync_failures_total").await.unwrap_or_default()
}

/// Waits until all of these are ACTIVE and the cloud is at rest with so many containers.
async fn all_active(estate: &Estate, ids: &[String], containers: usize) {
    let counts = estate.user("alice").settle(ids).await;
    assert_eq!(counts.get("ACTIVE"), Some(&ids.len()), "{counts:?}");
    assert_eq!(estate.at_rest().await, containers);
}

/// Waits until the cloud tells of so many hosts that are ready.
async fn hosts_ready(estate: &Estate, wanted: u64) {
    let operator = estate.user("operator");
    eventually(SHOWS, &format!("{wanted} hosts are ready"), async || {
        let status = operator.get("/admin/v1/status").await?;
        match status["totals"]["hosts_ready"].as_u64() {
            Some(ready) if ready == wanted => Ok(()),
            _ => Err(status["totals"].to_string()),
        }
    })
    .await;
}
