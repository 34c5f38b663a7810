//! The in-process transport's faults: each does what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use model::{Context, FaultKind};
use rpc::local::Faults;
use rpc::{Address, Bell, Service};
use tokio::sync::Mutex;

use crate::bells::{hears, is_quiet, listen};
use crate::world::{Echo, World, bounded, echo, echoing, until};

const VHOST: &str = "test";

#[tokio::test]
async fn loss_is_a_timeout() {
    let world = World::local();
    let (bus, at) = (world.bus(), Address::Host(world.host()));
    let _serving = world.serve(&bus, at, echoing(), 1).await;
    world.connector.hub().set_faults(VHOST, Faults { loss: 100, ..Faults::default() });
    let (call, context) = (echo(""), Context::default());
    let outcome = bus.call_within(at, &context, &call, Duration::from_millis(50)).await;
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout);
    // Nobody there is still told at once.
    let nobody = Address::Host(world.host());
    let outcome = bus.call_within(nobody, &context, &call, Duration::from_secs(5)).await;
    assert_eq!(outcome.unwrap_err().kind, FaultKind::Unavailable);
    world.connector.hub().set_faults(VHOST, Faults::default());
    assert!(world.echo(&bus, at, "").await.is_ok());
}

#[tokio::test]
async fn loss_depends_on_the_seed_alone() {
    async fn fates(seed: u64) -> Vec<bool> {
        let world = World::local();
        let (bus, at) = (world.bus(), Address::Host(world.host()));
        let _serving = world.serve(&bus, at, echoing(), 1).await;
        world.connector.hub().set_faults(VHOST, Faults { seed, loss: 30, ..Faults::default() });
        let (call, context) = (echo(""), Context::default());
        let mut fates = Vec::new();
        for _ in 0..16 {
            fates.push(bus.call_within(at, &context, &call, Duration::from_millis(250)).await.is_ok());
        }
        fates
    }
    let (a, b, c) = tokio::join!(fates(7), fates(7), fates(8));
    assert_eq!(a, b);
    assert_ne!(a, c);
    assert!(a.contains(&true) && a.contains(&false));
}

#[tokio::test]
async fn copies_of_a_running_call_share_its_answer() {
    let world = World::local();
    let (bus, at) = (world.bus(), Address::Host(world.host()));
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let service = Service::new().on(move |_, call: Echo| {
        let count = count.clone();
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(call)
        }
    });
    let _serving = world.serve(&bus, at, service, 4).await;
    world.connector.hub().set_faults(VHOST, Faults { duplication: 100, ..Faults::default() });
    assert_eq!(world.echo(&bus, at, "x").await, Ok(echo("x")));
    until("nothing is left", async || world.depth(&crate::world::name(at)).await == Some(0)).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn delay_and_reordering_change_the_order() {
    for faults in [
        Faults { delay: Duration::from_millis(30), seed: 1, ..Faults::default() },
        Faults { reorder: 50, seed: 1, ..Faults::default() },
    ] {
        let world = World::local();
        let (bus, at) = (world.bus(), Address::Host(world.host()));
        let order = Arc::new(Mutex::new(Vec::new()));
        let service = |order: &Arc<Mutex<Vec<usize>>>| {
            let order = order.clone();
            Service::new().on(move |_, call: Echo| {
                let order = order.clone();
                async move {
                    order.lock().await.push(call.text.parse::<usize>().unwrap());
                    Ok(call)
                }
            })
        };
        world.deserted(at).await;
        world.connector.hub().set_faults(VHOST, faults);
        let texts: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let calls = join_all(texts.iter().map(|text| world.echo(&bus, at, text)));
        let (replies, _serving) = tokio::join!(calls, async {
            until("all are queued", async || world.depth(&crate::world::name(at)).await == Some(40)).await;
            world.serve(&bus, at, service(&order), 1).await
        });
        assert!(replies.iter().all(Result::is_ok));
        let order = order.lock().await.clone();
        assert!(!order.is_sorted(), "{faults:?}: {order:?}");
    }
}

#[tokio::test]
async fn blocked_publishers_wait_and_go_on() {
    bounded(async {
        let world = World::local();
        let (bus, at) = (world.bus(), Address::Host(world.host()));
        let bell = Bell::Conductors;
        let _serving = world.serve(&bus, at, echoing(), 1).await;
        let mut ringing = listen(&world, &bus, bell).await;
        world.connector.hub().block_publishers(VHOST, true);
        bus.ring(bell);
        let (call, context) = (echo(""), Context::default());
        let outcome = bus.call_within(at, &context, &call, Duration::from_millis(100)).await;
        assert_eq!(outcome.unwrap_err().kind, FaultKind::Timeout);
        assert!(is_quiet(&mut ringing).await);
        let (reply, ()) = tokio::join!(world.echo(&bus, at, "through"), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            world.connector.hub().block_publishers(VHOST, false);
        });
        assert_eq!(reply, Ok(echo("through")));
        assert!(hears(&mut ringing).await);
    })
    .await;
}

#[tokio::test]
async fn vhosts_are_apart_and_bad_urls_are_refused() {
    let world = World::local();
    let (bus, at) = (world.bus(), Address::Conductors);
    let _serving = world.serve(&bus, at, echoing(), 1).await;
    let other = world.connector.connect("local:other", Default::default()).unwrap();
    assert_eq!(world.echo(&other, at, "").await.unwrap_err().kind, FaultKind::Unavailable);
    for url in ["", "http://x", "amqp://u:secret@[", "amqps://u:secret@h:port/v", "local"] {
        if let Err(fault) = world.connector.connect(url, Default::default()) {
            assert_eq!(fault.kind, FaultKind::Invalid, "{url}");
            assert!(!fault.message.contains("secret"), "{url}");
        } else {
            panic!("{url} was taken");
        }
    }
}
