//! Where the API is and which token to show it.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::config::environment;
use crate::config::secret::Secret;
use crate::exit::Failure;

/// Options of every command that speaks to the API.
#[derive(Args, Debug)]
#[command(next_help_heading = "Connection")]
pub struct Settings {
    /// The API's address, http://HOST:PORT or https://HOST:PORT [environment: SKEP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// File that holds the token [environment: SKEP_TOKEN, the token itself]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// File with lines SKEP_ENDPOINT=… and SKEP_TOKEN=…, which go before the environment
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Certificates to trust for https instead of the system's, as PEM [environment: SKEP_CA_FILE]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Where the API is, and how it is to be spoken to.
pub struct Resolved {
    /// The root below which all APIs lie, without a slash at the end.
    pub base: String,
    /// The token.
    pub token: Secret,
    /// The certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Settings {
    /// Puts flags, the env-file and the environment together, in this order.
    pub fn resolve(&self) -> Result<Resolved, Failure> {
        let lines = match &self.env_file {
            Some(path) => parse(&read(path)?),
            None => Vec::new(),
        };
        let look = |name: &str| {
            let line = lines.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            line.or_else(|| environment::var(name)).filter(|value| !value.is_empty())
        };
        let endpoint = self.endpoint.clone().or_else(|| look("SKEP_ENDPOINT")).ok_or_else(|| {
            Failure::usage(
                "no endpoint: set SKEP_ENDPOINT or give --endpoint or --env-file (`skep dev` writes one)",
            )
        })?;
        let token = match &self.token_file {
            Some(path) => Some(read(path)?.trim().to_owned()),
            None => look("SKEP_TOKEN"),
        };
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| Failure::usage("no token: set SKEP_TOKEN or give --token-file or --env-file"))?;
        if token.contains(|c: char| c.is_control()) {
            return Err(Failure::usage("the token contains a line break or another control character"));
        }
        let ca_file = self.ca_file.clone().or_else(|| look("SKEP_CA_FILE").map(PathBuf::from));
        Ok(Resolved { base: base(&endpoint)?, token: Secret::new(token), ca_file })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|why| Failure::usage(format!("cannot read {}: {why}", path.display())))
}

/// The root below which all APIs lie; the compute endpoint of a catalog is taken too.
fn base(endpoint: &str) -> Result<String, Failure> {
    let base = endpoint.trim().trim_end_matches('/');
    let base = base.strip_suffix("/v2.1").unwrap_or(base).trim_end_matches('/');
    let Some(rest) = ["http://", "https://"].iter().find_map(|scheme| base.strip_prefix(scheme)) else {
        return Err(Failure::usage(format!(
            "endpoint '{endpoint}': an endpoint begins with http:// or https://"
        )));
    };
    if rest.is_empty()
        || rest.starts_with('/')
        || rest.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(Failure::usage(format!("endpoint '{endpoint}' is not of the form http[s]://HOST:PORT")));
    }
    Ok(base.to_owned())
}

/// Lines `[export ]NAME=VALUE`; quotes around the value are dropped, other lines are passed over.
fn parse(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line = line.trim();
        let (key, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
        let value = value.trim();
        let bare = ['"', '\''].iter().find_map(|q| value.strip_prefix(*q)?.strip_suffix(*q));
        Some((key.trim().to_owned(), bare.unwrap_or(value).to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        assert_eq!(base("http://a:1/v2.1/").expect("legal"), "http://a:1");
        assert_eq!(base("http://a:1").expect("legal"), "http://a:1");
        assert_eq!(base("https://a/v2.1").expect("legal"), "https://a");
        for bad in ["", "a:1", "http://", "https://", "http://a b", "ftp://a"] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn env_files() {
        let lines = parse("# x\nexport SKEP_TOKEN='a=b'\n SKEP_ENDPOINT=http://x \n");
        assert_eq!(lines, [("SKEP_TOKEN".into(), "a=b".into()), ("SKEP_ENDPOINT".into(), "http://x".into())]);
    }
}
