//! PostgreSQL that dies, is slow, and whose connections are cut in the middle, above all of a COMMIT.

use std::time::Duration;

use serde_json::json;
use tests::estate::{Plan, User, id, server};
use tests::{Estate, Faults, Part, Proxy, Services, eventually, within};

use crate::{SHOWS, all_active};

/// The message that commits, as PostgreSQL's protocol has it (a simple query, ended by a zero byte).
const COMMIT: &[u8] = b"COMMIT\0";
/// Until all is done after a cell's database is back (case 21: 15 s).
const BACK: Duration = Duration::from_secs(30);
/// Until all is done after a slow one is as fast as ever (case 23: 20 s).
const FAST: Duration = Duration::from_secs(40);
/// Until all is done after the last connection was cut (case 24: 10 s, for half as many instances).
const WHOLE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn databases_may_die_be_slow_and_lose_connections() {
    let _alone = crate::alone().await;
    let services = Services::private(&[Part::Postgres]);
    let plan = Plan { cells: 2, proxied: true, ..Plan::default() };
    let mut estate = Estate::start_on(plan, Some(&services)).await;
    it_dies(&estate, &services).await;
    it_is_slow(&estate).await;
    an_answer_to_a_commit_is_lost(&estate).await;
    connections_break_anywhere(&estate).await;
    the_api_database_falls_silent(&mut estate).await;
}

/// A cell's server is killed at once, in the middle of work.
async fn it_dies(estate: &Estate, services: &Services) {
    let alice = estate.user("alice");
    let before = alice.boot_many("before", 6).await;
    services.kill(Part::Postgres);
    let meanwhile = alice.boot_many("meanwhile", 4).await;
    services.start(Part::Postgres);
    let ids = [before, meanwhile].concat();
    within(BACK, all_active(estate, &ids, 10)).await;
    for id in &ids {
        alice.delete(id).await;
    }
    services.kill(Part::Postgres);
    services.start(Part::Postgres);
    within(BACK, estate.clear(&["alice"])).await;
}

