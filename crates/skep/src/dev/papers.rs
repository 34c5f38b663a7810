//! What a development cloud tells its user: credentials in files, and a few lines on the terminal.

use std::net::SocketAddr;

use super::cloud::reachable;
use super::dir::Dir;
use crate::exit::Failure;

/// Writes `skep.env` and `clouds.yaml`, readable by their owner alone.
pub fn write(dir: &Dir, endpoints: &[(String, SocketAddr)], token: &str) -> Result<(), Failure> {
    let main = endpoints.first().map(|(_, address)| url(address)).unwrap_or_default();
    dir.write("skep.env", &format!("export SKEP_ENDPOINT={main}\nexport SKEP_TOKEN={token}\n"))?;
    let clouds: String =
        endpoints.iter().map(|(region, address)| cloud(region, &url(address), token)).collect();
    dir.write("clouds.yaml", &format!("clouds:\n{clouds}"))
}

/// The URL of an address that is listened on.
pub fn url(address: &SocketAddr) -> String {
    format!("http://{}", SocketAddr::new(reachable(address.ip()), address.port()))
}

/// One entry: a fixed token and an endpoint for each service, as there is no catalog to ask.
fn cloud(region: &str, url: &str, token: &str) -> String {
    let name = if region.is_empty() { "skep".to_owned() } else { format!("skep-{region}") };
    format!(
        "  {name}:
    auth_type: admin_token
    auth:
      endpoint: {url}/v2.1
      token: {token}
    compute_endpoint_override: {url}/v2.1
    image_endpoint_override: {url}/image
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
        let text = cloud("region1", &url(&any), "t");
        assert!(
            text.starts_with("  skep-region1:\n") && text.contains("endpoint: http://127.0.0.1:80/v2.1\n")
        );
    }
}
