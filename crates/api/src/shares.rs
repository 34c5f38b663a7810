//! How many connections one address may hold: whoever opens all that it can leaves some to others.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Who holds how many.
pub struct Shares {
    most: usize,
    held: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted, until it is dropped.
pub struct Share {
    of: Arc<Shares>,
    who: IpAddr,
}

impl Shares {
    /// Seven eighths of all `connections` for an address: a load balancer, behind which everybody has the same, is
    /// hardly limited by it.
    pub fn of(connections: usize) -> Arc<Self> {
        Arc::new(Self { most: (connections * 7).div_ceil(8), held: Mutex::default() })
    }

    /// Counts a connection; none if the address holds its share.
    pub fn take(self: &Arc<Self>, who: IpAddr) -> Option<Share> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(who).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { of: Arc::clone(self), who })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = held.entry(self.who) {
            match *count.get() {
                0 | 1 => drop(count.remove()),
                more => *count.get_mut() = more - 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gives_back_may_take_again() {
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let shares = Shares::of(4);
        let mut held: Vec<_> = (0..4).map_while(|_| shares.take(one)).collect();
        assert_eq!(held.len(), 4, "four are too few to keep one back");
        assert!(shares.take(one).is_none());
        assert!(shares.take(two).is_some());
        held.pop();
        assert!(shares.take(one).is_some());
        drop(held);
        assert!(shares.held.lock().expect("nobody panicked").is_empty(), "nothing is kept of who left");
        let many = Shares::of(16);
        assert_eq!((0..16).map_while(|_| many.take(one)).collect::<Vec<_>>().len(), 14);
    }
}