/// Every packet of one cell's database is 200 ms late: users of the other cell notice nothing, and what
/// lies in the slow one is done in the end.
async fn it_is_slow(estate: &Estate) {
    let alice = estate.user("alice");
    let ids = alice.boot_many("early", 4).await;
    all_active(estate, &ids, 4).await;
    let delay = Duration::from_millis(200);
    estate.proxies().cell.set(Faults { delay, jitter: delay / 4, ..Faults::default() });
    let late = alice.boot_many("late", 4).await;
    assert_eq!(alice.list().await.len(), 8, "a list is whole, whatever cell is slow");
    for id in &ids {
        alice.delete(id).await;
    }
    // The other cell takes what is new.
    eventually(SHOWS, "one of them runs", async || {
        let new = alice.boot(server("new")).await;
        for _ in 0..40 {
            let shown = alice.show(&new).await?;
            if shown["status"] == "ACTIVE" {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("it went to the slow cell".into())
    })
    .await;
    estate.proxies().cell.heal();
    within(FAST, async {
        for id in &ids {
            alice.gone(id).await;
        }
        let counts = alice.settle(&late).await;
        assert_eq!(counts.get("ACTIVE"), Some(&4), "{counts:?}");
        estate.at_rest().await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// The database commits, and nobody hears of it.
async fn an_answer_to_a_commit_is_lost(estate: &Estate) {
    let alice = estate.user("alice");
    let lost = |cuts| Faults { lose_answer_to: Some(COMMIT), cuts, ..Faults::default() };
    estate.proxies().api.set(lost(12));
    let ids = each_at_most_once(&alice, "above", 8).await;
    used_up(&estate.proxies().api, 12).await;
    estate.proxies().api.heal();
    within(WHOLE, all_active(estate, &ids, ids.len())).await;
    estate.proxies().cell.set(lost(12));
    let more = alice.boot_many("below", 6).await;
    for id in &ids {
        alice.delete(id).await;
    }
    used_up(&estate.proxies().cell, 12).await;
    estate.proxies().cell.heal();
    within(WHOLE, async {
        for id in &ids {
            alice.gone(id).await;
        }
        all_active(estate, &more, 6).await;
    })
    .await;
    estate.proxies().api.set(lost(6));
    for id in &more {
        // What nobody can tell may be asked for again.
        eventually(SHOWS, "the deletion is accepted", async || {
            match alice.client().delete(&format!("/v2.1/servers/{id}")).await {
                Ok(reply) if matches!(reply.status.as_u16(), 204 | 404) => Ok(()),
                Ok(reply) if reply.status.as_u16() == 503 => Err(reply.body.to_string()),
                Ok(reply) => panic!("{}: {}", reply.status, reply.body),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await;
    }
    used_up(&estate.proxies().api, 6).await;
    estate.proxies().api.heal();
    within(WHOLE, estate.clear(&["alice"])).await;
}

/// Boots under other names until so many are accepted: an answer is 202 or 503, and each name exists once
/// at most. Returns all that exist.
async fn each_at_most_once(alice: &User, name: &str, count: usize) -> Vec<String> {
    let (mut accepted, mut tried) = (Vec::new(), 0);
    while accepted.len() < count {
        tried += 1;
        assert!(tried < count * 10, "{accepted:?} of {tried} were accepted");
        let reply = alice.create(server(&format!("{name}{tried}"))).await;
        match reply.status.as_u16() {
            202 => accepted.push(id(&reply.body["server"])),
            503 => {}
            status => panic!("{status}: {}", reply.body),
        }
    }
    // Without details no cell is asked, and every server has its name.
    let listed = eventually(SHOWS, "a list is answered", async || {
        let page = alice.get("/v2.1/servers?limit=1000").await?;
        page["servers"].as_array().cloned().ok_or_else(|| page.to_string())
    })
    .await;
    let mut names: Vec<String> = listed.iter().map(|server| server["name"].to_string()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), listed.len(), "nothing exists twice");
    let ids: Vec<String> = listed.iter().map(id).collect();
    assert!(accepted.iter().all(|id| ids.contains(id)), "what was accepted exists");
    ids
}

async fn used_up(proxy: &Proxy, cuts: u64) {
    eventually(SHOWS, &format!("{cuts} connections are cut"), async || match proxy.cuts() {
        now if now == cuts => Ok(()),
        now => Err(format!("{now} are")),
    })
    .await;
}

/// Some hundred bytes into whatever is said, over and over.
async fn connections_break_anywhere(estate: &Estate) {
    let alice = estate.user("alice");
    let (api, cell) = (&estate.proxies().api, &estate.proxies().cell);
    for bytes in [900, 2_500] {
        let faults = Faults { cut_after: Some(bytes), cuts: 15, ..Faults::default() };
        cell.set(faults);
        api.set(faults);
        let ids = each_at_most_once(&alice, &format!("broken{bytes}-"), 4).await;
        used_up(api, 15).await;
        used_up(cell, 15).await;
        api.heal();
        cell.heal();
        within(WHOLE, all_active(estate, &ids, ids.len())).await;
        estate.clear(&["alice"]).await;
    }
}

/// Nothing is accepted that is not stored: the answer is 503, in time, and a moment later all is well.
async fn the_api_database_falls_silent(estate: &mut Estate) {
    let alice = estate.user("alice");
    let ids = alice.boot_many("loud", 2).await;
    all_active(estate, &ids, 2).await;
    estate.proxies().api.set(Faults { stall_down: true, ..Faults::default() });
    let reply = alice.create(server("silent")).await;
    assert_eq!(reply.status.as_u16(), 503, "{}", reply.body);
    let reply = alice.act(&ids[0], json!({"os-stop": null})).await;
    assert!(matches!(reply.status.as_u16(), 202 | 503), "{}: {}", reply.status, reply.body);
    estate.proxies().api.heal();
    estate.proxies().api.reset();
    within(WHOLE, async {
        estate.ready("").await;
        let after = alice.boot_many("again", 2).await;
        let counts = alice.settle(&after).await;
        assert_eq!(counts.get("ACTIVE"), Some(&2), "{counts:?}");
        estate.at_rest().await;
    })
    .await;
    estate.clear(&["alice"]).await;
}
