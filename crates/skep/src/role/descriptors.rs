//! File descriptors: every connection is one, and a process may have only so many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not connections of users: databases, brokers, files.
const OTHERS: u64 = 512;

/// Lets the process have as many descriptors as the system allows it, and gives how many of `connections` each of
/// so many endpoints can have with them.
pub fn enough(connections: usize, endpoints: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(why) => {
            tracing::warn!(%why, "the limit of file descriptors cannot be raised");
            limit.current
        }
    };
    let fit = fitting(connections, endpoints, current);
    if fit < connections {
        let limit = current.unwrap_or(u64::MAX);
        tracing::warn!(
            connections,
            limit,
            fit,
            "not that many connections fit into the limit of file descriptors (LimitNOFILE, ulimit -n)"
        );
    }
    fit
}

fn fitting(connections: usize, endpoints: usize, limit: Option<u64>) -> usize {
    let Some(limit) = limit else { return connections };
    // Even where there is hardly any room something must be let in.
    let all = limit.saturating_sub(OTHERS).max(limit / 2);
    let each = usize::try_from(all).unwrap_or(usize::MAX) / endpoints.max(1);
    connections.min(each).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_limit() {
        assert_eq!(fitting(12_288, 1, None), 12_288);
        assert_eq!(fitting(12_288, 1, Some(65_536)), 12_288);
        assert_eq!(fitting(12_288, 1, Some(4_096)), 3_584);
        assert_eq!(fitting(12_288, 3, Some(20_000)), 6_496);
        assert_eq!(fitting(12_288, 1, Some(256)), 128);
    }
}
