//! What a user asks for: the container's own wishes and the whole request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::extra::Extra;
use crate::fault::Fault;
use crate::flavor::{Flavor, Resources};
use crate::hash::fnv64;
use crate::image::ImageRef;
use crate::time::Timestamp;

/// What to do when a container ends by itself. The names and meanings are Docker's; the agent carries
/// it out, the engine's own policy is always `no`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    /// Leave it stopped.
    #[default]
    No,
    /// Start it again whatever its exit code.
    Always,
    /// Start it again unless the user stopped it.
    UnlessStopped,
    /// Start it again if its exit code is not zero.
    OnFailure {
        /// How often at most; zero means without end.
        max: u32,
    },
}

impl RestartPolicy {
    /// Reads Docker's notation: `no`, `always`, `unless-stopped`, `on-failure[:N]`.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refuse = || {
            Fault::invalid(format!(
                "restart policy '{text}' is not one of no, always, unless-stopped, on-failure[:N]"
            ))
        };
        match text.split_once(':') {
            None => match text {
                "no" | "" => Ok(Self::No),
                "always" => Ok(Self::Always),
                "unless-stopped" => Ok(Self::UnlessStopped),
                "on-failure" => Ok(Self::OnFailure { max: 0 }),
                _ => Err(refuse()),
            },
            Some(("on-failure", max)) => max.parse().map(|max| Self::OnFailure { max }).map_err(|_| refuse()),
            Some(_) => Err(refuse()),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        Self::parse(&text)
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        match policy {
            RestartPolicy::No => "no".into(),
            RestartPolicy::Always => "always".into(),
            RestartPolicy::UnlessStopped => "unless-stopped".into(),
            RestartPolicy::OnFailure { max: 0 } => "on-failure".into(),
            RestartPolicy::OnFailure { max } => format!("on-failure:{max}"),
        }
    }
}

/// `tcp` or `udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The word used by engines and in rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the container made reachable on its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortWish {
    /// Port inside the container.
    pub container: u16,
    /// Port on the host; zero lets the engine choose, and the choice is reported back.
    pub host: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl PortWish {
    /// Reads `[HOST:]CONTAINER[/tcp|/udp]`, Docker's notation without an address.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let refuse = || Fault::invalid(format!("port '{text}' is not [HOST:]CONTAINER[/tcp|/udp]"));
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.split('/').next().unwrap_or(text), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(refuse()),
        };
        let (host, container) = match ports.split_once(':') {
            None => (0, ports.parse().map_err(|_| refuse())?),
            Some((host, container)) => {
                (host.parse().map_err(|_| refuse())?, container.parse().map_err(|_| refuse())?)
            }
        };
        if container == 0 || (host != 0 && host < 1024) {
            return Err(Fault::invalid(format!(
                "port '{text}': the container's port must not be 0 and the host's not below 1024"
            )));
        }
        Ok(Self { container, host, protocol })
    }
}

impl TryFrom<String> for PortWish {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        Self::parse(&text)
    }
}

impl From<PortWish> for String {
    fn from(port: PortWish) -> Self {
        match port.host {
            0 => format!("{}/{}", port.container, port.protocol.as_str()),
            host => format!("{host}:{}/{}", port.container, port.protocol.as_str()),
        }
    }
}

/// The container's own wishes, which Nova's server has no field for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Command and arguments; empty means the image's own.
    pub command: Vec<String>,
    /// Environment, added to the image's own.
    pub env: BTreeMap<String, String>,
    /// Published ports.
    pub ports: Vec<PortWish>,
    /// What to do when it ends by itself.
    pub restart: RestartPolicy,
    /// Labels of the user's own, kept apart from ours, which begin with `skep.`.
    pub labels: BTreeMap<String, String>,
    /// Whether it has a network interface at all.
    pub no_network: bool,
    /// Whether its root filesystem is read only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

