//! Requests that are repeated under an idempotency key, over HTTP, on both engines.

use std::time::Duration;

use api::{Settings, StaticToken};
use model::extra::Policy;
use model::instance::Action;
use model::{CellId, Env, Instance, InstanceId};
use serde_json::{Value, json};
use tests::cloud::{Cloud, Plan, caller, context};
use tests::{Client, Reply, eventually};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};
use verbs::{Hold, Key, Query, Rebuild, Seen, Verbs};

const SERVERS: &str = "/compute/v2.1/servers";

/// An API process' face, until it is dropped.
struct Face {
    base: String,
    _stop: DropGuard,
}

impl Face {
    /// Serves `verbs` on a port of its own.
    async fn of(verbs: Verbs) -> Self {
        let token = |user: &str| StaticToken {
            token: format!("token-of-{user}"),
            user: user.into(),
            project: "p".into(),
            roles: vec!["member".into()],
        };
        let settings = Settings { tokens: vec![token("u"), token("v")], ..Settings::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let base = format!("http://{}", listener.local_addr().expect("has an address"));
        let stop = CancellationToken::new();
        let app = api::app(verbs, Env::system(), settings);
        tokio::spawn(api::serve(listener, app, stop.clone(), Duration::from_secs(1)));
        Self { base, _stop: stop.drop_guard() }
    }

    fn user(&self, user: &str) -> Client {
        Client::new(&self.base)
            .header("X-Auth-Token", &format!("token-of-{user}"))
            .header("OpenStack-API-Version", "compute 2.90")
            .deadline(Duration::from_secs(60))
    }

    fn keyed(&self, key: &str) -> Client {
        self.user("u").header("Idempotency-Key", key)
    }
}

/// Another API process over the same database.
fn restarted(cloud: &Cloud) -> Verbs {
    let db = sql::Db::open(&sql::Settings::new(&cloud.api_url)).expect("opens");
    Verbs::new(verbs::Settings::default(), Env::system(), db, cloud.router.clone(), None)
}

/// As `openstack server create` sends it.
fn body(name: &str) -> Value {
    json!({"server": {"name": name, "imageRef": "skep/web:1", "flavorRef": "1",
                      "min_count": 1, "max_count": 1, "networks": "auto"}})
}

fn id(reply: &Reply) -> String {
    reply.body["server"]["id"].as_str().unwrap_or_default().to_owned()
}

async fn post(client: &Client, path: &str, body: &Value) -> Reply {
    client.post(path, body).await.expect("is answered")
}

async fn count(cloud: &Cloud) -> usize {
    cloud.verbs.list_names(&caller(), &Query::default()).await.expect("lists").items.len()
}

async fn active(cloud: &Cloud, id: InstanceId) -> Box<Instance> {
    eventually(Duration::from_secs(60), &format!("{id} is ACTIVE"), async || {
        match cloud.verbs.show(&caller(), id).await.map_err(|fault| fault.message)? {
            Seen::Fresh(instance) if instance.status() == "ACTIVE" && instance.task.is_none() => Ok(instance),
            Seen::Fresh(instance) => Err(format!("it is {}, {:?}", instance.status(), instance.task)),
            Seen::Dark(_) => Err("it is dark".into()),
        }
    })
    .await
}

fn plan(postgres: bool) -> Plan {
    Plan { cells: 2, hosts: 1, postgres, ..Plan::default() }
}

async fn creates_are_accepted_once(postgres: bool) {
    let cloud = Cloud::start(plan(postgres)).await;
    let face = Face::of(cloud.verbs.clone()).await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let client = face.keyed("\"one\"");
        tasks.spawn(async move { post(&client, SERVERS, &body("one")).await });
    }
    let replies = tasks.join_all().await;
    let first = &replies[0];
    for reply in &replies {
        assert_eq!(reply.status, 202, "{}", reply.body);
        assert_eq!(reply.body, first.body, "the password and the links too");
        for header in ["location", "x-openstack-request-id", "x-compute-request-id"] {
            assert!(reply.header(header).is_some(), "{header}");
            assert_eq!(reply.header(header), first.header(header), "{header}");
        }
    }
    let again = replies.iter().filter(|reply| reply.header("idempotent-replayed").is_some()).count();
    assert_eq!(again, 7);
    assert_eq!(count(&cloud).await, 1);

