//! Drills: the gate makes a bus dark, and what is above cannot tell.

use std::time::Duration;

use model::drill::{Drill, Gate};
use model::{Context, FaultKind};
use rpc::{Address, Bell};

use crate::bells::{hears, is_quiet, listen};
use crate::world::{World, echo, echoing};

pub async fn refusal_is_immediate(world: &World) {
    let gate = Gate::default();
    let (server, client) = (world.bus(), world.gated(gate.clone()));
    let at = Address::Host(world.host());
    let _serving = world.serve(&server, at, echoing(), 1).await;
    assert!(world.echo(&client, at, "").await.is_ok());
    gate.set(Drill::Refuse);
    assert!(!client.is_connected());
    let refused = tokio::time::timeout(Duration::from_secs(1), world.echo(&client, at, "")).await;
    assert_eq!(refused.expect("at once").unwrap_err().kind, FaultKind::Unavailable);
    gate.set(Drill::Off);
    assert!(client.is_connected());
    assert!(world.echo(&client, at, "").await.is_ok());
}

pub async fn hang_lasts_until_the_deadline(world: &World) {
    let gate = Gate::default();
    let (server, client) = (world.bus(), world.gated(gate.clone()));
    let at = Address::Host(world.host());
    let _serving = world.serve(&server, at, echoing(), 1).await;
    assert!(world.echo(&client, at, "").await.is_ok());
    gate.set(Drill::Hang);
    let (start, call) = (world.env.monotonic(), echo(""));
    let outcome = client.call_within(at, &Context::default(), &call, Duration::from_millis(300)).await;
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout);
    assert!(world.env.monotonic() - start >= Duration::from_millis(300));
    gate.set(Drill::Off);
    assert!(world.echo(&client, at, "").await.is_ok());
}

pub async fn drilled_consumers_hear_nothing(world: &World) {
    for drill in [Drill::Refuse, Drill::Hang] {
        let gate = Gate::default();
        let (dark, bright) = (world.gated(gate.clone()), world.bus());
        let (at, bell) = (Address::Host(world.host()), Bell::Host(world.host()));
        let _serving = world.serve(&dark, at, echoing(), 1).await;
        let mut ringing = listen(world, &dark, bell).await;
        gate.set(drill);
        bright.ring(bell);
        assert!(is_quiet(&mut ringing).await, "{drill:?}");
        let call = echo("");
        let outcome = bright.call_within(at, &Context::default(), &call, Duration::from_millis(300)).await;
        assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout, "{drill:?}");
        gate.set(Drill::Off);
        assert!(hears(&mut ringing).await, "{drill:?}");
        assert_eq!(world.echo(&bright, at, "light").await, Ok(echo("light")), "{drill:?}");
    }
}
