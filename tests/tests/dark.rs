//! Dark cells on separate processes: the first cell's database and cell0's are refused, frozen (SIGSTOP of
//! PostgreSQL with all its children), slow, and come and go; and every route is asked.
//!
//! The first cell is a region of its own, 80 ms away in one story.

#[path = "dark/line.rs"]
mod line;
#[path = "dark/regions.rs"]
mod regions;
#[path = "dark/routes.rs"]
mod routes;
#[path = "dark/stage.rs"]
mod stage;
#[path = "dark/states.rs"]
mod states;

use std::time::Duration;

use model::Env;
use serde_json::json;
use stage::{Stage, State, Which};

/// Lists with a frozen cell.
const LISTS: usize = 10_000;

/// One stage for all of it: to set it takes longer than most of what is played on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_dark_cell_costs_nobody_anything() {
    let mut stage = Stage::set().await;
    regions::are_apart(&stage).await;
    lists_with_a_frozen_cell_do_not_decay(&stage).await;
    every_route_answers_whatever_a_cell_does(&mut stage).await;
    regions::far_away_costs_round_trips_only(&stage).await;
    stage.estate.clear(&["alice"]).await;
    let left = stage.estate.api_database().number("SELECT COALESCE(SUM(instances), 0) FROM quota");
    assert_eq!(left, 0, "quota is exact to the end");
}

async fn every_route_answers_whatever_a_cell_does(stage: &mut Stage) {
    let took = Env::system();
    for which in [Which::One, Which::Zero] {
        for state in [State::Refused, State::Frozen, State::Slow, State::Flapping] {
            let start = took.monotonic();
            states::one(stage, which, state).await;
            eprintln!("{which:?} {state:?}: {:?}", took.monotonic() - start);
        }
    }
}

async fn lists_with_a_frozen_cell_do_not_decay(stage: &Stage) {
    let before = stage.descriptors();
    stage.put(Which::One, State::Frozen);
    let told = stage.alice.list().await;
    let all = told.len();
    let mut tenths: Vec<Vec<Duration>> = vec![Vec::new(); 10];
    let env = Env::system();
    for n in 0..LISTS {
        let start = env.monotonic();
        let reply = stage.alice.client().get("/v2.1/servers/detail?limit=100").await.expect("is answered");
        tenths[n * 10 / LISTS].push(env.monotonic() - start);
        assert_eq!(reply.status, 200, "list {n}: {}", reply.body);
        let servers = reply.body["servers"].as_array().expect("servers");
        assert_eq!(servers.len(), all, "list {n} shows all: {}", reply.body);
        for id in &stage.outside {
            let server = servers.iter().find(|server| server["id"] == json!(id)).expect("is listed");
            assert_eq!(server["status"], "ACTIVE", "list {n}: a healthy cell's instance is told as it is");
        }
        assert_eq!(reply.header("x-skep-dark-cells"), Some("1"), "list {n}: one cell is dark, no other");
    }
    let middle = |times: &mut Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let middles: Vec<Duration> = tenths.iter_mut().map(middle).collect();
    eprintln!("{LISTS} lists with a frozen cell, medians of the tenths: {middles:?}");
    let after = stage.descriptors();
    assert!(after < before + 60, "nothing piles up: {before} descriptors before, {after} after");
    stage.heal().await;
}
