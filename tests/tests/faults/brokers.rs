//! RabbitMQ that freezes, blocks, is replaced by an empty one, and networks that lose one direction.

use std::time::Duration;

use tests::estate::Plan;
use tests::{Estate, Faults, Part, Services, Vhost, within};

use crate::{all_active, failures, felt};

const AGENT: &str = "agent-cell1-h1";
/// The longest that a caller waits for an answer while the broker hangs (case 17).
const HANG: Duration = Duration::from_secs(5);
/// Until all is done after the broker goes on (case 17: 30 s with the freeze itself).
const THAWED: Duration = Duration::from_secs(40);
/// Until all is done after the alarm is over (case 19: 10 s).
const RESUMES: Duration = Duration::from_secs(20);
/// Until all is done after the broker was emptied (case 18: a delay of 30 s).
const EMPTIED: Duration = Duration::from_secs(40);
/// Until all is done after the network is whole (case 20: 25 s with the loss itself).
const HEALED: Duration = Duration::from_secs(40);

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
#[ignore = "takes a minute: docs/guarantees.md has the command for the whole matrix"]
async fn networks_may_lose_one_direction() {
    let _alone = crate::alone().await;
    let mut estate = Estate::start(Plan { cells: 2, proxied: true, ..Plan::default() }).await;
    networks_lose_one_direction(&mut estate).await;
}

async fn it_freezes(estate: &Estate, services: &Services) {
    let alice = estate.user("alice").deadline(HANG);
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
    within(THAWED, async {
        for id in &old {
            alice.gone(id).await;
        }
        all_active(estate, &[under_way, meanwhile].concat(), 8).await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

async fn its_alarm_blocks_publishers(estate: &Estate, services: &Services) {
    let alice = estate.user("alice").deadline(HANG);
    let before = failures(estate, AGENT).await;
    let old = alice.boot_many("old", 2).await;
    services.alarm(true);
    let meanwhile = alice.boot_many("blocked", 4).await;
    for id in &old {
        alice.delete(id).await;
    }
    felt(estate, AGENT, before).await;
    services.alarm(false);
    within(RESUMES, async {
        for id in &old {
            alice.gone(id).await;
        }
        all_active(estate, &meanwhile, 4).await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// No queue and no exchange is left, and every connection is closed.
async fn an_empty_one_takes_its_place(estate: &mut Estate) {
    let alice = estate.user("alice");
    let ids = alice.boot_many("before", 4).await;
    Vhost::empty(estate.vhosts());
    let ids = [ids, alice.boot_many("after", 2).await].concat();
    within(EMPTIED, all_active(estate, &ids, 6)).await;
    for id in &ids {
        alice.delete(id).await;
    }
    Vhost::empty(estate.vhosts());
    within(EMPTIED, async {
        estate.clear(&["alice"]).await;
        estate.ready("").await;
    })
    .await;
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
        within(HEALED, all_active(estate, &ids, 4)).await;
        for id in &ids {
            alice.delete(id).await;
        }
        estate.proxies().broker.reset();
        estate.clear(&["alice"]).await;
    }
    estate.ready("").await;
}
