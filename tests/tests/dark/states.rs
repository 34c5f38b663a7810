//! One cell in one state: what everybody sees, what is refused whole, and what is carried out later.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tests::estate::server;
use tests::eventually;

use crate::routes;
use crate::stage::{Stage, State, Which};

/// Longest that the API level may take to see that a cell is dark: its deadline, a few times.
const SEEN: Duration = Duration::from_secs(30);

/// Plays it, and heals the cell.
pub async fn one(stage: &mut Stage, which: Which, state: State) {
    let victim = match which {
        Which::One => stage.inside[0].clone(),
        Which::Zero => stage.buried.clone(),
    };
    let count = "SELECT count(*) FROM action";
    let before = stage.estate.cell_database(1).number(count);
    stage.put(which, state);
    let requests = routes::all(&victim);
    let asked = requests.len();
    let slowest = stage.flap(which, state, routes::ask(stage.operator.client(), requests)).await;
    eprintln!("{which:?} {state:?}: {asked} requests, the slowest took {slowest:?}");
    // Whoever has nothing to do with it sees the truth, and gets what is asked for.
    for id in &stage.outside {
        assert_eq!(stage.alice.show(id).await.expect("is shown")["status"], "ACTIVE");
    }
    if matches!(state, State::Refused | State::Frozen) {
        shapes(stage, which, &victim).await;
    }
    if which == Which::One && matches!(state, State::Refused | State::Frozen) {
        refused_whole(stage, &victim).await;
        told_by_metrics(stage).await;
    }
    if matches!(state, State::Refused | State::Frozen) {
        starts_all_the_same(stage).await;
    }
    let new = stage.flap(which, state, elsewhere(stage, which, state)).await;
    // Accepted while it is dark, carried out later.
    let goes = match which {
        Which::One => stage.inside.pop().expect("enough of them"),
        Which::Zero => new[0].clone(),
    };
    stage.alice.delete(&goes).await;
    stage.heal().await;
    if matches!(state, State::Refused | State::Frozen) {
        let after = stage.estate.cell_database(1).number(count);
        assert_eq!(after, before, "what was refused left no trace");
    }
    if which == Which::One {
        let server = stage.alice.reaches(&victim, "ACTIVE").await;
        assert!(server["OS-EXT-STS:task_state"].is_null(), "nothing is half done: {server}");
        stage.alice.act(&victim, json!({"reboot": {"type": "HARD"}})).await.expect(202);
        stage.alice.reaches(&victim, "ACTIVE").await;
    }
    stage.alice.gone(&goes).await;
    for id in new.iter().filter(|id| **id != goes) {
        stage.alice.reaches(id, "ACTIVE").await;
    }
    for id in new.iter().filter(|id| **id != goes) {
        stage.alice.delete(id).await;
        stage.alice.gone(id).await;
    }
    // Counts every row and the quota, too.
    stage.estate.at_rest().await;
}

/// Processes of the API level that are started now wait for no cell, and tell of all that there is.
async fn starts_all_the_same(stage: &mut Stage) {
    let all = stage.inside.len() + stage.outside.len() + 1;
    for name in ["api1", "superconductor1"] {
        stage.estate.bounce(name);
    }
    eventually(Duration::from_secs(10), "it answers again", async || {
        stage.operator.get("/admin/v1/status").await.map(drop)
    })
    .await;
    let reply = stage.alice.client().get("/v2.1/servers/detail").await.expect("is answered");
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(reply.body["servers"].as_array().map(Vec::len), Some(all), "{}", reply.body);
}

/// The API process does not ask the cell, and the superconductor says for how long it has heard nothing of it.
async fn told_by_metrics(stage: &Stage) {
    eventually(SEEN, "metrics tell of the dark cell", async || {
        let up = stage.estate.metric("api1", "skep_cell_up").await?;
        let lag = stage.estate.metric("superconductor1", "skep_index_lag_seconds").await?;
        if up == 2.0 && lag > 0.5 { Ok(()) } else { Err(format!("{up} cells of 3 up, {lag} s behind")) }
    })
    .await;
}

/// Stop, start and reboot of what lies there: 503, which says when to come back.
async fn refused_whole(stage: &Stage, victim: &str) {
    for action in [
        json!({"os-stop": null}),
        json!({"os-start": null}),
        json!({"reboot": {"type": "SOFT"}}),
        json!({"reboot": {"type": "HARD"}}),
    ] {
        let reply = stage.alice.act(victim, action.clone()).await;
        assert_eq!(reply.status.as_u16(), 503, "{action}: {}", reply.body);
        assert!(reply.header("Retry-After").is_some(), "{action}");
    }
}

