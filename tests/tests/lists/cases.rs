//! The 24 cases of Nova's `InstanceListTestCase` (`nova/tests/functional/compute/test_instance_list.py`), by
//! name, over one cloud; each is tried by the index and, where cells know the order, by the cells.

use std::collections::BTreeSet;
use std::time::Duration;

use api_db::index::Entry;
use model::drill::Drill;
use model::listing::{Order, Sort};
use model::{Caller, FaultKind, InstanceId};
use sql::{Work, args};
use tests::cloud::{Cloud, context};
use tests::eventually;
use verbs::{Query, Read, Seen};

use crate::house::{boot, darken, heard, light, member, populated, sorted, value, walk};

struct Case {
    cloud: Cloud,
    /// What is there of project `p`.
    known: Vec<Entry>,
}

fn asked_by() -> Caller {
    member("u", "p")
}

fn by(sort: Sort, descending: bool) -> Order {
    Order::new(&[(sort, descending)])
}

impl Case {
    async fn list(&self, query: &Query) -> Vec<InstanceId> {
        let page = self.cloud.verbs.list(&asked_by(), query).await.expect("answers");
        page.items.iter().map(Seen::id).collect()
    }

    /// The same list by the index and by the cells.
    async fn both(&self, query: &Query) -> Vec<InstanceId> {
        let by_index = self.list(&Query { read: Read::Index, ..query.clone() }).await;
        let by_cells = self.list(&Query { read: Read::Cells, ..query.clone() }).await;
        assert_eq!(by_index, by_cells, "{query:?}");
        by_index
    }

    fn ids(&self, order: &Order) -> Vec<InstanceId> {
        sorted(self.known.clone(), order).iter().map(|entry| entry.id).collect()
    }

    async fn test_get_sorted(&self) {
        let order = by(Sort::Id, false);
        assert_eq!(self.both(&Query { order: order.clone(), ..Query::default() }).await, self.ids(&order));
    }

    async fn test_get_sorted_descending(&self) {
        let order = by(Sort::Id, true);
        assert_eq!(self.both(&Query { order: order.clone(), ..Query::default() }).await, self.ids(&order));
    }

    async fn test_get_sorted_with_filter(&self) {
        let order = by(Sort::Id, false);
        let query = Query { flavor: Some("1".into()), order: order.clone(), ..Query::default() };
        let known = self.known.iter().filter(|entry| entry.flavor == "1").cloned().collect();
        let expected: Vec<InstanceId> = sorted(known, &order).iter().map(|entry| entry.id).collect();
        assert_eq!(self.both(&query).await, expected);
    }

    async fn test_get_sorted_by_defaults(&self) {
        let found: BTreeSet<_> = self.both(&Query::default()).await.into_iter().collect();
        assert_eq!(found, self.known.iter().map(|entry| entry.id).collect());
    }

    async fn test_get_sorted_with_limit(&self) {
        let order = by(Sort::Id, false);
        let query = Query { limit: Some(5), order: order.clone(), ..Query::default() };
        assert_eq!(self.both(&query).await, self.ids(&order)[..5]);
    }

    async fn test_get_sorted_with_large_limit(&self) {
        let order = by(Sort::Id, false);
        let query = Query { limit: Some(5_000), order: order.clone(), read: Read::Index, ..Query::default() };
        assert_eq!(self.list(&query).await, self.ids(&order));
    }

    async fn test_get_sorted_with_large_limit_batched(&self) {
        let order = by(Sort::Id, false);
        let query = Query { limit: Some(5_000), order: order.clone(), read: Read::Cells, ..Query::default() };
        assert_eq!(self.list(&query).await, self.ids(&order));
    }

    /// Some pages, then one without a limit, then one that is empty.
    async fn pages(&self, sort: Sort, descending: bool, pages: usize, size: usize) {
        let order = by(sort, descending);
        // Cells do not know the order of host names, and say so.
        let reads: &[Read] =
            if sort == Sort::Hostname { &[Read::Index] } else { &[Read::Index, Read::Cells] };
        for read in reads.iter().copied() {
            let mut found: Vec<InstanceId> = Vec::new();
            for page in 0.. {
                let query = Query {
                    limit: (page < pages).then_some(size),
                    marker: found.last().copied(),
                    order: order.clone(),
                    read,
                    ..Query::default()
                };
                let batch = self.list(&query).await;
                if batch.is_empty() {
                    assert_eq!(page, pages + 1, "the page after the last is empty");
                    break;
                }
                found.extend(batch);
            }
            assert_eq!(found, self.ids(&order), "{sort:?} {read:?}");
        }
    }

    async fn test_get_sorted_with_limit_marker_stable(&self) {
        self.pages(Sort::Hostname, false, 2, 2).await;
    }

    async fn test_get_sorted_with_limit_marker_stable_reverse(&self) {
        self.pages(Sort::Hostname, true, 2, 2).await;
    }

