//! A cell is added to a cloud that runs, and lives its life.

use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tests::estate::{Plan, User, server};
use tests::{Estate, eventually, skep};

/// The exit code of a command by the API, and what it says.
pub async fn run(estate: &Estate, line: &str) -> (i32, String) {
    let token = estate.path("operator.token");
    std::fs::write(&token, tests::estate::token("operator")).expect("is written");
    let mut command = Command::new("timeout");
    command.arg("180").arg(skep()).args(line.split_whitespace()).env_clear();
    command.args(["--endpoint", &estate.url(0), "--token-file"]).arg(&token);
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("runs");
    let Output { status, stdout, stderr } = done.expect("runs");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (status.code().expect("was not killed"), text.concat())
}

pub async fn expect(estate: &Estate, line: &str, code: i32, says: &str) -> String {
    let (ended, said) = run(estate, line).await;
    assert_eq!(ended, code, "{line}: {said}");
    assert!(said.contains(says), "{line}: wanted '{says}': {said}");
    said
}

/// From a PostgreSQL that has no such database and a RabbitMQ whose vhost is empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_added_in_three_commands() {
    let _alone = crate::alone().await;
    let plan = Plan { cells: 1, ..Plan::default() };
    let mut estate = Estate::start(plan).await;
    let site = estate.site();
    let (name, database, broker) = (site.name.clone(), site.database.url(), site.vhost.url());
    assert_eq!(site.vhost.queues(), [], "nothing is there");

    // One.
    let create = format!("--name {name} --region here --database-url {database} --transport-url {broker}");
    let told = expect(&estate, &format!("cell create {create} --join-tokens 1"), 0, "skep-join-").await;
    let token = told.lines().find(|line| line.starts_with("skep-join-")).expect("a token");
    // The host's agent reads it; the cell's conductor lets nobody in without one.
    std::fs::write(estate.path(&format!("{name}-h1.join")), token).expect("is written");
    assert!(site.vhost.queues().iter().any(|(queue, ..)| queue == "conductors"));
    assert!(site.database.number("SELECT count(*) FROM schema_meta WHERE version > 0") == 1);
    expect(&estate, &format!("cell activate {name}"), 1, "is not ready: conductors").await;
    // Two, on the machines of the cell.
    estate.run(&format!("conductor-{name}"));
    estate.run(&format!("agent-{name}-h1"));
    // Three: it waits for the roles, and runs a container.
    expect(&estate, &format!("cell activate {name} --timeout 120"), 0, "").await;
    expect(&estate, &format!("host show {name}-h1 -o json"), 0, "\"key\": \"own\"").await;
    assert_eq!(site.database.number("SELECT count(*) FROM join_token WHERE used_by IS NOT NULL"), 1);
    let gone = "SELECT count(*) FROM instance WHERE project = 'skep-preflight' AND stage = 'tombstone'";
    assert_eq!(site.database.number(gone), 1, "a container ran and was removed");

    // Its first container: the other cell takes nothing new.
    expect(&estate, "cell cordon cell1", 0, "").await;
    estate.ready("api").await;
    let alice = estate.user("alice");
    let told = expect(&estate, &format!("cell show {name} -o json"), 0, "").await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let operator = estate.user("operator");
    let id = boots(&alice, "first", "ACTIVE", Some((&operator, &told["id"]))).await;

    only_chosen_projects(&estate, &name).await;
    it_ends(&estate, &name, &id).await;
}

/// Boots servers until one ends up so: the superconductor hears of a cell's state within a second, not at once.
async fn boots(user: &User, name: &str, status: &str, cell: Option<(&User, &Value)>) -> String {
    let ids = std::cell::RefCell::new(Vec::new());
    let id = eventually(Duration::from_secs(120), &format!("{name} is {status}"), async || {
        let id = user.boot(server(name)).await;
        ids.borrow_mut().push(id.clone());
        let settled = user.settle(std::slice::from_ref(&id)).await;
        if !settled.contains_key(status) {
            return Err(format!("{settled:?}"));
        }
        let Some((operator, cell)) = cell else { return Ok(id) };
        let shown = operator.show(&id).await?;
        if shown["skep"]["cell"] == *cell { Ok(id) } else { Err(shown["skep"].to_string()) }
    })
    .await;
    for other in ids.into_inner().iter().filter(|other| **other != id) {
        user.delete_again(other).await;
        user.gone(other).await;
    }
    id
}

async fn only_chosen_projects(estate: &Estate, name: &str) {
    expect(estate, &format!("cell testing {name} --project db"), 1, "cannot become testing").await;
    expect(estate, &format!("cell cordon {name}"), 0, "").await;
    expect(estate, &format!("cell testing {name} --project db"), 0, "").await;
    let shown = expect(estate, &format!("cell show {name} -o json"), 0, "").await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["projects"], serde_json::json!(["db"]), "{shown}");
    let (alice, bob) = (estate.user("alice"), estate.user("bob"));
    let here = boots(&bob, "here", "ACTIVE", None).await;
    let nowhere = boots(&alice, "nowhere", "ERROR", None).await;
    let fault = alice.show(&nowhere).await.expect("is shown");
    assert!(fault["fault"]["message"].as_str().is_some_and(|why| why.contains("tests with")), "{fault}");
    for (user, id) in [(&alice, &nowhere), (&bob, &here)] {
        user.delete_again(id).await;
        user.gone(id).await;
    }
}

async fn it_ends(estate: &Estate, name: &str, id: &str) {
    expect(estate, &format!("cell retire {name}"), 1, "cannot become retired").await;
    expect(estate, &format!("cell drain {name}"), 0, "1 instances").await;
    expect(estate, &format!("cell drain {name} --timeout 1"), 4, "1 instances").await;
    expect(estate, &format!("cell activate {name}"), 1, "cannot become active").await;
    let alice = estate.user("alice");
    alice.delete_again(id).await;
    alice.gone(id).await;
    expect(estate, &format!("cell drain {name} --timeout 60 -o json"), 0, "\"drained\"").await;
    expect(estate, &format!("cell retire {name}"), 0, "").await;
    expect(estate, &format!("cell cordon {name}"), 1, "for good").await;
    expect(estate, "cell uncordon cell1", 0, "").await;
    estate.clear(&["alice", "bob"]).await;
}
