//! The bus: calls, rings, listeners and servers of one process on one broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::drill::{Drill, Gate};
use model::{Context, Env, Fault, FaultKind, HostId, WorkerId};

use crate::contract::{Address, Bell, Call};
use crate::management::Management;
use crate::ringing::{Ringer, Ringing};
use crate::service::Service;
use crate::serving::Serving;
use crate::signing::Signer;
use crate::transport::Link;
use crate::user::BrokerUser;
use crate::{connector, gate, topology, wire};

/// A process's way to one cell's broker, or to the API level's. Clones share it.
#[derive(Clone)]
pub struct Bus {
    env: Env,
    gate: Gate,
    link: Link,
    ringer: Arc<Ringer>,
    signer: Option<Arc<Signer>>,
    management: Option<Management>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl Bus {
    pub(crate) fn new(env: Env, gate: Gate, link: Link) -> Self {
        let ringer = Arc::new(Ringer::start(link.clone(), gate.clone()));
        Self { env, gate, link, ringer, signer: None, management: None }
    }

    /// The same bus, whose calls are signed.
    #[must_use]
    pub fn signed_by(self, signer: Signer) -> Self {
        Self { signer: Some(Arc::new(signer)), ..self }
    }

    /// Calls `to` and waits for the answer at most [`Call::DEADLINE`].
    ///
    /// A fault of the other side is returned as it is. Beside those: `Unavailable` if nobody listens there,
    /// the inbox is full or the broker is away, all at once; `Timeout` at the deadline. After either, the
    /// call may still be carried out.
    pub async fn call<C: Call>(&self, to: Address, context: &Context, call: &C) -> Result<C::Reply, Fault> {
        self.call_within(to, context, call, C::DEADLINE).await
    }

    /// [`Bus::call`] with another deadline.
    pub async fn call_within<C: Call>(
        &self,
        to: Address,
        context: &Context,
        call: &C,
        deadline: Duration,
    ) -> Result<C::Reply, Fault> {
        let start = self.env.monotonic();
        let attempt = self.attempt(to, context, call, deadline);
        let outcome = tokio::time::timeout(deadline, attempt).await.unwrap_or_else(|_| {
            let whom = whom(to);
            Err(Fault::new(
                FaultKind::Timeout,
                format!("{whom} did not answer '{}' within {deadline:?}", C::NAME),
            ))
        });
        let word = match &outcome {
            Ok(_) => "ok",
            Err(fault) if fault.kind == FaultKind::Timeout => "timeout",
            Err(fault) if fault.kind == FaultKind::Unavailable => "unavailable",
            Err(_) => "fault",
        };
        let took = self.env.monotonic().saturating_sub(start);
        metrics::histogram!("skep_rpc_call_seconds", "call" => C::NAME, "outcome" => word).record(took);
        outcome
    }

    async fn attempt<C: Call>(
        &self,
        to: Address,
        context: &Context,
        call: &C,
        deadline: Duration,
    ) -> Result<C::Reply, Fault> {
        gate::pass(&self.gate).await?;
        let body = wire::request(context, call, self.signer.as_deref())?.into();
        let id = self.env.uuid();
        let waiting = self.link.pending().open(id);
        self.link.send(to, id, body, deadline).await?;
        let answer = waiting.await;
        // A drill that began meanwhile swallows the answer.
        gate::pass(&self.gate).await?;
        wire::outcome::<C>(&answer?)
    }

    /// Rings a bell. Never blocks and never fails: a ring that cannot be sent is counted and forgotten,
    /// and a bell that is still waiting to be rung is not rung twice.
    pub fn ring(&self, bell: Bell) {
        self.ringer.ring(bell);
    }

    /// Listens to a bell until the value is dropped, through lost connections. `worker` names the queue of
    /// this listener where a bell has several ([`Bell::Up`]).
    pub fn listen(&self, bell: Bell, worker: WorkerId) -> Ringing {
        Ringing::start(self.link.inbox(topology::doorbell(bell, worker), 1), self.gate.clone())
    }

    /// Answers the calls to `at` with `service`, at most `concurrency` of them at a time, until the value is
    /// stopped or dropped, through lost connections.
    pub fn serve(&self, at: Address, service: Service, concurrency: usize) -> Serving {
        Serving::start(self.link.clone(), self.gate.clone(), at, service, concurrency)
    }

    /// Declares the queues of a cell that outlive their consumers; repeats change nothing.
    ///
    /// # Errors
    /// If the broker is away, or has one of them with other limits.
    pub async fn declare(&self) -> Result<(), Fault> {
        gate::pass(&self.gate).await?;
        self.link.declare(&topology::lasting(), false).await
    }

    /// Looks whether the queues of a cell that outlive their consumers are there.
    ///
    /// # Errors
    /// If the broker is away, or one of them is missing.
    pub async fn is_declared(&self) -> Result<(), Fault> {
        gate::pass(&self.gate).await?;
        self.link.declare(&topology::lasting(), true).await
    }

    /// Whether the broker can be reached now.
    pub fn is_connected(&self) -> bool {
        self.gate.get() == Drill::Off && self.link.is_connected()
    }

    /// From now on connections are made by these URLs, which lead to the same vhost: by the first that works. The
    /// present ones are used until there are others. In process there are no credentials.
    ///
    /// # Errors
    /// `Invalid`: a URL that cannot be read; nothing has changed then.
    pub fn change_credentials(&self, urls: &[String]) -> Result<(), Fault> {
        if let Link::Amqp(link) = &self.link {
            let uris: Result<Vec<_>, Fault> = urls.iter().map(|url| connector::read(url)).collect();
            link.change(uris?);
        }
        Ok(())
    }

    /// The same bus, which can make users of its broker.
    #[must_use]
    pub fn managed_by(self, management: Management) -> Self {
        Self { management: Some(management), ..self }
    }

    /// Whether it can make users of its broker.
    pub fn makes_users(&self) -> bool {
        self.management.is_some() && matches!(self.link, Link::Amqp(_))
    }

    /// The name of a host's own user, where this bus can make users; there are none in process.
    pub fn user_of(&self, host: HostId) -> Option<String> {
        match (&self.link, &self.management) {
            (Link::Amqp(link), Some(_)) => Some(format!("{}.host.{host}", link.vhost())),
            _ => None,
        }
    }

    /// Makes a host's own user, which may use its two queues, call conductors and answer calls, and nothing else; one
    /// that is there gets another password.
    ///
    /// # Errors
    /// `Unavailable`: the management API does not do it, for the reason that is told. `Unsupported`: there is none.
    pub async fn make_user(&self, host: HostId) -> Result<BrokerUser, Fault> {
        let (Some(management), Link::Amqp(link), Some(name)) =
            (&self.management, &self.link, self.user_of(host))
        else {
            return Err(Fault::new(FaultKind::Unsupported, "this bus makes no users of its broker"));
        };
        let password = (0..4).map(|_| format!("{:016x}", self.env.random())).collect();
        let user = BrokerUser { name, password };
        management.make(&user, &link.vhost(), &topology::permissions(host)).await?;
        Ok(user)
    }

    /// Removes a user of the broker, whose connections end; without effect if there is none of the name.
    ///
    /// # Errors
    /// As [`Bus::make_user`].
    pub async fn remove_user(&self, name: &str) -> Result<(), Fault> {
        match &self.management {
            Some(management) => management.remove(name).await,
            None => Err(Fault::new(FaultKind::Unsupported, "this bus removes no users of its broker")),
        }
    }

    /// From now on connections are made as this user where that works, and else by the credentials of the URLs. The
    /// present ones are used until there are others. In process there are no users.
    pub fn enter_as(&self, user: BrokerUser) {
        if let Link::Amqp(link) = &self.link {
            link.enter_as(user);
        }
    }

    /// Whether it was told of no user ([`Bus::enter_as`]), or is connected by the credentials of its URL because the
    /// broker refuses that one. Never in process.
    pub fn lacks_user(&self) -> bool {
        matches!(&self.link, Link::Amqp(link) if link.lacks_user())
    }

    /// The name of the user by which it is connected to the broker; none in process, and while it is not connected.
    pub fn connected_as(&self) -> Option<String> {
        match &self.link {
            Link::Amqp(link) => link.user(),
            Link::Local(_) => None,
        }
    }

    /// Ends it for all clones: waiting calls fail, listeners fall silent, servers end.
    pub async fn close(&self) {
        self.link.close().await;
    }
}

/// Who did not answer, for people.
pub(crate) fn whom(to: Address) -> String {
    match to {
        Address::Conductors => "the cell's conductors".into(),
        Address::Host(host) => format!("the agent of host {host}"),
    }
}
