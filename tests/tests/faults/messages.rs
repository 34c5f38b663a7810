//! Messages that come twice, late, in another order, or that nobody can read.

use std::time::Duration;

use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use model::Env;
use tests::estate::Plan;
use tests::{Estate, eventually, within};

use crate::{SHOWS, all_active};

/// Until all is done after the last message was doubled, whose copy comes 12 s later (case 27: 20 s).
const ORDERED: Duration = Duration::from_secs(40);
/// Until rubbish is out of a vhost's queues (case 28: 8 s).
const CONSUMED: Duration = Duration::from_secs(16);
/// How many of the messages that are put into a conductor's queue nobody can read.
const UNREADABLE: f64 = 10.0;
/// How often one message is delivered at most before it is parked (case 28).
const DELIVERIES: f64 = 5.0;

#[tokio::test(flavor = "multi_thread")]
async fn messages_may_come_twice_late_disordered_and_unreadable() {
    let _alone = crate::alone().await;
    let mut estate = Estate::start(Plan { cells: 2, ..Plan::default() }).await;
    they_come_twice_late_and_disordered(&estate).await;
    nobody_can_read_them(&mut estate).await;
}

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.expect("connects");
    let channel = connection.create_channel().await.expect("opens");
    (connection, channel)
}

/// Half of what goes to the conductors of both cells is taken out of their queue and put back three times
/// over: at once, after a while, and after the call's deadline.
async fn they_come_twice_late_and_disordered(estate: &Estate) {
    let alice = estate.user("alice");
    let mut thieves = Vec::new();
    for vhost in &estate.vhosts()[1..] {
        let (connection, channel) = channel(vhost.url()).await;
        channel.basic_qos(64, BasicQosOptions::default()).await.expect("is set");
        let options = BasicConsumeOptions::default();
        let consumed =
            channel.basic_consume("conductors".into(), "thief".into(), options, FieldTable::default());
        let mut stolen = consumed.await.expect("consumes");
        thieves.push(tokio::spawn(async move {
            let _connection = connection;
            let env = Env::system();
            let mut count = 0_u64;
            while let Some(Ok(message)) = stolen.next().await {
                // What came back is passed on to whoever is next, or it would go round for ever.
                count += 1;
                let (data, properties) = (message.data.clone(), message.properties.clone());
                for wait in [env.below(200), 1_000 + env.below(2_000), 12_000] {
                    let (channel, data, properties) = (channel.clone(), data.clone(), properties.clone());
                    let back = count;
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(wait)).await;
                        put(&channel, "conductors", &data, properties).await;
                        back
                    });
                }
                let _ = message.acker.ack(BasicAckOptions::default()).await;
                if count == 150 {
                    break;
                }
            }
            count
        }));
    }
    let ids = alice.boot_many("doubled", 12).await;
    for id in &ids[..4] {
        alice.delete(id).await;
    }
    for thief in thieves {
        let stolen = tokio::time::timeout(SHOWS, thief).await.expect("in time").expect("steals");
        assert!(stolen > 0, "messages were doubled");
    }
    within(ORDERED, async {
        for id in &ids[..4] {
            alice.gone(id).await;
        }
        all_active(estate, &ids[4..], 8).await;
    })
    .await;
    estate.clear(&["alice"]).await;
}

async fn put(channel: &Channel, queue: &str, data: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("".into(), queue.into(), options, data, properties).await;
    // The connection may be gone at the end of the case.
    if let Err(error) = sent {
        eprintln!("not put back: {error}");
    }
}

/// Rubbish in every queue that there is: consumers live on, and nothing is held up. What comes to conductors and cannot
/// be read is parked, counted and logged.
async fn nobody_can_read_them(estate: &mut Estate) {
    let alice = estate.user("alice");
    let ids = alice.boot_many("before", 2).await;
    let large = vec![b'x'; 5 * 1024 * 1024];
    let rubbish: [&[u8]; 6] = [
        b"",
        b"\xff\xfe rubbish",
        b"{}",
        br#"{"call": "no-such-call", "body": {}}"#,
        br#"{"call": "sync-host", "body": {"host": 1}}"#,
        &large,
    ];
    for vhost in estate.vhosts() {
        let (_connection, channel) = channel(vhost.url()).await;
        let queues = vhost.queues();
        assert!(!queues.is_empty());
        // Nobody consumes where unreadable messages lie; what comes there is counted below.
        for (queue, ..) in queues.into_iter().filter(|(name, ..)| name != "parking") {
            for body in rubbish {
                for properties in [
                    BasicProperties::default(),
                    BasicProperties::default()
                        .with_reply_to("nobody".into())
                        .with_message_id("rubbish".into())
                        .with_correlation_id("rubbish".into()),
                ] {
                    put(&channel, &queue, body, properties).await;
                }
            }
        }
        eventually(CONSUMED, "all of it is consumed", async || {
            let queues = vhost.queues();
            let left: Vec<_> =
                queues.iter().filter(|(name, messages, _)| name != "parking" && *messages > 0).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        })
        .await;
    }
    let ids = [ids, alice.boot_many("after", 4).await].concat();
    all_active(estate, &ids, 6).await;
    for cell in 1..=estate.plan.cells {
        it_is_parked(estate, cell).await;
    }
    for name in estate.names("") {
        assert!(estate.process(&name).ended().is_none(), "{name} lives on");
    }
    estate.ready("").await;
    estate.clear(&["alice"]).await;
}

/// All rubbish that came to a cell's conductor, but for a call that it only does not know, is in the parking queue, after
/// no more deliveries than there may be; and the operator is told.
async fn it_is_parked(estate: &Estate, cell: usize) {
    let conductor = format!("conductor-cell{cell}");
    let parked = estate.vhosts()[cell].queues().into_iter().find(|(name, ..)| name == "parking");
    let (_, parked, _) = parked.expect("there is a place for it");
    let parked = parked as f64;
    let unreadable = estate.metric(&conductor, "skep_rpc_unreadable_total").await.expect("is told");
    assert!(parked >= UNREADABLE, "{conductor} parked {parked} of {UNREADABLE}");
    assert!(unreadable >= parked, "{parked} are parked, {unreadable} are counted");
    assert!(unreadable <= UNREADABLE * DELIVERIES, "{unreadable} deliveries of {UNREADABLE}");
    let logged = estate.logs(&conductor);
    assert!(logged.contains("a request cannot be read"), "{logged}");
}
