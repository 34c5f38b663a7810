//! Engines that die and leave their containers alive, and hosts that die with everything and come back.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use model::Env;
use serde_json::json;
use tests::estate::{Plan, User, server};
use tests::{Docker, Estate, Part, Services, eventually, within};

use crate::engines::removes;
use crate::{SHOWS, all_active, hosts_ready};

const AGENT: &str = "agent-cell1-h1";
/// Until everything is adopted after an engine's death (case 30 is given 10 s, on an idle machine).
const ADOPTED: Duration = Duration::from_secs(20);
/// Until a copy that was deleted meanwhile is gone, from the start of the agent (case 32: 10 s).
const REMOVED: Duration = Duration::from_secs(10);
/// Until a host that is back is at rest (case 32 is given 30 s for the whole of it, on an idle machine).
const BACK: Duration = Duration::from_secs(40);
/// How often is looked whether an engine starts something by itself.
const LOOKS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn engines_and_hosts_may_die_and_come_back() {
    let _alone = crate::alone().await;
    let services = Services::private(&[Part::Docker]);
    let mut estate = Estate::start_on(Plan { cells: 1, ..Plan::default() }, Some(&services)).await;
    an_engine_dies_and_its_containers_live_on(&mut estate, &services).await;
    a_host_dies_and_comes_back(&mut estate, &services).await;
}

/// The engine is killed, and runs with `--live-restore`: afterwards the same containers with the same processes are
/// what the cell knows, whatever their policy, and they obey.
async fn an_engine_dies_and_its_containers_live_on(estate: &mut Estate, services: &Services) {
    let alice = estate.user("alice");
    let mut ids = alice.boot_many("once", 2).await;
    ids.push(alice.boot(always("again")).await);
    all_active(estate, &ids, 3).await;
    let before = running(&services.docker());
    assert_eq!(before.len(), 3, "{before:?}");
    services.kill(Part::Docker);
    hosts_ready(estate, 0).await;
    for id in &ids {
        let server = alice.show(id).await.expect("is shown");
        assert_eq!(server["status"], "ACTIVE", "nothing is concluded from an engine's silence");
    }
    services.start(Part::Docker);
    within(ADOPTED, async {
        estate.ready("").await;
        all_active(estate, &ids, 3).await;
    })
    .await;
    assert_eq!(running(&services.docker()), before, "the same containers, processes and starts");
    for id in &ids {
        let server = alice.show(id).await.expect("is shown");
        assert_eq!(server["skep"]["restarts"], 0, "{server}");
        User::published(&server).answers().await;
        alice.act(id, json!({"os-stop": null})).await.expect(202);
    }
    for id in &ids {
        alice.reaches(id, "SHUTOFF").await;
    }
    assert_eq!(running(&services.docker()), BTreeSet::new());
    assert_eq!(estate.at_rest().await, 3);
    estate.clear(&["alice"]).await;
}

/// Agent, engine and containers die at once, and one instance is deleted before they are back. The engine is back before
/// the agent, and starts nothing by itself; the agent, after another boot, starts nothing before its cell has told it
/// what is still wanted: so the deleted one's container never runs again, whatever its policy.
async fn a_host_dies_and_comes_back(estate: &mut Estate, services: &Services) {
    let alice = estate.user("alice");
    let once = alice.boot(server("once")).await;
    let stopped = alice.boot(server("stopped")).await;
    let again = [alice.boot(always("again0")).await, alice.boot(always("again1")).await];
    let doomed = alice.boot(always("doomed")).await;
    let most = [&again[..], &[once.clone(), stopped.clone(), doomed.clone()]].concat();
    all_active(estate, &most, 5).await;
    alice.act(&stopped, json!({"os-stop": null})).await.expect(202);
    alice.reaches(&stopped, "SHUTOFF").await;
    let foreign = services.docker().cli(&["run", "--detach", "skep/web:1"]).trim().to_owned();
    let pids = services.docker().labelled("skep.instance").into_iter().chain([foreign.clone()]);
    let pids: Vec<String> = pids.map(|id| told(&services.docker(), "{{.State.Pid}}", &id)).collect();

    estate.kill(AGENT);
    services.kill(Part::Docker);
    let killed = Command::new("kill").arg("-KILL").args(pids.iter().filter(|pid| *pid != "0")).status();
    assert!(killed.is_ok_and(|status| status.success()), "their processes are killed: {pids:?}");
    alice.delete(&doomed).await;
    let wanted = format!("SELECT count(*) FROM instance WHERE id = '{doomed}' AND intent = 'gone'");
    eventually(SHOWS, "the cell wants it gone", async || match estate.cell_database(1).number(&wanted) {
        1 => Ok(()),
        _ => Err("it does not".into()),
    })
    .await;

    services.start(Part::Docker);
    removes(services, &foreign);
    for _ in 0..LOOKS {
        assert_eq!(running(&services.docker()), BTreeSet::new(), "an engine starts nothing by itself");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let env = Env::system();
    let start = env.monotonic();
    estate.run_booted(AGENT);
    within(REMOVED, async {
        eventually(SHOWS, "the deleted one's container is removed", async || {
            match services.docker().labelled(&format!("skep.instance={doomed}")) {
                left if left.is_empty() => Ok(()),
                left => Err(format!("{left:?}")),
            }
        })
        .await;
        alice.gone(&doomed).await;
    })
    .await;
    eprintln!("what was deleted meanwhile was gone {:?} after the host's return", env.monotonic() - start);
    within(BACK, async {
        estate.ready("").await;
        for id in &again {
            let server = alice.restarted(id, 1, SHOWS).await;
            assert_eq!(server["status"], "ACTIVE");
            User::published(&server).answers().await;
        }
        alice.reaches(&once, "SHUTOFF").await;
        alice.reaches(&stopped, "SHUTOFF").await;
    })
    .await;
    let started = starts(&services.docker());
    assert_eq!(started, again.iter().cloned().collect(), "these and no others were started since");
    // What ended of itself is an intent that is not carried out, which the checker would hold against it.
    alice.act(&once, json!({"os-start": null})).await.expect(202);
    alice.reaches(&once, "ACTIVE").await;
    assert_eq!(estate.at_rest().await, 4);
    estate.clear(&["alice"]).await;
}

/// The body of a create of what is to run again whenever it ends.
fn always(name: &str) -> serde_json::Value {
    let mut wish = server(name);
    wish["skep"]["restart"] = json!("always");
    wish
}

/// Instances' containers that run: id, process and time of the last start of each.
fn running(docker: &Docker) -> BTreeSet<String> {
    let ids = docker.cli(&["ps", "-q", "--no-trunc", "--filter", "label=skep.instance"]);
    ids.lines().map(|id| told(docker, "{{.Id}} {{.State.Pid}} {{.State.StartedAt}}", id)).collect()
}

/// The instances of which a container was started since the engine was.
fn starts(docker: &Docker) -> BTreeSet<String> {
    let format = r#"{{index .Actor.Attributes "skep.instance"}}"#;
    // Ends are whole seconds, rounded down: this one is yet to come, and waited for.
    let list = ["events", "--since", "0", "--until=-1s", "--filter", "event=start", "--format", format];
    let told = docker.cli(&[&list[..], &["--filter", "label=skep.instance"]].concat());
    told.lines().map(str::to_owned).collect()
}

/// What the engine tells of a container.
fn told(docker: &Docker, format: &str, id: &str) -> String {
    docker.cli(&["inspect", "--format", format, id]).trim().to_owned()
}
