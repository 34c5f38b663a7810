//! What the cell says, and what of it is believed.

use agent::engine::scripted::{Script, Verb};
use model::sync::Outcome;
use model::{At, ContainerSpec, Fault, Intent, Power};

use crate::{Desk, command, eventually, next, run};

#[tokio::test]
async fn old_wishes_are_refused() {
    let desk = Desk::new().await;
    let wish = run(ContainerSpec::default());
    let stop = next(&wish, Intent::Stop);
    desk.carry_out(&wish).await;
    desk.carry_out(&stop).await;
    // A delayed page with the older wish.
    desk.cell.rows().observed.clear();
    desk.want(&wish);
    let seen = desk.observed(wish.instance, "it is answered with what is", |o| o.at == stop.at).await;
    assert_eq!(seen.power, Power::Stopped);
    let gone = next(&stop, Intent::Gone);
    desk.carry_out(&gone).await;
    // A tombstone covers its placement, whatever the generation.
    let mut risen = wish.clone();
    risen.at.generation = 99;
    desk.cell.rows().observed.clear();
    desk.want(&risen);
    let seen = desk.observed(wish.instance, "it stays gone", |o| o.outcome == Outcome::Gone).await;
    assert_eq!(seen.at, gone.at);
    assert!(desk.engine.containers().is_empty());
    assert_eq!(desk.engine.calls(Verb::Create), 1);
}

#[tokio::test]
async fn what_is_superseded_goes_and_stays_gone() {
    let mut desk = Desk::new().await;
    let wish = command(&["a"], "always");
    desk.carry_out(&wish).await;
    {
        let mut rows = desk.cell.rows();
        rows.wanted.remove(&wish.instance);
        rows.superseded.insert(wish.instance, At { epoch: 2, ..At::default() });
    }
    // It is not said to be gone while the engine still has it.
    desk.engine.fail(Verb::Remove, Fault::unavailable("busy"), 3);
    assert!(desk.engine.exit(agent::engine::Name::new(wish.instance, wish.at), 1));
    let seen = desk.observed(wish.instance, "it is gone", |o| o.outcome == Outcome::Gone).await;
    assert_eq!(seen.at, wish.at);
    assert!(desk.engine.containers().is_empty());
    desk.stop().await;
    desk.start().await;
    desk.cell.rows().superseded.clear();
    desk.cell.rows().observed.clear();
    desk.want(&wish);
    desk.observed(wish.instance, "it stays gone", |o| o.outcome == Outcome::Gone).await;
    assert!(desk.engine.containers().is_empty());
}

#[tokio::test]
async fn a_verdict_does_not_bury_the_placement_that_comes_here() {
    let desk = Desk::new().await;
    let first = command(&["a"], "no");
    desk.carry_out(&first).await;
    let mut second = first.clone();
    second.at.placement = 2;
    {
        let mut rows = desk.cell.rows();
        rows.superseded.insert(first.instance, second.at);
        rows.wanted.insert(second.instance, second.clone());
    }
    assert!(desk.engine.exit(agent::engine::Name::new(first.instance, first.at), 1));
    eventually("the second runs", || desk.power(&second) == Some(Power::Running), String::new).await;
    assert_eq!(desk.power(&first), None);
}

#[tokio::test]
async fn another_incarnation_reaps_nothing_until_it_was_heard_out() {
    let mut desk = Desk::new().await;
    let (kept, orphan) = (command(&["a"], "no"), command(&["b"], "no"));
    desk.carry_out(&kept).await;
    desk.carry_out(&orphan).await;
    desk.stop().await;
    // Restored from a time before either existed.
    {
        let mut rows = desk.cell.rows();
        rows.incarnation = Some(desk.env.id());
        rows.wanted.clear();
        rows.observed.clear();
        rows.syncs.clear();
    }
    desk.start().await;
    let status = || desk.agent().status();
    eventually("both are kept apart", || status().quarantined == 2, || format!("{:?}", status())).await;
    assert_eq!([desk.power(&kept), desk.power(&orphan)], [Some(Power::Running); 2]);
    assert_eq!(desk.engine.calls(Verb::Remove), 0);
    assert!(desk.cell.rows().syncs.iter().any(|sync| sync.full));
}

#[tokio::test]
async fn a_digest_that_differs_brings_everything() {
    let desk = Desk::new().await;
    let wish = run(ContainerSpec::default());
    desk.carry_out(&wish).await;
    let full = || desk.cell.rows().syncs.iter().filter(|sync| sync.full).count();
    let before = full();
    desk.cell.rows().differs_once = true;
    desk.cell.rows().observed.clear();
    eventually("it syncs in full", || full() > before, String::new).await;
    desk.observed(wish.instance, "everything is told again", |o| o.power == Power::Running).await;
    // And that is the end of it.
    let after = full();
    desk.carry_out(&next(&wish, Intent::Stop)).await;
    assert_eq!(full(), after);
}

#[tokio::test]
async fn a_cell_that_forgot_the_host_is_told_again() {
    let desk = Desk::new().await;
    let wish = run(ContainerSpec::default());
    desk.carry_out(&wish).await;
    let registrations = || desk.cell.rows().registrations.len();
    let before = registrations();
    desk.cell.rows().forget_host = true;
    eventually("it registers", || registrations() > before, String::new).await;
    desk.carry_out(&next(&wish, Intent::Stop)).await;
}

#[tokio::test]
async fn wishes_come_in_pages() {
    let mut desk = Desk::without_agent(Script::default()).await;
    desk.cell.rows().page = 7;
    let wishes: Vec<_> = (0..50).map(|_| run(ContainerSpec::default())).collect();
    for wish in &wishes {
        desk.cell.rows().wanted.insert(wish.instance, wish.clone());
    }
    desk.start().await;
    for wish in &wishes {
        desk.settled(wish).await;
    }
    assert_eq!(desk.engine.containers().len(), 50);
}
