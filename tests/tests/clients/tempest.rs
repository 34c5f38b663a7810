//! Tempest, the suite of OpenStack itself, unmodified, against a cloud of three cells.
//!
//! `tests/tempest/excluded.txt` names, with its reason, each test that does not pass; `run.py` beside it fails when
//! another one fails, and when one that stands there passes.

use tests::estate::Plan;
use tests::{Estate, Faults};

/// Tests that run at a time.
const WORKERS: usize = 4;

/// What every run has the time for; `only.txt` says which tests those are.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_tempest() {
    judge(Some("only.txt")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a quarter of an hour: deploy/tempest.sh"]
async fn all_of_tempest() {
    judge(None).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: deploy/tempest.sh dark"]
async fn sixty_with_a_dark_cell() {
    let estate = Estate::start(Plan { hosts: 2, proxied: true, ..Plan::default() }).await;
    // The first cell's database accepts connections and answers nothing, and its broker is not there.
    let proxies = estate.proxies();
    proxies.cell.set(Faults { stall_up: true, stall_down: true, ..Faults::default() });
    proxies.broker.set(Faults { refuse: true, ..Faults::default() });
    proxies.broker.reset();
    tokio::task::block_in_place(|| estate.tempest("skep/log:1", WORKERS, Some("dark.txt")));
    proxies.cell.heal();
    proxies.broker.heal();
    assert_eq!(estate.at_rest().await, 0, "tempest leaves no container behind");
}

async fn judge(only: Option<&str>) {
    // Two hosts in each cell, so that servers can be kept apart within one.
    let estate = Estate::start(Plan { hosts: 2, ..Plan::default() }).await;
    tokio::task::block_in_place(|| estate.tempest("skep/log:1", WORKERS, only));
    let left = estate.at_rest().await;
    assert_eq!(left, 0, "tempest leaves no container behind");
}
