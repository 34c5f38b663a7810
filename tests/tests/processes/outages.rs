//! Brokers and databases that go away, on services that belong to the story.

use std::time::Duration;

use model::Env;
use serde_json::json;
use tests::estate::{Chance, Plan, User, server};
use tests::{Estate, Part, Services, eventually, within};

/// Until 65 boots are done after the broker was killed and is back (case 16: 25 s with half as many).
const KILLED: Duration = Duration::from_secs(60);
/// Until 50 boots or deletes are done after their messages were purged (case 18: a delay of 30 s).
const PURGED: Duration = Duration::from_secs(60);
/// The longest list while a cell's database is frozen (case 22: 2.5 s).
const LIST: Duration = Duration::from_secs(5);
/// Until what lies in a cell is told again after its database goes on (case 22: 20 s with the freeze itself).
const THAWED: Duration = Duration::from_secs(30);
/// Until a container runs again by its policy (case 33: 5 s).
const RESTARTED: Duration = Duration::from_secs(10);
/// Until that is told, once everything above is back.
const TOLD: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn brokers_and_databases_may_go_away() {
    let _alone = crate::alone().await;
    let services = Services::private(&[Part::Postgres, Part::Rabbit]);
    // Everything that rings does so over this broker, and the first cell's database is this one.
    let mut estate = Estate::start_on(Plan { hosts: 1, ..Plan::default() }, Some(&services)).await;
    a_broker_that_restarts_costs_latency_only(&mut estate, &services).await;
    messages_that_are_purged_cost_latency_only(&estate).await;
    a_frozen_database_costs_its_own_cell_only(&estate, &services).await;
    hosts_restart_containers_with_everything_above_down(&estate, &services).await;
}