/// Instances that are asked for now; those that no cell has yet go where they can.
async fn elsewhere(stage: &Stage, which: Which, state: State) -> Vec<String> {
    let mut new = Vec::new();
    for n in 0..2 {
        new.push(stage.alice.boot(server(&format!("new{n}"))).await);
    }
    // A cell that is slow, or there now and then, may have taken one, which then is done when it is.
    if which == Which::One && matches!(state, State::Slow | State::Flapping) {
        return new;
    }
    for id in &new {
        stage.alice.reaches(id, "ACTIVE").await;
    }
    if which == Which::One {
        for id in &new {
            let at = stage.estate.api_database().query(&format!(
                "SELECT c.name FROM cell_mapping c JOIN instance_mapping m ON m.cell = c.id WHERE m.id = '{id}'"
            ));
            assert_eq!(at, [["cell2".to_owned()]], "it went where it could");
        }
    }
    new
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect()
}

/// Nova's shapes for what lies in a cell that does not answer.
async fn shapes(stage: &Stage, which: Which, victim: &str) {
    let (new, old) = (stage.plain("2.90"), stage.plain("2.68"));
    let get = async |client: &tests::Client, path: &str| {
        let reply = client.get(path).await.expect("is answered");
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply
    };
    let find = |reply: &tests::Reply| -> Option<Value> {
        let servers = reply.body["servers"].as_array().expect("servers");
        servers.iter().find(|server| server["id"] == victim).cloned()
    };
    let all = stage.inside.len() + stage.outside.len() + 1;
    for (path, expected) in [
        ("/v2.1/servers", &["id", "status", "links"][..]),
        ("/v2.1/servers/detail", &["id", "status", "tenant_id", "created", "links"][..]),
    ] {
        // The first answers may come before the breaker is open, and a plain list asks no cell at all.
        eventually(SEEN, "the cell is seen to be dark", async || {
            let reply = get(&new, path).await;
            let servers = reply.body["servers"].as_array().map(Vec::len);
            assert_eq!(servers, Some(all), "{path} shows all: {}", reply.body);
            let server = find(&reply).expect("is listed");
            if keys(&server) != expected.iter().copied().collect() || server["status"] != "UNKNOWN" {
                return Err(server.to_string());
            }
            assert_eq!(reply.header("x-skep-dark-cells"), Some("1"), "{path}");
            Ok(())
        })
        .await;
        let reply = get(&old, path).await;
        assert_eq!(find(&reply), None, "{path} below 2.69 passes it over");
        assert_eq!(reply.header("x-skep-dark-cells"), Some("1"), "{path} says so all the same");
    }
    let path = format!("/v2.1/servers/{victim}");
    let shown = get(&new, &path).await.body["server"].take();
    let expected = [
        "id",
        "status",
        "tenant_id",
        "created",
        "links",
        "image",
        "flavor",
        "OS-EXT-AZ:availability_zone",
        "OS-EXT-STS:power_state",
        "user_id",
        "server_groups",
    ];
    assert_eq!(keys(&shown), expected.into(), "{shown}");
    assert_eq!(old.get(&path).await.expect("is answered").status.as_u16(), 503, "Nova answers 500 here");
    // Ours tells what was known last.
    let ours = stage.alice.show(victim).await.expect("is shown");
    let last = if which == Which::One { "ACTIVE" } else { "ERROR" };
    assert_eq!(ours["skep"]["last_status"], last, "{ours}");
    let services = stage.operator.get("/v2.1/os-services").await.expect("is told");
    let of = |host: &str| -> Value {
        let rows = services["services"].as_array().expect("services");
        rows.iter().find(|row| row["host"] == host).unwrap_or_else(|| panic!("{host}: {services}")).clone()
    };
    assert_eq!(of("cell2-h1")["state"], "up");
    if which == Which::One {
        assert_eq!(keys(&of("cell1-h1")), ["binary", "host", "status"].into());
        assert_eq!(of("cell1-h1")["status"], "UNKNOWN");
    }
    let status = stage.operator.get("/admin/v1/status").await.expect("is told");
    let dark = status["cells"].as_array().expect("cells").iter().filter(|cell| cell["up"] == false);
    assert_eq!(dark.count(), 1, "{status}");
}
