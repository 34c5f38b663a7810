//! Hosts enrol themselves: a join token is used once, from then on a host's own key speaks for it, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use agent::Agent;
use agent::engine::scripted::{Script, Scripted};
use conductor::Join;
use model::drill::Gate;
use model::{Context, Env, Fault, FaultKind, HostId, Resources};
use rpc::contract::{Register, Registered, SyncHost, Synced};
use rpc::{Address, Bus, HostKey, JoinToken, Signer};
use tests::cloud::{Cloud, Plan, admin, context};
use tests::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbs::admin::{By, Why};

fn by() -> By {
    By { caller: admin(), context: context() }
}

async fn cloud(join: Join) -> Cloud {
    Cloud::start(Plan { cells: 2, hosts: 0, join, ..Plan::default() }).await
}

async fn token(cloud: &Cloud, cell: &str) -> JoinToken {
    let hour = Duration::from_secs(3_600);
    cloud.verbs.admin().join_tokens(&by(), cell, 1, hour).await.expect("a token").tokens.remove(0)
}

/// What speaks for a host, as an agent does, or as somebody who pretends to be one.
struct Voice {
    bus: Bus,
    host: HostId,
    session: Uuid,
    boot: Uuid,
    key: String,
    sessions: Option<i64>,
}

impl Voice {
    fn new(cloud: &Cloud, cell: usize, host: HostId, seed: u8) -> Self {
        let session = cloud.env.uuid();
        Self::of_session(cloud, cell, host, seed, session)
    }

    fn of_session(cloud: &Cloud, cell: usize, host: HostId, seed: u8, session: Uuid) -> Self {
        let bus = cloud.connector.connect(&cloud.cells[cell].cell.transport_url, Gate::default());
        let key = HostKey::from_seed(&[seed; 32]).expect("a key");
        let public = key.public();
        let bus = bus.expect("connects").signed_by(Signer::new(host, session, key));
        Self { bus, host, session, boot: Uuid::nil(), key: public, sessions: None }
    }

    /// One call, as it is.
    async fn say_register(&self, join: Option<&JoinToken>) -> Result<Registered, Fault> {
        let call = Register {
            host: self.host,
            name: "a".into(),
            zone: "z".into(),
            engine: "e".into(),
            address: "192.0.2.1".into(),
            capacity: Resources { vcpus_milli: 1_000, memory_mib: 64, slots: 1 },
            boot: self.boot,
            session: self.session,
            version: "0.0.0".into(),
            healthy: true,
            key: Some(self.key.clone()),
            join: join.cloned(),
            sessions: self.sessions,
            wants_user: false,
        };
        self.bus.call(Address::Conductors, &Context::default(), &call).await
    }

    /// As an agent does: once more if it is asked to.
    async fn register(&mut self, join: Option<&JoinToken>) -> Result<Registered, Fault> {
        let first = self.say_register(join).await?;
        if first.sessions.is_none() {
            return Ok(first);
        }
        self.sessions = first.sessions;
        let second = self.say_register(join).await?;
        assert_eq!(second.sessions, None, "it is asked once");
        Ok(second)
    }

