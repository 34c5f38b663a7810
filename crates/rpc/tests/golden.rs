//! Golden files: every message as it once went over the wire, decoded for ever.
//!
//! A file is never edited. When a message gains a field, a new file is added beside the old one (`-2` and
//! so on) and takes its place in the comparison with what is encoded now; the old one is still decoded.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use model::flavor::Resources;
use model::instance::Freeze;
use model::spec::{PortWish, Protocol};
use model::sync::{Observation, Observed, Offer, Outcome, PortBinding, Wanted};
use model::time::Timestamp;
use model::{
    At, ContainerSpec, Fault, Flavor, HostId, Incarnation, InstanceId, Intent, Power, RequestSpec,
    RestartPolicy,
};
use rpc::contract::{ConsoleTail, Offers, Register, Registered, SyncHost, Synced, Tail, Verdict, digest};
use rpc::{BrokerUser, Call, JoinToken};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn id<T: From<Uuid>>(last: u8) -> T {
    let mut bytes = *Uuid::parse_str("01939c5e-0000-7000-8000-000000000000").unwrap().as_bytes();
    bytes[15] = last;
    T::from(Uuid::from_bytes(bytes))
}

/// Decodes every file of a message; the newest is exactly what is encoded now.
fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, now: &T) {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let is_ours = |stem: &str| {
        stem == name
            || stem
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-'))
                .is_some_and(|n| n.parse::<u32>().is_ok())
    };
    files.retain(|path| is_ours(path.file_stem().unwrap().to_str().unwrap()));
    files.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let encoded = serde_json::to_string_pretty(now).unwrap();
    let newest = files
        .last()
        .unwrap_or_else(|| panic!("tests/golden/{name}.json is missing; it would be:\n{encoded}"));
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let decoded: T =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if path == newest {
            assert_eq!(&decoded, now, "{}", path.display());
            assert_eq!(encoded.trim(), text.trim(), "{}", path.display());
        }
    }
    let mut value = serde_json::to_value(now).unwrap();
    extend(&mut value);
    assert_eq!(&serde_json::from_value::<T>(value).unwrap(), now, "{name}: unknown fields are ignored");
}

/// Adds what a release to come may add: a field to every struct. Maps of the user's, and `ContainerSpec`,
/// which refuses what it does not know, are left alone; so is an enum's tag.
fn extend(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter_mut().for_each(extend),
        serde_json::Value::Object(fields) => {
            let others =
                fields.iter_mut().filter(|(key, _)| !["container", "metadata"].contains(&key.as_str()));
            others.for_each(|(_, value)| extend(value));
            if !fields.contains_key("superseded") {
                fields.insert("from_the_future".into(), true.into());
            }
        }
        _ => {}
    }
}

fn at() -> At {
    At { epoch: 1, placement: 2, generation: 3 }
}

fn spec() -> RequestSpec {
    RequestSpec {
        name: "web".into(),
        project: "project".into(),
        user: "user".into(),
        request_id: "req-1".into(),
        region: "north".into(),
        zone: Some("zone-a".into()),
        image: "registry.example/skep/web:1".parse().unwrap(),
        flavor: Flavor {
            id: "1".into(),
            name: "small".into(),
            vcpus: 1,
            memory_mib: 512,
            disk_gib: 1,
            pids: 256,
        },
        container: ContainerSpec {
            command: vec!["httpd".into(), "-f".into()],
            env: [("KEY".to_owned(), "value".to_owned())].into(),
            ports: vec![PortWish { container: 80, host: 8080, protocol: Protocol::Tcp }],
            restart: RestartPolicy::OnFailure { max: 3 },
            labels: [("tier".to_owned(), "front".to_owned())].into(),
            no_network: false,
            read_only: false,
        },
        metadata: [("owner".to_owned(), "me".to_owned())].into(),
        description: Some("A web server".into()),
        extra: Default::default(),
        deadline: Timestamp(1_700_000_000_000_000),
    }
}

