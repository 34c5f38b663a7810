//! A cell that only pretends: conductors that answer from rows in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use model::drill::{Drill, Gate};
use model::sync::{Observation, Outcome, Wanted};
use model::{At, Env, HostId, Incarnation, InstanceId, Intent};
use rpc::contract::{Register, Registered, SyncHost, Synced, Verdict};
use rpc::{Address, Bell, Bus, Connector, Service, Serving};

#[derive(Default)]
pub struct Rows {
    pub wanted: BTreeMap<InstanceId, Wanted>,
    pub observed: HashMap<InstanceId, Observation>,
    pub history: Vec<Observation>,
    pub superseded: HashMap<InstanceId, At>,
    pub incarnation: Option<Incarnation>,
    pub registrations: Vec<Register>,
    pub syncs: Vec<SyncHost>,
    pub digests: Vec<(u64, u64)>,
    pub page: usize,
    pub forget_host: bool,
    pub differs_once: bool,
}

#[derive(Clone)]
pub struct Cell {
    pub connector: Connector,
    pub bus: Bus,
    pub rows: Arc<Mutex<Rows>>,
    /// Makes the cell dark for agents.
    pub gate: Gate,
    _serving: Arc<Serving>,
}

impl Cell {
    pub async fn start(env: &Env) -> Self {
        let connector = Connector::new(env.clone());
        let bus = connector.connect("local:cell", Gate::default()).unwrap();
        let rows = Rows { incarnation: Some(env.id()), page: 1000, ..Rows::default() };
        let rows = Arc::new(Mutex::new(rows));
        let (a, b) = (rows.clone(), rows.clone());
        let service = Service::new()
            .on(move |_, call: Register| {
                let mut rows = a.lock().unwrap();
                rows.registrations.push(call);
                rows.forget_host = false;
                let incarnation = rows.incarnation.unwrap();
                let first_seq = (rows.registrations.len() as i64) << 40;
                let registered = Registered {
                    incarnation,
                    heartbeat_ms: 60_000,
                    first_seq,
                    sessions: None,
                    user: None,
                    user_later: false,
                };
                async move { Ok(registered) }
            })
            .on(move |_, call: SyncHost| {
                let reply = b.lock().unwrap().sync(call);
                async move { Ok(reply) }
            });
        let serving = bus.serve(Address::Conductors, service, 16);
        serving.ready().await;
        Self { connector, bus, rows, gate: Gate::default(), _serving: Arc::new(serving) }
    }

    pub fn bus_for_agent(&self) -> Bus {
        self.connector.connect("local:cell", self.gate.clone()).unwrap()
    }

    pub fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    pub fn want(&self, host: HostId, wanted: Wanted) {
        self.rows().wanted.insert(wanted.instance, wanted);
        self.bus.ring(Bell::Host(host));
    }

    pub fn observed(&self, id: InstanceId) -> Option<Observation> {
        self.rows().observed.get(&id).cloned()
    }

    pub fn dark(&self, dark: bool) {
        self.gate.set(if dark { Drill::Refuse } else { Drill::Off });
    }
}

impl Rows {
    fn sync(&mut self, call: SyncHost) -> Synced {
        self.syncs.push(call.clone());
        let mut reply = Synced {
            incarnation: self.incarnation.unwrap(),
            wanted: Vec::new(),
            more: None,
            verdicts: Vec::new(),
            differs: std::mem::take(&mut self.differs_once),
            register: self.forget_host,
        };
        if self.forget_host {
            return reply;
        }
        if let Some(digest) = call.digest {
            let ours = rpc::contract::digest(
                self.wanted.iter().filter(|(_, w)| w.intent != Intent::Gone).map(|(id, w)| (*id, w.at)),
            );
            self.digests.push((digest, ours));
            reply.differs |= digest != ours;
        }
        for observation in &call.observations {
            let id = observation.instance;
            self.history.push(observation.clone());
            let older =
                |by: &&At| (observation.at.epoch, observation.at.placement) < (by.epoch, by.placement);
            if let Some(at) = self.superseded.get(&id).filter(older) {
                reply.verdicts.push((id, Verdict::Superseded(*at)));
            } else if !self.wanted.contains_key(&id) {
                reply.verdicts.push((id, Verdict::Unknown));
            }
            let order = |o: &Observation| (o.at.epoch, o.at.placement, o.seq);
            if self.observed.get(&id).is_none_or(|known| order(known) < order(observation)) {
                self.observed.insert(id, observation.clone());
            }
        }
        let open = |w: &&Wanted| {
            call.full
                || self.observed.get(&w.instance).is_none_or(|o| {
                    o.at < w.at || o.restart_seq < w.restart_seq && o.outcome != Outcome::Taken
                })
        };
        let after = |w: &&Wanted| call.after.is_none_or(|after| w.instance > after);
        let mut page: Vec<Wanted> =
            self.wanted.values().filter(open).filter(after).take(self.page + 1).cloned().collect();
        if page.len() > self.page {
            page.truncate(self.page);
            reply.more = page.last().map(|w| w.instance);
        }
        reply.wanted = page;
        reply
    }
}
