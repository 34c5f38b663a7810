//! What a development cloud tells its user: credentials in files, and a few lines on the terminal.

use std::net::SocketAddr;

use super::cloud::reachable;
use super::dir::Dir;
use crate::exit::Failure;
use crate::role::identity;

/// Writes `skep.env` and `clouds.yaml`, readable by their owner alone.
pub fn write(
    dir: &Dir,
    endpoints: &[(String, SocketAddr)],
    token: &str,
    password: &str,
) -> Result<(), Failure> {
    let main = endpoints.first().map(|(_, address)| url(address)).unwrap_or_default();
    dir.write("skep.env", &format!("export SKEP_ENDPOINT={main}\nexport SKEP_TOKEN={token}\n"))?;
    let entry = |(region, _): &(String, SocketAddr)| {
        let name = if region.is_empty() { "skep".to_owned() } else { format!("skep-{region}") };
        identity::cloud(&name, &main, ("admin", password), "dev", identity::region(region))
    };
    let clouds: String = endpoints.iter().map(entry).collect();
    dir.write("clouds.yaml", &format!("clouds:\n{clouds}{}", by_token(&main, token)))
}

/// The URL of an address that is listened on.
pub fn url(address: &SocketAddr) -> String {
    format!("http://{}", SocketAddr::new(reachable(address.ip()), address.port()))
}

/// One entry: a fixed token and an endpoint for each service, as no catalog is asked for it.
fn by_token(url: &str, token: &str) -> String {
    format!(
        "  skep-token:
    auth_type: admin_token
    auth:
      endpoint: {url}/v2.1
      token: {token}
    compute_endpoint_override: {url}/compute/v2.1
    image_endpoint_override: {url}/image
    network_endpoint_override: {url}/network
    identity_endpoint_override: {url}/identity/v3
    identity_api_version: '3'
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds() {
        let any: SocketAddr = "0.0.0.0:80".parse().expect("legal");
        let text = by_token(&url(&any), "t");
        assert!(text.starts_with("  skep-token:\n") && text.contains("endpoint: http://127.0.0.1:80/v2.1\n"));
    }
}
