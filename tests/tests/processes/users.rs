//! Each host has a user of the broker of its own, which may do what its agent does and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, BasicQosOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use tests::estate::{Engine, Plan};
use tests::{Client, Estate, eventually};

use crate::grows::expect;
use crate::slots::rewrite;

const SOON: Duration = Duration::from_secs(90);

/// A host and its user.
struct Account {
    id: String,
    user: String,
    url: String,
}

fn file(estate: &Estate, host: &str) -> PathBuf {
    estate.path(host).join("broker-user")
}

/// The user of a host once its agent says to be connected as that.
async fn account(estate: &Estate, host: &str) -> Account {
    let id = std::fs::read_to_string(estate.path(host).join("host-id")).expect("an id").trim().to_owned();
    let operator = estate.user("operator");
    let text = eventually(SOON, "the host has a user", async || {
        let text = std::fs::read_to_string(file(estate, host)).map_err(|why| why.to_string())?;
        let shown = operator.get(&format!("/admin/v1/hosts/{host}")).await?;
        match shown["host"]["connected_as"].as_str() == text.lines().next() {
            true => Ok(text),
            false => Err(shown.to_string()),
        }
    })
    .await;
    let (user, password) = text.trim().split_once('\n').expect("two lines");
    let place = estate.vhosts()[1].url().rsplit('@').next().expect("a place");
    Account { url: format!("amqp://{user}:{password}@{place}"), user: user.to_owned(), id }
}

/// Who may do what in the cell's vhost.
async fn permissions(broker: &Client, estate: &Estate) -> Result<Vec<Value>, String> {
    let vhost = estate.vhosts()[1].url().rsplit('/').next().unwrap_or_default();
    let reply =
        broker.get(&format!("/api/vhosts/{vhost}/permissions")).await.map_err(|why| format!("{why:#}"))?;
    reply.body.as_array().cloned().ok_or_else(|| reply.body.to_string())
}

/// Waits until the broker does not know a user any more.
async fn is_gone(broker: &Client, estate: &Estate, account: &Account) {
    eventually(SOON, "the user of the host is gone", async || {
        let left = permissions(broker, estate).await?;
        if left.iter().any(|one| one["user"] == *account.user) { Err(format!("{left:?}")) } else { Ok(()) }
    })
    .await;
    assert!(connect(&account.url).await.is_err(), "it may not come in again");
}

async fn connect(url: &str) -> lapin::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await
}

fn refused<T>(what: &str, done: lapin::Result<T>) {
    let Err(why) = done else { panic!("{what}: a host's user may do it") };
    assert!(why.to_string().contains("ACCESS"), "{what}: {why}");
}

/// Whether a channel stays open when something is published on it.
async fn may_publish(channel: &Channel, exchange: &str, key: &str) -> bool {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish(exchange.into(), key.into(), options, b"x", properties).await.expect("is sent");
    channel.basic_qos(1, BasicQosOptions::default()).await.is_ok()
}

