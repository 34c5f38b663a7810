//! Speaking with the cell: register, push observations, pull wishes. One call at a time.

mod apply;
mod offers;

use std::sync::Arc;
use std::time::Duration;

use model::bug::{Bug, planted};
use model::{Context, Fault, FaultKind, Incarnation, InstanceId, WorkerId};
use rpc::contract::{Register, SyncHost, Synced, Verdict};
use rpc::{Address, Bell, Bus, Ringing, Signer};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::drive::Driver;
use crate::health::Health;
use crate::identity::{join_token, keep_broker_user};
use crate::table::Sent;

use offers::Offering;

/// Observations of one call take at most about so many bytes; a message may have 256 KiB, and offers have a share.
const PAGE: usize = 128 * 1024;
/// Calls begin at least so far apart, so that what happens meanwhile travels together.
const GAP: Duration = Duration::from_millis(3);
/// How long what is not urgent waits for company.
const SOON: Duration = Duration::from_millis(100);
/// How often the digest of everything is compared.
const DIGEST: Duration = Duration::from_secs(30);
/// First pause after a failed call; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause after a failed call.
const PAUSE_LONGEST: Duration = Duration::from_secs(5);
/// How long after a user of the broker was asked for it is asked for again.
const USER_AGAIN: Duration = Duration::from_secs(30);
/// How long the last call of an agent that ends may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// The loop that speaks with the cell, and what it remembers.
pub(crate) struct Sync {
    driver: Arc<Driver>,
    health: Arc<Health>,
    bus: Bus,
    ringing: Ringing,
    session: Uuid,
    /// How many sessions of this host the cell last told of.
    sessions: Option<i64>,
    /// When a user of the broker may be asked for again.
    user_at: Duration,
    heartbeat: Duration,
    /// The agent has to register first.
    register: bool,
    /// Everything is asked for, not only what is new.
    full: bool,
    after: Option<InstanceId>,
    /// Everything has to be asked for from the beginning.
    again: bool,
    /// The incarnation that was synced with in full.
    incarnation: Option<Uuid>,
    /// The incarnation is another one: nothing is killed until a full sync is finished.
    distrust: bool,
    offering: Offering,
    failures: u32,
    called_at: Duration,
    beat_at: Duration,
    digest_at: Duration,
}

impl Sync {
    pub fn new(driver: Arc<Driver>, health: Arc<Health>, bus: Bus, incarnation: Option<Uuid>) -> Self {
        let env = &driver.table.env;
        let worker: WorkerId = env.id();
        let ringing = bus.listen(Bell::Host(driver.config.host), worker);
        let (now, session) = (env.monotonic(), env.uuid());
        let signer = Signer::new(driver.config.host, session, driver.config.key.clone());
        Self {
            session,
            sessions: None,
            user_at: Duration::ZERO,
            heartbeat: driver.config.heartbeat,
            register: true,
            full: true,
            after: None,
            again: false,
            incarnation,
            distrust: false,
            offering: Offering::default(),
            failures: 0,
            called_at: Duration::ZERO,
            beat_at: now,
            digest_at: now + env.jitter(DIGEST),
            ringing,
            bus: bus.signed_by(signer),
            health,
            driver,
        }
    }

    /// Speaks with the cell until `end`, and then once more if there is anything left to tell.
    pub async fn run(mut self, end: CancellationToken) {
        self.driver.table.report_all();
        loop {
            let turn = tokio::select! {
                biased;
                () = end.cancelled() => break,
                turn = self.turn() => turn,
            };
            let wait = match turn {
                Ok(true) => continue,
                Ok(false) => self.wait_for_news(&end).await,
                Err(fault) => {
                    tracing::info!(%fault, "the cell could not be synced with");
                    metrics::counter!("skep_agent_sync_failures_total").increment(1);
                    self.health.synced(self.driver.table.env.monotonic(), Err(fault));
                    self.pause(&end).await
                }
            };
            if !wait {
                break;
            }
        }
        if !self.register && !self.driver.table.is_reported() {
            let farewell = tokio::time::timeout(FAREWELL, self.call()).await;
            tracing::debug!(told = matches!(farewell, Ok(Ok(_))), "the last observations were sent");
        }
    }