impl ContainerSpec {
    /// Refuses what no engine could honour, or what is beyond our limits.
    pub fn validate(&self) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::invalid(why));
        if self.command.len() > 256 || self.command.iter().map(String::len).sum::<usize>() > 64 * 1024 {
            return refuse("command may have at most 256 words and 64 KiB".into());
        }
        if self.env.len() > 512 || self.env.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>() > 128 * 1024
        {
            return refuse("environment may have at most 512 variables and 128 KiB".into());
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return refuse(format!(
                    "environment variable '{}' has a name or value that no process can have",
                    name.escape_debug()
                ));
            }
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            return refuse("command words cannot contain a NUL".into());
        }
        if self.ports.len() > 64 {
            return refuse("at most 64 ports can be published".into());
        }
        if self.no_network && !self.ports.is_empty() {
            return refuse("ports cannot be published without a network".into());
        }
        let mut seen = std::collections::BTreeSet::new();
        for port in &self.ports {
            if port.container == 0 || (port.host != 0 && port.host < 1024) {
                return refuse("a container port must not be 0, a host port not below 1024".into());
            }
            if !seen.insert((port.container, port.protocol)) {
                return refuse(format!(
                    "port {}/{} is published twice",
                    port.container,
                    port.protocol.as_str()
                ));
            }
        }
        if self.labels.keys().any(|key| key.starts_with("skep.") || key.is_empty()) {
            return refuse("labels must have a name, and names that begin with 'skep.' are reserved".into());
        }
        Ok(())
    }
}

/// Everything that was asked for. Each cell's row carries it whole, so that a cell decides alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestSpec {
    /// Name that the user gave.
    pub name: String,
    /// The project that owns it.
    pub project: String,
    /// The user who asked.
    pub user: String,
    /// The request that asked, `req-…`.
    #[serde(default)]
    pub request_id: String,
    /// Region that it must lie in; empty means any.
    #[serde(default)]
    pub region: String,
    /// Availability zone that it must lie in, if any.
    #[serde(default)]
    pub zone: Option<String>,
    /// The image.
    pub image: ImageRef,
    /// The flavor as it was at the time.
    pub flavor: Flavor,
    /// The container's own wishes.
    #[serde(default)]
    pub container: ContainerSpec,
    /// The user's metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Free text, if any.
    #[serde(default)]
    pub description: Option<String>,
    /// What the compute face keeps beside that.
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
    /// When it must be running or in error.
    pub deadline: Timestamp,
}

impl RequestSpec {
    /// What it claims on a host.
    pub fn resources(&self) -> Resources {
        self.flavor.resources()
    }

    /// The image's id, as the image face shows it.
    pub fn image_id(&self) -> Uuid {
        self.extra.image.unwrap_or_else(|| self.image.uuid())
    }

    /// Its host name: the one asked for, or else one made of its name.
    pub fn hostname(&self) -> String {
        self.extra.hostname.clone().unwrap_or_else(|| hostname(&self.name))
    }

    /// What the instances of one request have in common (Nova's `reservation_id`, `r-` and eight letters or
    /// digits): made of the request's id, and empty if that is not known.
    pub fn reservation(&self) -> String {
        if self.request_id.is_empty() {
            return String::new();
        }
        let mut rest = fnv64(self.request_id.as_bytes());
        let mut next = || {
            let digit = (rest % 36) as u32;
            rest /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        };
        let letters: String = (0..8).map(|_| next()).collect();
        format!("r-{letters}")
    }

    /// A short hash of what makes the container, for its `skep.spec-hash` label (64-bit FNV-1a, hex).
    pub fn hash(&self) -> String {
        let text = serde_json::to_string(&(&self.image, &self.flavor, &self.container)).unwrap_or_default();
        format!("{:016x}", fnv64(text.as_bytes()))
    }
}

/// A host name made of a server's name, as Nova makes it (`nova/utils.py`, `sanitize_hostname`).
pub fn hostname(name: &str) -> String {
    let mut hostname = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            ' ' | '_' | '.' => hostname.push('-'),
            c if c.is_ascii_alphanumeric() || c == '-' => hostname.push(c.to_ascii_lowercase()),
            _ => {}
        }
    }
    hostname.truncate(63);
    hostname.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_policies() {
        assert_eq!(PortWish::parse("80").map(|p| (p.host, p.container)), Ok((0, 80)));
        assert_eq!(PortWish::parse("8080:80/udp").map(|p| p.protocol), Ok(Protocol::Udp));
        for bad in ["", "0", "80:80", "a", "70000", "1:2:3", "80/sctp", "80/"] {
            assert!(PortWish::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(RestartPolicy::parse("on-failure:3"), Ok(RestartPolicy::OnFailure { max: 3 }));
        assert!(RestartPolicy::parse("on-failure:x").is_err());
    }

    #[test]
    fn refuses_ports_without_network() {
        let port = PortWish { container: 80, host: 0, protocol: Protocol::Tcp };
        let spec = ContainerSpec { no_network: true, ports: vec![port], ..Default::default() };
        assert!(spec.validate().is_err());
    }
}
