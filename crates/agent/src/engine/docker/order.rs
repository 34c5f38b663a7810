//! How a container is made: hardened by default, limited by its flavor.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, PortBinding, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::super::Order;
use super::facts::Facts;

/// What a container's root may still do: own files, drop to other users, bind low ports in its own
/// network namespace. No NET_RAW, so that it cannot forge frames on its project's bridge.
const CAPABILITIES: [&str; 9] =
    ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"];
const OPEN_FILES: i64 = 4096;
const MIB: i64 = 1024 * 1024;

/// The body of a create. `disk` says whether the engine can limit what a container writes.
pub(super) fn body(order: &Order, facts: &Facts, disk: bool, network: String) -> ContainerCreateBody {
    let gib = order.spec.flavor.disk_gib;
    let container = &order.spec.container;
    let mut labels: HashMap<String, String> = container.labels.clone().into_iter().collect();
    labels.extend(order.labels().map(|(key, value)| (key.to_owned(), value)));
    let key = |port: &model::spec::PortWish| format!("{}/{}", port.container, port.protocol.as_str());
    let exposed = container.ports.iter().map(key).collect::<Vec<_>>();
    let bindings = container.ports.iter().map(|port| {
        // An empty host port lets the engine choose.
        let host_port = if port.host == 0 { String::new() } else { port.host.to_string() };
        (key(port), Some(vec![PortBinding { host_ip: None, host_port: Some(host_port) }]))
    });
    let host_config = HostConfig {
        port_bindings: Some(bindings.collect()),
        readonly_rootfs: Some(container.read_only),
        storage_opt: (disk && gib > 0).then(|| size(gib)),
        ..limited(order, facts, network)
    };
    ContainerCreateBody {
        image: Some(order.spec.image.as_str().to_owned()),
        cmd: (!container.command.is_empty()).then(|| container.command.clone()),
        env: Some(container.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(labels),
        exposed_ports: (!exposed.is_empty()).then_some(exposed),
        host_config: Some(host_config),
        ..Default::default()
    }
}

fn limited(order: &Order, facts: &Facts, network: String) -> HostConfig {
    let flavor = &order.spec.flavor;
    let memory = (facts.memory && flavor.memory_mib > 0).then(|| flavor.memory_mib.saturating_mul(MIB));
    HostConfig {
        memory,
        memory_swap: if facts.swap { memory } else { None },
        nano_cpus: (facts.cpu && flavor.vcpus > 0).then(|| flavor.vcpus.saturating_mul(1_000_000_000)),
        pids_limit: (facts.pids && flavor.pids > 0).then_some(flavor.pids),
        ..hardened(network)
    }
}

/// The most that a container may write to its root filesystem.
pub(super) fn size(gib: i64) -> HashMap<String, String> {
    HashMap::from([("size".to_owned(), format!("{gib}G"))])
}

/// What every container gets, whatever its flavor.
pub(super) fn hardened(network: String) -> HostConfig {
    let log = [("max-size", "10m"), ("max-file", "3")];
    HostConfig {
        network_mode: Some(network),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        ulimits: Some(vec![ResourcesUlimits {
            name: Some("nofile".to_owned()),
            soft: Some(OPEN_FILES),
            hard: Some(OPEN_FILES),
        }]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(log.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        }),
        init: Some(true),
        // The engine's own policy starts containers at its boot, before anyone can compare epochs.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::spec::PortWish;
    use model::{At, ContainerSpec, Env, Flavor, RequestSpec, RestartPolicy, Timestamp};

    use super::*;

    const ALL: Facts = Facts { memory: true, swap: true, cpu: true, pids: true, filters: true };

    fn flavor(vcpus: i64, memory_mib: i64, pids: i64) -> Flavor {
        Flavor { id: "1".into(), name: "small".into(), vcpus, memory_mib, disk_gib: 1, pids }
    }

    fn order(flavor: Flavor, container: ContainerSpec) -> Order {
        let spec = RequestSpec {
            name: "web".into(),
            project: "p".into(),
            user: "u".into(),
            request_id: String::new(),
            region: String::new(),
            zone: None,
            image: "skep/web:1".parse().expect("legal"),
            flavor,
            container,
            metadata: Default::default(),
            description: None,
            extra: Default::default(),
            deadline: Timestamp(i64::MAX),
        };
        let (instance, host) = (Env::system().id(), Env::system().id());
        let at = At { epoch: 1, placement: 2, generation: 3 };
        Order { instance, at, host, cell: "c1".into(), spec: Arc::new(spec) }
    }

    fn host(order: &Order, facts: &Facts) -> HostConfig {
        body(order, facts, false, "net".into()).host_config.expect("is given")
    }

    #[test]
    fn limits_are_those_of_the_flavor() {
        let host = host(&order(flavor(2, 512, 100), ContainerSpec::default()), &ALL);
        assert_eq!(host.memory, Some(512 * 1024 * 1024));
        assert_eq!(host.memory_swap, host.memory, "no swap beside the memory");
        assert_eq!(host.nano_cpus, Some(2_000_000_000));
        assert_eq!(host.pids_limit, Some(100));
    }

    #[test]
    fn a_limit_is_left_out_where_the_flavor_or_the_engine_has_none() {
        let without = host(&order(flavor(0, 0, 0), ContainerSpec::default()), &ALL);
        let none = Facts { memory: false, swap: false, cpu: false, pids: false, filters: true };
        let cannot = host(&order(flavor(2, 512, 100), ContainerSpec::default()), &none);
        for host in [without, cannot] {
            let limits = [host.memory, host.memory_swap, host.nano_cpus, host.pids_limit];
            assert_eq!(limits, [None; 4], "an engine reads 0 as something else than none");
        }
        // Swap is a part of what is limited, so that it cannot be without a limit of memory.
        let only_swap = Facts { memory: false, ..ALL };
        assert_eq!(host(&order(flavor(2, 512, 100), ContainerSpec::default()), &only_swap).memory_swap, None);
        let no_swap =
            host(&order(flavor(2, 512, 100), ContainerSpec::default()), &Facts { swap: false, ..ALL });
        assert_eq!((no_swap.memory, no_swap.memory_swap), (Some(512 << 20), None));
        let limited =
            |disk| body(&order(flavor(1, 64, 64), ContainerSpec::default()), &ALL, disk, "net".into());
        let size = |disk| limited(disk).host_config.and_then(|host| host.storage_opt);
        assert_eq!((size(false), size(true)), (None, Some([("size".to_owned(), "1G".to_owned())].into())));
        // A flavor of a size that no machine has is refused by the engine, not wrapped.
        let huge = host(&order(flavor(i64::MAX, i64::MAX, 1), ContainerSpec::default()), &ALL);
        assert_eq!((huge.memory, huge.nano_cpus), (Some(i64::MAX), Some(i64::MAX)));
    }

    #[test]
    fn the_engine_never_restarts_and_logs_are_bounded() {
        for restart in [RestartPolicy::No, RestartPolicy::Always, RestartPolicy::OnFailure { max: 3 }] {
            let host = host(&order(flavor(1, 64, 64), ContainerSpec { restart, ..Default::default() }), &ALL);
            let policy = host.restart_policy.expect("is given");
            assert_eq!(
                policy.name,
                Some(RestartPolicyNameEnum::NO),
                "{restart:?} is the agent's to carry out"
            );
            assert_eq!(policy.maximum_retry_count, None);
            let log = host.log_config.expect("is given");
            assert_eq!(log.typ.as_deref(), Some("json-file"));
            let wanted = [("max-size", "10m"), ("max-file", "3")];
            let wanted = wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
            assert_eq!(log.config, Some(wanted));
            assert_eq!(host.network_mode.as_deref(), Some("net"));
        }
    }

    #[test]
    fn our_labels_go_before_the_users() {
        let theirs = [("app", "web"), ("skep.host", "elsewhere")];
        let labels = theirs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let order = order(flavor(1, 64, 64), ContainerSpec { labels, ..Default::default() });
        let labels = body(&order, &ALL, false, "net".into()).labels.expect("are given");
        for (key, value) in order.labels() {
            assert_eq!(labels.get(key), Some(&value), "{key}");
        }
        assert_eq!((labels.get("app").map(String::as_str), labels.len()), (Some("web"), 9));
    }

    #[test]
    fn ports_are_exposed_and_bound() {
        let ports = ["8080", "5300:5353/udp"].map(|text| PortWish::parse(text).expect("legal")).to_vec();
        let body = body(
            &order(flavor(1, 64, 64), ContainerSpec { ports, ..Default::default() }),
            &ALL,
            false,
            "net".into(),
        );
        assert_eq!(body.exposed_ports, Some(vec!["8080/tcp".to_owned(), "5353/udp".to_owned()]));
        let bindings = body.host_config.and_then(|host| host.port_bindings).expect("are given");
        let bound = |key: &str| bindings[key].as_ref().and_then(|bound| bound[0].host_port.clone());
        assert_eq!(bound("8080/tcp").as_deref(), Some(""), "the engine chooses");
        assert_eq!(bound("5353/udp").as_deref(), Some("5300"));
    }
}