    /// One call and what follows from it. Says whether the next call is to be made at once.
    async fn turn(&mut self) -> Result<bool, Fault> {
        if self.register || self.bus.lacks_user() && self.driver.table.env.monotonic() >= self.user_at {
            self.introduce().await?;
        }
        self.again = false;
        let (sent, reply) = self.call().await?;
        if reply.register {
            self.driver.table.unsend(&sent);
            self.register = true;
            self.ask_for_everything();
            return Err(Fault::unavailable("the cell does not know this host and asks it to register"));
        }
        let more = reply.more;
        if let Err(fault) = self.apply(&sent, reply).await {
            // Nothing of it was taken. If it was a page of everything, begin again.
            self.after = None;
            return Err(fault);
        }
        self.failures = 0;
        self.health.synced(self.driver.table.env.monotonic(), Ok(()));
        if self.again {
            return Ok(true);
        }
        self.after = more;
        if more.is_none() && self.full {
            self.full = false;
            self.finish_full().await?;
        }
        Ok(more.is_some() || sent.was_cut || self.offering.unknown || self.offering.is_under_way())
    }

    async fn introduce(&mut self) -> Result<(), Fault> {
        let config = &self.driver.config;
        let token = config.join_token_file.as_deref().filter(|_| !self.health.known().registered);
        let join = token.map(join_token).transpose()?.flatten();
        let mut call = Register {
            host: config.host,
            name: config.name.clone(),
            zone: config.zone.clone(),
            engine: config.engine_name.clone(),
            address: config.address.clone(),
            capacity: config.capacity,
            boot: config.boot,
            session: self.session,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            healthy: self.health.is_healthy(),
            key: Some(config.key.public()),
            join,
            sessions: self.sessions,
            wants_user: self.bus.lacks_user(),
        };
        let healthy = call.healthy;
        let mut registered = self.bus.call(Address::Conductors, &Context::default(), &call).await?;
        if registered.sessions.is_some() {
            (self.sessions, call.sessions) = (registered.sessions, registered.sessions);
            registered = self.bus.call(Address::Conductors, &Context::default(), &call).await?;
        }
        if registered.sessions.is_some() {
            return Err(Fault::new(FaultKind::Stale, "another agent registers as this host at this moment"));
        }
        self.register = self.health.is_healthy() != healthy;
        let now = self.driver.table.env.monotonic();
        self.user_at = match registered.user {
            // It takes a moment until the connection is by this one.
            Some(user) => {
                if let Err(fault) = keep_broker_user(&config.state_dir, &user) {
                    tracing::error!(%fault, "the host's user of the broker has to be asked for again at the next start");
                }
                self.bus.enter_as(user);
                now + USER_AGAIN
            }
            None if registered.user_later => now + USER_AGAIN,
            // Not before there is another reason to register.
            None if call.wants_user => Duration::MAX,
            None => self.user_at,
        };
        let asked = Duration::from_millis(registered.heartbeat_ms.max(100));
        self.heartbeat = config.heartbeat.min(asked);
        self.driver.table.number_from(registered.first_seq);
        self.meet(registered.incarnation.uuid());
        self.health.registered();
        Ok(())
    }