    async fn sync(&self) -> Result<Synced, Fault> {
        let call = SyncHost {
            host: self.host,
            session: self.session,
            observations: vec![],
            full: true,
            after: None,
            digest: None,
            heartbeat: true,
            healthy: true,
            offers: None,
            heard: None,
            connected_as: None,
        };
        self.bus.call(Address::Conductors, &Context::default(), &call).await
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Fault>, kind: FaultKind, says: &str) {
    let fault = answer.expect_err(says);
    assert_eq!(fault.kind, kind, "{fault}");
    assert!(fault.message.contains(says), "wanted '{says}': {fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_used_once_and_makes_a_key_the_hosts() {
    let cloud = cloud(Join::Token).await;
    let (first, second): (HostId, HostId) = (cloud.env.id(), cloud.env.id());
    let mut one = Voice::new(&cloud, 0, first, 1);
    refused(one.register(None).await, FaultKind::Forbidden, "put a join token into the file");
    let elsewhere = token(&cloud, "cell2").await;
    refused(one.register(Some(&elsewhere)).await, FaultKind::Forbidden, "not of this cell");
    let used = token(&cloud, "cell1").await;
    one.register(Some(&used)).await.expect("it enrols");
    one.register(None).await.expect("and is known from then on");
    assert!(!one.sync().await.expect("it syncs").register);

    let mut two = Voice::new(&cloud, 0, second, 2);
    refused(two.register(Some(&used)).await, FaultKind::Forbidden, "was used before");
    two.register(Some(&token(&cloud, "cell1").await)).await.expect("with one of its own");

    // Who has the key of another host, or none, does not speak for this one.
    let thief = Voice { session: one.session, ..Voice::of_session(&cloud, 0, first, 2, one.session) };
    refused(thief.sync().await, FaultKind::Forbidden, "not signed with the key of host");
    refused(thief.say_register(Some(&used)).await, FaultKind::Forbidden, "enrolled with another key");
    let named = Voice { host: first, session: one.session, ..Voice::new(&cloud, 0, second, 2) };
    refused(named.sync().await, FaultKind::Forbidden, "has to sign");
    let bus = cloud.connector.connect(&cloud.cells[0].cell.transport_url, Gate::default()).expect("connects");
    let unsigned = Voice { bus, ..Voice::of_session(&cloud, 0, first, 1, one.session) };
    refused(unsigned.sync().await, FaultKind::Forbidden, "has to sign");
    refused(unsigned.say_register(None).await, FaultKind::Forbidden, "has to sign");

    let refusals = async || {
        let found = cloud.verbs.admin().doctor(&by(), false).await.expect("looks").findings;
        let told = found.into_iter().filter(|finding| finding.code == "H004");
        told.map(|finding| (finding.subject.unwrap_or_default(), finding.what)).collect::<Vec<_>>()
    };
    let told = refusals().await;
    assert!(
        matches!(&told[..], [(host, why)] if *host == first.to_string() && why.contains("sign")),
        "{told:?}"
    );

    // What was said before is not heard again, neither of this session nor of one before it.
    let again = Voice::of_session(&cloud, 0, first, 1, one.session);
    refused(again.sync().await, FaultKind::Conflict, "heard before");
    assert!(!one.sync().await.expect("the host itself goes on").register);
    let mut next = Voice::new(&cloud, 0, first, 1);
    next.register(None).await.expect("the agent starts again");
    let asked = Voice { sessions: one.sessions, ..Voice::new(&cloud, 0, first, 1) }.say_register(None).await;
    assert!(asked.expect("an answer").sessions.is_some(), "signed for an earlier session");
    assert!(!next.sync().await.expect("nothing has changed for it").register);

    let hosts = cloud.verbs.admin().hosts_view(&by(), Some("cell1")).await.expect("hosts").hosts;
    assert!(hosts.iter().all(|host| host.key == Some("own")), "{hosts:?}");
    assert_eq!(refusals().await, [], "the host itself was heard since");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_agents_with_one_host_id_one_is_refused() {
    let cloud = cloud(Join::Open).await;
    let host: HostId = cloud.env.id();
    let mut one = Voice::new(&cloud, 0, host, 1);
    one.register(None).await.expect("the first key is the host's");
    refused(Voice::new(&cloud, 0, host, 2).register(None).await, FaultKind::Forbidden, "a copy of another");
    // A copy with the key, on another machine, while the first is alive.
    let mut copy = Voice { boot: cloud.env.uuid(), ..Voice::new(&cloud, 0, host, 1) };
    refused(copy.register(None).await, FaultKind::Conflict, "was heard of just now");
    one.sync().await.expect("it is alive");
    let told = cloud.verbs.admin().host_view(&by(), &host.to_string(), None).await.expect("is shown");
    assert!(told.refused.is_some_and(|why| why.contains("two agents run with one host id")));
    // Once the first has been still for two of the intervals at which it has to be heard of, the other is it.
    eventually(Duration::from_secs(60), "the machine was booted again", async || {
        copy.register(None).await.map_err(|fault| fault.message)
    })
    .await;
    refused(one.register(None).await, FaultKind::Conflict, "another agent has registered");
    assert!(one.sync().await.expect("is told").register);
    assert!(!copy.sync().await.expect("it is the host").register);
}

/// The agent itself, from no token to a revoked key and a new one.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_enrols_is_revoked_and_enrols_again() {
    let cloud = cloud(Join::Token).await;
    let (env, folder) = (Env::system(), tests::Folder::new("enrol"));
    let (state, file) = (folder.join("state"), folder.join("join"));
    let host = agent::host_id(&state, &env).expect("an id");
    let start = || {
        let config = agent::Config {
            host,
            key: agent::host_key(&state, &env).expect("a key"),
            join_token_file: Some(file.clone()),
            name: "h".into(),
            zone: "nova".into(),
            engine_name: "e".into(),
            address: "127.0.0.1".into(),
            capacity: Resources { vcpus_milli: 4_000, memory_mib: 256, slots: 4 },
            cell_name: "cell2".into(),
            heartbeat: Duration::from_secs(1),
            parallel_starts: 2,
            state_dir: state.clone(),
            stop_grace: Duration::from_secs(1),
            boot: Uuid::nil(),
        };
        let bus = cloud.connector.connect(&cloud.cells[1].cell.transport_url, Gate::default());
        let engine = Arc::new(Scripted::new(env.clone(), Script::default()));
        let (env, shutdown) = (env.clone(), CancellationToken::new());
        async move {
            let bus = bus.expect("connects");
            let agent = Agent::start(config, env, bus, engine, shutdown.clone()).await.expect("starts");
            (agent, shutdown)
        }
    };
    let says = async |agent: &Agent, what: &str| {
        eventually(Duration::from_secs(60), what, async || match agent.status().sync_fault {
            Some(fault) if fault.message.contains(what) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    let ready = async |agent: &Agent| {
        eventually(Duration::from_secs(60), "the agent is ready", async || agent.status().ready()).await;
    };
    let (agent, shutdown) = start().await;
    says(&agent, "put a join token into the file").await;
    let give = async |file: &std::path::Path| {
        std::fs::write(file, format!("{}\n", token(&cloud, "cell2").await.reveal())).expect("is written");
    };
    give(&file).await;
    ready(&agent).await;

    let operator = cloud.verbs.admin();
    let shown = operator.revoke_host(&by(), &host.to_string(), None, false).await.expect("is revoked");
    assert_eq!(shown.key, Some("revoked"));
    says(&agent, "was revoked").await;
    shutdown.cancel();
    agent.ended().await;
    // The revoked key with a good token: no.
    give(&file).await;
    let (agent, shutdown) = start().await;
    says(&agent, "remove host-key").await;
    shutdown.cancel();
    agent.ended().await;
    std::fs::remove_file(state.join("host-key")).expect("is removed");
    let (agent, shutdown) = start().await;
    ready(&agent).await;
    let shown = operator.host_view(&by(), &host.to_string(), None).await.expect("is shown");
    assert_eq!((shown.key, shown.refused), (Some("own"), None));
    shutdown.cancel();
    agent.ended().await;

    // A host that is deleted has to enrol again.
    let deleted = operator.delete_host(&by(), &host.to_string(), None, (false, true, false)).await;
    assert_eq!(deleted.expect("is deleted").id, host);
    std::fs::remove_file(&file).expect("is removed");
    let (agent, shutdown) = start().await;
    says(&agent, "is not enrolled").await;
    shutdown.cancel();
    agent.ended().await;
    for (cell, count, seconds, why) in
        [("cell1", 0, 3_600, Why::Bad), ("cell1", 1, 5, Why::Bad), ("nowhere", 1, 3_600, Why::NoCell)]
    {
        let made = operator.join_tokens(&by(), cell, count, Duration::from_secs(seconds)).await;
        assert_eq!(made.expect_err("is refused").why, why);
    }
}
