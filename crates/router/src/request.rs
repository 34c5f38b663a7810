//! What one request has spent on each cell: however many calls it makes to a cell that is slow or silent,
//! it waits for that cell no longer than for one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use model::CellId;

tokio::task_local! {
    static SPENT: RefCell<HashMap<CellId, Duration>>;
}

/// Runs what answers one request. Calls to cells that it makes share one deadline for each cell; outside of
/// a request each call has its own.
pub async fn request<T>(work: impl Future<Output = T>) -> T {
    SPENT.scope(RefCell::default(), work).await
}

/// How much longer this request may wait for a cell, of a deadline.
pub(crate) fn left(cell: CellId, deadline: Duration) -> Duration {
    let spent = SPENT.try_with(|spent| spent.borrow().get(&cell).copied());
    deadline.saturating_sub(spent.ok().flatten().unwrap_or_default())
}

/// Counts what a call took. One that was answered promptly, within a tenth of the deadline, is for nothing:
/// a long walk over a healthy cell is no sign of silence.
pub(crate) fn spend(cell: CellId, took: Duration, deadline: Duration) {
    if took > deadline / 10 {
        // Outside of a request nothing is counted.
        let _ = SPENT.try_with(|spent| *spent.borrow_mut().entry(cell).or_default() += took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_of_one_request_share_a_deadline() {
        let env = model::Env::system();
        let (slow, other): (CellId, CellId) = (env.id(), env.id());
        let deadline = Duration::from_secs(2);
        spend(slow, deadline, deadline);
        assert_eq!(left(slow, deadline), deadline, "outside of a request each call has its own");
        request(async {
            spend(slow, Duration::from_millis(200), deadline);
            assert_eq!(left(slow, deadline), deadline, "prompt answers cost nothing");
            spend(slow, Duration::from_millis(500), deadline);
            assert_eq!(left(slow, deadline), Duration::from_millis(1_500));
            spend(slow, deadline, deadline);
            assert_eq!(left(slow, deadline), Duration::ZERO);
            assert_eq!(left(other, deadline), deadline);
        })
        .await;
        request(async { assert_eq!(left(slow, deadline), deadline, "the next request begins anew") }).await;
    }
}
