//! The user's commands against the API of separate processes, with real containers.

use std::process::{Command, Output};

use serde_json::Value;
use tests::estate::{Plan, Published, User};
use tests::{Estate, skep};

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs a command as a user who has what is needed in the environment.
async fn run(estate: &Estate, words: &[&str]) -> Said {
    let mut command = Command::new("timeout");
    command.arg("180").arg(skep()).args(words).env_clear();
    command.env("SKEP_ENDPOINT", estate.url(0)).env("SKEP_TOKEN", tests::estate::token("alice"));
    let done = tokio::task::spawn_blocking(move || command.output()).await.expect("runs");
    let Output { status, stdout, stderr } = done.expect("runs");
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Said { code: status.code().expect("was not killed"), out, err }
}

/// The same for what must succeed without a complaint; what it printed.
async fn ok(estate: &Estate, words: &[&str]) -> String {
    let said = run(estate, words).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{words:?}: {}", said.out);
    said.out
}

/// The same for what must fail; what it complained of.
async fn fails(estate: &Estate, words: &[&str]) -> String {
    let said = run(estate, words).await;
    assert_eq!(said.code, 1, "{words:?}: {}{}", said.out, said.err);
    said.err
}

/// A server by its name, as `skep ps` tells of it.
async fn listed(estate: &Estate, name: &str) -> Value {
    let text = ok(estate, &["ps", "-o", "json"]).await;
    let all: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let found = all.into_iter().find(|server| server["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_live_at_the_command_line() {
    let _alone = crate::alone().await;
    let estate = Estate::start(Plan { cells: 2, ..Plan::default() }).await;
    let words = ["run", "--name", "web", "-p", "8080", "--wait", "skep/web:1"];
    let id = ok(&estate, &words).await.trim().to_owned();
    let published = is(&estate, "web", "ACTIVE").await.expect("a port");
    published.answers().await;
    assert!(ok(&estate, &["show", "web"]).await.contains("->8080/tcp"));

    a_log_is_read(&estate).await;
    web_stops_and_starts(&estate, &id, &published).await;
    several_at_a_time(&estate).await;
    what_cannot_run_fails_the_command(&estate).await;

    assert_eq!(ok(&estate, &["rm", "--wait", "web", "talker"]).await, "");
    assert_eq!(ok(&estate, &["ps", "-o", "name"]).await, "", "nothing is listed any more");
    let why = fails(&estate, &["show", "web"]).await;
    assert!(why.contains("web"), "{why}");
    assert!(estate.docker().labelled(&format!("skep.instance={id}")).is_empty(), "its container is gone");
    assert_eq!(estate.at_rest().await, 0);
}

/// That a server has a status; where its first port is reached, if it has one.
async fn is(estate: &Estate, name: &str, status: &str) -> Option<Published> {
    let server = listed(estate, name).await;
    assert_eq!(server["status"], status, "{server}");
    server["skep"]["bindings"].get(0).map(|_| User::published(&server))
}

async fn a_log_is_read(estate: &Estate) {
    let script = "echo \"$GREETING\"; echo two; exec sleep 600";
    let words = ["run", "--name", "talker", "-e", "GREETING=one of two", "--wait", "skep/web:1"];
    ok(estate, &[&words[..], &["/bin/sh", "-c", script]].concat()).await;
    let all = tests::eventually(std::time::Duration::from_secs(20), "it has said both", async || {
        let said = ok(estate, &["logs", "talker"]).await;
        if said.lines().count() == 2 { Ok(said) } else { Err(said) }
    });
    assert_eq!(all.await, "one of two\ntwo\n");
    assert_eq!(ok(estate, &["logs", "-n", "1", "talker"]).await, "two\n");
}

async fn web_stops_and_starts(estate: &Estate, id: &str, published: &Published) {
    assert_eq!(ok(estate, &["stop", "--wait", "web"]).await, "");
    is(estate, "web", "SHUTOFF").await;
    assert!(!published.is_answered().await, "a stopped server answers nothing");
    let why = fails(estate, &["stop", "web"]).await;
    assert!(why.contains("stop"), "{why}");
    ok(estate, &["logs", "web"]).await;
    // By the end of its id, and without waiting, in the words that were typed.
    let end = &id[id.len() - 8..];
    assert_eq!(ok(estate, &["start", end]).await, format!("{end}\n"));
    estate.user("alice").reaches(id, "ACTIVE").await;
    is(estate, "web", "ACTIVE").await.expect("a port").answers().await;
    ok(estate, &["reboot", "--hard", "--wait", id]).await;
    is(estate, "web", "ACTIVE").await.expect("a port").answers().await;
}

async fn several_at_a_time(estate: &Estate) {
    let words = ["run", "--name", "many", "--count", "3", "--wait", "skep/web:1"];
    assert_eq!(ok(estate, &words).await.lines().count(), 3);
    assert_eq!(estate.at_rest().await, 5);
    // What is not there is told of, and the others are done.
    let why = fails(estate, &["stop", "--wait", "many-1", "nobody", "many-2"]).await;
    assert!(why.contains("nobody"), "{why}");
    for (name, status) in [("many-1", "SHUTOFF"), ("many-2", "SHUTOFF"), ("many-3", "ACTIVE")] {
        is(estate, name, status).await;
    }
    ok(estate, &["rm", "--wait", "many-1", "many-2", "many-3"]).await;
    assert_eq!(estate.at_rest().await, 2);
}

/// Nobody listens where the image would be.
async fn what_cannot_run_fails_the_command(estate: &Estate) {
    let why = fails(estate, &["run", "--name", "wrong", "--wait", "127.0.0.1:9/none:1"]).await;
    assert!(why.contains("cannot pull image"), "{why}");
    is(estate, "wrong", "ERROR").await;
    ok(estate, &["rm", "--wait", "wrong"]).await;
}
