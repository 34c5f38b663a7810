//! What suites of several crates begin with.

use crate::{Flavor, RequestSpec, Timestamp};

/// A small instance of user `u` in project `p` that asks for nothing special, whose deadline never comes.
///
/// # Panics
/// Never: its image's reference is legal.
pub fn spec() -> RequestSpec {
    RequestSpec {
        name: "one".into(),
        project: "p".into(),
        user: "u".into(),
        request_id: "req-1".into(),
        region: String::new(),
        zone: None,
        image: "skep/web:1".parse().expect("legal"),
        flavor: Flavor {
            id: "1".into(),
            name: "tiny".into(),
            vcpus: 1,
            memory_mib: 64,
            disk_gib: 1,
            pids: 64,
        },
        container: Default::default(),
        metadata: Default::default(),
        description: None,
        extra: Default::default(),
        deadline: Timestamp(i64::MAX),
    }
}