    async fn test_get_sorted_with_limit_marker_stable_different_pages(&self) {
        self.pages(Sort::Hostname, false, 3, 1).await;
    }

    async fn test_get_sorted_with_limit_marker_stable_different_pages_reverse(&self) {
        self.pages(Sort::Hostname, true, 3, 1).await;
    }

    async fn test_get_sorted_with_limit_marker_random(&self) {
        self.pages(Sort::Id, false, 2, 2).await;
    }

    async fn test_get_sorted_with_limit_marker_random_different_pages(&self) {
        self.pages(Sort::Id, false, 3, 2).await;
    }

    async fn test_get_sorted_with_limit_marker_datetime(&self) {
        self.pages(Sort::Launched, false, 2, 2).await;
    }

    /// By something that many have the same of.
    async fn test_get_sorted_with_limit_marker_datetime_same(&self) {
        self.pages(Sort::Terminated, false, 2, 2).await;
        assert!(
            self.known
                .windows(2)
                .all(|pair| { value(&pair[0], Sort::Terminated) == value(&pair[1], Sort::Terminated) })
        );
    }

    async fn test_get_sorted_with_deleted_marker(&mut self) {
        let extra = boot(&self.cloud, 60, "1").await;
        let mut known = heard(&self.cloud, &self.gone().await).await;
        known.retain(|entry| entry.project == "p" && !entry.deleted);
        self.known = known;
        let marker = Query { marker: Some(extra), ..Query::default() };
        let before = self.both(&marker).await;
        self.cloud.verbs.delete(&asked_by(), &context(), extra).await.expect("is accepted");
        let mut gone = self.gone().await;
        gone.push(extra);
        heard(&self.cloud, &gone).await;
        assert_eq!(self.both(&marker).await, before);
        self.known.retain(|entry| entry.id != extra);
    }

    /// What is deleted.
    async fn gone(&self) -> Vec<InstanceId> {
        let query = Query {
            deleted: model::listing::Deleted::Only,
            all_projects: true,
            read: Read::Index,
            ..Query::default()
        };
        let names = self.cloud.verbs.list_names(&tests::cloud::admin(), &query).await.expect("answers");
        names.items.iter().map(|named| named.id).collect()
    }

    async fn refused(&self, marker: InstanceId) {
        for read in [Read::Index, Read::Cells] {
            let query = Query { marker: Some(marker), read, ..Query::default() };
            let fault = self.cloud.verbs.list(&asked_by(), &query).await.expect_err("no such marker");
            assert_eq!(
                (fault.kind, fault.message),
                (FaultKind::Invalid, format!("marker [{marker}] not found"))
            );
        }
    }

    async fn test_get_sorted_with_invalid_marker(&self) {
        self.refused(self.cloud.env.id()).await;
    }

