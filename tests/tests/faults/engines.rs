//! Docker Engine that freezes, dies with its containers, and whose replies are lost.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use tests::estate::{Plan, User, server};
use tests::{Estate, Faults, Part, Services, eventually, within};

use crate::{SHOWS, all_active, hosts_ready};

/// Until all is done after the last reply was lost (case 31: 8 s, for half as many instances).
const ADOPTED: Duration = Duration::from_secs(30);
/// Until all is done after an engine goes on (case 29: 25 s with the freeze itself).
const THAWED: Duration = Duration::from_secs(40);
/// Seconds in which an engine that works has removed a container, also on a machine that is busy.
const REMOVAL: u32 = 20;
/// How often an engine that does not is started again.
const STARTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn engines_may_freeze_die_and_lose_replies() {
    let _alone = crate::alone().await;
    let services = Services::private(&[Part::Docker]);
    let plan = Plan { cells: 1, proxied: true, ..Plan::default() };
    let mut estate = Estate::start_on(plan, Some(&services)).await;
    its_replies_are_lost(&estate).await;
    it_freezes(&mut estate, &services).await;
    it_dies_with_its_containers(&mut estate, &services).await;
}

/// The container was made, or started, or removed, and the agent never heard: it is adopted, not doubled.
async fn its_replies_are_lost(estate: &Estate) {
    let alice = estate.user("alice");
    let engine = estate.proxies().engine.as_ref().expect("has an engine");
    let lose = |word: &'static [u8]| Faults { lose_answer_to: Some(word), cuts: 3, ..Faults::default() };
    let lost = async |what: &str| {
        eventually(SHOWS, &format!("three replies to {what} are lost"), async || match engine.cuts() {
            3 => Ok(()),
            now => Err(format!("{now} are")),
        })
        .await;
        engine.heal();
    };
    engine.set(lose(b"/containers/create"));
    let mut ids = alice.boot_many("made", 4).await;
    lost("create").await;
    within(ADOPTED, all_active(estate, &ids, 4)).await;
    engine.set(lose(b"/start"));
    ids.extend(alice.boot_many("started", 4).await);
    lost("start").await;
    within(ADOPTED, all_active(estate, &ids, 8)).await;
    engine.set(lose(b"DELETE /"));
    for id in &ids {
        alice.delete(id).await;
    }
    lost("delete").await;
    within(ADOPTED, estate.clear(&["alice"])).await;
}

/// It accepts connections and answers nothing, and then goes on.
async fn it_freezes(estate: &mut Estate, services: &Services) {
    let alice = estate.user("alice");
    let old = alice.boot_many("old", 4).await;
    all_active(estate, &old, 4).await;
    services.freeze(Part::Docker);
    let meanwhile = alice.boot_many("meanwhile", 3).await;
    alice.delete(&old[0]).await;
    alice.act(&old[1], json!({"os-stop": null})).await.expect(202);
    hosts_ready(estate, 0).await;
    services.thaw(Part::Docker);
    within(THAWED, async {
        estate.ready("").await;
        alice.gone(&old[0]).await;
        alice.reaches(&old[1], "SHUTOFF").await;
        let counts = alice.settle(&meanwhile).await;
        assert_eq!(counts.get("ACTIVE"), Some(&3), "{counts:?}");
        estate.at_rest().await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// Engine and containers die at once, as when a machine's memory runs out: by each one's policy they run
/// again or are told to have ended, and none is doubled.
async fn it_dies_with_its_containers(estate: &mut Estate, services: &Services) {
    let alice = estate.user("alice");
    let (mut once, mut again) = (Vec::new(), Vec::new());
    for n in 0..2 {
        once.push(alice.boot(server(&format!("once{n}"))).await);
        let mut wish = server(&format!("again{n}"));
        wish["skep"]["restart"] = json!("always");
        again.push(alice.boot(wish).await);
    }
    all_active(estate, &[once.clone(), again.clone()].concat(), 4).await;
    let engine = estate.docker();
    let foreign = engine.cli(&["run", "--detach", "skep/web:1"]).trim().to_owned();
    let mut all = engine.labelled("skep.instance");
    all.push(foreign.clone());
    let pids: Vec<String> = all
        .iter()
        .map(|id| engine.cli(&["inspect", "--format", "{{.State.Pid}}", id]).trim().to_owned())
        .collect();
    services.kill(Part::Docker);
    let killed = Command::new("kill").arg("-KILL").args(&pids).status();
    assert!(killed.is_ok_and(|status| status.success()), "their processes are killed: {pids:?}");
    let meanwhile = alice.boot_many("meanwhile", 2).await;
    services.start(Part::Docker);
    removes(services, &foreign);
    estate.ready("").await;
    for id in &again {
        // It has another port than before.
        eventually(SHOWS, "it runs again and answers", async || {
            let server = alice.show(id).await?;
            let told = server["status"] == "ACTIVE" && server["skep"]["restarts"].as_u64() >= Some(1);
            match told && User::published(&server).is_answered().await {
                true => Ok(()),
                false => Err(format!("{}, restarts: {}", server["status"], server["skep"]["restarts"])),
            }
        })
        .await;
    }
    for id in &once {
        alice.reaches(id, "SHUTOFF").await;
        // What ended of itself is an intent that is not carried out, which the checker would hold against it.
        alice.act(id, json!({"os-start": null})).await.expect(202);
        alice.reaches(id, "ACTIVE").await;
    }
    all_active(estate, &meanwhile, 6).await;
    let all = [once, again, meanwhile].concat();
    for id in &all {
        alice.delete(id).await;
    }
    for _ in 0..STARTS {
        let gone = async {
            for id in &all {
                alice.gone(id).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(u64::from(REMOVAL) * 2), gone).await.is_ok() {
            break;
        }
        let other = services.docker().cli(&["create", "skep/web:1"]).trim().to_owned();
        removes(services, &other);
    }
    estate.clear(&["alice"]).await;
}

/// Has the engine remove a container of ours that is no instance, and does what an operator would do if it cannot:
/// one of version 20.10 that was killed along with its containers and started again sometimes hangs on every
/// removal for ever, its own command line's too, until it is started once more.
pub(crate) fn removes(services: &Services, container: &str) {
    for _ in 0..STARTS {
        match services.docker().try_cli_within(REMOVAL, &["rm", "--force", container]) {
            Ok(_) => return,
            Err(why) if why.contains("No such container") => return,
            Err(why) => eprintln!("the engine does not remove containers and is started again: {why}"),
        }
        services.restart(Part::Docker);
    }
    panic!("the engine was started {STARTS} times and removes no container");
}
