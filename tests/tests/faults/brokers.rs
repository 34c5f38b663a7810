//! RabbitMQ that freezes, blocks, is replaced by an empty one, and networks that lose one direction.

use tests::estate::Plan;
use tests::{Estate, Faults, Part, Services, Vhost};

use crate::{all_active, failures, felt};

const AGENT: &str = "agent-cell1-h1";

/// Rows are truth: whatever becomes of the broker, what was accepted is carried out once it is back, and
/// the API goes on accepting meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn brokers_may_freeze_block_and_be_replaced() {
    let _alone = crate::alone().await;
    let services = Services::private(&[Part::Rabbit]);
    let mut estate = Estate::start_on(Plan { cells: 2, ..Plan::default() }, Some(&services)).await;
    it_freezes(&estate, &services).await;
    its_alarm_blocks_publishers(&estate, &services).await;
    an_empty_one_takes_its_place(&mut estate).await;
}

/// Between the first cell and its broker: half-open connections are noticed, whichever half is left.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "not part of every run: cargo test -p tests --test faults -- --ignored"]
async fn networks_may_lose_one_direction() {
    let _alone = crate::alone().await;
    let mut estate = Estate::start(Plan { cells: 2, proxied: true, ..Plan::default() }).await;
    networks_lose_one_direction(&mut estate).await;
}

async fn it_freezes(estate: &Estate, services: &Services) {
    let alice = estate.user("alice");
    let old = alice.boot_many("old", 2).await;
    all_active(estate, &old, 2).await;
    let under_way = alice.boot_many("way", 4).await;
    let before = failures(estate, AGENT).await;
    services.freeze(Part::Rabbit);
    let meanwhile = alice.boot_many("meanwhile", 4).await;
    for id in &old {
        alice.delete(id).await;
    }
    felt(estate, AGENT, before).await;
    services.thaw(Part::Rabbit);
    for id in &old {
        alice.gone(id).await;
    }
    all_active(estate, &[under_way, meanwhile].concat(), 8).await;
    estate.clear(&["alice"]).await;
}

async fn its_alarm_blocks_publishers(estate: &Estate, services: &Services) {
    let alice = estate.user("alice");
    let before = failures(estate, AGENT).await;
    let old = alice.boot_many("old", 2).await;
    services.alarm(true);
    let meanwhile = alice.boot_many("blocked", 4).await;
    for id in &old {
        alice.delete(id).await;
    }
    felt(estate, AGENT, before).await;
    services.alarm(false);
    for id in &old {
        alice.gone(id).await;
    }
    all_active(estate, &meanwhile, 4).await;
    estate.clear(&["alice"]).await;
}

/// No queue and no exchange is left, and every connection is closed.
async fn an_empty_one_takes_its_place(estate: &mut Estate) {
    let alice = estate.user("alice");
    let ids = alice.boot_many("before", 4).await;
    Vhost::empty(estate.vhosts());
    let ids = [ids, alice.boot_many("after", 2).await].concat();
    all_active(estate, &ids, 6).await;
    for id in &ids {
        alice.delete(id).await;
    }
    Vhost::empty(estate.vhosts());
    estate.clear(&["alice"]).await;
    estate.ready("").await;
}

async fn networks_lose_one_direction(estate: &mut Estate) {
    let alice = estate.user("alice");
    for faults in
        [Faults { stall_up: true, ..Faults::default() }, Faults { stall_down: true, ..Faults::default() }]
    {
        let before = failures(estate, AGENT).await;
        estate.proxies().broker.set(faults);
        let ids = alice.boot_many("half", 4).await;
        felt(estate, AGENT, before).await;
        estate.proxies().broker.heal();
        all_active(estate, &ids, 4).await;
        for id in &ids {
            alice.delete(id).await;
        }
        estate.proxies().broker.reset();
        estate.clear(&["alice"]).await;
    }
    estate.ready("").await;
}
