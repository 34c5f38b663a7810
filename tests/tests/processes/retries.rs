//! API processes that are killed while callers ask, and callers who ask again until they are answered.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tests::estate::{Chance, Plan, User, id, server, token};
use tests::{Estate, Faults, Proxy, Reply, eventually, within};

/// The longest that one caller asks again.
const ANSWERED: Duration = Duration::from_secs(60);
/// Until all is done after the last kill. The bar is 30 s, in which a dead worker's lease runs out too.
const TERMINAL: Duration = Duration::from_secs(60);
/// When a kill comes, counted from the moment when the callers begin.
const MOMENT: Duration = Duration::from_millis(120);
/// Kills of the API, and creates under way at each.
const KILLS: usize = 6;
const CREATES: usize = 5;
/// How long an API process of the second story may work on a request, in ms. An action whose process died is told to be
/// worked on for so long and 5 s more.
const REQUEST_MS: u64 = 5_000;

/// Creates under a key, deletes and lists, each asked for until it is answered, while the only API process dies over
/// and over: each key made one instance, each deletion ends gone, and lists walk on.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_may_die_under_load() {
    let _alone = crate::alone().await;
    let mut estate = Estate::start(Plan { cells: 2, ..Plan::default() }).await;
    let alice = estate.user("alice");
    let mut stay = alice.boot_many("stay", 7).await;
    stay.reverse();
    let mut made = it_dies_after_the_commit(&mut estate).await;
    let deleted = it_dies_at_any_moment(&mut estate, &stay, &mut made).await;
    within(TERMINAL, async {
        estate.ready("").await;
        for id in &deleted {
            alice.gone(id).await;
        }
        made.retain(|_, id| !deleted.contains(id));
        let ids: Vec<String> = made.values().chain(&stay).cloned().collect();
        let counts = alice.settle(&ids).await;
        assert_eq!(counts.get("ACTIVE"), Some(&ids.len()), "{counts:?}");
        let listed = alice.list().await;
        assert_eq!(listed.len(), ids.len(), "what a lost answer promised is the same instance");
        for (name, of) in &made {
            let named: Vec<String> = listed.iter().filter(|one| one["name"] == json!(name)).map(id).collect();
            assert_eq!(named, std::slice::from_ref(of), "{name} was made once");
        }
        assert_eq!(estate.at_rest().await, ids.len(), "a container for each");
    })
    .await;
    estate.clear(&["alice"]).await;
}

/// Creates are committed and their answers are on their way when it dies. Gives what was made, by name.
async fn it_dies_after_the_commit(estate: &mut Estate) -> BTreeMap<String, String> {
    let proxy = Proxy::before(&estate.url(0)).await;
    proxy.set(Faults { stall_down: true, ..Faults::default() });
    let there = |estate: &Estate| estate.api_database().number("SELECT count(*) FROM instance_mapping");
    let before = there(estate);
    let caller = Caller::of(&User::new(&proxy.url(&estate.url(0)), &token("alice")));
    let names: Vec<String> = (0..CREATES).map(|n| format!("lost{n}")).collect();
    let creates = join_all(names.iter().map(|name| caller.creates(name)));
    let dies = async {
        eventually(ANSWERED, "all are accepted", async || match there(estate) - before {
            made if made == CREATES as i64 => Ok(()),
            made => Err(format!("{made} of {CREATES} are")),
        })
        .await;
        estate.kill("api1");
        proxy.reset();
        // Before the proxy lets anything pass again, those answers are gone.
        eventually(ANSWERED, "all callers are cut off", async || match caller.cut.load(Ordering::Relaxed) {
            cut if cut >= CREATES as u64 => Ok(()),
            cut => Err(format!("{cut} requests were cut")),
        })
        .await;
        proxy.heal();
        estate.run("api1");
    };
    let (created, ()) = tokio::join!(creates, dies);
    let made = names.into_iter().zip(created).map(|(name, (id, again))| {
        assert!(again, "{name} had been accepted before");
        (name, id)
    });
    made.collect()
}

/// Gives what was deleted meanwhile.
async fn it_dies_at_any_moment(
    estate: &mut Estate,
    stay: &[String],
    made: &mut BTreeMap<String, String>,
) -> Vec<String> {
    let (alice, mut chance, mut deleted) = (estate.user("alice"), Chance::new(), Vec::new());
    let (mut cut, mut lost) = (0, 0);
    for round in 0..KILLS {
        let names: Vec<String> = (0..CREATES).map(|n| format!("round{round}-{n}")).collect();
        let going: Vec<String> = made.values().filter(|id| !deleted.contains(*id)).take(2).cloned().collect();
        let caller = Caller::of(&alice);
        let creates = join_all(names.iter().map(|name| caller.creates(name)));
        let deletes = join_all(going.iter().map(|id| caller.deletes(id)));
        let dies = async {
            chance.moment(MOMENT).await;
            estate.bounce("api1");
        };
        let (created, _, listed, ()) = tokio::join!(creates, deletes, caller.lists("stay"), dies);
        for (name, (id, again)) in names.into_iter().zip(created) {
            lost += usize::from(again);
            made.insert(name, id);
        }
        deleted.extend(going);
        cut += caller.cut.load(Ordering::Relaxed);
        assert_eq!(listed, stay, "a list that is walked meanwhile tells of each once, newest first");
    }
    eprintln!("{KILLS} kills: {cut} requests were cut, {lost} answers to creates were lost");
    assert!(cut > 0, "nobody asked while it was dead");
    deleted
}

