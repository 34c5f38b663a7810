//! Restarts of agent, machine and engine.

use std::time::Duration;

use agent::engine::scripted::{Script, Verb};
use agent::engine::{Engine, Name, Order};
use model::drill::Drill;
use model::sync::{Outcome, Wanted};
use model::{ContainerSpec, Env, Intent, Power};

use crate::{Desk, command, eventually, next, run};

#[tokio::test]
async fn an_agent_restarts_what_ended_while_it_was_away_without_its_cell() {
    let mut desk = Desk::new().await;
    let (kept, once, quiet) = (command(&["a"], "always"), command(&["b"], "no"), command(&["c"], "no"));
    for wish in [&kept, &once, &quiet] {
        desk.carry_out(wish).await;
    }
    desk.stop().await;
    assert_eq!(desk.power(&kept), Some(Power::Running), "containers run on without their agent");
    for wish in [&kept, &once] {
        assert!(desk.engine.exit(Name::new(wish.instance, wish.at), 9));
    }
    desk.cell.dark(true);
    desk.start().await;
    eventually("it runs again", || desk.power(&kept) == Some(Power::Running), String::new).await;
    assert_eq!(desk.power(&once), Some(Power::Stopped));
    assert_eq!(desk.engine.calls(Verb::Create), 3);
    desk.cell.rows().observed.clear();
    desk.cell.dark(false);
    let seen = desk.observed(once.instance, "everything is told", |o| o.power == Power::Stopped).await;
    assert_eq!(seen.observed.exit_code, Some(9));
    desk.observed(quiet.instance, "everything is told", |o| !o.observed.address.is_empty()).await;
}

#[tokio::test]
async fn after_a_reboot_nothing_starts_before_a_full_sync() {
    let mut desk = Desk::new().await;
    let (mine, moved) = (command(&["a"], "always"), command(&["b"], "always"));
    desk.carry_out(&mine).await;
    desk.carry_out(&moved).await;
    desk.stop().await;
    desk.engine.reboot();
    desk.boot = desk.env.uuid();
    desk.cell.dark(true);
    desk.start().await;
    let held = || desk.agent().status().held;
    eventually("it has looked", || desk.engine.calls(Verb::List) > 1, String::new).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(held());
    assert_eq!([desk.power(&mine), desk.power(&moved)], [Some(Power::Stopped); 2]);
    // Meanwhile the cell has placed one of them elsewhere.
    {
        let mut rows = desk.cell.rows();
        rows.wanted.remove(&moved.instance);
        let elsewhere = model::At { placement: 2, ..moved.at };
        rows.superseded.insert(moved.instance, elsewhere);
    }
    desk.cell.dark(false);
    eventually("mine runs again", || desk.power(&mine) == Some(Power::Running), String::new).await;
    eventually("the other is removed", || desk.power(&moved).is_none(), String::new).await;
    assert!(!held());
    assert_eq!(desk.engine.calls(Verb::Start), 3, "the moved one was never started again");
}

#[tokio::test]
async fn a_lost_journal_kills_nothing() {
    let mut desk = Desk::new().await;
    let (known, unknown) = (command(&["a"], "no"), command(&["b"], "no"));
    desk.carry_out(&known).await;
    desk.carry_out(&unknown).await;
    desk.stop().await;
    std::fs::remove_dir_all(&desk.dir).unwrap();
    desk.cell.rows().wanted.remove(&unknown.instance);
    desk.cell.rows().observed.clear();
    desk.start().await;
    let quarantined = || desk.agent().status().quarantined;
    eventually("the unknown one is told apart", || quarantined() == 1, String::new).await;
    let seen = desk.settled(&known).await;
    assert_eq!(seen.power, Power::Running);
    assert_eq!(desk.power(&unknown), Some(Power::Running), "kept and not killed");
    assert_eq!(desk.engine.calls(Verb::Remove), 0);
    assert_eq!(desk.engine.calls(Verb::Start), 2, "adopted and not started again");
    // The cell finds its row again: it is an instance like any other.
    desk.carry_out(&next(&unknown, Intent::Run)).await;
    assert_eq!(quarantined(), 0);
}

