//! One bus's way to RabbitMQ: the current session, and the supervisor that makes the next.

use std::sync::Arc;
use std::time::Duration;

use lapin::message::BasicReturnMessage;
use lapin::uri::AMQPUri;
use lapin::{Confirmation, Consumer};
use model::{Env, Fault};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::session::{self, Session};
use super::within;
use crate::contract::Bell;
use crate::local::{closed, full, nobody};
use crate::pending::{Bytes, Pending};
use crate::topology::{self, Queue};

/// Heartbeats in seconds unless the URL says otherwise: a frozen broker is noticed within twice this.
const HEARTBEAT: u16 = 10;
/// Waits between attempts to connect: from this, doubled up to [`SLOWEST`], plus up to half at random.
const FASTEST: Duration = Duration::from_millis(100);
const SLOWEST: Duration = Duration::from_millis(1_300);

/// How long a session is used for answers after another has taken its place.
const DRAIN: Duration = Duration::from_secs(5);

/// Where a link stands.
#[derive(Clone)]
enum State {
    /// The first attempt to connect is under way.
    Connecting,
    Up(Arc<Session>),
    /// It is lost, or could not be made; another attempt follows.
    Down,
    Closed,
}

/// What the link and its supervisor share.
struct Core {
    env: Env,
    /// Ways to the same vhost with different credentials: tried in turn.
    uris: watch::Sender<Vec<AMQPUri>>,
    pending: Arc<Pending>,
    state: watch::Sender<State>,
}

pub(crate) struct Link {
    core: Arc<Core>,
    supervisor: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

impl Link {
    pub(crate) fn new(env: Env, uri: AMQPUri) -> Self {
        let state = watch::Sender::new(State::Connecting);
        let uris = watch::Sender::new(vec![beating(uri)]);
        let core = Arc::new(Core { env, uris, pending: Arc::default(), state });
        let supervisor = tokio::spawn(core.clone().supervise());
        Self { core, supervisor }
    }

    /// From now on connections are made in these ways, the first that works. The present session is used until
    /// there is another, and closed when what it works on has had time to end.
    pub(crate) fn change(&self, uris: Vec<AMQPUri>) {
        if !uris.is_empty() {
            self.core.uris.send_replace(uris.into_iter().map(beating).collect());
        }
    }

    pub(crate) fn pending(&self) -> &Arc<Pending> {
        &self.core.pending
    }

    pub(super) fn env(&self) -> &Env {
        &self.core.env
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(*self.core.state.borrow(), State::Up(_))
    }

    pub(crate) async fn close(&self) {
        self.supervisor.abort();
        let before = self.core.state.send_replace(State::Closed);
        self.core.pending.fail_all(&closed());
        if let State::Up(session) = before {
            session.close().await;
        }
    }

    /// The current session. Waits only for the first attempt to connect; fails at once while it is lost.
    async fn session(&self) -> Result<Arc<Session>, Fault> {
        let mut state = self.core.state.subscribe();
        let state =
            state.wait_for(|state| !matches!(state, State::Connecting)).await.map_err(|_| closed())?;
        match &*state {
            State::Up(session) => Ok(session.clone()),
            State::Closed => Err(closed()),
            State::Connecting | State::Down => Err(away("is not connected")),
        }
    }

    /// The session to publish on.
    async fn publisher(&self) -> Result<Arc<Session>, Fault> {
        let session = self.session().await?;
        if session.is_blocked() {
            return Err(away("takes no messages; it may be short of memory or disk"));
        }
        Ok(session)
    }

    /// The next session that is up; `None` once the link is closed.
    pub(super) async fn up(&self) -> Option<Arc<Session>> {
        let mut state = self.core.state.subscribe();
        let state = state.wait_for(|state| matches!(state, State::Up(_) | State::Closed)).await.ok()?;
        match &*state {
            State::Up(session) => Some(session.clone()),
            _ => None,
        }
    }

    pub(crate) async fn send(&self, queue: &str, id: Uuid, body: Bytes, ttl: Duration) -> Result<(), Fault> {
        let session = self.publisher().await?;
        let confirm = session.request(queue, id, &body, ttl).await.map_err(lost)?;
        // The reply may come before the confirm, and lapin wants every confirm awaited.
        let (pending, queue) = (self.core.pending.clone(), queue.to_owned());
        tokio::spawn(async move {
            let (returned, fault) = match within(confirm).await {
                Ok(Confirmation::Ack(returned)) => (returned, None),
                Ok(Confirmation::Nack(returned)) => (returned, Some(full(&queue))),
                Ok(Confirmation::NotRequested) => (None, None),
                Err(error) => (None, Some(lost(error))),
            };
            // lapin hands a returned message to whichever confirm comes next: its own id tells whose it is.
            if let Some((id, queue)) = returned.as_ref().and_then(whose) {
                pending.settle(id, Err(nobody(queue)));
            }
            if let Some(fault) = fault {
                pending.settle(id, Err(fault));
            }
        });
        Ok(())
    }

    pub(crate) async fn reply(&self, to: &str, id: Uuid, body: Bytes) -> Result<(), Fault> {
        self.publisher().await?.cast("", to, Some(id), &body).await.map_err(lost)
    }

    pub(crate) async fn ring(&self, bell: Bell) -> Result<(), Fault> {
        let (exchange, key) = topology::target(bell);
        self.publisher().await?.cast(exchange, &key, None, &[]).await.map_err(lost)
    }