/// Stops, starts and reboots while a process of each kind dies; callers ask again under their key.
#[tokio::test(flavor = "multi_thread")]
async fn actions_come_to_their_end_whoever_dies() {
    let _alone = crate::alone().await;
    let plan = Plan { cells: 1, superconductors: 2, conductors: 2, hosts: 2, ..Plan::default() };
    let mut estate = Estate::start(plan).await;
    estate.vary("api1", "SKEP__API__REQUEST_DEADLINE_MS", &REQUEST_MS.to_string());
    estate.bounce("api1");
    estate.ready("").await;
    let mut chance = Chance::new();
    let alice = estate.user("alice");
    let ids = alice.boot_many("busy", 12).await;
    let counts = alice.settle(&ids).await;
    assert_eq!(counts.get("ACTIVE"), Some(&12), "{counts:?}");
    let (mut runs, rest) = ids.split_at(4);
    let (mut stands, rebooted) = rest.split_at(4);
    for id in stands {
        alice.act(id, json!({"os-stop": null})).await.expect(202);
    }
    for id in stands {
        alice.reaches(id, "SHUTOFF").await;
    }
    for kind in ["api", "superconductor", "conductor", "agent"] {
        let before: Vec<String> = rebooted.iter().map(|id| started_at(&estate, id)).collect();
        let caller = Caller::of(&alice);
        let acts = [
            (runs, json!({"os-stop": null})),
            (stands, json!({"os-start": null})),
            (rebooted, json!({"reboot": {"type": "HARD"}})),
        ];
        let acts = acts.iter().flat_map(|(ids, act)| ids.iter().map(move |id| (id, act)));
        let acts = join_all(acts.map(|(id, act)| caller.acts(id, act, kind)));
        let names = estate.names(kind);
        let die = async {
            for _ in 0..4 {
                chance.moment(MOMENT * 4).await;
                estate.bounce(&names[chance.below(names.len() as u64) as usize]);
            }
        };
        tokio::join!(acts, die);
        within(TERMINAL, async {
            for id in runs {
                alice.reaches(id, "SHUTOFF").await;
            }
            for id in stands.iter().chain(rebooted) {
                alice.reaches(id, "ACTIVE").await;
            }
            assert_eq!(estate.at_rest().await, 12, "{kind}");
        })
        .await;
        for (id, before) in rebooted.iter().zip(before) {
            assert_ne!(started_at(&estate, id), before, "{kind}: {id} was started anew");
        }
        estate.ready("").await;
        std::mem::swap(&mut runs, &mut stands);
    }
    estate.clear(&["alice"]).await;
}

/// When the engine last started an instance's container.
fn started_at(estate: &Estate, id: &str) -> String {
    let containers = estate.docker().labelled(&format!("skep.instance={id}"));
    assert_eq!(containers.len(), 1, "one container of {id}");
    estate.docker().cli(&["inspect", "--format", "{{.State.StartedAt}}", &containers[0]])
}

/// One who asks until somebody answers.
struct Caller {
    user: User,
    /// Requests that got no answer, or one that says when to come again.
    cut: AtomicU64,
}

impl Caller {
    fn of(user: &User) -> Self {
        Self { user: user.clone(), cut: AtomicU64::default() }
    }

    /// Asks until the answer does not say when to come again.
    async fn asks(&self, what: &str, mut ask: impl AsyncFnMut() -> anyhow::Result<Reply>) -> Reply {
        eventually(ANSWERED, &format!("{what} is answered"), async || {
            let failed = match ask().await {
                Ok(reply) if reply.header("Retry-After").is_none() => return Ok(reply),
                Ok(reply) => reply.body.to_string(),
                Err(error) => format!("{error:#}"),
            };
            self.cut.fetch_add(1, Ordering::Relaxed);
            Err(failed)
        })
        .await
    }

    /// A server's id, and whether it had been accepted before by a process that died with its answer.
    async fn creates(&self, name: &str) -> (String, bool) {
        let client = self.user.client().clone().header("Idempotency-Key", name);
        let body = json!({"server": server(name)});
        let reply = self.asks(name, async || client.post("/v2.1/servers", &body).await).await;
        let lost = reply.header("Idempotent-Replayed").is_some();
        (id(&reply.expect(202)["server"]), lost)
    }

    async fn deletes(&self, id: &str) {
        let path = format!("/v2.1/servers/{id}");
        let reply = self.asks(id, async || self.user.client().delete(&path).await).await;
        assert!(matches!(reply.status.as_u16(), 204 | 404), "{}: {}", reply.status, reply.body);
    }

    /// Has an action done once, although a repetition without a key would be refused.
    async fn acts(&self, id: &str, action: &Value, key: &str) {
        let client = self.user.client().clone().header("Idempotency-Key", &format!("{key}-{id}"));
        let path = format!("/v2.1/servers/{id}/action");
        self.asks(id, async || client.post(&path, action).await).await.expect(202);
    }

    /// The ids of all servers whose names begin so, two on each page.
    async fn lists(&self, name: &str) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        loop {
            let marker = all.last().map(|last| format!("&marker={last}")).unwrap_or_default();
            let path = format!("/v2.1/servers?name=^{name}&limit=2{marker}");
            let page = self.asks("a page", async || self.user.client().get(&path).await).await.expect(200);
            all.extend(page["servers"].as_array().expect("is a list").iter().map(id));
            if page["servers_links"].is_null() {
                return all;
            }
        }
    }
}
