//! The life of a development cloud: start, ready, drill, drain, removal.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::Env;
use tokio_util::sync::CancellationToken;

use super::cloud::{Checks, Cloud, Started, host_ids};
use super::control::Control;
use super::dir::Dir;
use super::engine::{self, Found};
use super::plan::{Plan, machine};
use super::{Options, Wanted, docker, papers};
use crate::config::Log;
use crate::exit::{Code, Failure, complain, print};
use crate::health::{Health, Metrics, Ready};
use crate::log;
use crate::role::{Ground, Signals, runtime};

/// How long everything may take to be ready before the user is told what is not.
const READY: Duration = Duration::from_secs(15);

/// Starts a cloud and lives until it is told to end.
pub fn live(options: &Options) -> Result<Code, Failure> {
    log::start(&Log { level: options.log.clone(), ..Log::default() }, "dev")?;
    let runtime = runtime()?;
    let done = runtime.block_on(run(options));
    runtime.shutdown_background();
    done
}

async fn run(options: &Options) -> Result<Code, Failure> {
    let mut signals = Signals::listen()?;
    let ground = Ground::system();
    let start = ground.env.monotonic();
    free(options.listen)?;
    let dir = open(options)?;
    let hosts = host_ids(&dir, &ground.env)?;
    let url = engine::url(options.engine_url.as_deref());
    let found = match hosts.first() {
        Some(host) => engine::find(wanted(options, &dir)?, &url, *host).await?,
        None => Found::Scripted(None),
    };
    let dir = record(dir, &found)?;
    announce(&dir, &found)?;
    let (cores, memory_mib) = machine();
    let (share, told) = dir.plan.share(cores, memory_mib);
    print(&format!("{told}\n"))?;

    let token = dir.token(&ground.env)?;
    let images = images(options, &found).await;
    let cloud =
        Cloud { dir: &dir, engine: &found, listen: options.listen, images, token: token.clone(), share };
    let mut started = tokio::select! {
        started = cloud.start(&ground) => started?,
        () = signals.asked() => return Ok(Code::Done),
    };
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let control = Control::bind(&dir.join("control.sock"), std::mem::take(&mut started.switches))?;
    tokio::spawn(control.serve(stop.clone()));
    let checks = started.checks();
    health(options, checks.clone(), &stop).await?;
    papers::write(&dir, &started.endpoints, &token, &started.password)?;
    let missing = tokio::select! {
        missing = checks.wait(READY) => missing,
        () = signals.asked() => Vec::new(),
    };
    for what in &missing {
        complain(&format!("not ready after {} s: {what}", READY.as_secs()));
    }
    greet(&dir, &token, &started, ground.env.monotonic().saturating_sub(start))?;
    let ended = tokio::select! {
        () = signals.asked() => None,
        why = started.ended() => Some(why),
    };
    if let Some(why) = &ended {
        complain(why);
    }
    print("\ndraining; once more Ctrl-C ends at once\n")?;
    stop.cancel();
    if let Some(why) = ended {
        started.drain().await;
        return Err(Failure::new(format!("{why}; all is kept, start again to resume")));
    }
    tokio::select! {
        done = end(options, dir, found, started, &ground.env) => done,
        () = signals.asked() => Err(Failure::new("ended at once; what it made is still there, start it again to resume")),
    }
}

/// The directory, with its old plan if it has one: other numbers than those are refused, not ignored.
fn open(options: &Options) -> Result<Dir, Failure> {
    let dir = Dir::open(&options.dir, || {
        let plan = Plan {
            regions: options.regions.unwrap_or_else(|| options.cells.unwrap_or(3).clamp(1, 2)),
            cells: options.cells.unwrap_or_else(|| options.regions.unwrap_or(2).max(3)),
            hosts: options.hosts.unwrap_or(2),
            engine: String::new(),
        };
        plan.check().map(|()| plan)
    })?;
    let plan = &dir.plan;
    let asked = [
        ("regions", options.regions, plan.regions),
        ("cells", options.cells, plan.cells),
        ("hosts", options.hosts, plan.hosts),
    ];
    match asked.iter().find(|(_, asked, kept)| asked.is_some_and(|asked| asked != *kept)) {
        Some((what, _, kept)) => Err(Failure::usage(format!(
            "{} was made with --{what} {kept}: leave the option out to resume, or remove the directory",
            dir.path.display()
        ))),
        None => Ok(dir),
    }
}

/// Finds out early whether the API could listen.
fn free(listen: SocketAddr) -> Result<(), Failure> {
    TcpListener::bind(listen).map(drop).map_err(|why| {
        Failure::new(format!(
            "cannot listen on {listen}: {why}; stop what listens there, or give another --listen"
        ))
    })
}

