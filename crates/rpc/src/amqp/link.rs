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

use super::session::{self, Session, Way};
use super::within;
use crate::contract::{Address, Bell};
use crate::local::{closed, full, nobody};
use crate::pending::{Bytes, Pending};
use crate::topology::{self, Queue};
use crate::user::BrokerUser;

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
    doors: watch::Sender<Doors>,
    pending: Arc<Pending>,
    state: watch::Sender<State>,
}

/// Ways to one vhost with different credentials.
#[derive(Clone, Default)]
struct Doors {
    uris: Vec<AMQPUri>,
    /// The user of a host's own, which goes before the credentials of the URLs.
    user: Option<BrokerUser>,
}

impl Doors {
    /// In the order in which they are tried.
    fn ways(&self) -> Vec<Way> {
        let mut own = Vec::new();
        if let Some(user) = &self.user {
            for mut uri in self.uris.clone() {
                uri.authority.userinfo.username.clone_from(&user.name);
                uri.authority.userinfo.password.clone_from(&user.password);
                own.push(Way { uri, own: true, user: self.user.clone() });
            }
        }
        let shared =
            self.uris.iter().map(|uri| Way { uri: uri.clone(), own: false, user: self.user.clone() });
        own.extend(shared);
        own
    }
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
        let doors = watch::Sender::new(Doors { uris: vec![beating(uri)], user: None });
        let core = Arc::new(Core { env, doors, pending: Arc::default(), state });
        let supervisor = tokio::spawn(core.clone().supervise());
        Self { core, supervisor }
    }

    /// From now on connections are made in these ways, the first that works. The present session is used until
    /// there is another, and closed when what it works on has had time to end.
    pub(crate) fn change(&self, uris: Vec<AMQPUri>) {
        if !uris.is_empty() {
            let uris = uris.into_iter().map(beating).collect();
            self.core.doors.send_modify(|doors| doors.uris = uris);
        }
    }

    /// From now on connections are made as this user first.
    pub(crate) fn enter_as(&self, user: BrokerUser) {
        self.core.doors.send_modify(|doors| doors.user = Some(user));
    }

    /// Whether there is no user of the host's own, or the present session could not be opened as that.
    pub(crate) fn lacks_user(&self) -> bool {
        let user = self.core.doors.borrow().user.clone();
        match &*self.core.state.borrow() {
            State::Up(session) => !session.way.own && session.way.user == user,
            _ => user.is_none(),
        }
    }

    /// The user of the present session.
    pub(crate) fn user(&self) -> Option<String> {
        match &*self.core.state.borrow() {
            State::Up(session) => Some(session.way.uri.authority.userinfo.username.clone()),
            _ => None,
        }
    }

    /// The vhost.
    pub(crate) fn vhost(&self) -> String {
        self.core.doors.borrow().uris.first().map(|uri| uri.vhost.clone()).unwrap_or_default()
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

    pub(crate) async fn send(&self, to: Address, id: Uuid, body: Bytes, ttl: Duration) -> Result<(), Fault> {
        let session = self.publisher().await?;
        let pending = self.core.pending.clone();
        let confirm = session.request(to, id, &body, ttl, &pending).await.map_err(lost)?;
        // The reply may come before the confirm, and lapin wants every confirm awaited.
        let queue = topology::inbox_name(to);
        tokio::spawn(async move {
            let (returned, fault) = match within(confirm).await {
                Ok(Confirmation::Ack(returned)) => (returned, None),
                Ok(Confirmation::Nack(returned)) => (returned, Some(full(&queue))),
                Ok(Confirmation::NotRequested) => (None, None),
                Err(error) => (None, Some(lost(error))),
            };
            // lapin hands a returned message to whichever confirm comes next: its own id tells whose it is.
            if let Some((id, queue)) = returned.as_ref().and_then(whose) {
                if queue == topology::inbox_name(Address::Conductors) && !session.way.own {
                    let bound = session.bind_conductors().await;
                    tracing::debug!(?bound, "nobody took a call to the conductors");
                }
                pending.settle(id, Err(nobody(queue)));
            }
            if let Some(fault) = fault {
                pending.settle(id, Err(fault));
            }
        });
        Ok(())
    }

    pub(crate) async fn reply(&self, to: &str, id: Uuid, body: Bytes) -> Result<(), Fault> {
        // The broker sees to where a direct reply goes; any other is sent where hosts may send it, and nowhere else.
        let exchange = if to.starts_with(session::DIRECT) { "" } else { topology::AGENTS };
        self.publisher().await?.cast(exchange, to, Some(id), &body).await.map_err(lost)
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
        let mut doors = self.doors.subscribe();
        let mut next = None;
        loop {
            let opened = match next.take() {
                Some(opened) => Ok(opened),
                None => self.open(&mut doors).await,
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
                        opened = self.other(&mut doors) => Ok(opened),
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
    async fn open(&self, doors: &mut watch::Receiver<Doors>) -> Result<(Session, Consumer), String> {
        let ways = doors.borrow_and_update().ways();
        let mut why = "there is no way to connect".to_owned();
        for (n, way) in ways.iter().enumerate() {
            match Session::open(way).await {
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
    async fn other(&self, doors: &mut watch::Receiver<Doors>) -> (Session, Consumer) {
        if doors.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let mut wait = FASTEST;
        loop {
            match self.open(doors).await {
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
        let doors = self.doors.borrow();
        let place = |uri: &AMQPUri| format!("{}:{}/{}", uri.authority.host, uri.authority.port, uri.vhost);
        doors.uris.first().map(place).unwrap_or_default()
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
