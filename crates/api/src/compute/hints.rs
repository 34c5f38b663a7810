//! What a create says of where it should lie (`nova/api/openstack/compute/schemas/servers.py`, `_hints`).

use std::collections::BTreeSet;

use model::InstanceId;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::compute::create::{asks_nothing, lost};
use crate::edge::refused::Refused;

/// Most servers that a hint may name.
const MOST: usize = 100;

/// Scheduler hints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// The server group to be a member of.
    pub group: Option<Uuid>,
    /// Servers one of which it must share a host with.
    pub same_host: BTreeSet<InstanceId>,
    /// Servers that it must not share a host with.
    pub different_host: BTreeSet<InstanceId>,
}

/// Reads hints. Those that would steer otherwise are refused, not lost.
pub fn hints(value: &Value) -> Result<Hints, Refused> {
    if asks_nothing(value) {
        return Ok(Hints::default());
    }
    let Value::Object(hints) = value else {
        return Err(Refused::field("os:scheduler_hints", value, "It is not of type 'object'"));
    };
    const KNOWN: [&str; 3] = ["group", "same_host", "different_host"];
    if let Some((other, _)) =
        hints.iter().find(|(name, value)| !KNOWN.contains(&name.as_str()) && !asks_nothing(value))
    {
        return Err(lost(&format!("scheduler hint '{other}'")));
    }
    let group = match hints.get("group") {
        None => None,
        Some(group) => Some(id("group", group)?),
    };
    Ok(Hints {
        group,
        same_host: servers(hints, "same_host")?,
        different_host: servers(hints, "different_host")?,
    })
}

fn id(name: &str, value: &Value) -> Result<Uuid, Refused> {
    let id = value.as_str().and_then(|text| Uuid::try_parse(text).ok());
    id.ok_or_else(|| Refused::field(&format!("os:scheduler_hints/{name}"), value, "It is not a 'uuid'"))
}

/// The id of a server, or a list of them.
fn servers(hints: &Map<String, Value>, name: &str) -> Result<BTreeSet<InstanceId>, Refused> {
    match hints.get(name) {
        None => Ok(BTreeSet::new()),
        Some(Value::Array(all)) if all.len() > MOST => {
            Err(Refused::bad(format!("The scheduler hint '{name}' names more than {MOST} servers.")))
        }
        Some(Value::Array(all)) => all.iter().map(|one| id(name, one).map(InstanceId)).collect(),
        Some(one) => Ok(BTreeSet::from([InstanceId(id(name, one)?)])),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_named_alone_or_in_lists() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let read = hints(&json!({"same_host": a, "different_host": [a, b], "query": ""})).expect("hints");
        assert_eq!(read.same_host, BTreeSet::from([InstanceId(a)]));
        assert_eq!(read.different_host, BTreeSet::from([InstanceId(a), InstanceId(b)]));
        assert_eq!(hints(&json!(null)).expect("nothing"), Hints::default());
        let many: Vec<Uuid> = (0..101).map(Uuid::from_u128).collect();
        for (bad, word) in [
            (json!({"same_host": "x"}), "same_host"),
            (json!({"different_host": [a, 1]}), "different_host"),
            (json!({"different_host": many}), "different_host"),
            (json!({"group": [a]}), "group"),
            (json!({"build_near_host_ip": "10.0.0.1"}), "build_near_host_ip"),
            (json!([a]), "scheduler_hints"),
        ] {
            let refused = hints(&bad).expect_err("is refused");
            assert!(refused.status.as_u16() == 400 && refused.message.contains(word), "{}", refused.message);
        }
    }
}
