//! Regions: what is asked of one endpoint is limited to its region, and costs what its own distance costs.

use std::time::Duration;

use serde_json::{Value, json};
use tests::Signal;
use tests::estate::id;

use crate::line::{Line, Mode};
use crate::stage::{Stage, State, Which};

/// One way of a round trip of 80 ms.
const HALF: Duration = Duration::from_millis(40);

/// Lists and placement through a region's endpoint are limited to it; that the other is dark is not seen.
pub async fn are_apart(stage: &Stage) {
    let (one, two) = (stage.estate.user_in("alice", 1), stage.estate.user_in("alice", 2));
    let ids = |servers: Vec<Value>| {
        let mut ids: Vec<String> = servers.iter().map(id).collect();
        ids.sort();
        ids
    };
    let sorted = |of: &[String]| {
        let mut of = of.to_vec();
        of.sort();
        of
    };
    assert_eq!(ids(one.list().await), sorted(&stage.inside));
    assert_eq!(ids(two.list().await), sorted(&stage.outside));
    stage.put(Which::One, State::Frozen);
    for n in 0..20 {
        for path in ["/v2.1/servers", "/v2.1/servers/detail"] {
            let reply = two.client().get(path).await.expect("is answered");
            assert_eq!(reply.status, 200);
            assert_eq!(reply.body["servers"].as_array().map(Vec::len), Some(stage.outside.len()), "list {n}");
            assert_eq!(reply.header("x-skep-dark-cells"), None, "list {n}: no cell of this region is dark");
        }
    }
    // The same holds for what operators see through it.
    let (here, everywhere) = (stage.estate.user_in("operator", 2), &stage.operator);
    for (path, list, name) in [
        ("/v2.1/os-services", "services", "host"),
        ("/v2.1/os-hypervisors", "hypervisors", "hypervisor_hostname"),
        ("/v2.1/os-availability-zone/detail", "availabilityZoneInfo", "zoneName"),
    ] {
        let reply = here.client().get(path).await.expect("is answered");
        assert_eq!(reply.header("x-skep-dark-cells"), None, "{path}");
        let rows = reply.body[list].as_array().cloned().unwrap_or_default();
        assert_eq!(rows.len(), 1, "{path}: one host, in one zone: {}", reply.body);
        assert!(!rows[0][name].to_string().contains("cell1"), "{path}: {}", reply.body);
        let all = everywhere.client().get(path).await.expect("is answered");
        assert_eq!(all.header("x-skep-dark-cells"), Some("1"), "{path} of all regions says that one is dark");
    }
    let new = two.boot_many("there", 2).await;
    for id in &new {
        two.reaches(id, "ACTIVE").await;
    }
    // What must lie in the dark region waits, and says so.
    let waits = one.boot(tests::estate::server("waits")).await;
    assert_eq!(one.show(&waits).await.expect("is shown")["status"], "BUILD");
    stage.heal().await;
    one.reaches(&waits, "ACTIVE").await;
    for id in new.iter().chain([&waits]) {
        stage.alice.delete(id).await;
        stage.alice.gone(id).await;
    }
    // What is gone by its cell's word stays in lists until the API level has closed its mapping.
    stage.estate.at_rest().await;
}

/// With 80 ms of round trip to the first cell: a show there waits once, a stop there seven times at most; what
/// is done in the other cell waits for that line not at all, and other instances on the same host are not touched.
pub async fn far_away_costs_round_trips_only(stage: &Stage) {
    let line = stage.line(Which::One);
    // Whoever else uses this line stands still while it is counted.
    let superconductor = |signal| {
        let pid = stage.estate.pid("superconductor1").to_string();
        let flag = if signal == Signal::Stop { "-STOP" } else { "-CONT" };
        let sent = std::process::Command::new("kill").args([flag, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    };
    let (stopped, neighbours) = stage.inside.split_at(stage.inside.len() / 2);
    let before = running(stage, neighbours).await;
    line.set(Mode::Slow(HALF));
    superconductor(Signal::Stop);
    let (mut shows, mut stops, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for id in stopped {
        // The first calls open connections and prepare statements: the best tells what it costs.
        for _ in 0..3 {
            shows.push(turns(line, async || stage.alice.show(id).await.expect("is shown")).await);
        }
        let stop = async || stage.alice.act(id, json!({"os-stop": null})).await.expect(202);
        stops.push(turns(line, stop).await);
    }
    for id in &stage.outside {
        let both = async || {
            stage.alice.show(id).await.expect("is shown");
            stage.alice.act(id, json!({"os-stop": null})).await.expect(202);
        };
        others.push(turns(line, both).await);
    }
    are(stage, stopped.iter().chain(&stage.outside), "SHUTOFF").await;
    assert_eq!(running(stage, neighbours).await, before, "their neighbours run on as they were");
    superconductor(Signal::Cont);
    line.set(Mode::Pass);
    eprintln!("round trips to a cell 80 ms away: shows {shows:?}, stops {stops:?}, others {others:?}");
    assert_eq!(shows.iter().min(), Some(&1), "{shows:?}");
    assert!(stops.iter().min().is_some_and(|least| *least <= 7), "{stops:?}");
    // The process asks a cell now and then by itself, which nobody waits for.
    assert_eq!(others.iter().min(), Some(&0), "other cells are not that far away: {others:?}");
}

/// How often something waited for what is at the other end of a line.
async fn turns<T>(line: &Line, work: impl AsyncFnOnce() -> T) -> u64 {
    let before = line.turns();
    work().await;
    line.turns() - before
}

/// Which containers these have, how often they began anew, and since when they run.
async fn running(stage: &Stage, ids: &[String]) -> Vec<[Value; 4]> {
    let mut all = Vec::new();
    for id in ids {
        let mut shown = stage.alice.show(id).await.expect("is shown");
        let ours = &mut shown["skep"];
        let (container, restarts) = (ours["container"].take(), ours["restarts"].take());
        assert!(container.is_string(), "{id} has a container");
        all.push([container, restarts, shown["status"].take(), shown["OS-SRV-USG:launched_at"].take()]);
    }
    all
}

async fn are(stage: &Stage, ids: impl Iterator<Item = &String>, wanted: &str) {
    for id in ids {
        stage.alice.reaches(id, wanted).await;
    }
}
