//! Boots and deletions by clients at once, over HTTP alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use model::Env;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::figures::{ms, percentile};
use crate::http::{Connection, Target};

/// The longest that one instance may take to be ACTIVE, or to be gone.
const OUTCOME: Duration = Duration::from_secs(120);
/// How often a crowd of instances is looked at.
const POLL: Duration = Duration::from_millis(100);

/// What a run of boots found.
#[derive(Clone, Debug)]
pub struct Boots {
    /// Instances that became ACTIVE, a second.
    pub rate: f64,
    /// Middle time from the request to ACTIVE in milliseconds.
    pub p50: f64,
    /// The time that one in twenty exceeds.
    pub p95: f64,
    /// What was booted, to be deleted.
    pub ids: Vec<String>,
}

impl Boots {
    fn new(took: Duration, times: &[f64], ids: Vec<String>) -> Self {
        let rate = times.len() as f64 / took.as_secs_f64();
        Self { rate, p50: percentile(times, 0.5), p95: percentile(times, 0.95), ids }
    }
}

/// What is booted.
#[derive(Clone, Debug)]
pub struct Wish(Value);

impl Wish {
    /// A small instance without a network.
    pub fn small() -> Self {
        Self(json!({"imageRef": "skep/web:1", "flavorRef": "1", "networks": "none"}))
    }

    /// A web server with a published port, on the project's network.
    pub fn web() -> Self {
        let skep = json!({"ports": ["8080/tcp"], "restart": "no"});
        Self(json!({"imageRef": "skep/web:1", "flavorRef": "1", "networks": "auto", "skep": skep}))
    }

    /// The same as `openstack server create` sends it: the image by its id, what Nova has no field for as metadata.
    pub fn of_client(image: &str) -> Self {
        let metadata = json!({"skep:ports": "8080/tcp", "skep:restart": "no"});
        Self(json!({"imageRef": image, "flavorRef": "1", "networks": "auto", "metadata": metadata,
            "min_count": 1, "max_count": 1}))
    }

    fn body(&self, name: &str) -> String {
        let mut server = self.0.clone();
        server["name"] = json!(name);
        json!({ "server": server }).to_string()
    }
}

/// Asks for one instance; returns its id.
pub async fn post(connection: &mut Connection, wish: &Wish, name: &str) -> anyhow::Result<String> {
    let (status, body) = connection.send("POST", "/v2.1/servers", &wish.body(name)).await?;
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    match (status, answer["server"]["id"].as_str()) {
        (202, Some(id)) => Ok(id.to_owned()),
        _ => bail!("a boot was answered with {status}: {}", String::from_utf8_lossy(body)),
    }
}

/// Makes an image of a reference; returns its id.
pub async fn image(connection: &mut Connection, reference: &str) -> anyhow::Result<String> {
    let wish = json!({"name": "web", "container_format": "docker", "disk_format": "raw", "oci_reference": reference});
    let (status, body) = connection.send("POST", "/image/v2/images", &wish.to_string()).await?;
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    match (status, answer["id"].as_str()) {
        (201, Some(id)) => Ok(id.to_owned()),
        _ => bail!("an image was answered with {status}: {}", String::from_utf8_lossy(body)),
    }
}

/// Asks for a deletion.
pub async fn delete(connection: &mut Connection, id: &str) -> anyhow::Result<()> {
    match connection.send("DELETE", &format!("/v2.1/servers/{id}"), "").await? {
        (204, _) => Ok(()),
        (status, body) => bail!("a deletion was answered with {status}: {}", String::from_utf8_lossy(body)),
    }
}

/// Looks at one instance every `pause` until it is ACTIVE.
pub async fn active(connection: &mut Connection, id: &str, pause: Duration) -> anyhow::Result<()> {
    let path = format!("/v2.1/servers/{id}");
    let env = Env::system();
    let until = env.monotonic() + OUTCOME;
    loop {
        let server = connection.get(&path).await?["server"].take();
        match server["status"].as_str() {
            Some("ACTIVE") => return Ok(()),
            Some("BUILD") if env.monotonic() < until => tokio::time::sleep(pause).await,
            _ => bail!("{id} is {} after {OUTCOME:?} at most: {}", server["status"], server["fault"]),
        }
    }
}

/// Looks at one instance every `pause` until it is not found.
pub async fn gone(connection: &mut Connection, id: &str, pause: Duration) -> anyhow::Result<()> {
    let path = format!("/v2.1/servers/{id}");
    let env = Env::system();
    let until = env.monotonic() + OUTCOME;
    loop {
        match connection.send("GET", &path, "").await? {
            (404, _) => return Ok(()),
            (200, _) if env.monotonic() < until => tokio::time::sleep(pause).await,
            (status, body) => bail!("{id} is not gone: {status}: {}", String::from_utf8_lossy(body)),
        }
    }
}

