//! All roles of a development cloud. They are the same role functions that separate processes run; each
//! gets a configuration of its own and opens its own pools and buses. Only the URLs differ.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ::agent::engine::docker::Docker;
use futures::future::{join_all, select_all, try_join_all};
use identity::{Bootstrap, Embedded};
use model::{Cell, CellState, HostId, Resources};

use super::control::Switch;
use super::dir::Dir;
use super::engine::Found;
use super::plan::PlannedCell;
use super::probed::Probed;
use crate::config::secret::Secret;
use crate::config::{Capacity, Config, Engine, Join, Regional, Token};
use crate::exit::Failure;
use crate::health::Ready;
use crate::role::{DRAIN, Ground, Running, agent, api, cell, conductor, db, superconductor};

/// Connections to each SQLite database; each costs a thread.
const CONNECTIONS: u32 = 2;

/// The id of the administrator, and of their project.
const ID: &str = "dev";
/// The administrator's name.
const USER: &str = "admin";

/// What a cloud is made of.
pub struct Cloud<'a> {
    /// Where it lies.
    pub dir: &'a Dir,
    /// What runs containers.
    pub engine: &'a Found,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// References of the images on offer.
    pub images: Vec<String>,
    /// The administrator's token.
    pub token: String,
    /// What each host declares.
    pub share: Resources,
}

/// A cloud that runs.
pub struct Started {
    /// Where the API listens: for all regions, then for each.
    pub endpoints: Vec<(String, SocketAddr)>,
    /// How to make cells dark.
    pub switches: Vec<Switch>,
    /// The administrator's password.
    pub password: String,
    api: Running,
    others: Vec<(String, Running)>,
}

impl Cloud<'_> {
    /// Makes or migrates the databases, maps the cells, and starts every role.
    pub async fn start(&self, ground: &Ground) -> Result<Started, Failure> {
        let above = self.above();
        let cells = self.dir.plan.cells();
        let below: Vec<Config> = cells.iter().map(|cell| self.below(cell)).collect();
        let (synced, cells_synced) = futures::join!(
            db::sync(&above, &ground.env),
            try_join_all(below.iter().map(|config| db::sync(config, &ground.env)))
        );
        synced.and(cells_synced)?;
        self.map(&above, &cells, ground).await?;
        let password = self.bootstrap(&above, ground).await?;

        let api = api::open(&above, ground).await?;
        let (superconductor, router) = superconductor::open(&above, ground).await?;
        let mut others = vec![("superconductor".to_owned(), superconductor)];
        let conductors = try_join_all(below.iter().map(|config| conductor::start(config, ground))).await?;
        others.extend(cells.iter().map(|cell| format!("conductor of {}", cell.name)).zip(conductors));
        for (cell, config) in cells.iter().zip(&below) {
            let hosts: Vec<Config> =
                cell.hosts.iter().map(|(name, zone)| self.host(config, name, zone)).collect();
            let agents = try_join_all(hosts.iter().map(|config| self.agent(config, ground))).await?;
            others.extend(cell.hosts.iter().map(|(name, _)| format!("agent of {name}")).zip(agents));
        }
        let switches = cells.into_iter().map(|cell| {
            let (name, above) = (cell.name.clone(), [api.router.clone(), router.clone()]);
            // All of them, also when one does not know the cell.
            let set =
                move |drill| above.iter().filter(|router| router.drill(&name, drill)).count() == above.len();
            Switch { cell: cell.name, region: cell.region, gate: Default::default(), set: Box::new(set) }
        });
        let (endpoints, switches) = (api.endpoints, switches.collect());
        Ok(Started { endpoints, switches, password, api: api.running, others })
    }

    /// The API level's configuration.
    fn above(&self) -> Config {
        let mut config = Config::default();
        let url = |name: &str| Some(Secret::new(self.dir.database(name)));
        config.api_database.url = url("api");
        config.api_database.connections = 2 * CONNECTIONS;
        config.cell0.database.url = url("cell0");
        config.api_transport.url = Some(Secret::new("local:api"));
        config.router.connections = CONNECTIONS;
        config.api.listen = self.listen;
        config.api.images.clone_from(&self.images);
        config.api.tokens = vec![Token {
            token: Secret::new(self.token.clone()),
            user: ID.into(),
            project: ID.into(),
            roles: vec!["admin".into(), "member".into(), "reader".into()],
        }];
        let mut regions: Vec<String> = self.dir.plan.cells().into_iter().map(|cell| cell.region).collect();
        regions.sort();
        regions.dedup();
        if regions.len() > 1 {
            let listen = SocketAddr::new(self.listen.ip(), 0);
            let regional = |region| Regional { region, listen, public_url: None };
            config.api.regional = regions.into_iter().map(regional).collect();
        }
        config
    }

    /// The configuration of a cell's conductor, which its agents share in part.
    fn below(&self, cell: &PlannedCell) -> Config {
        let mut config = Config::default();
        config.cell.name.clone_from(&cell.name);
        config.cell.database.url = Some(Secret::new(self.dir.database(&cell.name)));
        config.cell.database.connections = CONNECTIONS;
        config.cell.transport.url = Some(Secret::new(transport(cell)));
        // The bus ends at this process's walls.
        config.conductor.join = Join::Open;
        config
    }

    fn host(&self, cell: &Config, name: &str, zone: &str) -> Config {
        let mut config = cell.clone();
        // An agent holds no credential of a database.
        config.cell.database.url = None;
        let agent = &mut config.agent;
        agent.host_name = Some(name.to_owned());
        agent.zone = zone.to_owned();
        agent.address = reachable(self.listen.ip()).to_string();
        agent.state_dir = self.dir.join("hosts").join(name);
        agent.capacity = Capacity {
            vcpus: self.share.vcpus_milli / 1_000,
            memory_mib: self.share.memory_mib,
            instances: self.share.slots,
        };
        match self.engine {
            Found::Docker(url) => {
                agent.engine = Engine::Docker;
                agent.engine_url = Some(url.clone());
                // One engine under all hosts: they share its ports.
                agent.engine_name = Some("dev".into());
            }
            Found::Scripted(_) => agent.engine = Engine::Scripted,
        }
        config
    }

    async fn agent(&self, config: &Config, ground: &Ground) -> Result<Running, Failure> {
        match self.engine {
            Found::Docker(url) => {
                let engine = Arc::new(Probed::new(Docker::new(url)?));
                agent::start_on(engine, config, ground).await
            }
            Found::Scripted(_) => agent::start(config, ground).await,
        }
    }

    /// Makes the administrator, who is the same user in the same project as who has the token.
    async fn bootstrap(&self, above: &Config, ground: &Ground) -> Result<String, Failure> {
        let db: api_db::Db = crate::role::database::open(&above.api_database, "api_database")?;
        let kept = self.dir.password();
        let wanted = Bootstrap {
            user: USER.into(),
            user_id: Some(ID.into()),
            project: ID.into(),
            project_id: Some(ID.into()),
            reset_password: kept.is_none(),
        };
        let embedded = Embedded::without_loop(Default::default(), ground.env.clone(), db.clone());
        let done = embedded.bootstrap(wanted).await;
        db.close().await;
        match (done?.password, kept) {
            (Some(new), _) => {
                self.dir.write("password", &format!("{new}\n"))?;
                Ok(new)
            }
            (None, kept) => Ok(kept.unwrap_or_default()),
        }
    }

    async fn map(&self, above: &Config, cells: &[PlannedCell], ground: &Ground) -> Result<(), Failure> {
        let db: api_db::Db = crate::role::database::open(&above.api_database, "api_database")?;
        for planned in cells {
            let wanted = Cell {
                id: ground.env.id(),
                name: planned.name.clone(),
                region: planned.region.clone(),
                database_url: self.dir.database(&planned.name),
                transport_url: transport(planned),
                second_database_url: String::new(),
                second_transport_url: String::new(),
                state: CellState::Active,
                version: 1,
            };
            let known = cell::create(&db, &wanted, &ground.env).await?;
            if known.is_some_and(|known| known.database_url != wanted.database_url) {
                let dir = self.dir.path.display();
                return Err(Failure::new(format!(
                    "{dir} was moved since it was made: move it back, or remove it to begin anew"
                )));
            }
        }
        db.close().await;
        Ok(())
    }
}

