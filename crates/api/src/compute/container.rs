//! Our extension of Nova's server: the `skep` object in a create, or the same as reserved metadata.

use std::collections::BTreeMap;

use model::spec::PortWish;
use model::{ContainerSpec, RestartPolicy};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::compute::split;
use crate::edge::refused::Refused;

/// Metadata whose keys begin with this is for us and not kept as metadata.
pub const RESERVED: &str = "skep:";

/// The `skep` object of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wishes {
    command: Vec<String>,
    env: BTreeMap<String, String>,
    ports: Vec<PortWish>,
    restart: RestartPolicy,
    labels: BTreeMap<String, String>,
    read_only: bool,
}

/// The container's own wishes, from the `skep` object or from reserved metadata, but not from both.
pub fn parse(
    object: Option<Value>,
    reserved: BTreeMap<String, String>,
    no_network: bool,
) -> Result<ContainerSpec, Refused> {
    let wishes = match object {
        Some(_) if !reserved.is_empty() => {
            return Err(Refused::bad(
                "Give either the 'skep' object or metadata that begins with 'skep:', not both.",
            ));
        }
        Some(Value::Null) => Wishes::default(),
        Some(object) if !object.is_object() => {
            return Err(Refused::field("skep", &object, "It is not of type 'object'"));
        }
        Some(object) => serde_json::from_value(object)
            .map_err(|error| Refused::bad(format!("Invalid input for field/attribute skep. {error}")))?,
        None => from_metadata(reserved)?,
    };
    let Wishes { command, env, ports, restart, labels, read_only } = wishes;
    let spec = ContainerSpec { command, env, ports, restart, labels, no_network, read_only };
    spec.validate()?;
    Ok(spec)
}

fn from_metadata(reserved: BTreeMap<String, String>) -> Result<Wishes, Refused> {
    let mut wishes = Wishes::default();
    for (key, value) in reserved {
        let refuse = |why: &str| Refused::bad(format!("Invalid input for metadata '{key}'. {why}"));
        match key.strip_prefix(RESERVED).unwrap_or(&key) {
            "command" if value.trim_start().starts_with('[') => {
                wishes.command = serde_json::from_str(&value)
                    .map_err(|error| refuse(&format!("It is not a JSON array of strings: {error}")))?;
            }
            "command" => wishes.command = split::words(&value).map_err(refuse)?,
            "ports" => {
                let ports = value.split(',').map(str::trim).filter(|port| !port.is_empty());
                wishes.ports = ports.map(PortWish::parse).collect::<Result<_, _>>()?;
            }
            "restart" => wishes.restart = RestartPolicy::parse(&value)?,
            "read_only" => {
                wishes.read_only =
                    value.trim().parse().map_err(|_| refuse("It is not 'true' or 'false'."))?;
            }
            other => match other.strip_prefix("env.") {
                Some(name) if !name.is_empty() => {
                    wishes.env.insert(name.to_owned(), value);
                }
                _ => {
                    return Err(refuse(
                        "Reserved keys are skep:command, skep:env.NAME, skep:ports, skep:restart and skep:read_only.",
                    ));
                }
            },
        }
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reserved(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn both_forms_say_the_same() {
        let object = json!({
            "command": ["sh", "-c", "sleep 1"], "env": {"A": "b"},
            "ports": ["8080:80/tcp", "53/udp"], "restart": "on-failure:3", "read_only": true,
        });
        let metadata = reserved(&[
            ("skep:command", "sh -c 'sleep 1'"),
            ("skep:env.A", "b"),
            ("skep:ports", "8080:80/tcp, 53/udp"),
            ("skep:restart", "on-failure:3"),
            ("skep:read_only", "true"),
        ]);
        let one = parse(Some(object), BTreeMap::new(), false).expect("object");
        let two = parse(None, metadata, false).expect("metadata");
        assert_eq!(one, two);
        assert_eq!((one.ports.len(), one.read_only), (2, true));
        assert_eq!(one.restart, RestartPolicy::OnFailure { max: 3 });
        let array = parse(None, reserved(&[("skep:command", r#" ["a b", "c"]"#)]), false).expect("array");
        assert_eq!(array.command, ["a b", "c"]);
    }

    #[test]
    fn refuses_what_it_would_have_to_drop() {
        let none = BTreeMap::new();
        for bad in [
            json!({"comand": []}),
            json!({"command": "sleep 60"}),
            json!({"ports": ["80/sctp"]}),
            json!({"restart": "sometimes"}),
            json!({"labels": {"skep.instance": "x"}}),
            json!({"no_network": true}),
            json!([]),
        ] {
            let refused = parse(Some(bad.clone()), none.clone(), false).expect_err(&bad.to_string());
            assert_eq!(refused.status.as_u16(), 400, "{bad}");
        }
        for bad in [
            ("skep:comand", "x"),
            ("skep:env.", "x"),
            ("skep:ports", "x"),
            ("skep:command", "'x"),
            ("skep:command", "[1]"),
            ("skep:read_only", "maybe"),
        ] {
            assert!(parse(None, reserved(&[bad]), false).is_err(), "{bad:?}");
        }
        let both = parse(Some(json!({})), reserved(&[("skep:restart", "no")]), false);
        assert!(both.is_err());
        let ports = parse(None, reserved(&[("skep:ports", "80")]), true);
        assert!(ports.is_err(), "ports without a network");
    }
}