/// Each client boots one instance, waits until it is ACTIVE, and boots the next: latency under so much
/// load. Looks are spaced by a tenth of what the last boot took, so that they cost little.
pub async fn one_after_another(target: &Target, clients: usize, count: usize) -> anyhow::Result<Boots> {
    let env = Env::system();
    let (left, usual) = (Arc::new(AtomicUsize::new(count)), Arc::new(AtomicU64::new(0)));
    let (start, mut all, prefix) = (env.monotonic(), JoinSet::new(), prefix());
    for _ in 0..clients {
        let (env, left, usual) = (env.clone(), left.clone(), usual.clone());
        let (mut connection, prefix) = (Connection::new(target), prefix.clone());
        all.spawn(async move {
            let (mut times, mut ids) = (Vec::new(), Vec::new());
            while let Some(n) = take(&left) {
                let sent = env.monotonic();
                let id = post(&mut connection, &Wish::small(), &format!("{prefix}{n}")).await?;
                let expected = Duration::from_micros(usual.load(Ordering::Relaxed));
                tokio::time::sleep((expected * 6 / 10).saturating_sub(env.monotonic() - sent)).await;
                active(&mut connection, &id, (expected / 10).max(Duration::from_millis(2))).await?;
                let took = env.monotonic() - sent;
                usual.store(took.as_micros() as u64, Ordering::Relaxed);
                times.push(ms(took));
                ids.push(id);
            }
            anyhow::Ok((times, ids))
        });
    }
    let (mut times, mut ids) = (Vec::new(), Vec::new());
    while let Some(done) = all.join_next().await {
        let (own, own_ids) = done??;
        times.extend(own);
        ids.extend(own_ids);
    }
    Ok(Boots::new(env.monotonic() - start, &times, ids))
}

/// Clients send requests back to back, and one looks every tenth of a second which instances are
/// ACTIVE: throughput.
pub async fn all_at_once(target: &Target, clients: usize, count: usize) -> anyhow::Result<Boots> {
    let env = Env::system();
    let left = Arc::new(AtomicUsize::new(count));
    let posted = Arc::new(AtomicBool::new(false));
    let (start, mut all, prefix) = (env.monotonic(), JoinSet::new(), prefix());
    let watch = tokio::spawn(watch(target.clone(), prefix.clone(), count, posted.clone()));
    for _ in 0..clients {
        let (env, left) = (env.clone(), left.clone());
        let (mut connection, prefix) = (Connection::new(target), prefix.clone());
        all.spawn(async move {
            let mut sent = Vec::new();
            while let Some(n) = take(&left) {
                let at = env.monotonic();
                sent.push((post(&mut connection, &Wish::small(), &format!("{prefix}{n}")).await?, at));
            }
            anyhow::Ok(sent)
        });
    }
    let mut sent = HashMap::new();
    while let Some(done) = all.join_next().await {
        sent.extend(done??);
    }
    posted.store(true, Ordering::SeqCst);
    let seen = watch.await??;
    let last = seen.values().max().copied().unwrap_or_default();
    let times: Vec<f64> = sent.iter().filter_map(|(id, at)| Some(ms(*seen.get(id)? - *at))).collect();
    Ok(Boots::new(last - start, &times, sent.into_keys().collect()))
}

/// When each of `count` instances was first listed as ACTIVE.
async fn watch(
    target: Target,
    prefix: String,
    count: usize,
    posted: Arc<AtomicBool>,
) -> anyhow::Result<HashMap<String, Duration>> {
    let (env, mut connection, mut seen) = (Env::system(), Connection::new(&target), HashMap::new());
    let until = env.monotonic() + OUTCOME;
    loop {
        let look = env.monotonic();
        for id in listed(&mut connection, &format!("status=ACTIVE&name={prefix}")).await? {
            seen.entry(id).or_insert_with(|| env.monotonic());
        }
        if seen.len() >= count {
            return Ok(seen);
        }
        if posted.load(Ordering::SeqCst) {
            let failed = listed(&mut connection, &format!("status=ERROR&name={prefix}")).await?;
            if let Some(id) = failed.iter().next() {
                let server = connection.get(&format!("/v2.1/servers/{id}")).await?;
                bail!("{} of {count} are in ERROR; one says: {}", failed.len(), server["server"]["fault"]);
            }
        }
        if look > until {
            bail!("{} of {count} are ACTIVE after {OUTCOME:?}", seen.len());
        }
        tokio::time::sleep(POLL.saturating_sub(env.monotonic() - look)).await;
    }
}

/// Deletes all of these and waits until none is listed; returns how many were gone a second.
pub async fn clear(target: &Target, clients: usize, ids: Vec<String>) -> anyhow::Result<f64> {
    let env = Env::system();
    let (start, count, mut all) = (env.monotonic(), ids.len(), JoinSet::new());
    let ids: Arc<Vec<String>> = Arc::new(ids);
    let left = Arc::new(AtomicUsize::new(count));
    for _ in 0..clients {
        let (ids, left, mut connection) = (ids.clone(), left.clone(), Connection::new(target));
        all.spawn(async move {
            while let Some(n) = take(&left) {
                delete(&mut connection, &ids[n]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    let mut connection = Connection::new(target);
    loop {
        let here = listed(&mut connection, "").await?;
        let here = ids.iter().filter(|id| here.contains(*id)).count();
        if here == 0 {
            return Ok(count as f64 / (env.monotonic() - start).as_secs_f64());
        }
        if env.monotonic() - start > OUTCOME {
            bail!("{here} of {count} are not gone after {OUTCOME:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The ids of everything that is listed under a query, page after page.
async fn listed(connection: &mut Connection, query: &str) -> anyhow::Result<HashSet<String>> {
    let (mut all, mut marker) = (HashSet::new(), String::new());
    loop {
        let page = connection.get(&format!("/v2.1/servers?limit=1000&{query}{marker}")).await?;
        let page = page["servers"].as_array().context("a list of servers")?;
        let ids: Vec<&str> = page.iter().filter_map(|server| server["id"].as_str()).collect();
        all.extend(ids.iter().map(|&id| id.to_owned()));
        match ids.last() {
            Some(last) if ids.len() == 1_000 => marker = format!("&marker={last}"),
            _ => return Ok(all),
        }
    }
}

/// The next number down, until none is left.
fn take(left: &AtomicUsize) -> Option<usize> {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).ok().map(|n| n - 1)
}

/// What the names of a run begin with.
fn prefix() -> String {
    tests::unique("bench") + "-"
}
