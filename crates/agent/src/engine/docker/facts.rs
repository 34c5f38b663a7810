//! What the engine tells of itself and of containers.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerSummary, ContainerSummaryStateEnum, NetworkSettings,
};
use model::spec::Protocol;
use model::sync::PortBinding;
use model::{Fault, FaultKind, Power};

use super::super::{Container, Name, Origin};
use super::fault::words;

/// What the engine can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    /// It can limit memory.
    pub memory: bool,
    /// It can limit swap.
    pub swap: bool,
    /// It can limit CPU time.
    pub cpu: bool,
    /// It can limit processes.
    pub pids: bool,
    /// It separates bridges with packet filter rules.
    pub filters: bool,
}

/// What the engine's security options name if it is there, and what is missing without it.
const PROTECTIONS: [(&str, &str); 2] = [
    ("seccomp", "containers may use every call of the kernel"),
    ("userns", "root in a container is root's number on the host: set userns-remap"),
];

impl Facts {
    /// Asks once, when the engine is first reached, and logs what is missing.
    pub(super) async fn read(client: &bollard::Docker) -> Result<Self, Fault> {
        let info = client.info().await.map_err(words)?;
        let can = |word: &str, has: Option<bool>| {
            let has = has.unwrap_or(true);
            if !has {
                tracing::warn!(limit = word, "the engine cannot enforce this limit; it is left out");
            }
            has
        };
        let options = info.security_options.unwrap_or_default();
        for (option, missing) in PROTECTIONS {
            if !options.iter().any(|on| on.contains(option)) {
                tracing::warn!(option, missing, "the engine protects its host less than it could");
            }
        }
        // The engine does not tell whether it writes filter rules. But without them it does not
        // masquerade either, and that stands in the options of its default bridge.
        let bridge = client.inspect_network("bridge", None).await;
        let masquerades = bridge.ok().and_then(|bridge| bridge.options).is_none_or(|options| {
            options.get("com.docker.network.bridge.enable_ip_masquerade").is_none_or(|on| on != "false")
        });
        if !masquerades {
            tracing::info!(
                "the engine does not filter between bridges; \
                 projects are kept apart by giving their containers no way out"
            );
        }
        Ok(Self {
            memory: can("memory", info.memory_limit),
            swap: can("swap", info.swap_limit),
            cpu: can("cpu", info.cpu_cfs_quota),
            pids: can("pids", info.pids_limit),
            filters: masquerades,
        })
    }
}

/// Reads the answer to an inspection.
pub(super) fn container(name: Name, inspected: ContainerInspectResponse) -> Result<Container, Fault> {
    let labels = inspected.config.and_then(|config| config.labels).unwrap_or_default();
    let Some(generation) = labels.get("skep.generation").and_then(|text| text.parse().ok()) else {
        return Err(Fault::new(
            FaultKind::Engine,
            format!("container {name} does not carry our labels; rename it or remove it"),
        ));
    };
    let state = inspected.state.unwrap_or_default();
    let power = match (state.running.unwrap_or_default(), state.paused.unwrap_or_default()) {
        (true, true) => Power::Paused,
        (true, false) => Power::Running,
        (false, _) => Power::Stopped,
    };
    let has_run = has_run(&state);
    let exit_code = (power == Power::Stopped && has_run).then_some(state.exit_code).flatten();
    let settings = inspected.network_settings.unwrap_or_default();
    let ports = ports(&settings);
    let endpoint = settings.networks.unwrap_or_default().into_values().next().unwrap_or_default();
    Ok(Container {
        name,
        generation,
        origin: origin(&labels),
        id: inspected.id.unwrap_or_default(),
        power,
        has_run,
        exit_code,
        address: endpoint.ip_address.unwrap_or_default(),
        mac: endpoint.mac_address.unwrap_or_default(),
        ports,
    })
}

fn origin(labels: &HashMap<String, String>) -> Origin {
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    Origin { project: label("skep.project"), cell: label("skep.cell"), spec_hash: label("skep.spec-hash") }
}

/// A container that never ran has the time zero, "0001-01-01T00:00:00Z".
fn has_run(state: &ContainerState) -> bool {
    state.started_at.as_deref().is_some_and(|at| !at.is_empty() && !at.starts_with("0001-"))
}

fn ports(settings: &NetworkSettings) -> Vec<PortBinding> {
    let mut ports = Vec::new();
    for (key, bindings) in settings.ports.iter().flatten() {
        let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        let protocol = if protocol == "udp" { Protocol::Udp } else { Protocol::Tcp };
        // The engine binds each port for IPv4 and for IPv6; the first is the one told of.
        let mut bindings = bindings.iter().flatten().collect::<Vec<_>>();
        bindings.sort_by_key(|binding| binding.host_ip.as_deref().is_some_and(|ip| ip.contains(':')));
        let Some(binding) = bindings.first() else { continue };
        let host = binding.host_port.as_deref().and_then(|port| port.parse().ok());
        if let (Ok(container), Some(host)) = (port.parse(), host) {
            let address = binding.host_ip.clone().unwrap_or_default();
            ports.push(PortBinding { container, protocol, address, host });
        }
    }
    ports.sort_by_key(|port| (port.container, port.protocol));
    ports
}

/// Reads one entry of a list; `None` for what does not carry our name and labels.
pub(super) fn listed(summary: ContainerSummary) -> Option<Container> {
    let names = summary.names.unwrap_or_default();
    let name: Name = names.iter().find_map(|name| name.trim_start_matches('/').parse().ok())?;
    let labels = summary.labels.unwrap_or_default();
    let power = match summary.state? {
        ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => Power::Running,
        ContainerSummaryStateEnum::RESTARTING => Power::Running,
        ContainerSummaryStateEnum::PAUSED => Power::Paused,
        // On its way out; the next list tells.
        ContainerSummaryStateEnum::REMOVING => return None,
        _ => Power::Stopped,
    };
    Some(Container {
        name,
        generation: labels.get("skep.generation")?.parse().ok()?,
        origin: origin(&labels),
        id: summary.id.unwrap_or_default(),
        power,
        has_run: power != Power::Stopped,
        exit_code: None,
        address: String::new(),
        mac: String::new(),
        ports: Vec::new(),
    })
}