/// The engine to look for: a cloud that is resumed stays with the one that holds its containers.
fn wanted(options: &Options, dir: &Dir) -> Result<Wanted, Failure> {
    let kept = match dir.plan.engine.as_str() {
        "docker" => Wanted::Docker,
        "scripted" => Wanted::Scripted,
        _ => return Ok(options.engine),
    };
    match options.engine == Wanted::Auto || options.engine == kept {
        true => Ok(kept),
        false => Err(Failure::usage(format!(
            "{} was made with --engine {}: leave the option out to resume, or remove the directory",
            dir.path.display(),
            dir.plan.engine
        ))),
    }
}

/// Keeps the engine's name in the plan.
fn record(mut dir: Dir, found: &Found) -> Result<Dir, Failure> {
    dir.plan.engine = found.word().to_owned();
    dir.keep_plan()?;
    Ok(dir)
}

fn announce(dir: &Dir, found: &Found) -> Result<(), Failure> {
    let at = dir.path.display();
    print(&format!("{} {at}\n", if dir.resumed { "resuming" } else { "making" }))?;
    match found {
        Found::Docker(url) => print(&format!("engine: Docker at {url}; a probe container ran\n")),
        Found::Scripted(why) => {
            let why = why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
            print(&format!("engine: SCRIPTED: NO CONTAINER WILL RUN, all of it is pretended{why}\n"))
        }
    }
}

/// What is on offer: what was asked for, and what the engine has.
async fn images(options: &Options, found: &Found) -> Vec<String> {
    let mut images = options.images.clone();
    if let Found::Docker(url) = found {
        match docker::tags(url).await {
            Ok(tags) => images.extend(tags),
            Err(why) => tracing::warn!(why, "the engine's images are not offered"),
        }
    }
    images.sort();
    images.dedup();
    images
}

async fn health(options: &Options, checks: Checks, stop: &CancellationToken) -> Result<(), Failure> {
    let metrics = Metrics::start()?;
    if let Some(listen) = options.health {
        let ready: Ready = Arc::new(move || {
            let checks = checks.clone();
            Box::pin(async move {
                match checks.missing().await {
                    missing if missing.is_empty() => Ok(()),
                    missing => Err(missing.join("\n")),
                }
            })
        });
        let health = Health::bind(listen, metrics.clone(), ready).await?;
        tokio::spawn(health.serve(stop.clone(), stop.clone()));
    }
    tokio::spawn(metrics.upkeep());
    Ok(())
}

fn greet(dir: &Dir, token: &str, started: &Started, took: Duration) -> Result<(), Failure> {
    let plan = &dir.plan;
    let file = |name: &str| shown(&dir.join(name));
    let mut text = format!(
        "ready in {:.1} s: {} regions, {} cells, {} hosts\n\n",
        took.as_secs_f64(),
        plan.regions,
        plan.cells,
        plan.cells * plan.hosts
    );
    for (region, address) in &started.endpoints {
        let what = if region.is_empty() { "endpoint".to_owned() } else { format!("{region} only") };
        text += &format!("{what:<14} {}\n", papers::url(address));
    }
    text += &format!(
        "{:<14} {} (also in {})\n{:<14} {} (cloud skep)\n\n",
        "token",
        token,
        file("token"),
        "OpenStack",
        file("clouds.yaml")
    );
    let skep = std::env::current_exe().map_or_else(|_| "skep".to_owned(), |path| shown(&path));
    text += &format!(
        "Paste into another terminal:\n  . {}\n  {skep} run --name web --publish 80 --wait nginx\n  {skep} ps --all-projects --output wide\n\n",
        file("skep.env")
    );
    print(&(text + "Ctrl-C ends it.\n"))
}

fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.contains(|c: char| c.is_whitespace() || c == '\'') {
        format!("'{}'", text.replace('\'', r"'\''"))
    } else {
        text
    }
}

/// Drains, and removes what was made unless it is to be kept.
async fn end(
    options: &Options,
    dir: Dir,
    found: Found,
    started: Started,
    env: &Env,
) -> Result<Code, Failure> {
    started.drain().await;
    if options.keep {
        print(&format!("kept {}; start again to resume\n", dir.path.display()))?;
        return Ok(Code::Done);
    }
    if let Found::Docker(url) = &found {
        let (removed, left) = engine::remove_all(url, host_ids(&dir, env)?).await?;
        print(&format!("removed {removed} containers\n"))?;
        if left > 0 {
            return Err(Failure::new(format!(
                "{left} containers could not be removed; start again to try again"
            )));
        }
    }
    dir.remove();
    Ok(Code::Done)
}
