//! What users do with servers, on one estate, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tests::estate::{Chance, Plan, User, server};
use tests::{Estate, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn servers_live_and_go_in_three_cells() {
    let _alone = crate::alone().await;
    let plan = Plan { apis: 2, superconductors: 2, hosts: 2, ..Plan::default() };
    let mut estate = Estate::start(plan).await;
    boots_lists_and_shows(&estate).await;
    crate::health::every_role_tells_of_itself(&estate).await;
    stops_starts_and_reboots(&estate).await;
    request_ids_go_to_the_host_and_back(&estate).await;
    what_fits_nowhere_says_why(&estate).await;
    what_the_engine_refuses_is_told_in_its_words(&estate).await;
    estate.clear(&["alice"]).await;
    projects_cannot_reach_each_other(&estate).await;
    estate.clear(&["alice", "bob"]).await;
    a_lost_agent_adopts_its_containers(&mut estate).await;
    estate.clear(&["alice"]).await;
    a_drain_is_bounded(&mut estate).await;
    estate.clear(&["alice"]).await;
}

/// A server answers HTTP on its published port; lists and shows of both API processes agree.
async fn boots_lists_and_shows(estate: &Estate) {
    let (alice, other) = (estate.user_at("alice", 0), estate.user_at("alice", 1));
    let (mut ids, mut cells): (Vec<String>, BTreeSet<String>) = Default::default();
    let operator = estate.user("operator");
    // Cells are picked by hash, so that it is not said after how many each has one.
    while ids.len() < 9 || cells.len() < 3 {
        assert!(ids.len() < 36, "only these cells have any: {cells:?}");
        for id in alice.boot_many("web", 9).await {
            let server = alice.reaches(&id, "ACTIVE").await;
            User::published(&server).answers().await;
            assert!(server["skep"]["cell"].is_null(), "users do not see cells: {server}");
            let shown = operator.show(&id).await.expect("an administrator sees it");
            cells.insert(shown["skep"]["cell"].to_string());
            ids.push(id);
        }
    }
    assert_eq!(estate.at_rest().await, ids.len());
    let newest_first: Vec<&String> = ids.iter().rev().collect();
    for user in [&alice, &other] {
        let listed = user.list().await;
        let listed_ids: Vec<String> = listed.iter().map(tests::estate::id).collect();
        assert_eq!(listed_ids.iter().collect::<Vec<_>>(), newest_first);
        for server in listed {
            let shown = user.show(&tests::estate::id(&server)).await.expect("is shown");
            for member in ["name", "status", "created", "updated", "addresses", "hostId", "skep"] {
                assert_eq!(server[member], shown[member], "{member} in a list and in a show");
            }
        }
    }
    let foreign = estate.user("bob");
    assert!(foreign.list().await.is_empty());
    let hidden = foreign.client().get(&format!("/v2.1/servers/{}", ids[0])).await.expect("answers");
    hidden.expect(404);
}

async fn stops_starts_and_reboots(estate: &Estate) {
    let alice = estate.user("alice");
    let id = alice.boot(server("busy")).await;
    let published = User::published(&alice.reaches(&id, "ACTIVE").await);
    published.answers().await;
    alice.act(&id, json!({"os-stop": null})).await.expect(202);
    alice.reaches(&id, "SHUTOFF").await;
    assert!(!published.is_answered().await, "a stopped server answers nothing");
    alice.act(&id, json!({"os-stop": null})).await.expect(409);
    alice.act(&id, json!({"os-start": null})).await.expect(202);
    let server = alice.reaches(&id, "ACTIVE").await;
    User::published(&server).answers().await;
    for kind in ["SOFT", "HARD"] {
        let before = started_at(estate, &id);
        alice.act(&id, json!({"reboot": {"type": kind}})).await.expect(202);
        let server = alice.reaches(&id, "ACTIVE").await;
        User::published(&server).answers().await;
        assert_ne!(started_at(estate, &id), before, "{kind}: its process is a new one");
    }
    estate.at_rest().await;
    alice.delete(&id).await;
    alice.gone(&id).await;
    assert!(estate.docker().labelled(&format!("skep.instance={id}")).is_empty());
    estate.at_rest().await;
}

/// What is logged of a request on a host, and by the conductor that hears of it, carries the request's id.
async fn request_ids_go_to_the_host_and_back(estate: &Estate) {
    let alice = estate.user("alice");
    let asked = |reply: &tests::Reply| reply.header("X-Compute-Request-Id").expect("has an id").to_owned();
    let boot = alice.create(server("traced")).await;
    let id = tests::estate::id(&boot.body["server"]);
    alice.reaches(&id, "ACTIVE").await;
    let stop = alice.act(&id, json!({"os-stop": null})).await;
    alice.reaches(&id, "SHUTOFF").await;
    let delete = alice.client().delete(&format!("/v2.1/servers/{id}")).await.expect("the API answers");
    assert_eq!(delete.status, 204, "{}", delete.body);
    alice.gone(&id).await;
    for reply in [&boot, &stop, &delete] {
        let request = asked(reply);
        eventually(Duration::from_secs(10), "the request is told of", async || {
            for role in ["agent-", "conductor-"] {
                let told = estate.logs(role);
                let line = |line: &&str| line.contains(&request) && line.contains(&id);
                if !told.lines().any(|told| line(&told)) {
                    return Err(format!("no {role} tells of {request} and {id}"));
                }
            }
            Ok(())
        })
        .await;
    }
}

/// When the engine last started an instance's container.
fn started_at(estate: &Estate, id: &str) -> String {
    let containers = estate.docker().labelled(&format!("skep.instance={id}"));
    assert_eq!(containers.len(), 1, "one container of {id}");
    estate.docker().cli(&["inspect", "--format", "{{.State.StartedAt}}", &containers[0]])
}

async fn what_fits_nowhere_says_why(estate: &Estate) {
    let alice = estate.user("alice");
    let mut huge = server("huge");
    huge["flavorRef"] = json!("5");
    huge["name"] = json!("huge");
    let id = alice.boot(huge).await;
    let dead = alice.reaches(&id, "ERROR").await;
    let why = dead["fault"]["message"].as_str().expect("says why");
    assert!(why.contains("No valid host was found") && why.contains("capacity"), "{why}");
    let shown = estate.user("operator").show(&id).await.expect("is shown");
    assert_eq!(shown["skep"]["cell"], json!("00000000-0000-0000-0000-000000000000"), "it lies in cell0");
    estate.at_rest().await;
    alice.delete(&id).await;
    alice.gone(&id).await;
}

async fn what_the_engine_refuses_is_told_in_its_words(estate: &Estate) {
    let alice = estate.user("alice");
    let before = estate.at_rest().await;
    let mut wish = server("wrong");
    // Nobody listens there.
    wish["imageRef"] = json!("127.0.0.1:9/none:1");
    let id = alice.boot(wish).await;
    let dead = alice.reaches(&id, "ERROR").await;
    let why = dead["fault"]["message"].as_str().expect("says why");
    assert!(why.contains("cannot pull image") && why.contains("connection refused"), "{why}");
    assert_eq!(estate.at_rest().await, before, "nothing of it is left");
    alice.delete(&id).await;
    alice.gone(&id).await;
}

/// Containers of one project reach each other on their host, those of another do not, and published
/// ports answer for both.
async fn projects_cannot_reach_each_other(estate: &Estate) {
    let (alice, bob) = (estate.user("alice"), estate.user("bob"));
    // Six hosts: of eight servers, two share one.
    let ours = alice.boot_many("a", 8).await;
    let theirs = bob.boot_many("b", 4).await;
    let (mut mine, mut foreign): (BTreeMap<String, Vec<Value>>, Vec<Value>) = Default::default();
    for id in &ours {
        let server = alice.reaches(id, "ACTIVE").await;
        User::published(&server).answers().await;
        mine.entry(server["hostId"].to_string()).or_default().push(server);
    }
    for id in &theirs {
        let server = bob.reaches(id, "ACTIVE").await;
        User::published(&server).answers().await;
        foreign.push(server);
    }
    let pair = mine.values().find(|servers| servers.len() > 1).expect("two share a host");
    let neighbour = vec![address(&pair[1])];
    assert_eq!(reached(estate, &pair[0], &neighbour), neighbour, "one project's containers reach each other");
    let addresses: Vec<String> = foreign.iter().map(address).collect();
    for servers in mine.values() {
        assert!(reached(estate, &servers[0], &addresses).is_empty(), "another project is out of reach");
    }
}

/// A server's address on its project's network.
fn address(server: &Value) -> String {
    let address = &server["addresses"]["skep"][0]["addr"];
    address.as_str().unwrap_or_else(|| panic!("it has no address: {server}")).to_owned()
}

/// Which of these addresses answer on port 8080 inside a server's container.
fn reached(estate: &Estate, server: &Value, addresses: &[String]) -> Vec<String> {
    let containers = estate.docker().labelled(&format!("skep.instance={}", tests::estate::id(server)));
    let script: String = addresses
        .iter()
        .map(|address| format!("(echo | nc -w 2 {address} 8080 >/dev/null && echo {address}) & "))
        .collect();
    let told = estate.docker().cli(&["exec", &containers[0], "sh", "-c", &format!("{script} wait; true")]);
    told.lines().map(str::to_owned).collect()
}

/// An agent dies, a container dies meanwhile, the agent returns: it knows its containers, tells of the
/// dead one, and starts what has to be restarted.
async fn a_lost_agent_adopts_its_containers(estate: &mut Estate) {
    let alice = estate.user("alice");
    let always = |name: &str, restart: &str| {
        let mut wish = server(name);
        wish["skep"]["restart"] = json!(restart);
        wish
    };
    let (mut once, mut again) = (Vec::new(), Vec::new());
    for n in 0..6 {
        once.push(alice.boot(always(&format!("once{n}"), "no")).await);
        again.push(alice.boot(always(&format!("again{n}"), "always")).await);
    }
    for id in once.iter().chain(&again) {
        alice.reaches(id, "ACTIVE").await;
    }
    assert_eq!(estate.at_rest().await, 12);
    let before: Vec<String> = estate.docker().labelled("skep.instance");
    for name in estate.names("agent-") {
        estate.kill(&name);
    }
    for id in once[..3].iter().chain(&again[..3]) {
        let container = estate.docker().labelled(&format!("skep.instance={id}"));
        estate.docker().cli(&["kill", &container[0]]);
    }
    for name in estate.names("agent-") {
        estate.run(&name);
    }
    estate.ready("agent-").await;
    for id in &once[..3] {
        alice.reaches(id, "SHUTOFF").await;
    }
    for id in &again {
        User::published(&alice.reaches(id, "ACTIVE").await).answers().await;
    }
    for id in &once[3..] {
        alice.reaches(id, "ACTIVE").await;
    }
    let after = estate.docker().labelled("skep.instance");
    assert!(before.iter().all(|id| after.contains(id)), "containers were adopted, not made anew");
    // What ended of itself is an intent that is not carried out, which the checker would hold against it.
    for id in &once[..3] {
        alice.act(id, json!({"os-start": null})).await.expect(202);
        alice.reaches(id, "ACTIVE").await;
    }
    assert_eq!(estate.at_rest().await, 12);
}

/// Every role ends within its drain time when it is asked to, in the middle of work, and its successor
/// finishes the work at once: nothing waits for a lease.
async fn a_drain_is_bounded(estate: &mut Estate) {
    let alice = estate.user("alice");
    let mut chance = Chance::new();
    let ids = alice.boot_many("drain", 12).await;
    chance.moment(Duration::from_millis(300)).await;
    let names = estate.names("");
    for name in names.iter().rev() {
        let status = estate.process(name).terminate(Duration::from_secs(15));
        assert!(status.success(), "{name} ended with {status}:\n{}", estate.process(name).tail(20));
    }
    let port = estate.url(0).rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert!(tests::estate::is_free(port), "nobody listens any more");
    for name in &names {
        estate.run(name);
    }
    estate.ready("").await;
    let left = eventually(Duration::from_secs(12), "all of them are ACTIVE", async || {
        let counts = alice.settle(&ids).await;
        if counts.get("ACTIVE") == Some(&ids.len()) { Ok(counts) } else { Err(format!("{counts:?}")) }
    })
    .await;
    assert_eq!(left.len(), 1);
    estate.at_rest().await;
}
