//! What a call costs.

use std::time::Duration;

use rpc::Address;

use crate::world::{World, echoing};

/// Prints the median; the limit is loose, for machines that do other things too.
pub async fn calls_are_fast(world: &World) {
    let (server, client) = (world.bus(), world.bus());
    for at in [Address::Conductors, Address::Host(world.host())] {
        let _serving = world.serve(&server, at, echoing(), 4).await;
        let mut times = Vec::new();
        for _ in 0..300 {
            let start = world.env.monotonic();
            world.echo(&client, at, "x").await.unwrap();
            times.push(world.env.monotonic() - start);
        }
        times.sort();
        let (median, slow) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "{} {at:?}: median {median:?}, 99th percentile {slow:?}",
            world.url.split(':').next().unwrap()
        );
        let limit = if world.url.starts_with("local:") { 1 } else { 50 };
        assert!(median < Duration::from_millis(limit), "{median:?}");
    }
}