/// The URL of a cell's bus, inside this process.
fn transport(cell: &PlannedCell) -> String {
    format!("local:{}", cell.name)
}

/// An address under which an address that is listened on is reached from this machine.
pub fn reachable(ip: IpAddr) -> IpAddr {
    if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip }
}

/// The ids of all hosts, from the files that their agents keep.
pub fn host_ids(dir: &Dir, env: &model::Env) -> Result<Vec<HostId>, Failure> {
    let names = dir.plan.cells().into_iter().flat_map(|cell| cell.hosts);
    names.map(|(name, _)| Ok(::agent::host_id(&dir.join("hosts").join(name), env)?)).collect()
}

/// How each role is asked whether it is ready.
#[derive(Clone)]
pub struct Checks(Arc<Vec<(String, Ready)>>);

impl Checks {
    /// What is not ready, and why.
    pub async fn missing(&self) -> Vec<String> {
        let asked = self.0.iter().map(|(name, ready)| {
            let ready = ready();
            async move { ready.await.err().map(|why| format!("{name}: {why}")) }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Waits until everything is ready; returns what is not when `limit` is over.
    pub async fn wait(&self, limit: Duration) -> Vec<String> {
        let poll = async {
            while !self.missing().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(limit, poll).await {
            Ok(()) => Vec::new(),
            Err(_) => self.missing().await,
        }
    }
}

impl Started {
    /// How its roles are asked whether they are ready.
    pub fn checks(&self) -> Checks {
        let all = std::iter::once(("api".to_owned(), self.api.ready.clone()));
        Checks(Arc::new(
            all.chain(self.others.iter().map(|(name, role)| (name.clone(), role.ready.clone()))).collect(),
        ))
    }

    /// Resolves, with the reason, if a role ends by itself, which it never should.
    pub async fn ended(&mut self) -> String {
        let api = std::iter::once(("api", &mut self.api));
        let others = self.others.iter_mut().map(|(name, role)| (name.as_str(), role));
        let all = api.chain(others).map(|(name, role)| {
            let ended = role.ended.as_mut();
            Box::pin(async move { format!("{name} ended by itself: {}", ended.await) })
        });
        select_all(all).await.0
    }

    /// Drains the API first, so that nothing new comes in, then everything below it.
    pub async fn drain(self) {
        let drained = async {
            (self.api.drain)().await;
            join_all(self.others.into_iter().map(|(_, role)| (role.drain)())).await;
        };
        if tokio::time::timeout(DRAIN, drained).await.is_err() {
            tracing::warn!("not drained within {DRAIN:?}; ending all the same");
        }
    }
}