async fn only_its_own(one: &Account, other: &Account) {
    let connection = connect(&one.url).await.expect("its user may come in");
    let channel = async || connection.create_channel().await.expect("a channel");
    let (mine, others) = (format!("host.{}.calls", one.id), format!("host.{}.calls", other.id));
    for queue in [others.as_str(), &format!("host.{}.bell", other.id), "conductors", "conductors.bell"] {
        let (tag, options) = ("thief".into(), BasicConsumeOptions::default());
        let done = channel().await.basic_consume(queue.into(), tag, options, FieldTable::default()).await;
        refused(queue, done);
        refused(queue, channel().await.basic_get(queue.into(), BasicGetOptions::default()).await);
    }
    for queue in ["another", "replies.x", &format!("host.{}.other", one.id)] {
        let options = QueueDeclareOptions::default();
        refused(queue, channel().await.queue_declare(queue.into(), options, FieldTable::default()).await);
    }
    // It would get copies of what others say.
    for exchange in ["agents", "up", "amq.direct"] {
        let (channel, options, none) = (channel().await, QueueBindOptions::default(), FieldTable::default());
        let bound =
            channel.queue_bind(mine.as_str().into(), exchange.into(), "conductors".into(), options, none);
        refused(exchange, bound.await);
    }
    for (exchange, key) in [("", others.as_str()), ("", "conductors"), ("up", ""), ("amq.direct", "x")] {
        assert!(!may_publish(&channel().await, exchange, key).await, "it may publish to '{exchange}'");
    }
    assert!(may_publish(&channel().await, "agents", "nobody").await, "it may call");
    let _ = connection.close(200, "done".into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_has_a_user_of_the_broker_that_is_limited_to_its_own_queues() {
    let _alone = crate::alone().await;
    let plan = Plan { cells: 1, hosts: 2, engine: Engine::Scripted, ..Plan::default() };
    let mut estate = Estate::start(plan).await;
    let management = tests::services::rabbit().management();
    let broker = Client::new(management.place()).header("Authorization", "Basic Z3Vlc3Q6Z3Vlc3Q=");
    let vhost = &estate.vhosts()[1];
    let join = vhost.limited_user("join", ["^$", "^agents$", "^$"]);
    let shared = vhost.url().to_owned();
    // Hosts that had the cell's credentials until now: their agents get others, which suffice to ask for a user.
    let admin = format!("join = 'open'\nbroker_admin = '{}'", management.url());
    rewrite(&estate.path("cell1.toml"), &[("join = 'open'".to_owned(), admin)]);
    for host in ["cell1-h1", "cell1-h2"] {
        rewrite(&estate.path(&format!("{host}.toml")), &[(shared.clone(), join.clone())]);
    }
    estate.bounce("conductor-cell1");
    for agent in estate.names("agent") {
        estate.bounce(&agent);
    }
    estate.ready("").await;
    let (one, two) = (account(&estate, "cell1-h1").await, account(&estate, "cell1-h2").await);
    let found = permissions(&broker, &estate).await.expect("are told");
    let connected = estate.vhosts()[1].connections();
    for Account { id, user, .. } in [&one, &two] {
        let own = format!(r"^host\.{id}\.(calls|bell)$");
        let theirs = found.iter().find(|one| one["user"] == *user).expect("it has some");
        for (what, wanted) in [("configure", own.as_str()), ("write", "^agents$"), ("read", &own)] {
            assert_eq!(theirs[what], wanted, "{theirs}");
        }
        assert_eq!(connected.iter().filter(|name| *name == user).count(), 2, "{connected:?}");
    }
    only_its_own(&one, &two).await;

    // All that a host does works.
    let alice = estate.user("alice");
    let ids = alice.boot_many("own", 4).await;
    for id in &ids {
        alice.reaches(id, "ACTIVE").await;
        let log = alice.act(id, json!({"os-getConsoleOutput": {}})).await;
        assert_eq!(log.status.as_u16(), 200, "the host is called: {}", log.body);
    }
    estate.clear(&["alice"]).await;

    // A password that the broker does not know, as after a loss of its users.
    std::fs::write(file(&estate, "cell1-h2"), format!("{}\nwrong\n", two.user)).expect("is written");
    estate.bounce("agent-cell1-h2");
    estate.ready("").await;
    eventually(SOON, "it has asked for another", async || {
        let text = std::fs::read_to_string(file(&estate, "cell1-h2")).map_err(|why| why.to_string())?;
        if text.ends_with("\nwrong\n") { Err(text) } else { Ok(()) }
    })
    .await;
    let again = account(&estate, "cell1-h2").await;
    assert!(connect(&again.url).await.is_ok(), "it works");
    assert!(connect(&two.url).await.is_err(), "the one before is of no use");

    expect(&estate, "host revoke cell1-h1 --yes", 0, "").await;
    is_gone(&broker, &estate, &one).await;
    eventually(SOON, "its connections have ended", async || match estate.vhosts()[1].connections() {
        left if left.contains(&one.user) => Err(format!("{left:?}")),
        _ => Ok(()),
    })
    .await;
    estate.kill("agent-cell1-h2");
    expect(&estate, "host delete cell1-h2 --force --yes", 0, "").await;
    is_gone(&broker, &estate, &two).await;
    eventually(SOON, "nothing is left of them", async || {
        match estate.cell_database(1).number("SELECT count(*) FROM broker_user") {
            0 => Ok(()),
            left => Err(format!("{left} rows")),
        }
    })
    .await;
}
