//! Tempest, the suite of OpenStack itself, unmodified, against a cloud of three cells.
//!
//! `tests/tempest/excluded.txt` names, with its reason, each test that does not pass; `run.py` beside it fails when
//! another one fails, and when one that stands there passes.

use tests::Estate;
use tests::estate::Plan;

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

async fn judge(only: Option<&str>) {
    // Two hosts in each cell, so that servers can be kept apart within one.
    let estate = Estate::start(Plan { hosts: 2, ..Plan::default() }).await;
    tokio::task::block_in_place(|| estate.tempest("skep/log:1", WORKERS, only));
    let left = estate.at_rest().await;
    assert_eq!(left, 0, "tempest leaves no container behind");
}
