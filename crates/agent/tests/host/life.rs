//! A container's life as its cell wishes it.

use std::time::Duration;

use agent::engine::scripted::{Script, Verb};
use agent::engine::{Engine, Order};
use model::spec::PortWish;
use model::sync::Outcome;
use model::{ContainerSpec, Context, Fault, FaultKind, Intent, Power};
use rpc::Address;
use rpc::contract::ConsoleTail;

use crate::{Desk, command, eventually, image, next, reboot, run};

#[tokio::test]
async fn from_boot_to_delete() {
    let desk = Desk::new().await;
    let ports = vec![PortWish::parse("80").unwrap(), PortWish::parse("8080:81").unwrap()];
    let wish = run(ContainerSpec { ports, ..ContainerSpec::default() });
    let seen = desk.carry_out(&wish).await;
    assert_eq!((seen.outcome, seen.power, &seen.fault), (Outcome::Done, Power::Running, &None));
    assert!(!seen.observed.container.is_empty() && !seen.observed.address.is_empty());
    let ports: Vec<_> = seen.observed.ports.iter().map(|p| (p.container, p.address.as_str())).collect();
    assert_eq!(ports, [(80, "192.0.2.7"), (81, "192.0.2.7")]);
    assert_eq!(seen.observed.ports[1].host, 8080);

    let stop = next(&wish, Intent::Stop);
    let seen = desk.carry_out(&stop).await;
    assert_eq!((seen.power, seen.observed.exit_code), (Power::Stopped, Some(143)));
    assert!(seen.observed.ports.is_empty());

    let start = next(&stop, Intent::Run);
    assert_eq!(desk.carry_out(&start).await.power, Power::Running);

    let soft = reboot(&start, false);
    let seen = desk.carry_out(&soft).await;
    assert_eq!((seen.power, seen.restart_seq, seen.observed.restarts), (Power::Running, 1, 0));
    let hard = reboot(&soft, true);
    let seen = desk.carry_out(&hard).await;
    assert_eq!((seen.power, seen.restart_seq), (Power::Running, 2));
    assert_eq!(desk.engine.calls(Verb::Create), 1);
    assert_eq!(desk.engine.calls(Verb::Start), 4);

    let gone = next(&hard, Intent::Gone);
    let seen = desk.carry_out(&gone).await;
    assert_eq!((seen.outcome, seen.power), (Outcome::Gone, Power::None));
    assert!(desk.engine.containers().is_empty());
}

#[tokio::test]
async fn a_boot_makes_no_superfluous_calls() {
    let desk = Desk::new().await;
    desk.carry_out(&run(ContainerSpec::default())).await;
    let calls = [Verb::Create, Verb::Start, Verb::Inspect].map(|verb| desk.engine.calls(verb));
    assert_eq!(calls, [1, 1, 1]);
}

#[tokio::test]
async fn a_wish_for_nothing_about_nobody_is_gone() {
    let desk = Desk::new().await;
    let gone = next(&run(ContainerSpec::default()), Intent::Gone);
    assert_eq!(desk.carry_out(&gone).await.outcome, Outcome::Gone);
}

