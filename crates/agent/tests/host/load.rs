//! Many instances at once.

use std::time::Duration;

use agent::engine::scripted::Script;
use model::{ContainerSpec, Intent};

use crate::{Desk, next, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_boots_and_goes_in_few_calls() {
    let desk = Desk::new().await;
    let wishes: Vec<_> = (0..300).map(|_| run(ContainerSpec::default())).collect();
    for wish in &wishes {
        desk.want(wish);
    }
    for wish in &wishes {
        desk.settled(wish).await;
    }
    let syncs = desk.cell.rows().syncs.len();
    println!("300 boots in {syncs} syncs");
    assert!(syncs < 150, "{syncs} syncs");
    let gone: Vec<_> = wishes.iter().map(|wish| next(wish, Intent::Gone)).collect();
    for wish in &gone {
        desk.want(wish);
    }
    for wish in &gone {
        desk.settled(wish).await;
    }
    assert!(desk.engine.containers().is_empty());
}

#[tokio::test]
async fn a_boot_does_not_wait_for_the_beat() {
    let desk = Desk::new().await;
    desk.carry_out(&run(ContainerSpec::default())).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let wish = run(ContainerSpec::default());
        let begun = desk.env.monotonic();
        desk.carry_out(&wish).await;
        times.push(desk.env.monotonic() - begun);
    }
    times.sort();
    println!("boots took {:?} in the middle, {:?} at most", times[10], times[19]);
    // The beat is a second: what waited for it would take half of one in the middle.
    assert!(times[10] < Duration::from_millis(400), "{times:?}");
}

#[tokio::test]
async fn an_idle_agent_is_quiet() {
    let desk = Desk::new().await;
    desk.carry_out(&run(ContainerSpec::default())).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = desk.cell.rows().syncs.len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let syncs = desk.cell.rows().syncs.len() - before;
    // A heartbeat each second, at most half again as often.
    assert!((1..=4).contains(&syncs), "{syncs} syncs in 2 s");
}

#[tokio::test]
async fn starts_are_bounded() {
    let script = Script { start: Duration::from_millis(50), ..Script::default() };
    let desk = Desk::scripted(script).await;
    let wishes: Vec<_> = (0..20).map(|_| run(ContainerSpec::default())).collect();
    let begun = desk.env.monotonic();
    for wish in &wishes {
        desk.want(wish);
    }
    for wish in &wishes {
        desk.settled(wish).await;
    }
    // Four at a time: five rounds.
    let took = desk.env.monotonic() - begun;
    assert!(took >= Duration::from_millis(245), "{took:?}");
}