async fn a_broker_that_restarts_costs_latency_only(estate: &mut Estate, services: &Services) {
    let alice = estate.user("alice");
    let mut chance = Chance::new();
    let before = alice.boot_many("before", 50).await;
    chance.moment(Duration::from_secs(1)).await;
    are_in_flight(&alice).await;
    services.kill(Part::Rabbit);
    // What is accepted meanwhile is a row, not a message.
    let meanwhile = alice.boot_many("meanwhile", 10).await;
    services.start(Part::Rabbit);
    let after = alice.boot_many("after", 5).await;
    let ids: Vec<String> = [before, meanwhile, after].concat();
    within(KILLED, async {
        let counts = alice.settle(&ids).await;
        assert_eq!(counts.get("ACTIVE"), Some(&65), "{counts:?}");
        assert_eq!(estate.at_rest().await, 65);
        estate.ready("").await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// That most of a user's servers are not yet made: else nothing is tried by what comes next.
async fn are_in_flight(user: &User) {
    let statuses = user.statuses().await;
    let building = statuses.values().filter(|status| *status == "BUILD").count();
    assert!(building * 2 > statuses.len(), "{building} of {}", statuses.len());
}

async fn messages_that_are_purged_cost_latency_only(estate: &Estate) {
    let alice = estate.user("alice");
    let ids = alice.boot_many("purged", 50).await;
    are_in_flight(&alice).await;
    for vhost in estate.vhosts() {
        vhost.purge();
    }
    within(PURGED, async {
        let counts = alice.settle(&ids).await;
        assert_eq!(counts.get("ACTIVE"), Some(&50), "{counts:?}");
        assert_eq!(estate.at_rest().await, 50);
    })
    .await;
    for id in &ids {
        alice.delete(id).await;
    }
    for vhost in estate.vhosts() {
        vhost.purge();
    }
    within(PURGED, estate.clear(&["alice"])).await;
}

/// The first cell's database accepts connections and answers nothing.
async fn a_frozen_database_costs_its_own_cell_only(estate: &Estate, services: &Services) {
    let (alice, operator) = (estate.user("alice"), estate.user("operator"));
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let first = first_cell(estate);
    while inside.len() < 3 || outside.len() < 3 {
        let count = inside.len() + outside.len();
        assert!(count < 40, "{} of {count} servers lie in the first cell", inside.len());
        for id in alice.boot_many(&format!("cold{count}-"), 6).await {
            alice.reaches(&id, "ACTIVE").await;
            let shown = operator.show(&id).await.expect("is shown");
            if shown["skep"]["cell"] == json!(first) { inside.push(id) } else { outside.push(id) }
        }
    }
    let all = inside.len() + outside.len();
    estate.at_rest().await;
    let env = Env::system();
    services.freeze(Part::Postgres);
    let listed = eventually(Duration::from_secs(60), "the frozen cell is dark", async || {
        let start = env.monotonic();
        let listed = alice.list().await;
        let took = env.monotonic() - start;
        assert!(took < LIST, "a list took {took:?}");
        let dark = listed.iter().filter(|server| server["status"] == "UNKNOWN").count();
        if dark == inside.len() && took < Duration::from_secs(1) {
            Ok(listed)
        } else {
            Err(format!("{dark} are UNKNOWN, in {took:?}"))
        }
    })
    .await;
    assert_eq!(listed.len(), all, "nothing vanishes from a list");
    let dark = listed.iter().find(|server| server["status"] == "UNKNOWN").expect("one is dark");
    assert_eq!(dark["skep"]["last_status"], "ACTIVE", "what was known last is told: {dark}");
    // Whoever has nothing to do with that cell notices nothing.
    for id in &outside[..3] {
        let start = env.monotonic();
        alice.show(id).await.expect("is shown");
        let took = env.monotonic() - start;
        assert!(took < Duration::from_millis(1900), "a show of another cell took {took:?}");
    }
    let new = alice.boot_many("elsewhere", 4).await;
    for id in &new {
        alice.reaches(id, "ACTIVE").await;
    }
    let refused = alice.act(&inside[0], json!({"os-stop": null})).await;
    assert_eq!(refused.status.as_u16(), 503, "{}", refused.body);
    assert!(refused.header("Retry-After").is_some());
    services.thaw(Part::Postgres);
    within(THAWED, async {
        for id in &inside {
            alice.reaches(id, "ACTIVE").await;
        }
    })
    .await;
    alice.act(&inside[0], json!({"os-stop": null})).await.expect(202);
    alice.reaches(&inside[0], "SHUTOFF").await;
    estate.clear(&["alice"]).await;
}

/// The id of the first cell.
fn first_cell(estate: &Estate) -> String {
    let rows = estate.api_database().query("SELECT id FROM cell_mapping WHERE name = 'cell1'");
    rows[0][0].clone()
}

/// A container's process dies: with everything up, and with the first cell's database and broker down, when its agent
/// alone carries out the restart policy.
async fn hosts_restart_containers_with_everything_above_down(estate: &Estate, services: &Services) {
    let (alice, operator, first) = (estate.user("alice"), estate.user("operator"), first_cell(estate));
    let mut wish = server("phoenix");
    wish["skep"]["restart"] = json!("always");
    let mut tried = 0;
    let id = loop {
        tried += 1;
        assert!(tried < 30, "none of them went to the first cell");
        let id = alice.boot(wish.clone()).await;
        alice.reaches(&id, "ACTIVE").await;
        if operator.show(&id).await.expect("is shown")["skep"]["cell"] == json!(first) {
            break id;
        }
    };
    let published = User::published(&alice.reaches(&id, "ACTIVE").await);
    published.answers().await;
    dies_and_runs_again(estate, &id).await;
    let server = alice.restarted(&id, 1, TOLD).await;
    assert_eq!(server["status"], "ACTIVE");
    User::published(&server).answers().await;

    services.kill(Part::Rabbit);
    services.kill(Part::Postgres);
    dies_and_runs_again(estate, &id).await;
    services.start(Part::Postgres);
    services.start(Part::Rabbit);
    let server = alice.restarted(&id, 2, TOLD).await;
    assert_eq!(server["status"], "ACTIVE");
    User::published(&server).answers().await;
    estate.at_rest().await;
    estate.clear(&["alice"]).await;
}

/// Kills the process of an instance's container, and waits until its restart policy has acted.
async fn dies_and_runs_again(estate: &Estate, id: &str) {
    let container = estate.docker().labelled(&format!("skep.instance={id}")).remove(0);
    let pid = process_of(estate, &container);
    let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status();
    assert!(killed.is_ok_and(|status| status.success()), "the container's process is killed");
    eventually(RESTARTED, "the container runs again", async || match process_of(estate, &container) {
        now if now == pid || now == "0" => Err(format!("its process is {now}")),
        now => Ok(now),
    })
    .await;
}

/// The id of a container's first process on this machine; 0 while it does not run.
fn process_of(estate: &Estate, container: &str) -> String {
    estate.docker().cli(&["inspect", "--format", "{{.State.Pid}}", container]).trim().to_owned()
}
