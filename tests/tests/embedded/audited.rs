//! Every administrator's change leaves its record: the walk goes over all routes of the admin API that may change
//! something, so that a new one without its line here fails.

use std::collections::BTreeSet;
use std::time::Duration;

use model::Env;
use router::{Router, Secrets};
use serde_json::{Value, json};
use sql::{Args, Json, Settings, Work, args};
use tests::cloud::{Cloud, Plan};
use tests::face::Face;
use tests::{Folder, eventually};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbs::Verbs;

const KEY: &str = "k1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A record: action, who, request, subject, detail.
type Kept = (String, String, String, Option<Uuid>, Json<Value>);

struct Walk {
    face: Face,
    db: api_db::Db,
    /// The routes that were walked.
    walked: BTreeSet<String>,
    /// How many records there were.
    seen: usize,
}

impl Walk {
    async fn records(&self) -> Vec<Kept> {
        let read = self.db.read(|tx| -> Work<'_, Vec<Kept>> {
            const SQL: &str = "SELECT action, user_id, request_id, target, detail FROM audit ORDER BY at, id";
            Box::pin(async move { tx.all(SQL, vec![]).await })
        });
        read.await.expect("is read")
    }

    /// Asks a route, whose path is that of the table with `named` in the place of what stands in braces; there must be
    /// these records more, by that request of the administrator's, none of them of a change that was not done.
    async fn step(
        &mut self,
        (route, named): (&str, &str),
        body: Value,
        status: u16,
        wanted: &[(&str, Option<Uuid>)],
    ) -> Value {
        let (method, path) = route.split_once(' ').expect("method and path");
        let captured =
            path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1)));
        let asked =
            captured.map_or(format!("{path}{named}"), |(before, after)| match named.split_once('?') {
                Some((named, query)) => format!("{before}{named}{after}?{query}"),
                None => format!("{before}{named}{after}"),
            });
        let said = self.face.at("admin", method, &asked, body).await;
        assert_eq!(said.status, status, "{route}: {}", said.body);
        let all = self.records().await;
        let mine: Vec<&Kept> = all.iter().filter(|(_, _, request, ..)| *request == said.request_id).collect();
        assert_eq!(mine.len(), all.len() - self.seen, "{route}: records of another request: {mine:?}");
        self.seen = all.len();
        self.walked.insert(route.to_owned());
        let actions: Vec<&str> = mine.iter().map(|(action, ..)| action.as_str()).collect();
        let expected: Vec<&str> = wanted.iter().map(|(action, _)| *action).collect();
        assert_eq!(actions, expected, "{route}");
        for ((_, user, _, target, detail), (_, subject)) in mine.into_iter().zip(wanted) {
            assert_eq!(user, "admin", "{route}");
            assert!(target.is_some() && (subject.is_none() || target == subject), "{route}: {target:?}");
            let outcome = &detail.0["outcome"];
            assert!(outcome.is_null() || outcome == "done", "{route}: {}", detail.0);
        }
        said.body
    }
}

async fn exec<D: 'static>(url: &str, sql: &'static str, args: Args) {
    let db: sql::Db<D> = sql::Db::open(&Settings::new(url)).expect("opens");
    let written = db.write(move |tx| -> Work<'_, u64> {
        let args = args.clone();
        Box::pin(async move { tx.exec(sql, args).await })
    });
    assert_eq!(written.await.expect("is written"), 1, "{sql}");
    db.close().await;
}

