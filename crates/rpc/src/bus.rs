//! The bus: calls, rings, listeners and servers of one process on one broker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use model::drill::{Drill, Gate};
use model::{Context, Env, Fault, FaultKind, WorkerId};

use crate::contract::{Address, Bell, Call};
use crate::ringing::{Ringer, Ringing};
use crate::service::Service;
use crate::serving::Serving;
use crate::signing::Signer;
use crate::transport::Link;
use crate::{connector, gate, topology, wire};

/// A process's way to one cell's broker, or to the API level's. Clones share it.
#[derive(Clone)]
pub struct Bus {
    env: Env,
    gate: Gate,
    link: Link,
    ringer: Arc<Ringer>,
    signer: Option<Arc<Signer>>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl Bus {
    pub(crate) fn new(env: Env, gate: Gate, link: Link) -> Self {
        let ringer = Arc::new(Ringer::start(link.clone(), gate.clone()));
        Self { env, gate, link, ringer, signer: None }
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
        self.link.send(&topology::inbox_name(to), id, body, deadline).await?;
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