    pub(crate) async fn declare(&self, queues: &[Queue], passive: bool) -> Result<(), Fault> {
        let session = self.session().await?;
        let channel = session.channel().await.map_err(lost)?;
        for queue in queues {
            let done = match passive {
                true => session::find(&channel, queue).await,
                false => session::declare(&channel, queue).await,
            };
            done.map_err(|why| Fault::unavailable(format!("queue {}: {why}", queue.name)))?;
        }
        session::leave(&channel).await;
        Ok(())
    }

    pub(crate) async fn park(&self, body: Bytes) -> Result<(), Fault> {
        self.publisher().await?.keep(topology::PARKING, &body).await.map_err(lost)
    }
}

impl Core {
    async fn supervise(self: Arc<Self>) {
        let mut wait = FASTEST;
        let mut uris = self.uris.subscribe();
        let mut next = None;
        loop {
            let opened = match next.take() {
                Some(opened) => Ok(opened),
                None => self.open(&mut uris).await,
            };
            match opened {
                Ok((session, mut replies)) => {
                    let session = Arc::new(session);
                    if !self.now(State::Up(session.clone())) {
                        return session.close().await;
                    }
                    tracing::info!(broker = self.broker(), "connected to the message broker");
                    let start = self.env.monotonic();
                    let ended = tokio::select! {
                        why = session.run(&mut replies, &self.pending) => Err(why),
                        opened = self.other(&mut uris) => Ok(opened),
                    };
                    let why = match ended {
                        Ok(opened) => {
                            next = Some(opened);
                            tokio::spawn(self.clone().drain(session, replies));
                            continue;
                        }
                        Err(why) => why,
                    };
                    tracing::warn!(
                        broker = self.broker(),
                        why,
                        "the message broker was lost; connecting again"
                    );
                    metrics::counter!("skep_rpc_connections_lost_total").increment(1);
                    self.now(State::Down);
                    self.pending.fail_all(&lost(why));
                    tokio::spawn(async move { session.close().await });
                    // A broker that accepts and drops at once is not asked faster and faster.
                    if self.env.monotonic().saturating_sub(start) > SLOWEST {
                        wait = FASTEST;
                    }
                }
                Err(why) => {
                    tracing::warn!(
                        broker = self.broker(),
                        why,
                        "the message broker cannot be reached; trying again"
                    );
                    self.now(State::Down);
                }
            }
            tokio::time::sleep(self.env.jitter(wait)).await;
            wait = (wait * 2).min(SLOWEST);
        }
    }

    /// A session by the first way that works.
    async fn open(&self, uris: &mut watch::Receiver<Vec<AMQPUri>>) -> Result<(Session, Consumer), String> {
        let ways = uris.borrow_and_update().clone();
        let mut why = "there is no way to connect".to_owned();
        for (n, uri) in ways.iter().enumerate() {
            match Session::open(uri).await {
                Ok(opened) => {
                    if n > 0 {
                        tracing::warn!(
                            broker = self.broker(),
                            slot = n + 1,
                            why,
                            "the first credentials do not work"
                        );
                    }
                    return Ok(opened);
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// A session by other ways, as soon as there are some that work.
    async fn other(&self, uris: &mut watch::Receiver<Vec<AMQPUri>>) -> (Session, Consumer) {
        if uris.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let mut wait = FASTEST;
        loop {
            match self.open(uris).await {
                Ok(opened) => return opened,
                Err(why) => {
                    tracing::warn!(
                        broker = self.broker(),
                        why,
                        "the new credentials do not work; the old are used on"
                    );
                }
            }
            tokio::time::sleep(self.env.jitter(wait)).await;
            wait = (wait * 2).min(SLOWEST);
        }
    }

    /// Uses a session for the answers to what was asked on it, and closes it.
    async fn drain(self: Arc<Self>, session: Arc<Session>, mut replies: Consumer) {
        let _ = tokio::time::timeout(DRAIN, session.run(&mut replies, &self.pending)).await;
        session.close().await;
    }

    /// Changes the state; `false` if the link was closed meanwhile, which stays.
    fn now(&self, state: State) -> bool {
        self.state.send_if_modified(|now| {
            let open = !matches!(now, State::Closed);
            if open {
                *now = state;
            }
            open
        })
    }

    /// The broker's name for logs, without the password.
    fn broker(&self) -> String {
        let uris = self.uris.borrow();
        let place = |uri: &AMQPUri| format!("{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost);
        uris.first().map(place).unwrap_or_default()
    }
}

/// The message id and the queue of a request that was returned.
fn whose(returned: &BasicReturnMessage) -> Option<(Uuid, &str)> {
    let id = returned.properties.message_id().as_ref()?;
    Some((Uuid::parse_str(id.as_str()).ok()?, returned.routing_key.as_str()))
}

fn beating(mut uri: AMQPUri) -> AMQPUri {
    uri.query.heartbeat.get_or_insert(HEARTBEAT);
    uri
}

fn away(what: &str) -> Fault {
    Fault::unavailable(format!("the message broker {what}; try again later"))
}

fn lost(why: String) -> Fault {
    tracing::debug!(why, "an operation on the message broker failed");
    away("was lost during the call, which may still be carried out")
}
