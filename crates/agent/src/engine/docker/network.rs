//! One bridge network for each project on a host, so that two projects' containers cannot reach each
//! other.
//!
//! Where the engine filters between its bridges (its default), that keeps them apart. An engine that
//! was told not to write filter rules forwards between bridges as soon as the machine forwards at all.
//! There the containers get a default gateway that nobody has: they reach what is on their own bridge,
//! their host reaches them (so published ports work through the engine's proxy), and every other
//! subnet is a route into nothing. They cannot change that route or forge frames, because they have
//! neither NET_ADMIN nor NET_RAW. What this does not stop: reaching services of the host itself at the
//! bridge's address, among them ports that other projects have published.

use std::collections::HashMap;
use std::sync::Mutex;

use bollard::models::{ContainerSummary, Ipam, IpamConfig, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptions;
use model::hash::fnv64;
use model::{Fault, FaultKind, HostId};

use super::facts::Facts;
use super::fault::{status, words};

/// After so many lists without a container in it a network is removed (a minute).
const IDLE_LISTS: u32 = 12;
/// How often a subnet that somebody else took first is replaced by another.
const SUBNET_TRIES: usize = 5;

#[derive(Clone, Debug)]
struct Known {
    id: String,
    idle: u32,
}

/// The networks that were made or found, by name.
#[derive(Default)]
pub(super) struct Networks {
    known: Mutex<HashMap<String, Known>>,
    /// Held while one is made or removed, because engines do not keep names unique.
    making: tokio::sync::Mutex<()>,
}

/// The network of a project on a host: both are told apart by a hash, because projects are free text.
pub(super) fn name(host: HostId, project: &str) -> String {
    let hash = fnv64(project.as_bytes());
    let host = host.uuid().simple().to_string();
    // The end of an id is random, its beginning is a time.
    format!("skep-{}-{hash:016x}", &host[20..])
}

impl Networks {
    /// The id of the project's network on the host, made if need be.
    pub(super) async fn ensure(
        &self,
        client: &bollard::Docker,
        facts: &Facts,
        host: HostId,
        project: &str,
    ) -> Result<String, Fault> {
        let name = name(host, project);
        if let Some(id) = self.known(&name) {
            return Ok(id);
        }
        let _one_at_a_time = self.making.lock().await;
        if let Some(id) = self.known(&name) {
            return Ok(id);
        }
        let id = match find(client, &name).await? {
            Some(id) => id,
            None if facts.filters => create(client, request(&name, host, project)).await?,
            None => create_without_way_out(client, request(&name, host, project)).await?,
        };
        self.lock().insert(name, Known { id: id.clone(), idle: 0 });
        Ok(id)
    }

    /// Forgets what is known, so that the engine is asked again.
    pub(super) fn forget_all(&self) {
        self.lock().clear();
    }

    /// Removes networks of the host that have had no container for a while. Failing at it costs an
    /// unused network until the next time.
    pub(super) async fn sweep(&self, client: &bollard::Docker, host: HostId, listed: &[ContainerSummary]) {
        let used: Vec<&str> = listed
            .iter()
            .filter_map(|container| container.network_settings.as_ref()?.networks.as_ref())
            .flat_map(|networks| networks.iter())
            .flat_map(|(name, endpoint)| [Some(name.as_str()), endpoint.network_id.as_deref()])
            .flatten()
            .collect();
        let prefix = name(host, "");
        let prefix = &prefix[..prefix.len() - 16];
        let idle = {
            let mut known = self.lock();
            for (name, network) in known.iter_mut().filter(|(name, _)| name.starts_with(prefix)) {
                let in_use = used.contains(&name.as_str()) || used.contains(&network.id.as_str());
                network.idle = if in_use { 0 } else { network.idle + 1 };
            }
            let idle = known.iter().find(|(_, network)| network.idle >= IDLE_LISTS);
            idle.map(|(name, network)| (name.clone(), network.id.clone()))
        };
        let Some((name, id)) = idle else { return };
        let _one_at_a_time = self.making.lock().await;
        self.lock().remove(&name);
        if let Err(why) = client.remove_network(&id).await {
            tracing::debug!(network = name, fault = %words(why), "a network without containers stays");
        }
    }

    /// Removes all networks of the host that have no containers.
    pub(super) async fn clear(&self, client: &bollard::Docker, host: HostId) -> Result<(), Fault> {
        let _one_at_a_time = self.making.lock().await;
        let filters = HashMap::from([("label".to_owned(), vec![format!("skep.host={host}")])]);
        let listed = client.list_networks(Some(ListNetworksOptions { filters: Some(filters) })).await;
        self.forget_all();
        for id in listed.map_err(words)?.into_iter().filter_map(|network| network.id) {
            if let Err(why) = client.remove_network(&id).await {
                tracing::debug!(network = id, fault = %words(why), "a network stays");
            }
        }
        Ok(())
    }

    fn known(&self, name: &str) -> Option<String> {
        let mut known = self.lock();
        let network = known.get_mut(name)?;
        network.idle = 0;
        Some(network.id.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn request(name: &str, host: HostId, project: &str) -> NetworkCreateRequest {
    let labels =
        [("skep.host".to_owned(), host.to_string()), ("skep.project".to_owned(), project.to_owned())];
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        labels: Some(labels.into()),
        ..Default::default()
    }
}

/// The oldest network of that name: engines match names by parts, and may hold a name twice.
async fn find(client: &bollard::Docker, name: &str) -> Result<Option<String>, Fault> {
    let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
    let listed = client.list_networks(Some(ListNetworksOptions { filters: Some(filters) })).await;
    let mut found = listed.map_err(words)?;
    found.retain(|network| network.name.as_deref() == Some(name));
    found.sort_by_key(|network| network.created.as_ref().map(ToString::to_string));
    Ok(found.into_iter().find_map(|network| network.id))
}

async fn create(client: &bollard::Docker, request: NetworkCreateRequest) -> Result<String, Fault> {
    Ok(client.create_network(request).await.map_err(words)?.id)
}

/// Lets the engine choose a subnet that is free on this machine, then makes the network with it and
/// with a default gateway that nobody has.
async fn create_without_way_out(
    client: &bollard::Docker,
    request: NetworkCreateRequest,
) -> Result<String, Fault> {
    let mut last = Fault::new(FaultKind::Engine, "the engine gave no subnet");
    for _ in 0..SUBNET_TRIES {
        let trial = create(client, request.clone()).await?;
        let inspected = client.inspect_network(&trial, None).await.map_err(words);
        client.remove_network(&trial).await.map_err(words)?;
        let config =
            inspected?.ipam.and_then(|ipam| ipam.config).and_then(|configs| configs.into_iter().next());
        let Some(subnet) = config.and_then(|config| config.subnet) else { return Err(last) };
        let Some(nobody) = last_address(&subnet) else {
            return Err(Fault::new(FaultKind::Engine, format!("the engine gave the subnet {subnet}")));
        };
        let config = IpamConfig {
            subnet: Some(subnet),
            auxiliary_addresses: Some([("DefaultGatewayIPv4".to_owned(), nobody)].into()),
            ..Default::default()
        };
        let ipam = Ipam { config: Some(vec![config]), ..Default::default() };
        match client.create_network(NetworkCreateRequest { ipam: Some(ipam), ..request.clone() }).await {
            Ok(created) => return Ok(created.id),
            Err(why) if status(&why) == Some(403) || words_overlap(&why) => last = words(why),
            Err(why) => return Err(words(why)),
        }
    }
    Err(last)
}

fn words_overlap(why: &bollard::errors::Error) -> bool {
    why.to_string().to_lowercase().contains("overlap")
}

/// The last address of an IPv4 subnet that a machine could have.
fn last_address(subnet: &str) -> Option<String> {
    let (address, bits) = subnet.split_once('/')?;
    let address: std::net::Ipv4Addr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| (8..=29).contains(bits))?;
    let last = (u32::from(address) | (u32::MAX >> bits)) - 1;
    Some(std::net::Ipv4Addr::from(last).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_that_nobody_has() {
        assert_eq!(last_address("172.18.0.0/16").as_deref(), Some("172.18.255.254"));
        assert_eq!(last_address("10.1.2.0/29").as_deref(), Some("10.1.2.6"));
        assert_eq!(last_address("fd00::/64"), None);
        assert_eq!(last_address("10.0.0.0/31"), None);
    }

    #[test]
    fn projects_and_hosts_have_networks_of_their_own() {
        let env = model::Env::system();
        let (a, b): (HostId, HostId) = (env.id(), env.id());
        assert_ne!(name(a, "p"), name(a, "q"));
        assert_ne!(name(a, "p"), name(b, "p"));
        assert!(name(a, "p").len() < 63);
    }
}