#[tokio::test]
async fn images_are_pulled_or_refused() {
    let desk = Desk::new().await;
    assert_eq!(desk.carry_out(&image("remote/web:1")).await.power, Power::Running);
    assert_eq!(desk.engine.calls(Verb::Pull), 1);
    let missing = image("missing/web:1");
    desk.want(&missing);
    let seen = desk.observed(missing.instance, "it fails", |o| o.outcome == Outcome::Failed).await;
    let fault = seen.fault.expect("it says why");
    assert_eq!(fault.kind, FaultKind::Engine);
    assert!(fault.message.contains("repository does not exist"), "{fault}");
    // And it can still be deleted.
    assert_eq!(desk.carry_out(&next(&missing, Intent::Gone)).await.outcome, Outcome::Gone);
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_final_ones_told() {
    let desk = Desk::new().await;
    desk.engine.fail(Verb::Create, Fault::unavailable("busy"), 2);
    desk.engine.fail(Verb::Start, Fault::new(FaultKind::Timeout, "slow"), 1);
    assert_eq!(desk.carry_out(&run(ContainerSpec::default())).await.power, Power::Running);
    assert_eq!(desk.engine.calls(Verb::Create), 3);

    desk.engine.fail(Verb::Start, Fault::new(FaultKind::Engine, "port is already allocated"), 1);
    let wish = run(ContainerSpec::default());
    desk.want(&wish);
    let seen = desk.observed(wish.instance, "it fails", |o| o.outcome == Outcome::Failed).await;
    assert!(seen.fault.is_some_and(|fault| fault.message.contains("already allocated")));
    // Failed for good is not tried again, until there is a newer wish.
    assert_eq!(desk.carry_out(&next(&wish, Intent::Run)).await.power, Power::Running);
}

#[tokio::test]
async fn a_lost_create_is_adopted() {
    let desk = Desk::new().await;
    let wish = run(ContainerSpec::default());
    let order = Order {
        instance: wish.instance,
        at: wish.at,
        host: desk.host,
        cell: "c1".into(),
        spec: std::sync::Arc::new(*wish.spec.clone().unwrap()),
    };
    desk.engine.create(&order).await.unwrap();
    assert_eq!(desk.carry_out(&wish).await.power, Power::Running);
    assert_eq!(desk.engine.containers().len(), 1);
}

#[tokio::test]
async fn a_newer_placement_replaces_the_older_copy() {
    let desk = Desk::new().await;
    let first = run(ContainerSpec::default());
    desk.carry_out(&first).await;
    let mut second = next(&first, Intent::Run);
    second.at.placement = 3;
    second.at.generation = 1;
    desk.carry_out(&second).await;
    assert_eq!(desk.power(&first), None);
    assert_eq!(desk.power(&second), Some(Power::Running));
}

#[tokio::test]
async fn a_delete_overtakes_a_stop_and_a_pull() {
    let desk = Desk::scripted(Script { pull: Duration::from_secs(60), ..Script::default() }).await;
    let stubborn = command(&["stubborn"], "no");
    desk.carry_out(&stubborn).await;
    let stop = next(&stubborn, Intent::Stop);
    desk.want(&stop);
    let pulling = image("remote/web:1");
    desk.want(&pulling);
    desk.observed(pulling.instance, "it is taken", |o| o.outcome == Outcome::Taken).await;
    desk.observed(stop.instance, "it is taken", |o| o.at == stop.at).await;
    let begun = desk.env.monotonic();
    desk.carry_out(&next(&stop, Intent::Gone)).await;
    desk.carry_out(&next(&pulling, Intent::Gone)).await;
    let took = desk.env.monotonic() - begun;
    assert!(took < Duration::from_millis(4500), "{took:?}");
    assert!(desk.engine.containers().is_empty());
}

#[tokio::test]
async fn a_console_can_be_read() {
    let desk = Desk::new().await;
    let wish = run(ContainerSpec::default());
    desk.carry_out(&wish).await;
    let call = ConsoleTail { instance: wish.instance, lines: Some(1) };
    let tail = desk.cell.bus.call(Address::Host(desk.host), &Context::default(), &call).await.unwrap();
    assert!(tail.text.ends_with("started\n"), "{tail:?}");
    let nobody = ConsoleTail { instance: desk.env.id(), lines: None };
    let fault = desk.cell.bus.call(Address::Host(desk.host), &Context::default(), &nobody).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotFound);
}

#[tokio::test]
async fn status_tells_when_it_is_ready_and_why_not() {
    let mut desk = Desk::without_agent(Script::default()).await;
    desk.engine.fail(Verb::Probe, Fault::new(FaultKind::Engine, "could not find bridge docker0"), 1);
    desk.start().await;
    let status = || desk.agent().status();
    eventually("the fault is told", || status().engine_fault.is_some(), || format!("{:?}", status())).await;
    assert!(status().ready().is_err_and(|why| why.contains("docker0")));
    // The probe is repeated; then the host registers as healthy.
    eventually("it is ready", || status().ready().is_ok(), || format!("{:?}", status())).await;
    let rows = || desk.cell.rows().registrations.iter().map(|r| r.healthy).collect::<Vec<_>>();
    eventually("health is told", || rows() == [false, true], || format!("{:?}", rows())).await;
}
