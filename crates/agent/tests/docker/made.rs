//! What a container of ours looks like to others who ask the engine: its labels and its limits.

use std::collections::HashMap;

use bollard::models::{HostConfig, SystemInfo};
use model::ContainerSpec;

use super::{desk, told, words};

/// Whether the engine says that it can, where a limit that is not told of counts as one that it can set.
fn can(told: Option<bool>) -> bool {
    told.unwrap_or(true)
}

fn limits(host: &HostConfig, info: &SystemInfo) {
    let memory = can(info.memory_limit).then_some(64 << 20);
    assert_eq!(host.memory.filter(|bytes| *bytes > 0), memory, "of {:?}", info.memory_limit);
    if memory.is_some() && can(info.swap_limit) {
        assert_eq!(host.memory_swap, memory, "no swap beside the memory");
    }
    let cpu = can(info.cpu_cfs_quota).then_some(1_000_000_000);
    assert_eq!(host.nano_cpus.filter(|nano| *nano > 0), cpu, "of {:?}", info.cpu_cfs_quota);
    let pids = can(info.pids_limit).then_some(64);
    assert_eq!(host.pids_limit.filter(|pids| *pids > 0), pids, "of {:?}", info.pids_limit);
    println!("memory {memory:?}, nano CPUs {cpu:?}, processes {pids:?}");
}

#[tokio::test]
async fn a_container_carries_its_labels_and_its_limits() {
    let Some(desk) = desk("a_container_carries_its_labels_and_its_limits") else { return };
    // A label of the user's may not take the place of one of ours.
    let theirs = [("app", "web"), ("skep.host", "elsewhere"), ("skep.epoch", "99")];
    let labels = theirs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let order = desk.order("p", ContainerSpec { labels, ..words(&["/bin/sleep", "600"]) });
    let seen = desk.run(&order).await;

    let url = told("SKEP_TEST_DOCKER").unwrap();
    let client = bollard::Docker::connect_with_socket(&url, 60, bollard::API_DEFAULT_VERSION).unwrap();
    let client = client.negotiate_version().await.unwrap();
    let info = client.info().await.unwrap();
    let made = client.inspect_container(&order.name().to_string(), None).await.unwrap();
    assert_eq!(made.id.as_deref(), Some(seen.id.as_str()));
    assert_eq!(made.name.as_deref(), Some(format!("/{}", order.name()).as_str()));

    let labels: HashMap<String, String> = made.config.unwrap().labels.unwrap();
    let wanted = [
        ("skep.instance", order.instance.to_string()),
        ("skep.epoch", "1".to_owned()),
        ("skep.placement", "2".to_owned()),
        ("skep.generation", "3".to_owned()),
        ("skep.project", "p".to_owned()),
        ("skep.cell", "c1".to_owned()),
        ("skep.host", desk.host.to_string()),
        ("skep.spec-hash", order.spec.hash()),
        ("app", "web".to_owned()),
    ];
    for (key, value) in wanted {
        assert_eq!(labels.get(key), Some(&value), "{key}");
    }
    let ours = labels.keys().filter(|key| key.starts_with("skep.")).count();
    assert_eq!(ours, 8, "nothing else is called ours: {labels:?}");

    let host = made.host_config.unwrap();
    let policy = host.restart_policy.clone().unwrap();
    assert_eq!(policy.name.unwrap().to_string(), "no", "the agent restarts, not the engine");
    limits(&host, &info);
    let log = host.log_config.unwrap();
    assert_eq!(log.typ.as_deref(), Some("json-file"));
    let log = log.config.unwrap();
    assert_eq!(log.get("max-size").map(String::as_str), Some("10m"), "{log:?}");
    assert_eq!(log.get("max-file").map(String::as_str), Some("3"), "{log:?}");
    desk.clear().await;
}