    /// One that has a mapping, and nothing else.
    async fn test_get_sorted_with_purged_instance(&self) {
        let purged: InstanceId = self.cloud.env.id();
        let api: api_db::Db = sql::Db::open(&sql::Settings::new(&self.cloud.api_url)).expect("opens");
        api.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                const SQL: &str = "INSERT INTO instance_mapping (id, project, user_id, cell, epoch, saga_token, \
                                   state, created_at) VALUES ($1, 'p', 'u', NULL, 0, 0, 'deleted', 1)";
                tx.swap(SQL, args![purged]).await
            })
        })
        .await
        .expect("writes");
        self.refused(purged).await;
    }

    /// Pages of one, sorted by something else than what is filtered.
    async fn paged(&self, query: Query, expected: impl Fn(&Entry) -> bool) {
        let expected: BTreeSet<InstanceId> =
            self.known.iter().filter(|entry| expected(entry)).map(|entry| entry.id).collect();
        assert!(!expected.is_empty());
        for read in [Read::Index, Read::Cells] {
            let order = by(Sort::Name, false);
            let query = Query { limit: Some(1), order, read, ..query.clone() };
            let (walked, _) = walk(&self.cloud, &asked_by(), &query).await;
            assert_eq!(walked.len(), expected.len());
            assert_eq!(walked.iter().map(Seen::id).collect::<BTreeSet<_>>(), expected);
        }
    }

    fn seven(&self) -> Vec<InstanceId> {
        self.ids(&by(Sort::Id, false))[..7].to_vec()
    }

    async fn test_get_paginated_with_uuid_filter(&self) {
        let ids = self.seven();
        self.paged(Query { ids: ids.clone(), ..Query::default() }, |entry| ids.contains(&entry.id)).await;
    }

    async fn test_get_paginated_with_other_filter(&self) {
        self.paged(Query { flavor: Some("2".into()), ..Query::default() }, |entry| entry.flavor == "2").await;
    }

    async fn test_get_paginated_with_uuid_and_other_filter(&self) {
        let ids = self.seven();
        let query = Query { ids: ids.clone(), user: Some("u".into()), ..Query::default() };
        self.paged(query, |entry| ids.contains(&entry.id) && entry.user == "u").await;
    }

    async fn faults(&self, limit: Option<usize>) {
        let query = Query { order: by(Sort::Hostname, false), limit, ..Query::default() };
        for seen in walk(&self.cloud, &asked_by(), &query).await.0 {
            // On a slow machine a cell may be taken for dark, and faults are its own.
            let Seen::Fresh(instance) = seen else { continue };
            assert_eq!(instance.fault.is_some(), instance.status() == "ERROR", "{instance:?}");
        }
        assert!(self.known.iter().any(|entry| entry.last.status == "ERROR"));
    }

    async fn test_get_sorted_with_faults(&self) {
        self.faults(None).await;
    }

    async fn test_get_sorted_paginated_with_faults(&self) {
        self.faults(Some(1)).await;
    }

    /// Without one cell the others' are listed as ever.
    async fn test_instance_list_minimal_cells(&self) {
        darken(&self.cloud, &["cell3"]);
        let order = by(Sort::Id, false);
        for read in [Read::Index, Read::Cells] {
            let query = Query { order: order.clone(), read, ..Query::default() };
            let (listed, _) = walk(&self.cloud, &asked_by(), &query).await;
            assert_eq!(listed.iter().map(Seen::id).collect::<Vec<_>>(), self.ids(&order));
            let lost = self.cloud.cells[2].cell.id;
            for (seen, entry) in listed.iter().zip(sorted(self.known.clone(), &order)) {
                assert!(matches!(seen, Seen::Dark(_)) || entry.cell != Some(lost), "{entry:?}");
            }
        }
        light(&self.cloud).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instance_list_test_case() {
    for postgres in [false, true] {
        let (cloud, mut known) = populated(postgres).await;
        known.retain(|entry| entry.project == "p" && !entry.deleted);
        let mut case = Case { cloud, known };
        light(&case.cloud).await;
        case.test_get_sorted().await;
        case.test_get_sorted_descending().await;
        case.test_get_sorted_with_filter().await;
        case.test_get_sorted_by_defaults().await;
        case.test_get_sorted_with_limit().await;
        case.test_get_sorted_with_large_limit().await;
        case.test_get_sorted_with_large_limit_batched().await;
        case.test_get_sorted_with_limit_marker_stable().await;
        case.test_get_sorted_with_limit_marker_stable_reverse().await;
        case.test_get_sorted_with_limit_marker_stable_different_pages().await;
        case.test_get_sorted_with_limit_marker_stable_different_pages_reverse().await;
        case.test_get_sorted_with_limit_marker_random().await;
        case.test_get_sorted_with_limit_marker_random_different_pages().await;
        case.test_get_sorted_with_limit_marker_datetime().await;
        case.test_get_sorted_with_limit_marker_datetime_same().await;
        case.test_get_sorted_with_deleted_marker().await;
        case.test_get_sorted_with_invalid_marker().await;
        case.test_get_sorted_with_purged_instance().await;
        case.test_get_paginated_with_uuid_filter().await;
        case.test_get_paginated_with_other_filter().await;
        case.test_get_paginated_with_uuid_and_other_filter().await;
        case.test_get_sorted_with_faults().await;
        case.test_get_sorted_paginated_with_faults().await;
        case.test_instance_list_minimal_cells().await;
    }
}

/// Nova has no such case: a cell that takes connections and never answers. Lists end, nothing is missing, and
/// a hundred of them later it is still so.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_cell_costs_no_list_its_completeness() {
    let (cloud, mut known) = populated(false).await;
    known.retain(|entry| entry.project == "p" && !entry.deleted);
    let order = by(Sort::Updated, true);
    let expected: Vec<InstanceId> = sorted(known.clone(), &order).iter().map(|entry| entry.id).collect();
    for (frozen, rounds) in [("cell2", 100), ("cell0", 5)] {
        assert!(cloud.router.drill(frozen, Drill::Hang));
        for round in 0..rounds {
            let read = [Read::Auto, Read::Index][round % 2];
            let query = Query { order: order.clone(), read, ..Query::default() };
            let page = cloud.verbs.list(&asked_by(), &query).await.expect("answers");
            assert_eq!(page.items.iter().map(Seen::id).collect::<Vec<_>>(), expected, "round {round}");
            assert!(page.dark_cells.iter().any(|cell| cell == frozen), "{:?}", page.dark_cells);
        }
        eventually(
            Duration::from_secs(60),
            "all hosts are known, those of a dark cell by name",
            async || {
                let hosts = cloud.verbs.compute_hosts(&tests::cloud::admin(), "").await;
                let hosts = hosts.map_err(|fault| fault.message)?.hosts;
                if hosts.len() == 6 { Ok(()) } else { Err(format!("{hosts:?}")) }
            },
        )
        .await;
        light(&cloud).await;
    }
}
