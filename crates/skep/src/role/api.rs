//! `skep api`: what users reach.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::StaticToken;
use model::image::ImageRef;
use router::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use verbs::Verbs;

use super::level::{Level, Process};
use super::process::DRAIN;
use super::{Ground, Running, descriptors, ended, identity, life, policy, tls};
use crate::config::{self, Api as Section, Config, IdentityKind, Token};
use crate::dev::reachable;
use crate::exit::Failure;

/// Starts the API. It waits neither for a cell nor for the API database.
pub async fn start(config: &Config, ground: &Ground) -> Result<Running, Failure> {
    Ok(open(config, ground).await?.running)
}

/// An API that runs, and what a development cloud wants to know of it.
pub struct Opened {
    /// The role.
    pub running: Running,
    /// Its way to the cells.
    pub router: Router,
    /// Where it listens: the endpoint for all regions (named by its own section's region, usually none),
    /// then those of single regions.
    pub endpoints: Vec<(String, SocketAddr)>,
}

struct Endpoint {
    region: String,
    public_url: Option<String>,
    listener: TcpListener,
    address: SocketAddr,
}

/// Starts the API.
pub async fn open(config: &Config, ground: &Ground) -> Result<Opened, Failure> {
    let section = &config.api;
    let tokens = tokens(config)?;
    let settings = verbs_settings(section)?;
    let (policy, mut watches) = policy::open(section.policy_file.as_deref())?;
    let (tls, watch) = tls::open(section)?;
    watches.extend(watch);
    // Bound first: an address that is taken is found out before anything else is touched.
    let mut endpoints = vec![bind("api.listen", section.listen, &section.region, &section.public_url).await?];
    for regional in &section.regional {
        let key = "api.regional.listen";
        endpoints.push(bind(key, regional.listen, &regional.region, &regional.public_url).await?);
    }
    let process = Process { kind: "api", name: section.listen.to_string(), patience: 1 };
    let level = Level::open(config, ground, process).await?;
    let (router, bus) = (level.router.clone(), level.bus.clone());
    let backend = identity::open(config, &ground.env, &level.db, level.shutdown.clone())?;
    let regions = regions(&endpoints, tls.is_some());
    let verbs = Verbs::new(settings, ground.env.clone(), level.db.clone(), router.clone(), bus);
    let asked = verbs.clone();
    let addresses = endpoints.iter().map(|endpoint| (endpoint.region.clone(), endpoint.address)).collect();
    let connections = descriptors::enough(section.max_connections.max(1), endpoints.len());
    let drain = CancellationToken::new();
    let mut loops = JoinSet::new();
    for endpoint in endpoints {
        let settings = api::Settings {
            public_url: endpoint.public_url,
            region: endpoint.region,
            tokens: tokens.clone(),
            identity: backend.clone(),
            regions: regions.clone(),
            policy: policy.clone(),
            tls: tls.clone(),
            trace: crate::log::continues(),
            project_rate: project_rate(section),
            max_in_flight: section.max_in_flight.max(1),
            queue_wait: Duration::from_millis(section.queue_ms),
            max_connections: connections,
            skip_dark_cells: section.list_records_by_skipping_down_cells,
            request_deadline: Duration::from_millis(section.request_deadline_ms.max(1)),
            ..api::Settings::default()
        };
        let app = api::app(verbs.clone(), ground.env.clone(), settings);
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!(address = %endpoint.address, scheme, "listening");
        loops.spawn(api::serve(endpoint.listener, app, drain.clone(), DRAIN * 8 / 10));
    }
    for watch in watches {
        loops.spawn(watch.follow(drain.clone()));
    }
    let stop = drain.clone();
    let life = life(async move {
        let first = stop.run_until_cancelled(loops.join_next()).await;
        stop.cancel();
        while loops.join_next().await.is_some() {}
        first.map(|ended| match ended {
            Some(Err(why)) => format!("a loop failed: {why}"),
            _ => "a loop returned".to_owned(),
        })
    });
    let running = Running {
        ready: Arc::new(move || {
            let verbs = asked.clone();
            Box::pin(async move { verbs.ready().await.map_err(|why| why.message) })
        }),
        ended: Box::pin(ended(life.clone())),
        drain: Box::new(move || {
            Box::pin(async move {
                drain.cancel();
                life.await;
                level.close().await;
            })
        }),
    };
    Ok(Opened { running, router, endpoints: addresses })
}

async fn bind(
    key: &str,
    listen: SocketAddr,
    region: &str,
    public_url: &Option<String>,
) -> Result<Endpoint, Failure> {
    let taken = |why: std::io::Error| {
        Failure::new(format!("{key}: cannot listen on {listen}: {why}; is another process there already?"))
    };
    let listener = TcpListener::bind(listen).await.map_err(taken)?;
    let address = listener.local_addr().map_err(taken)?;
    Ok(Endpoint { region: region.to_owned(), public_url: public_url.clone(), listener, address })
}

/// Regions and addresses for the catalog. A lone endpoint that does not know its address is found where the
/// request found it.
fn regions(endpoints: &[Endpoint], tls: bool) -> Vec<(String, Option<String>)> {
    let scheme = if tls { "https" } else { "http" };
    let address = |endpoint: &Endpoint| {
        let address = SocketAddr::new(reachable(endpoint.address.ip()), endpoint.address.port());
        (endpoints.len() > 1).then(|| format!("{scheme}://{address}"))
    };
    let one = |endpoint: &Endpoint| {
        let url = endpoint.public_url.clone().or_else(|| address(endpoint));
        (identity::region(&endpoint.region).to_owned(), url)
    };
    endpoints.iter().map(one).collect()
}

/// Tokens of the section and of its file.
fn tokens(config: &Config) -> Result<Vec<StaticToken>, Failure> {
    let section = &config.api;
    let mut all = section.tokens.clone();
    if let Some(path) = &section.tokens_file {
        all.extend(config::tokens(path)?);
    }
    if all.is_empty() && config.identity.kind == IdentityKind::Static {
        return Err(Failure::usage(
            "nobody could call: set api.tokens_file or [[api.tokens]], or another identity.kind than static",
        ));
    }
    if let Some(short) = all.iter().find(|token| token.token.reveal().len() < 16) {
        let user = &short.user;
        return Err(Failure::usage(format!("the token of user '{user}' has fewer than 16 characters")));
    }
    let known = |Token { token, user, project, roles }: Token| StaticToken {
        token: token.reveal().to_owned(),
        user,
        project,
        roles,
    };
    Ok(all.into_iter().map(known).collect())
}

/// How often a project may ask, if that is limited.
fn project_rate(section: &Section) -> Option<api::Rate> {
    let per_second = section.project_rate as f64;
    let burst = if section.project_burst == 0 { 2.0 * per_second } else { section.project_burst as f64 };
    (section.project_rate > 0).then_some(api::Rate { per_second, burst })
}

fn verbs_settings(section: &Section) -> Result<verbs::Settings, Failure> {
    let image =
        |text: &String| text.parse::<ImageRef>().map_err(|why| Failure::usage(format!("api.images: {why}")));
    let quota = section.quota;
    Ok(verbs::Settings {
        build_deadline: Duration::from_secs(section.build_deadline_s.max(1)),
        quota: api_db::quotas::Limits {
            instances: quota.instances,
            cores: quota.vcpus,
            memory_mib: quota.memory_mib,
        },
        keep_answers: Duration::from_secs(section.keep_answers_s.max(60)),
        images: section.images.iter().map(image).collect::<Result<_, _>>()?,
        max_limit: section.max_limit.max(1),
    })
}
