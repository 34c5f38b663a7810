//! How the roles of the simulated cloud begin.

use std::sync::Arc;
use std::time::Duration;

use agent::Agent;
use model::drill::Gate;
use model::{Env, Resources};
use router::Router;
use tokio_util::sync::CancellationToken;
use verbs::Verbs;

use super::client::{self, CLIENTS};
use super::clock::Dice;
use super::role::Role;
use super::world::{Host, World, open};

/// Memory of a host for each of its slots: some instances can grow, and some cannot.
const MEMORY: i64 = 256;

impl World {
    pub(super) fn start_api(&self, role: &Role, env: Env) {
        let (connector, history, build) = (self.connector.clone(), self.history.clone(), self.size.build);
        let dice: Vec<Dice> =
            (0..CLIENTS).map(|n| Dice::new(self.dice.below(u64::MAX), &format!("client{n}"))).collect();
        role.spawn(async move {
            let db: api_db::Db = open("api");
            let reach = router::Settings::default();
            let router =
                Router::start(reach, env.clone(), db.clone(), connector.clone(), CancellationToken::new())
                    .await;
            let bus = connector.connect("local:api", Gate::default()).expect("connects");
            let quota = api_db::quotas::Limits { instances: 8, cores: 40, memory_mib: -1 };
            let settings = verbs::Settings { build_deadline: build, quota, ..Default::default() };
            let verbs = Verbs::new(settings, env, db, router, Some(bus));
            for (n, dice) in dice.into_iter().enumerate() {
                tokio::spawn(client::run(verbs.clone(), history.clone(), n, dice));
            }
            std::future::pending::<()>().await;
        });
    }

    pub(super) fn start_superconductor(&self, role: &Role, env: Env, n: usize) {
        let connector = self.connector.clone();
        role.spawn(async move {
            let db: api_db::Db = open("api");
            let token = CancellationToken::new();
            let reach = router::Settings::default();
            let router =
                Router::start(reach, env.clone(), db.clone(), connector.clone(), token.clone()).await;
            let bus = connector.connect("local:api", Gate::default()).expect("connects");
            let settings = superconductor::Settings {
                name: format!("super{n}"),
                lease: Duration::from_secs(5),
                in_flight: 16,
                cell_cap: 16,
                ..Default::default()
            };
            loop {
                let (env, router, bus) = (env.clone(), router.clone(), bus.clone());
                let start = superconductor::start(
                    settings.clone(),
                    env,
                    db.clone(),
                    router,
                    Some(bus),
                    token.clone(),
                );
                match start.await {
                    Ok(mut running) => panic!("{}", running.ended().await),
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        });
    }

    pub(super) fn start_conductor(&self, role: &Role, env: Env, cell: usize) {
        let (connector, name) = (self.connector.clone(), self.sites[cell].cell.name.clone());
        role.spawn(async move {
            let db: cell_db::Db = open(&name);
            let bus = connector.connect(&format!("local:{name}"), Gate::default()).expect("connects");
            let settings = conductor::Settings {
                heartbeat: Duration::from_secs(2),
                silence: Duration::from_secs(8),
                join: conductor::Join::Open,
                ..Default::default()
            };
            loop {
                let token = CancellationToken::new();
                let start = conductor::start(settings, env.clone(), db.clone(), bus.clone(), token);
                match start.await {
                    Ok(mut running) => panic!("{}", running.ended().await),
                    Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                }
            }
        });
    }

    pub(super) fn start_agent(&self, role: &Role, env: Env, cell: usize, host: usize) {
        let (site, slots) = (&self.sites[cell], self.size.slots);
        let Host { id, key, engine, journal, boot } = &site.hosts[host];
        let config = agent::Config {
            host: *id,
            key: key.clone(),
            join_token_file: None,
            name: format!("{}-h{host}", site.cell.name),
            zone: "nova".into(),
            engine_name: id.to_string(),
            address: "127.0.0.1".into(),
            capacity: Resources { vcpus_milli: slots * 1_000, memory_mib: slots * MEMORY, slots },
            cell_name: site.cell.name.clone(),
            heartbeat: Duration::from_secs(2),
            parallel_starts: 4,
            state_dir: std::path::PathBuf::new(),
            stop_grace: Duration::from_secs(1),
            boot: *boot,
        };
        let (connector, url) = (self.connector.clone(), site.cell.transport_url.clone());
        let (engine, journal) = (Arc::new(engine.clone()), journal.clone());
        role.spawn(async move {
            let bus = connector.connect(&url, Gate::default()).expect("connects");
            let token = CancellationToken::new();
            let agent = Agent::start_in_memory(config, env, bus, engine, &journal, token).expect("starts");
            agent.ended().await;
            panic!("the agent ended");
        });
    }
}