/// The face of an API process that has keys, which the other processes of the cloud have not.
async fn begin(cloud: &Cloud, folder: &Folder) -> Walk {
    let file = folder.join("keys");
    std::fs::write(&file, KEY).expect("is written");
    let db: api_db::Db = sql::Db::open(&Settings::new(&cloud.api_url)).expect("opens");
    let secrets = Secrets { keys_file: Some(file), ..Secrets::default() };
    let reach = router::Settings { secrets, ..router::Settings::default() };
    let (env, connector) = (cloud.env.clone(), cloud.connector.clone());
    let router = Router::start(reach, env.clone(), db.clone(), connector, CancellationToken::new()).await;
    let verbs = Verbs::new(verbs::Settings::default(), env, db.clone(), router, None);
    let mut walk = Walk { face: Face::new(verbs, Env::system()), db, walked: BTreeSet::new(), seen: 0 };
    walk.seen = walk.records().await.len();
    walk
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_an_administrator_leaves_one_record() {
    let mut cloud = Cloud::start(Plan { cells: 2, hosts: 1, ..Plan::default() }).await;
    eventually(Duration::from_secs(60), "every host is mapped", async || {
        match cloud.mapped_hosts().await.len() {
            2 => Ok(()),
            mapped => Err(format!("{mapped} are")),
        }
    })
    .await;
    // They map hosts that they find, which is recorded too, but by nobody's request.
    cloud.superconductors.clear();
    let folder = Folder::new("audited");
    let mut walk = begin(&cloud, &folder).await;
    a_cell_lives(&mut walk, &folder).await;
    hosts_are_worked_on(&mut walk, &mut cloud).await;
    what_is_wrong_is_mended(&mut walk, &cloud).await;

    let refused = walk.face.at("ann", "POST", "/admin/v1/cells/cell1/cordon", json!({})).await;
    assert_eq!(refused.status, 403);
    let refused =
        walk.face.at("admin", "POST", "/admin/v1/cells/cell1/uncordon", json!({"dry_run": true})).await;
    assert_eq!(refused.status, 200);
    assert_eq!(walk.records().await.len(), walk.seen, "what is refused or only tried leaves no record");
    let all = api::paths().filter(|(method, path)| path.starts_with("/admin/") && method.as_str() != "GET");
    let all: BTreeSet<String> = all.map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(walk.walked, all, "the walk goes over all routes, and over nothing else");
    walk.db.close().await;
}

async fn a_cell_lives(walk: &mut Walk, folder: &Folder) {
    let url = format!("sqlite:{}", folder.join("new.db").display());
    let new = json!({"name": "new", "region": "r", "database_url": url, "transport_url": "local:new"});
    let said = walk.face.at("admin", "POST", "/admin/v1/cells", json!({"name": "a b"})).await;
    assert_eq!(said.status, 400);
    let made = walk.step(("POST /admin/v1/cells", ""), new, 201, &[("cell.create", None)]).await;
    let id: Uuid = made["cell"]["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let (one, about) = ("newer", Some(id));
    let update: &[(&str, Option<Uuid>)] = &[("cell.update", about)];
    walk.step(("PUT /admin/v1/cells/{cell}", "new"), json!({"name": one}), 200, update).await;
    let other = json!({"database_url": format!("{url}?mode=rwc")});
    for _ in ["stored", "switched", "done"] {
        let route = ("POST /admin/v1/cells/{cell}/rotate", one);
        walk.step(route, other.clone(), 200, &[("cell.rotate", about)]).await;
    }
    let projects = json!({"projects": ["p"]});
    walk.step(("POST /admin/v1/cells/{cell}/testing", one), projects, 200, update).await;
    walk.step(("POST /admin/v1/cells/{cell}/activate", one), json!({"force": true}), 200, update).await;
    walk.step(("POST /admin/v1/cells/{cell}/cordon", one), json!({}), 200, update).await;
    walk.step(("POST /admin/v1/cells/{cell}/uncordon", one), json!({}), 200, update).await;
    // An empty one is drained at once: two changes, one after the other.
    let twice = [update[0], update[0]];
    walk.step(("POST /admin/v1/cells/{cell}/drain", one), json!({}), 200, &twice).await;
    walk.step(("POST /admin/v1/cells/{cell}/retire", one), json!({}), 200, update).await;
    walk.step(("DELETE /admin/v1/cells/{cell}", one), Value::Null, 200, &[("cell.delete", about)]).await;
}

async fn hosts_are_worked_on(walk: &mut Walk, cloud: &mut Cloud) {
    let (first, second) = (cloud.cells[0].hosts[0].0.uuid(), cloud.cells[1].hosts[0].0.uuid());
    let about = |action: &'static str| [(action, Some(first))];
    let (host, why) = ("cell1-h1", json!({"reason": "disk"}));
    walk.step(("POST /admin/v1/hosts/{host}/disable", host), why.clone(), 200, &about("host.disable")).await;
    walk.step(("POST /admin/v1/hosts/{host}/enable", host), json!({}), 200, &about("host.enable")).await;
    let route = ("POST /admin/v1/hosts/{host}/maintenance", host);
    walk.step(route, why, 200, &about("host.maintenance")).await;
    walk.step(route, json!({"off": true}), 200, &about("host.maintenance-end")).await;
    exec::<api_db::Api>(&cloud.api_url, "DELETE FROM host_mapping WHERE host = $1", args![first]).await;
    walk.step(("POST /admin/v1/hosts", ""), json!({}), 200, &about("host.map")).await;
    walk.step(("POST /admin/v1/hosts", ""), json!({}), 200, &[]).await;
    let cell = Some(cloud.cells[0].cell.id.uuid());
    let route = ("POST /admin/v1/cells/{cell}/join-tokens", "cell1");
    walk.step(route, json!({"count": 2}), 201, &[("host.join_token", cell)]).await;
    let route = ("POST /admin/v1/hosts/{host}/revoke", "cell2-h1");
    walk.step(route, json!({}), 200, &[("host.revoke", Some(second))]).await;
    cloud.agents[1][0] = None;
    let route = ("DELETE /admin/v1/hosts/{host}", "cell2-h1?force=1");
    walk.step(route, Value::Null, 200, &[("host.delete", Some(second))]).await;
}

async fn what_is_wrong_is_mended(walk: &mut Walk, cloud: &Cloud) {
    const TASK: &str =
        "INSERT INTO task (id, kind, subject, state, bucket, attempt, run_at, deadline, parked,
        request_id, created_at) VALUES ($1, 'build/9', $2, $3, 1, 0, 0, 0, true, 'req-1', 5)";
    const ORPHAN: &str =
        "INSERT INTO allocation (instance, host, epoch, placement, vcpus_milli, memory_mib, slots)
        VALUES ($1, $2, 1, 1, 0, 0, 0)";
    let (one, id) = ("cell1", Some(cloud.cells[0].cell.id.uuid()));
    let (task, subject) = (cloud.env.uuid(), cloud.env.uuid());
    exec::<api_db::Api>(&cloud.api_url, TASK, args![task, subject, json!({})]).await;
    let route = ("POST /admin/v1/tasks/{task}/retry", task.to_string());
    walk.step((route.0, &route.1), json!({}), 200, &[("task.retry", Some(subject))]).await;
    let host = cloud.cells[0].hosts[0].0;
    exec::<cell_db::Cell>(&cloud.cells[0].cell.database_url, ORPHAN, args![subject, host]).await;
    let freed = [("allocation.free", Some(subject))];
    walk.step(("POST /admin/v1/doctor", ""), json!({"fix": true}), 200, &freed).await;
    walk.step(("POST /admin/v1/doctor", ""), json!({"fix": true}), 200, &[]).await;
    walk.step(("POST /admin/v1/cells/{cell}/sync", one), json!({}), 200, &[("cell.sync", id)]).await;
    walk.step(("POST /admin/v1/cells/{cell}/test", one), json!({}), 200, &[]).await;
    let route = ("POST /admin/v1/cells/{cell}/preflight", one);
    let ready = walk.step(route, json!({}), 200, &[("cell.preflight", id)]).await;
    assert_eq!(ready["ok"], true, "{ready}");
    let rebuilt = [("index.rebuild", id)];
    walk.step(("POST /admin/v1/index/rebuild", ""), json!({"cell": one}), 200, &rebuilt).await;
    walk.step(("POST /admin/v1/cells/{cell}/restored", one), Value::Null, 204, &[("cell.restored", id)])
        .await;
    let (route, force) = (("POST /admin/v1/cells/{cell}/confirm", one), json!({"force": true}));
    walk.step(route, force.clone(), 200, &[("cell.confirm", id)]).await;
    walk.step(route, force.clone(), 409, &[]).await;
    walk.step(("POST /admin/v1/restored", ""), Value::Null, 204, &[("api_db.restored", None)]).await;
    walk.step(("POST /admin/v1/confirm", ""), force, 200, &[("api_db.confirm", None)]).await;
    // cell0 and both others.
    let sealed = [("cell.rotate-keys", None); 3];
    walk.step(("POST /admin/v1/keys/rotate", ""), json!({}), 200, &sealed).await;
}
