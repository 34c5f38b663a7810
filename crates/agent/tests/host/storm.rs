//! Lost, doubled and late messages, a failing engine, and agents that are stopped and started: in the
//! end every container is as its cell wishes, and no instance ever has two.

use std::collections::HashMap;
use std::time::Duration;

use agent::engine::scripted::Script;
use model::{Intent, Power};
use rpc::local::Faults;

use crate::{Desk, command, eventually, next, reboot};

const INSTANCES: usize = 25;
const ROUNDS: u64 = 12;

#[tokio::test]
async fn in_the_end_everything_is_as_wished() {
    let seed = 11;
    let script = Script {
        seed,
        create: Duration::from_millis(2),
        start: Duration::from_millis(4),
        remove: Duration::from_millis(3),
        failing_ppm: 100_000,
        exiting_ppm: 200_000,
        lifetime: Duration::from_millis(100),
        ..Script::default()
    };
    let mut desk = Desk::scripted(script).await;
    desk.cell.connector.hub().set_faults("cell", faults(seed));
    let mut random = seed;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let mut wishes: Vec<_> = (0..INSTANCES).map(|_| command(&["sleep"], "always")).collect();
    for wish in &wishes {
        desk.want(wish);
    }
    for round in 0..ROUNDS {
        for wish in &mut wishes {
            if wish.intent == Intent::Gone {
                continue;
            }
            let spec = wish.spec.clone();
            *wish = match below(8) {
                0 => next(wish, Intent::Stop),
                1 | 2 => next(wish, Intent::Run),
                3 => reboot(wish, below(2) == 0),
                4 if round > ROUNDS / 2 => next(wish, Intent::Gone),
                5 => {
                    let mut moved = next(wish, Intent::Run);
                    moved.at.placement += 2;
                    moved
                }
                _ => continue,
            };
            if wish.intent != Intent::Gone {
                wish.spec = spec;
            }
            desk.want(wish);
        }
        if round % 4 == 3 {
            desk.stop().await;
            desk.start().await;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
        let mut running: HashMap<_, u32> = HashMap::new();
        for container in desk.engine.containers() {
            *running.entry(container.name.instance).or_default() +=
                u32::from(container.power == Power::Running);
        }
        assert!(running.values().all(|copies| *copies <= 1), "two copies run: {running:?}");
    }
    desk.cell.connector.hub().set_faults("cell", Faults::default());
    let wrong = || {
        let is_as_wished = |wish: &&model::sync::Wanted| match wish.intent {
            Intent::Run => desk.power(wish) == Some(Power::Running),
            Intent::Stop => desk.power(wish) == Some(Power::Stopped),
            Intent::Gone => !desk.engine.containers().iter().any(|c| c.name.instance == wish.instance),
        };
        let told = |wish: &&model::sync::Wanted| {
            desk.cell.observed(wish.instance).is_some_and(|seen| seen.at == wish.at)
        };
        wishes.iter().filter(|wish| !is_as_wished(wish) || !told(wish)).count()
    };
    eventually("everything is as wished", || wrong() == 0, || format!("{} are not", wrong())).await;
    let wished = wishes.iter().filter(|wish| wish.intent != Intent::Gone).count();
    assert_eq!(desk.engine.containers().len(), wished, "and nothing else is left");
}

fn faults(seed: u64) -> Faults {
    Faults { seed, loss: 4, duplication: 20, reorder: 20, delay: Duration::from_millis(5) }
}