#[tokio::test]
async fn a_copy_below_a_tombstone_is_killed_at_the_start_and_later() {
    let mut desk = Desk::new().await;
    let wish = run(ContainerSpec::default());
    desk.carry_out(&wish).await;
    desk.carry_out(&next(&wish, Intent::Gone)).await;
    desk.stop().await;
    // A create that was thought lost, or another hand.
    let (host, engine) = (desk.host, desk.engine.clone());
    let come_back = |wish: &Wanted| {
        let spec = std::sync::Arc::new(*wish.spec.clone().unwrap());
        let order = Order { instance: wish.instance, at: wish.at, host, cell: "c1".into(), spec };
        let engine = engine.clone();
        async move {
            engine.create(&order).await.unwrap();
            engine.start(order.name()).await.unwrap();
        }
    };
    come_back(&wish).await;
    desk.cell.dark(true);
    desk.start().await;
    eventually("it is killed at the start", || desk.power(&wish).is_none(), String::new).await;
    come_back(&wish).await;
    eventually("it is killed by the next list", || desk.power(&wish).is_none(), String::new).await;
}

#[tokio::test]
async fn what_was_begun_is_driven_on() {
    let mut desk = Desk::without_agent(Script::default()).await;
    desk.engine.fail(Verb::Create, model::Fault::unavailable("not now"), u32::MAX);
    desk.start().await;
    let wish = run(ContainerSpec::default());
    desk.want(&wish);
    let seen = desk.observed(wish.instance, "it is tried", |o| o.fault.is_some()).await;
    assert_eq!(seen.outcome, Outcome::Taken);
    desk.stop().await;
    desk.engine.fail(Verb::Create, model::Fault::unavailable("not now"), 0);
    desk.cell.dark(true);
    desk.start().await;
    eventually("it runs", || desk.power(&wish) == Some(Power::Running), String::new).await;
}

#[tokio::test]
async fn a_finished_one_shot_is_not_run_twice() {
    let mut desk = Desk::new().await;
    let wish = command(&["exit", "0"], "no");
    desk.carry_out(&wish).await;
    desk.stop().await;
    std::fs::remove_dir_all(&desk.dir).unwrap();
    desk.cell.rows().observed.clear();
    desk.start().await;
    assert_eq!(desk.settled(&wish).await.power, Power::Stopped);
    assert_eq!(desk.engine.calls(Verb::Start), 1);
}

#[tokio::test]
async fn an_engine_that_is_away_is_waited_for() {
    let mut desk = Desk::without_agent(Script::default()).await;
    desk.engine.gate().set(Drill::Refuse);
    desk.start().await;
    let status = || desk.agent().status();
    eventually("it is told", || status().engine_fault.is_some(), || format!("{:?}", status())).await;
    assert!(status().ready().is_err());
    let wish = run(ContainerSpec::default());
    desk.want(&wish);
    desk.engine.gate().set(Drill::Off);
    assert_eq!(desk.settled(&wish).await.power, Power::Running);
    eventually("it is ready", || status().ready().is_ok(), || format!("{:?}", status())).await;
}

/// A clock that was set back tells nothing of the order of observations, and neither does a lost journal.
#[tokio::test]
async fn an_agent_whose_clock_was_set_back_is_heard() {
    struct SetBack(Env);
    impl model::time::Clock for SetBack {
        fn now(&self) -> model::Timestamp {
            model::Timestamp(1_000_000)
        }
        fn monotonic(&self) -> Duration {
            self.0.monotonic()
        }
    }
    let mut desk = Desk::new().await;
    let wish = command(&["a"], "no");
    let before = desk.carry_out(&wish).await;
    desk.stop().await;
    std::fs::remove_dir_all(&desk.dir).unwrap();
    assert!(desk.engine.exit(Name::new(wish.instance, wish.at), 3));
    let clock = std::sync::Arc::new(SetBack(Env::system()));
    desk.env = Env::new(clock, std::sync::Arc::new(model::env::SystemRng));
    desk.start().await;
    let heard = desk.observed(wish.instance, "it is heard", |o| o.power == Power::Stopped).await;
    assert!(heard.seq > before.seq, "{} after {}", heard.seq, before.seq);
}
