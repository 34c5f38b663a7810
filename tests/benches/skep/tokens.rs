//! `tokens`: what it costs to tell whom a token stands for, from memory and from the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use identity::{
    Backend, Bootstrap, Embedded, Identity, Method, Request, ScopeWish, Settings, UserRef, Within,
};
use model::Env;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cloud::services;
use crate::cost::{Meter, pid_in};
use crate::figures::{all, median_of, ms, percent, show};
use crate::options::Options;
use crate::table::{Table, line};

/// Tokens that are checked once each.
const TOKENS: usize = 2_000;
/// How often one token is checked again.
const AGAIN: usize = 100_000;
/// Checks at a time.
const PARALLEL: usize = 8;

/// Measures it.
pub async fn measure(options: &Options) -> anyhow::Result<()> {
    let (env, database) = (Env::system(), tests::postgres().database("tokens"));
    let db: api_db::Db = sql::Db::open(&sql::Settings::new(database.url()))?;
    api_db::SCHEMA.migrate(&db, &env).await?;
    let shutdown = CancellationToken::new();
    let start = || Embedded::start(Settings::default(), env.clone(), db.clone(), shutdown.child_token());
    let tokens = issue(&start(), options.pick(TOKENS, 200)).await?;
    let services = services().context("SKEP_TEST_SERVICES is not set: see docs/benchmarks.md")?;
    let meter = Meter {
        skep: vec![std::process::id()],
        database: pid_in(&services.join("pg/data/postmaster.pid")),
        broker: None,
    };
    let (mut bares, mut firsts, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs {
        bares.push(bare(database.url(), tokens.len()).await?);
        // Another process, which has not met any of them.
        let identity = Identity::new(&[], Backend::Embedded(start()), &env);
        let (before, begun) = (meter.read(), env.monotonic());
        check(&identity, &tokens).await?;
        let (took, used) = ((env.monotonic() - begun).as_secs_f64(), meter.read() - before);
        let each = |ms: f64| ms / tokens.len() as f64;
        firsts.push([tokens.len() as f64 / took, each(used.skep), each(used.database)]);
        seconds.push(again(&env, &identity, &tokens[0], options.pick(AGAIN, 5_000)).await?);
    }
    shutdown.cancel();
    let mut table =
        Table::new(&["check of a token", "checks/s", "of the bare", "CPU us", "database's CPU us"]);
    let limit = median_of(&bares, |rate| *rate);
    let first = |n: usize| median_of(&firsts, |run| run[n]);
    table.row(["bare primary-key SELECT".into(), show(limit), percent(limit, limit), "-".into(), "-".into()]);
    table.row([
        format!("from the database, {PARALLEL} at a time"),
        show(first(0)),
        percent(first(0), limit),
        show(1_000.0 * first(1)),
        show(1_000.0 * first(2)),
    ]);
    table.print();
    line(&format!("checks/s on one core of our own: {}", show(1_000.0 / first(1))));
    line(&format!("from memory, us: {} ({})", show(median_of(&seconds, |us| *us)), all(&seconds, |us| *us)));
    Ok(())
}

/// Tokens for a project, each another.
async fn issue(embedded: &Embedded, count: usize) -> anyhow::Result<Arc<Vec<String>>> {
    let named = |name: &str| UserRef::Named(name.into(), Within::Id("default".into()));
    let wanted = Bootstrap {
        user: "admin".into(),
        user_id: None,
        project: "admin".into(),
        project_id: None,
        reset_password: false,
    };
    let password =
        embedded.bootstrap(wanted).await?.password.context("a new administrator has a password")?;
    let mut methods = vec![Method::Password(named("admin"), password)];
    let mut tokens = Vec::new();
    for _ in 0..=count {
        let request = Request { methods, scope: ScopeWish::Project(named("admin")), from: None };
        let issued = embedded.issue(request).await.map_err(|why| anyhow!("no token: {why:?}"))?;
        methods = vec![Method::Token(issued.token.clone())];
        tokens.push(issued.token);
    }
    Ok(Arc::new(tokens.split_off(1)))
}

/// Checks each of them once.
async fn check(identity: &Identity, tokens: &Arc<Vec<String>>) -> anyhow::Result<()> {
    let (next, mut checks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..PARALLEL {
        let (identity, tokens, next) = (identity.clone(), tokens.clone(), next.clone());
        checks.spawn(async move {
            while let Some(token) = tokens.get(next.fetch_add(1, Ordering::Relaxed)) {
                identity.validate(token).await?.context("a token that was just made is good")?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = checks.join_next().await {
        done??;
    }
    Ok(())
}

/// Microseconds for checking one that is known.
async fn again(env: &Env, identity: &Identity, token: &str, count: usize) -> anyhow::Result<f64> {
    let begun = env.monotonic();
    for _ in 0..count {
        identity.validate(token).await?.context("a token that is known is good")?;
    }
    Ok(1_000.0 * ms(env.monotonic() - begun) / count as f64)
}

/// Rows a second that can be read by their key, as many at a time.
async fn bare(url: &str, count: usize) -> anyhow::Result<f64> {
    let env = Env::system();
    let mut connections = Vec::new();
    for _ in 0..PARALLEL {
        connections.push(PgConnection::connect(url).await?);
    }
    let (begun, mut reads) = (env.monotonic(), JoinSet::new());
    for mut connection in connections {
        reads.spawn(async move {
            for _ in 0..count / PARALLEL {
                sqlx::query("SELECT user_id, expires_at FROM identity_token WHERE hash = $1")
                    .bind(Vec::<u8>::new())
                    .fetch_optional(&mut connection)
                    .await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = reads.join_next().await {
        done??;
    }
    let took: Duration = env.monotonic() - begun;
    Ok((count / PARALLEL * PARALLEL) as f64 / took.as_secs_f64())
}
