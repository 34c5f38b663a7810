//! The Docker driver against a real engine. Runs where SKEP_TEST_DOCKER holds its URL, for example
//! unix:///run/docker.sock, and the engine has the image skep/web:1: busybox, whose command serves a
//! page on port 8080. With SKEP_TEST_REQUIRE=1 a missing engine is a failure.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells by printing"
)]

#[path = "host/cell.rs"]
mod cell;
#[path = "docker/made.rs"]
mod made;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent::engine::docker::Docker;
use agent::engine::{Container, Created, Engine, Name, Order};
use futures::StreamExt;
use model::spec::PortWish;
use model::{At, ContainerSpec, Env, FaultKind, Flavor, HostId, Power, RequestSpec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEADLINE: Duration = Duration::from_secs(30);

struct Desk {
    engine: Docker,
    host: HostId,
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where an engine is")]
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}

fn desk(test: &str) -> Option<Desk> {
    match told("SKEP_TEST_DOCKER") {
        Some(url) => Some(Desk { engine: Docker::new(&url).unwrap(), host: Env::system().id() }),
        None if told("SKEP_TEST_REQUIRE").is_some_and(|on| on == "1") => {
            panic!("SKEP_TEST_REQUIRE=1, and SKEP_TEST_DOCKER is not set")
        }
        None => {
            println!("{test}: skipped, SKEP_TEST_DOCKER is not set");
            None
        }
    }
}

impl Desk {
    fn order(&self, project: &str, container: ContainerSpec) -> Order {
        let spec = RequestSpec {
            name: "web".into(),
            project: project.into(),
            user: "u".into(),
            request_id: String::new(),
            region: String::new(),
            zone: None,
            image: "skep/web:1".parse().unwrap(),
            flavor: Flavor {
                id: "1".into(),
                name: "small".into(),
                vcpus: 1,
                memory_mib: 64,
                disk_gib: 1,
                pids: 64,
            },
            container,
            metadata: BTreeMap::new(),
            description: None,
            extra: Default::default(),
            deadline: model::Timestamp(i64::MAX),
        };
        Order {
            instance: Env::system().id(),
            at: At { epoch: 1, placement: 2, generation: 3 },
            host: self.host,
            cell: "c1".into(),
            spec: Arc::new(spec),
        }
    }

    async fn run(&self, order: &Order) -> Container {
        assert_eq!(self.engine.create(order).await.unwrap(), Created::New);
        self.engine.start(order.name()).await.unwrap();
        self.seen(order.name()).await
    }

    async fn seen(&self, name: Name) -> Container {
        self.engine.inspect(name).await.unwrap().expect("the container is there")
    }

    /// The output of a container that was made for it, once it has ended.
    async fn output(&self, order: &Order) -> String {
        self.run(order).await;
        let env = Env::system();
        let until = env.monotonic() + DEADLINE;
        while self.seen(order.name()).await.power == Power::Running {
            assert!(env.monotonic() < until, "{} did not end", order.name());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.engine.tail(order.name(), None).await.unwrap()
    }

    async fn clear(&self) {
        for container in self.engine.list(self.host).await.unwrap() {
            self.engine.remove(container.name).await.unwrap();
        }
        self.engine.clear_networks(self.host).await.unwrap();
    }
}

fn words(words: &[&str]) -> ContainerSpec {
    ContainerSpec { command: words.iter().map(|word| (*word).to_owned()).collect(), ..Default::default() }
}

fn shell(text: &str) -> ContainerSpec {
    words(&["/bin/sh", "-c", text])
}

async fn get(port: u16) -> std::io::Result<String> {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    socket.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_container_lives() {
    let Some(desk) = desk("a_container_lives") else { return };
    let order = desk.order("p", words(&["/bin/sleep", "600"]));
    let name = order.name();
    let mut exits = desk.engine.exits(desk.host);
    assert!(exits.next().await.is_none_or(|e| e.is_err()), "nobody was connected yet");
    let seen = desk.run(&order).await;
    assert_eq!((seen.name, seen.generation, seen.power), (name, 3, Power::Running));
    assert!(!seen.address.is_empty() && !seen.mac.is_empty() && !seen.id.is_empty(), "{seen:?}");
    desk.engine.start(name).await.expect("starting what runs is no fault");

    // The same order is adopted, another one of the same name is refused.
    assert_eq!(desk.engine.create(&order).await.unwrap(), Created::Adopted);
    let mut other = desk.order("p", words(&["/bin/sleep", "601"]));
    other.instance = order.instance;
    let fault = desk.engine.create(&other).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Engine, "{fault}");
    assert!(fault.message.contains("skep.spec-hash"), "{fault}");

    let mut exits = desk.engine.exits(desk.host);
    let first = tokio::spawn(async move { exits.next().await });
    // The engine's init passes TERM on, and sleep ends by it.
    tokio::time::sleep(Duration::from_millis(300)).await;
    desk.engine.stop(name, Duration::from_secs(10)).await.unwrap();
    let exit = tokio::time::timeout(DEADLINE, first).await.unwrap().unwrap().unwrap().unwrap();
    assert_eq!((exit.name, exit.code), (name, 143));
    let seen = desk.seen(name).await;
    assert_eq!((seen.power, seen.exit_code, seen.has_run), (Power::Stopped, Some(143), true));
    desk.engine.stop(name, Duration::from_secs(1)).await.expect("stopping what is stopped is no fault");

    desk.engine.start(name).await.unwrap();
    desk.engine.kill(name).await.unwrap();
    let seen = desk.seen(name).await;
    assert_eq!((seen.power, seen.exit_code), (Power::Stopped, Some(137)));

    let listed = desk.engine.list(desk.host).await.unwrap();
    assert_eq!(listed.iter().map(|c| (c.name, c.generation)).collect::<Vec<_>>(), [(name, 3)]);
    assert!(desk.engine.list(Env::system().id()).await.unwrap().is_empty(), "other hosts see none of it");

    desk.engine.start(name).await.unwrap();
    desk.engine.remove(name).await.unwrap();
    assert_eq!(desk.engine.inspect(name).await.unwrap(), None);
    desk.engine.remove(name).await.expect("removing nothing is no fault");
    desk.engine.stop(name, Duration::from_secs(1)).await.expect("stopping nothing is no fault");
    assert_eq!(desk.engine.start(name).await.unwrap_err().kind, FaultKind::NotFound);
    assert_eq!(desk.engine.tail(name, None).await.unwrap_err().kind, FaultKind::NotFound);
    desk.clear().await;
}

#[tokio::test]
async fn the_probe_runs_a_container() {
    let Some(desk) = desk("the_probe_runs_a_container") else { return };
    desk.engine.probe(desk.host).await.unwrap();
    desk.engine.probe(desk.host).await.expect("a second time, with the image there");
    assert!(desk.engine.list(desk.host).await.unwrap().is_empty());
    desk.clear().await;
}

#[tokio::test]
async fn images_that_are_not_there_are_told_and_refused() {
    let Some(desk) = desk("images_that_are_not_there_are_told_and_refused") else { return };
    let mut order = desk.order("p", ContainerSpec::default());
    // No registry answers at that address.
    let image: model::image::ImageRef = "localhost:9/skep/nothing:1".parse().unwrap();
    Arc::make_mut(&mut order.spec).image = image.clone();
    assert_eq!(desk.engine.create(&order).await.unwrap(), Created::NoImage);
    let fault = desk.engine.pull(&image).await.unwrap_err();
    assert!(fault.message.contains("cannot pull image localhost:9/skep/nothing:1"), "{fault}");

    let order = desk.order("p", words(&["/no/such/program"]));
    desk.engine.create(&order).await.unwrap();
    match desk.engine.start(order.name()).await {
        Err(fault) => assert_eq!(fault.kind, FaultKind::Engine, "{fault}"),
        // With the engine's init, it is the init that fails to run it.
        Ok(()) => {
            let seen = desk.seen(order.name()).await;
            assert!(matches!(seen.exit_code, None | Some(126 | 127)), "{seen:?}");
        }
    }
    desk.clear().await;
}

#[tokio::test]
async fn published_ports_answer() {
    let Some(desk) = desk("published_ports_answer") else { return };
    let ports = vec![PortWish::parse("8080").unwrap()];
    let order = desk.order("p", ContainerSpec { ports, ..Default::default() });
    let seen = desk.run(&order).await;
    let [port] = seen.ports.as_slice() else { panic!("{seen:?}") };
    assert_eq!(port.container, 8080);
    let env = Env::system();
    let until = env.monotonic() + DEADLINE;
    loop {
        match get(port.host).await {
            Ok(answer) if answer.contains("skep") => break,
            other => assert!(env.monotonic() < until, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A fixed port that is taken is refused for good.
    let ports = vec![PortWish { container: 8080, host: port.host, protocol: port.protocol }];
    let second = desk.order("p", ContainerSpec { ports, ..Default::default() });
    desk.engine.create(&second).await.unwrap();
    let fault = desk.engine.start(second.name()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Engine, "{fault}");
    desk.clear().await;
}

#[tokio::test]
async fn projects_are_kept_apart() {
    let Some(desk) = desk("projects_are_kept_apart") else { return };
    let web = desk.run(&desk.order("one", ContainerSpec::default())).await;
    // A static busybox cannot resolve names, so that its wget is of no use.
    let ask = format!(
        "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc -w 3 {} 8080 | busybox grep -q skep \
         && echo reached || echo nothing",
        web.address
    );
    let friend = desk.output(&desk.order("one", shell(&ask))).await;
    assert!(friend.contains("reached"), "the same project must reach it: {friend}");
    let stranger = desk.output(&desk.order("two", shell(&ask))).await;
    assert!(stranger.contains("nothing"), "another project must not reach it: {stranger}");
    // Not by another way either: the routes cannot be changed from inside.
    let force = format!(
        "busybox ip route; busybox ip route replace default via $(busybox ip route | \
         busybox sed -n 's/.* src \\([0-9]*\\.[0-9]*\\)\\..*/\\1.0.1/p'); {ask}"
    );
    let forced = desk.output(&desk.order("two", shell(&force))).await;
    assert!(forced.contains("nothing") && forced.contains("not permitted"), "{forced}");
    desk.clear().await;
}

#[tokio::test]
async fn no_network_means_no_interface() {
    let Some(desk) = desk("no_network_means_no_interface") else { return };
    let spec = ContainerSpec { no_network: true, ..shell("busybox ls /sys/class/net") };
    let output = desk.output(&desk.order("p", spec)).await;
    assert!(!output.contains("eth0"), "{output}");
    desk.clear().await;
}

#[tokio::test]
async fn a_root_filesystem_may_be_read_only() {
    let Some(desk) = desk("a_root_filesystem_may_be_read_only") else { return };
    for (read_only, expected) in [(true, "Read-only file system"), (false, "written")] {
        let spec = ContainerSpec { read_only, ..shell("echo x > /new && echo written") };
        let output = desk.output(&desk.order("p", spec)).await;
        assert!(output.contains(expected), "{output}");
    }
    desk.clear().await;
}

/// Only where the engine's storage driver has quotas, as `btrfs` does: overlay2 has them on XFS alone, which few have.
#[tokio::test]
async fn what_a_container_writes_is_bounded_where_the_engine_can() {
    let Some(desk) = desk("what_a_container_writes_is_bounded_where_the_engine_can") else { return };
    let url = told("SKEP_TEST_DOCKER").unwrap();
    let client = bollard::Docker::connect_with_socket(&url, 60, bollard::API_DEFAULT_VERSION).unwrap();
    let driver = client.info().await.unwrap().driver.unwrap_or_default();
    desk.engine.probe(desk.host).await.unwrap();
    if !["btrfs", "zfs"].contains(&driver.as_str()) {
        println!("the storage driver is {driver}");
        return desk.clear().await;
    }
    let spec = shell("busybox dd if=/dev/zero of=/big bs=1M count=1500 2>&1");
    let output = desk.output(&desk.order("p", spec)).await;
    assert!(output.contains("quota") || output.contains("No space left"), "{output}");
    desk.clear().await;
}

#[tokio::test]
async fn containers_are_hardened() {
    let Some(desk) = desk("containers_are_hardened") else { return };
    let text = "busybox grep -E '^(CapEff|NoNewPrivs)' /proc/self/status; ulimit -n; \
                busybox ps | busybox head -2";
    let output = desk.output(&desk.order("p", shell(text))).await;
    assert!(output.contains("NoNewPrivs:\t1"), "{output}");
    assert!(output.contains("\n4096\n"), "{output}");
    assert!(output.contains("init"), "the engine's init is process 1: {output}");
    let caps = output.lines().find_map(|line| line.strip_prefix("CapEff:\t")).expect("has capabilities");
    let caps = u64::from_str_radix(caps.trim(), 16).unwrap();
    // NET_ADMIN is bit 12, NET_RAW 13, SYS_ADMIN 21 (linux/capability.h).
    assert_eq!(caps & (1 << 12 | 1 << 13 | 1 << 21), 0, "{output}");
    desk.clear().await;
}

#[tokio::test]
async fn tails_are_cut() {
    let Some(desk) = desk("tails_are_cut") else { return };
    let text =
        "i=0; while [ $i -lt 3000 ]; do echo \"line $i of a long log that goes on and on\"; i=$((i+1)); done";
    let order = desk.order("p", shell(text));
    let all = desk.output(&order).await;
    assert!(all.len() <= 64 * 1024 && all.len() > 60 * 1024, "{}", all.len());
    assert!(all.ends_with("line 2999 of a long log that goes on and on\n"));
    let two = desk.engine.tail(order.name(), Some(2)).await.unwrap();
    assert_eq!(two.lines().count(), 2, "{two}");
    desk.clear().await;
}

/// The whole way from a wish to an answer, and the restart of what was killed while the cell is dark.
#[tokio::test]
async fn an_agent_drives_it() {
    let Some(desk) = desk("an_agent_drives_it") else { return };
    let env = Env::system();
    let cell = cell::Cell::start(&env).await;
    let config = agent::Config {
        host: desk.host,
        key: rpc::HostKey::from_seed(&[7; 32]).unwrap(),
        join_token_file: None,
        name: "host-1".into(),
        zone: "az".into(),
        engine_name: "engine-1".into(),
        address: "127.0.0.1".into(),
        capacity: model::Resources { vcpus_milli: 8000, memory_mib: 8000, slots: 1000 },
        cell_name: "c1".into(),
        heartbeat: Duration::from_secs(5),
        parallel_starts: 4,
        state_dir: std::env::temp_dir().join(format!("skep-agent-{}", env.uuid())),
        stop_grace: Duration::from_secs(10),
        boot: agent::boot_id().unwrap(),
    };
    let shutdown = tokio_util::sync::CancellationToken::new();
    let Desk { engine, host } = desk;
    let engine = Arc::new(engine);
    let bus = cell.bus_for_agent();
    let running =
        agent::Agent::start(config, env.clone(), bus, engine.clone(), shutdown.clone()).await.unwrap();
    let until = |is: Box<dyn Fn() -> bool>, what: &'static str| {
        let env = env.clone();
        async move {
            let end = env.monotonic() + DEADLINE;
            while !is() {
                assert!(env.monotonic() < end, "not within {DEADLINE:?}: {what}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    let ready = running.clone();
    until(Box::new(move || ready.status().ready().is_ok()), "it is ready").await;

    let container = ContainerSpec {
        restart: model::RestartPolicy::Always,
        ports: vec![PortWish::parse("8080").unwrap()],
        ..ContainerSpec::default()
    };
    let order = Desk { engine: Docker::new("unix:///none").unwrap(), host }.order("p", container);
    let wish = |generation, intent| model::sync::Wanted {
        instance: order.instance,
        at: At { generation, ..order.at },
        intent,
        restart_seq: 0,
        restart_hard: false,
        freeze: None,
        spec: Some(Box::new((*order.spec).clone())),
        request_id: String::new(),
    };
    let (id, name) = (order.instance, order.name());
    // The engine alone, for comparison; it also makes the project's network.
    let mut bare = order.clone();
    bare.instance = env.id();
    for turn in ["with its network", "alone"] {
        let begun = env.monotonic();
        engine.create(&bare).await.unwrap();
        engine.start(bare.name()).await.unwrap();
        println!("create and start by the engine {turn}: {:?}", env.monotonic() - begun);
        engine.remove(bare.name()).await.unwrap();
    }
    let begun = env.monotonic();
    cell.want(host, wish(3, model::Intent::Run));
    let rows = cell.clone();
    let runs = move || rows.observed(id).is_some_and(|o| o.power == Power::Running);
    until(Box::new(runs), "it runs").await;
    println!("boot through the agent: {:?}", env.monotonic() - begun);
    let port = cell.observed(id).unwrap().observed.ports[0].clone();
    assert_eq!(port.address, "127.0.0.1");

    cell.dark(true);
    engine.kill(name).await.unwrap();
    let end = env.monotonic() + DEADLINE;
    while engine.inspect(name).await.unwrap().is_none_or(|c| c.power != Power::Running) {
        assert!(env.monotonic() < end, "it was not started again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cell.dark(false);
    let rows = cell.clone();
    let told = move || rows.observed(id).is_some_and(|o| o.observed.restarts == 1);
    until(Box::new(told), "its restart is told").await;

    cell.want(host, wish(4, model::Intent::Gone));
    let rows = cell.clone();
    let gone = move || rows.observed(id).is_some_and(|o| o.outcome == model::sync::Outcome::Gone);
    until(Box::new(gone), "it is gone").await;
    assert_eq!(engine.inspect(name).await.unwrap(), None);
    shutdown.cancel();
    tokio::time::timeout(DEADLINE, running.ended()).await.expect("the agent ends");
    engine.clear_networks(host).await.unwrap();
}