    // The API ends and comes back.
    drop(face);
    let face = Face::of(restarted(&cloud)).await;
    let bare = face.keyed("one");
    let told = post(&bare, SERVERS, &body("one")).await;
    assert_eq!((told.status.as_u16(), id(&told)), (202, id(first)));
    assert_eq!(told.header("idempotent-replayed"), Some("true"));

    let other = post(&bare, SERVERS, &body("two")).await;
    assert_eq!(other.status, 422, "{}", other.body);
    assert!(
        other.body["unprocessableEntity"]["message"].as_str().is_some_and(|text| text.contains("new one"))
    );
    let theirs = post(&face.user("v").header("Idempotency-Key", "one"), SERVERS, &body("one")).await;
    assert_eq!(theirs.status, 202);
    assert_ne!(id(&theirs), id(first), "keys are their users' own");
    assert_eq!(count(&cloud).await, 2);

    for wrong in ["", "\"\"", "\"open", &"k".repeat(256)] {
        let reply = post(&face.keyed(wrong), SERVERS, &body("one")).await;
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.body);
    }
    let mut nowhere = body("one");
    nowhere["server"]["flavorRef"] = json!("none-such");
    for replayed in [None, Some("true")] {
        let refused = post(&face.keyed("three"), SERVERS, &nowhere).await;
        assert_eq!((refused.status.as_u16(), refused.header("idempotent-replayed")), (400, replayed));
    }
    assert_eq!(count(&cloud).await, 2);
    active(&cloud, id(first).parse().expect("an id")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_are_accepted_once_on_sqlite() {
    creates_are_accepted_once(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_are_accepted_once_on_postgres() {
    creates_are_accepted_once(true).await;
}

async fn actions_are_done_once(postgres: bool) {
    let cloud = Cloud::start(plan(postgres)).await;
    let face = Face::of(cloud.verbs.clone()).await;
    let made = post(&face.keyed("make"), SERVERS, &body("one")).await;
    let instance: InstanceId = id(&made).parse().expect("an id");
    let before = active(&cloud, instance).await.at.generation;
    let (path, reboot) = (format!("{SERVERS}/{instance}/action"), json!({"reboot": {"type": "HARD"}}));

    let client = face.keyed("reboot");
    // While the first is being worked on, the others are told to come back.
    let attempt = async || {
        let reply = post(&client, &path, &reboot).await;
        match reply.status.as_u16() {
            202 => Ok(()),
            409 => {
                assert_eq!(reply.header("retry-after"), Some("1"), "{}", reply.body);
                Err("is being worked on".into())
            }
            other => panic!("{other}: {}", reply.body),
        }
    };
    let all = (0..8).map(|_| eventually(Duration::from_secs(60), "the reboot is accepted", attempt));
    futures::future::join_all(all).await;
    assert_eq!(active(&cloud, instance).await.at.generation, before + 1, "one reboot");
    let other = post(&face.keyed("reboot"), &path, &json!({"reboot": {"type": "SOFT"}})).await;
    assert_eq!(other.status, 422);

    // What the state of the moment forbids is not kept: the same key serves once it allows it.
    let start = json!({"os-start": null});
    assert_eq!(post(&face.keyed("start"), &path, &start).await.status, 409);
    assert_eq!(post(&face.keyed("stop"), &path, &json!({"os-stop": null})).await.status, 202);
    eventually(Duration::from_secs(60), "it is stopped, and started under the old key", async || match post(
        &face.keyed("start"),
        &path,
        &start,
    )
    .await
    {
        reply if reply.status == 202 => Ok(()),
        reply => Err(reply.body.to_string()),
    })
    .await;
    let before = active(&cloud, instance).await.at.generation;

    // The API dies after the action was accepted in the cell, and before its answer was kept.
    let verbs = restarted(&cloud);
    let key = || Key::new(&caller(), &context(), Env::system().uuid(), &["POST", "x"], &[b"body"]);
    let Hold::Ours(once) = verbs.hold(&key(), Duration::ZERO).await.expect("is held") else {
        panic!("nothing is known of the key")
    };
    let hard = Action::Reboot { hard: true };
    verbs.act_once(&caller(), &context(), instance, hard, Some(once)).await.expect("is accepted");
    let again = verbs.hold(&key(), Duration::from_secs(60)).await.expect("is held");
    assert_eq!(again, Hold::Ours(once), "its time is over, and it is the same request");
    verbs.act_once(&caller(), &context(), instance, hard, Some(once)).await.expect("was done");
    assert_eq!(active(&cloud, instance).await.at.generation, before + 1, "one reboot");
    assert_ne!(active(&cloud, instance).await.cell, Some(CellId::ZERO));

    // The same of a rebuild, after which the container has been written to.
    let wish = Rebuild {
        image: verbs.bootable(&caller(), "skep/web:2").await.expect("a reference"),
        name: None,
        metadata: None,
        description: None,
        access_ipv4: None,
        access_ipv6: None,
        disk_auto: None,
        key_name: None,
    };
    let before = active(&cloud, instance).await.at.placement;
    let once = Some(Env::system().uuid());
    for _ in 0..2 {
        let rebuilt = verbs.rebuild(&caller(), &context(), instance, wish.clone(), once).await;
        assert_eq!(rebuilt.expect("is accepted").at.placement, before + 1);
        assert_eq!(active(&cloud, instance).await.at.placement, before + 1, "one rebuild");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_done_once_on_sqlite() {
    actions_are_done_once(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_done_once_on_postgres() {
    actions_are_done_once(true).await;
}

/// What answers hold that nobody may read from the database, and what a second attempt must not make again.
async fn other_posts_are_done_once(postgres: bool) {
    let cloud = Cloud::start(Plan { cells: 1, hosts: 1, ..plan(postgres) }).await;
    let face = Face::of(cloud.verbs.clone()).await;
    for (path, wish, secret) in [
        (
            "/compute/v2.1/os-keypairs",
            json!({"keypair": {"name": "k", "type": "ssh"}}),
            "/keypair/private_key",
        ),
        ("/compute/v2.1/os-server-groups", json!({"server_group": {"name": "g", "policy": "affinity"}}), ""),
        ("/image/v2/images", json!({"name": "i", "skep_reference": "skep/web:1"}), ""),
    ] {
        let first = post(&face.keyed("one"), path, &wish).await;
        assert!(first.status.is_success(), "{path}: {}", first.body);
        let again = post(&face.keyed("one"), path, &wish).await;
        assert_eq!((again.status, &again.body), (first.status, &first.body), "{path}");
        assert_eq!(again.header("idempotent-replayed"), Some("true"), "{path}");
        assert!(secret.is_empty() || again.body.pointer(secret).is_some_and(Value::is_string), "{path}");
        let other = post(&face.keyed("one"), path, &json!({"other": {}})).await;
        assert_eq!(other.status, 422, "{path}: {}", other.body);
    }
    let db: api_db::Db = sql::Db::open(&sql::Settings::new(&cloud.api_url)).expect("opens");
    let read = db.read(|tx| -> sql::Work<'_, Vec<(Vec<u8>,)>> {
        Box::pin(async move { tx.all("SELECT body FROM idempotency_key", Vec::new()).await })
    });
    let bodies = read.await.expect("reads");
    assert_eq!(bodies.len(), 3, "each answer is kept");
    for (body,) in bodies {
        let text = String::from_utf8_lossy(&body);
        assert!(!text.contains("PRIVATE KEY") && !text.contains("policy"), "it is sealed: {text}");
    }
    // The API dies after the group was made, and before its answer was kept.
    let once = Some(Env::system().uuid());
    let make = async || cloud.verbs.create_group(&caller(), "h".into(), Policy::Affinity, 0, once).await;
    assert_eq!(make().await.expect("is made"), make().await.expect("was made"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_posts_are_done_once_on_sqlite() {
    other_posts_are_done_once(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_posts_are_done_once_on_postgres() {
    other_posts_are_done_once(true).await;
}