#[test]
fn register() {
    let capacity = Resources { vcpus_milli: 8_000, memory_mib: 16_384, slots: 100 };
    let call = Register {
        host: id::<HostId>(1),
        name: "host-1".into(),
        zone: "zone-a".into(),
        engine: "engine-1".into(),
        address: "192.0.2.1".into(),
        capacity,
        boot: id(2),
        session: id(3),
        version: "0.0.0".into(),
        healthy: true,
        key: Some("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into()),
        join: Some(JoinToken::new("skep-join-1")),
        sessions: Some(4_097),
        wants_user: true,
    };
    golden("register", &call);
    golden(
        "registered",
        &Registered {
            incarnation: id::<Incarnation>(4),
            heartbeat_ms: 5_000,
            first_seq: 9,
            sessions: Some(4_098),
            user: Some(BrokerUser {
                name: format!("cell1.host.{}", id::<HostId>(1)),
                password: "secret-1".into(),
            }),
            user_later: true,
        },
    );
}

#[test]
fn sync_host() {
    let observed = Observed {
        container: "c0ffee".into(),
        address: "172.20.0.2".into(),
        mac: "02:00:00:00:00:01".into(),
        ports: vec![PortBinding {
            container: 80,
            protocol: Protocol::Tcp,
            address: "192.0.2.1".into(),
            host: 8080,
        }],
        exit_code: Some(137),
        restarts: 2,
    };
    let observation = |outcome, power, fault| Observation {
        instance: id::<InstanceId>(5),
        at: at(),
        seq: 7,
        outcome,
        restart_seq: 1,
        power,
        observed: observed.clone(),
        fault,
        request_id: if outcome == Outcome::Changed { String::new() } else { "req-1".to_owned() },
    };
    let observations = vec![
        observation(Outcome::Taken, Power::None, None),
        observation(Outcome::Done, Power::Running, None),
        observation(
            Outcome::Failed,
            Power::Stopped,
            Some(Fault::new(model::FaultKind::Engine, "no such image")),
        ),
        observation(Outcome::Gone, Power::None, None),
        observation(Outcome::Changed, Power::Paused, None),
    ];
    let call = SyncHost {
        host: id::<HostId>(1),
        session: id(3),
        observations,
        full: false,
        after: Some(id::<InstanceId>(5)),
        digest: Some(u64::MAX),
        heartbeat: true,
        healthy: true,
        offers: Some(Offers {
            first: true,
            page: vec![Offer {
                instance: id::<InstanceId>(6),
                at: at(),
                project: "p".into(),
                cell: "cell1".into(),
                spec_hash: "00".into(),
                power: Power::Running,
                wish: Some(Wanted {
                    instance: id::<InstanceId>(6),
                    at: at(),
                    intent: Intent::Run,
                    restart_seq: 0,
                    restart_hard: false,
                    freeze: None,
                    spec: Some(Box::new(spec())),
                    request_id: "req-2".to_owned(),
                }),
            }],
        }),
        heard: Some(id::<Incarnation>(4)),
        connected_as: Some("skep_cell1".into()),
    };
    golden("sync-host", &call);
}

#[test]
fn synced() {
    let wanted = |intent, spec| Wanted {
        instance: id::<InstanceId>(5),
        at: at(),
        intent,
        restart_seq: 1,
        restart_hard: true,
        freeze: (intent == Intent::Run).then_some(Freeze::Pause),
        spec,
        request_id: "req-1".to_owned(),
    };
    let reply = Synced {
        incarnation: id::<Incarnation>(4),
        wanted: vec![
            wanted(Intent::Run, Some(Box::new(spec()))),
            wanted(Intent::Stop, Some(Box::new(spec()))),
            wanted(Intent::Gone, None),
        ],
        more: Some(id::<InstanceId>(5)),
        verdicts: vec![
            (id::<InstanceId>(6), Verdict::Superseded(at())),
            (id::<InstanceId>(7), Verdict::Unknown),
        ],
        differs: true,
        register: false,
    };
    golden("synced", &reply);
}

#[test]
fn console_tail() {
    golden("console-tail", &ConsoleTail { instance: id::<InstanceId>(5), lines: Some(10) });
    golden("tail", &Tail { text: "hello \u{1f41d}\n".into() });
}

#[test]
fn faults_of_replies() {
    use model::FaultKind::*;
    let kinds = [
        Invalid,
        Unauthenticated,
        Forbidden,
        NotFound,
        Conflict,
        OverQuota,
        NoValidHost,
        Engine,
        Stale,
        Unavailable,
        Timeout,
        Unsupported,
        Internal,
    ];
    golden("faults", &kinds.map(|kind| Fault::new(kind, "why")).to_vec());
}

/// Both sides compute it, so its value is a message too.
#[test]
fn digests_do_not_change() {
    let (a, b) = ((id::<InstanceId>(5), at()), (id::<InstanceId>(6), At::default()));
    assert_eq!(digest([]), 0);
    assert_eq!(digest([a, b]), digest([b, a]));
    assert_eq!(digest([a, b]), 3_498_865_788_013_952_777);
}

/// Names and deadlines that callers and operators rely on.
#[test]
fn names_do_not_change() {
    assert_eq!((Register::NAME, Register::DEADLINE), ("register", Duration::from_secs(10)));
    assert_eq!((SyncHost::NAME, SyncHost::DEADLINE), ("sync-host", Duration::from_secs(5)));
    assert_eq!((ConsoleTail::NAME, ConsoleTail::DEADLINE), ("console-tail", Duration::from_secs(5)));
}
