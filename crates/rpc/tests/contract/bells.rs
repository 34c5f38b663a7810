//! Doorbells: who is woken, how often, and what may be lost.

use std::time::Duration;

use rpc::{Bell, Bus, Ringing};

use crate::world::World;

/// How long nothing must be heard before it counts as silence.
const QUIET: Duration = Duration::from_millis(400);
const SOON: Duration = Duration::from_secs(60);

/// Listens, and swallows the ring of the listener's being in place.
pub async fn listen(world: &World, bus: &Bus, bell: Bell) -> Ringing {
    let mut ringing = bus.listen(bell, world.worker());
    tokio::time::timeout(SOON, ringing.rung()).await.expect("in place");
    assert!(is_quiet(&mut ringing).await, "one ring for being in place");
    ringing
}

pub async fn is_quiet(ringing: &mut Ringing) -> bool {
    tokio::time::timeout(QUIET, ringing.rung()).await.is_err()
}

pub async fn hears(ringing: &mut Ringing) -> bool {
    tokio::time::timeout(SOON, ringing.rung()).await.is_ok()
}

pub async fn rings_coalesce(world: &World) {
    let (listener, ringer) = (world.bus(), world.bus());
    for bell in [Bell::Conductors, Bell::Superconductors, Bell::Host(world.host())] {
        let mut ringing = listen(world, &listener, bell).await;
        for _ in 0..100 {
            ringer.ring(bell);
        }
        let mut heard = 0;
        while tokio::time::timeout(QUIET, ringing.rung()).await.is_ok() {
            heard += 1;
            // The work that a ring causes; what rings meanwhile is heard once.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!((1..=3).contains(&heard), "{bell:?}: heard {heard} times");
        ringer.ring(bell);
        assert!(hears(&mut ringing).await, "{bell:?}: rung again");
    }
}

pub async fn listeners_compete(world: &World) {
    let (one, two, ringer) = (world.bus(), world.bus(), world.bus());
    for bell in [Bell::Conductors, Bell::Superconductors] {
        let mut first = listen(world, &one, bell).await;
        let mut second = listen(world, &two, bell).await;
        ringer.ring(bell);
        tokio::select! {
            () = first.rung() => {}
            () = second.rung() => {}
            () = tokio::time::sleep(SOON) => panic!("{bell:?}: nobody heard"),
        }
        let (a, b) = tokio::join!(is_quiet(&mut first), is_quiet(&mut second));
        assert!(a && b, "{bell:?}: heard twice");
        drop(first);
        // A ring may still go to the one that leaves; the next does not.
        let mut heard = false;
        for _ in 0..10 {
            ringer.ring(bell);
            heard = !is_quiet(&mut second).await;
            if heard {
                break;
            }
        }
        assert!(heard, "{bell:?}: the one that remains");
    }
}

pub async fn up_fans_out(world: &World) {
    let (one, two, ringer) = (world.bus(), world.bus(), world.bus());
    let mut first = listen(world, &one, Bell::Up).await;
    let mut second = listen(world, &two, Bell::Up).await;
    ringer.ring(Bell::Up);
    assert!(hears(&mut first).await && hears(&mut second).await);
    assert!(is_quiet(&mut first).await && is_quiet(&mut second).await);
}

pub async fn host_bells_are_apart(world: &World) {
    let (listener, ringer) = (world.bus(), world.bus());
    let (mine, other) = (Bell::Host(world.host()), Bell::Host(world.host()));
    let mut ringing = listen(world, &listener, mine).await;
    ringer.ring(other);
    assert!(is_quiet(&mut ringing).await);
    ringer.ring(mine);
    assert!(hears(&mut ringing).await);
}

pub async fn ringing_is_cancel_safe(world: &World) {
    let (listener, ringer) = (world.bus(), world.bus());
    let bell = Bell::Host(world.host());
    let mut ringing = listen(world, &listener, bell).await;
    for round in 0..5 {
        ringer.ring(bell);
        let mut heard = false;
        // A loop whose other branch is always ready drops the wait each time.
        for _ in 0..1_000 {
            heard = tokio::select! {
                () = ringing.rung() => true,
                () = tokio::time::sleep(Duration::from_millis(1)) => false,
            };
            if heard {
                break;
            }
        }
        assert!(heard, "round {round}");
    }
}