    async fn call(&mut self) -> Result<(Sent, Synced), Fault> {
        let table = &self.driver.table;
        let now = table.env.monotonic();
        let beat = now >= self.beat_at;
        let digest = (now >= self.digest_at && !self.full).then(|| table.digest());
        let mut sent = Unsend { table, sent: Some(table.send(PAGE)) };
        // They are looked for where there may be others than before.
        if beat || self.offering.unknown {
            self.offering.look(table.offers(&self.driver.config.cell_name));
        }
        let offers = self.offering.page();
        let observations: Vec<_> =
            sent.sent.as_ref().map(|sent| sent.observations.clone()).unwrap_or_default();
        let all = !self.full && !self.distrust && observations.is_empty() && offers.is_none();
        let heard = self.incarnation.filter(|_| all && self.offering.is_told());
        let call = SyncHost {
            host: self.driver.config.host,
            session: self.session,
            observations,
            full: self.full,
            after: self.after,
            digest,
            heartbeat: beat,
            healthy: self.health.is_healthy(),
            offers,
            heard: heard.map(Incarnation),
            connected_as: self.bus.connected_as().filter(|_| beat),
        };
        self.called_at = now;
        let reply = self.bus.call(Address::Conductors, &Context::default(), &call).await;
        match (&reply, &call.offers) {
            (Ok(reply), Some(_)) if reply.register => self.offering.forget(),
            (Ok(_), Some(page)) => self.offering.arrived(page),
            (Err(_), Some(_)) => self.offering.forget(),
            (_, None) => {}
        }
        let reply = reply?;
        self.offering.unknown = reply.verdicts.iter().any(|(_, verdict)| *verdict == Verdict::Unknown);
        let sent = sent.sent.take().unwrap_or_default();
        table.acknowledge(&sent);
        if beat {
            self.measure();
            // Never later than asked for, and not in step with others.
            self.beat_at = now + table.env.jitter(self.heartbeat * 2 / 3);
        }
        if digest.is_some() {
            self.digest_at = now + table.env.jitter(DIGEST);
        }
        Ok((sent, reply))
    }

    fn measure(&self) {
        let counts = self.driver.table.counts();
        let host = &self.driver.config.name;
        let gauge = |name: &'static str, value: usize| {
            metrics::gauge!(name, "host" => host.clone()).set(value as f64);
        };
        gauge("skep_agent_instances", counts.instances);
        gauge("skep_agent_running", counts.running);
        gauge("skep_agent_quarantined", counts.quarantined);
        gauge("skep_agent_unreported", counts.unreported);
    }

    /// Takes note of the incarnation that the cell's database tells of.
    fn meet(&mut self, incarnation: Uuid) {
        match self.incarnation {
            Some(known) if known != incarnation => {
                tracing::warn!(%known, %incarnation, "the cell's database has another incarnation");
                self.distrust = true;
                self.incarnation = Some(incarnation);
                self.offering.forget();
                self.ask_for_everything();
            }
            _ => self.incarnation = Some(incarnation),
        }
    }

    fn ask_for_everything(&mut self) {
        (self.full, self.after, self.again) = (true, None, true);
        self.driver.table.report_all();
    }

    /// Waits until there is something to say or to ask. Says whether to go on.
    async fn wait_for_news(&mut self, end: &CancellationToken) -> bool {
        let table = self.driver.table.clone();
        let mut until = self.beat_at;
        loop {
            let now = table.env.monotonic();
            tokio::select! {
                biased;
                () = end.cancelled() => return false,
                () = self.ringing.rung() => break,
                () = table.urgent.notified() => {
                    if !table.is_reported() {
                        break;
                    }
                }
                () = self.health.changed() => {
                    self.register = true;
                    break;
                }
                () = table.soon.notified() => until = until.min(now + SOON),
                () = tokio::time::sleep(until.saturating_sub(now)) => break,
            }
        }
        let passed = table.env.monotonic().saturating_sub(self.called_at);
        if passed < GAP {
            tokio::time::sleep(GAP - passed).await;
        }
        true
    }

    /// Waits after a failure; a doorbell says that the cell is back. Says whether to go on.
    async fn pause(&mut self, end: &CancellationToken) -> bool {
        let pause = PAUSE_FIRST.saturating_mul(1 << self.failures.min(10));
        let pause = self.driver.table.env.jitter(pause).min(PAUSE_LONGEST);
        self.failures += 1;
        tokio::select! {
            biased;
            () = end.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
            () = self.ringing.rung() => {
                tokio::time::sleep(PAUSE_FIRST).await;
                true
            }
        }
    }
}

/// Observations on their way, which are unreported again if the call fails or is dropped.
struct Unsend<'a> {
    table: &'a crate::table::Table,
    sent: Option<Sent>,
}

impl Drop for Unsend<'_> {
    fn drop(&mut self) {
        if let Some(sent) = self.sent.as_ref().filter(|_| !planted(Bug::ReportedOnce)) {
            self.table.unsend(sent);
        }
    }
}
