//! A transport under test, and the calls that the tests make.

use std::future::Future;
use std::time::Duration;

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use model::drill::Gate;
use model::{Context, Env, Fault, HostId, WorkerId};
use rpc::{Address, Bus, Call, Connector, Service, Serving};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

/// A call of the tests: the handler may do anything with the text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Echo {
    pub text: String,
}

impl Call for Echo {
    const NAME: &'static str = "test-echo";
    const DEADLINE: Duration = Duration::from_secs(60);
    type Reply = Echo;
}

pub fn echo(text: impl Into<String>) -> Echo {
    Echo { text: text.into() }
}

/// A service that echoes.
pub fn echoing() -> Service {
    Service::new().on(|_, call: Echo| async move { Ok(call) })
}

/// The suite's limit for one test.
pub async fn bounded(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("a test took more than 60 s");
}

/// Waits until a condition holds; fails after 45 s.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    for _ in 0..4_500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 45 s");
}

/// The broker's vhost is one, the tests are many.
static ALONE: Mutex<()> = Mutex::const_new(());

const SHARED: [&str; 4] = ["conductors", "conductors.bell", "superconductors.bell", "parking"];

pub struct World {
    pub env: Env,
    pub connector: Connector,
    pub url: String,
    broker: Option<(Connection, Channel)>,
    _alone: Option<MutexGuard<'static, ()>>,
}

impl World {
    pub fn local() -> Self {
        let env = Env::system();
        let connector = Connector::new(env.clone());
        Self { env, connector, url: "local:test".into(), broker: None, _alone: None }
    }

    #[expect(clippy::disallowed_methods, reason = "tests read where the services are")]
    pub async fn amqp() -> Option<Self> {
        let Ok(url) = std::env::var("SKEP_TEST_AMQP") else {
            let required = std::env::var("SKEP_TEST_REQUIRE").is_ok_and(|value| value == "1");
            assert!(!required, "SKEP_TEST_AMQP is not set and SKEP_TEST_REQUIRE=1");
            println!("skipped: set SKEP_TEST_AMQP to a RabbitMQ URL to run this test");
            return None;
        };
        let alone = ALONE.lock().await;
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("RabbitMQ");
        let channel = connection.create_channel().await.unwrap();
        for queue in SHARED {
            channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        }
        let env = Env::system();
        let connector = Connector::new(env.clone());
        Some(Self { env, connector, url, broker: Some((connection, channel)), _alone: Some(alone) })
    }

    pub fn bus(&self) -> Bus {
        self.gated(Gate::default())
    }

    pub fn gated(&self, gate: Gate) -> Bus {
        self.connector.connect(&self.url, gate).unwrap()
    }

    pub fn host(&self) -> HostId {
        self.env.id()
    }

    pub fn worker(&self) -> WorkerId {
        self.env.id()
    }

    /// A channel of the broker's, beside all buses.
    pub fn channel(&self) -> Channel {
        self.broker.as_ref().unwrap().1.clone()
    }

    /// Messages ready in a queue and its consumers where the transport tells; `None` if it does not exist.
    pub async fn depth(&self, queue: &str) -> Option<usize> {
        let Some((connection, _)) = &self.broker else { return self.connector.hub().depth("test", queue) };
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await.ok()?;
        Some(queue.message_count() as usize)
    }

    /// Consumers of a queue on the broker.
    pub async fn consumers(&self, queue: &str) -> u32 {
        let (connection, _) = self.broker.as_ref().unwrap();
        let channel = connection.create_channel().await.unwrap();
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
        queue.map_or(0, |queue| queue.consumer_count())
    }

    pub async fn purge(&self, queue: &str) {
        match &self.broker {
            None => drop(self.connector.hub().purge_all("test")),
            Some((_, channel)) => {
                channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.unwrap();
            }
        }
    }

    pub async fn inject(&self, queue: &str, body: &[u8]) {
        match &self.broker {
            None => assert!(self.connector.hub().inject("test", queue, body)),
            Some((_, channel)) => {
                let properties = BasicProperties::default();
                channel
                    .basic_publish("".into(), queue.into(), Default::default(), body, properties)
                    .await
                    .unwrap();
            }
        }
    }

    /// Leaves an inbox behind that nobody consumes.
    pub async fn deserted(&self, at: Address) {
        let serving = self.serve(&self.bus(), at, echoing(), 1).await;
        serving.stop(Duration::from_secs(1)).await;
        until("the inbox is deserted", async || match &self.broker {
            None => true,
            Some(_) => self.consumers(&name(at)).await == 0,
        })
        .await;
    }

    /// Serves, and waits until calls are received.
    pub async fn serve(&self, bus: &Bus, at: Address, service: Service, concurrency: usize) -> Serving {
        let serving = bus.serve(at, service, concurrency);
        serving.ready().await;
        serving
    }

    pub async fn echo(&self, bus: &Bus, to: Address, text: &str) -> Result<Echo, Fault> {
        bus.call(to, &Context::default(), &echo(text)).await
    }
}

/// The inbox's name, as operators see it.
pub fn name(at: Address) -> String {
    match at {
        Address::Conductors => "conductors".into(),
        Address::Host(host) => format!("host.{host}.calls"),
    }
}
