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

/// The body of a create.
pub(super) fn body(order: &Order, facts: &Facts, network: String) -> ContainerCreateBody {
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
    let host_config =
        HostConfig { port_bindings: Some(bindings.collect()), ..limited(order, facts, network) };
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
