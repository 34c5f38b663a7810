//! Properties of placement: never over-allocates, does not depend on the order of its input, explains
//! every refusal, spreads.

use std::collections::BTreeMap;

use model::cell::Summary;
use model::host::Host;
use model::{CellId, Flavor, HostId, InstanceId, RequestSpec, Resources, Timestamp};
use proptest::prelude::*;
use scheduler::{cells, hosts};
use uuid::Uuid;

fn spec(vcpus: i64, memory_mib: i64) -> RequestSpec {
    let flavor = Flavor { id: "f".into(), name: "f".into(), vcpus, memory_mib, disk_gib: 0, pids: 1 };
    RequestSpec {
        name: String::new(),
        project: String::new(),
        user: String::new(),
        request_id: String::new(),
        region: String::new(),
        zone: None,
        image: "x".parse().expect("legal"),
        flavor,
        container: Default::default(),
        metadata: Default::default(),
        description: None,
        extra: Default::default(),
        deadline: Timestamp(0),
    }
}

fn host(n: u128, slots: i64, enabled: bool, healthy: bool) -> Host {
    Host {
        id: HostId(Uuid::from_u128(n)),
        name: format!("h{n}"),
        zone: "z".into(),
        engine: format!("e{n}"),
        enabled,
        healthy,
        capacity: Resources { vcpus_milli: slots * 1_000, memory_mib: slots * 64, slots },
        used: Resources::default(),
    }
}

proptest! {
    #[test]
    fn hosts_are_never_over_allocated_and_refusals_add_up(
        shapes in prop::collection::vec((0_i64..20, any::<bool>(), any::<bool>()), 0..12),
        wishes in prop::collection::vec((1_i64..4, 1_i64..256), 0..60),
    ) {
        let all: Vec<Host> = shapes.iter().enumerate().map(|(n, (s, e, h))| host(n as u128, *s, *e, *h)).collect();
        let mut reversed = hosts::Snapshot::new(all.iter().rev().cloned().collect(), Default::default());
        let mut snapshot = hosts::Snapshot::new(all.clone(), Default::default());
        let mut used: BTreeMap<HostId, Resources> = BTreeMap::new();
        for (vcpus, memory) in wishes {
            let spec = spec(vcpus, memory);
            let picked = snapshot.select_destinations(&spec, &[]);
            prop_assert_eq!(&picked, &reversed.select_destinations(&spec, &[]));
            match picked {
                Ok(selection) => {
                    snapshot.update_resource_stats(selection.host, &spec);
                    reversed.update_resource_stats(selection.host, &spec);
                    let sum = used.entry(selection.host).or_default();
                    *sum = sum.plus(spec.resources());
                    let host = all.iter().find(|h| h.id == selection.host).expect("one of ours");
                    prop_assert!(sum.fits(host.capacity) && host.enabled && host.healthy);
                }
                Err(why) => prop_assert_eq!(why.refused.values().sum::<usize>(), all.len()),
            }
        }
    }
}

#[test]
fn a_burst_spreads_evenly_over_equal_hosts() {
    let mut snapshot =
        hosts::Snapshot::new((0..4).map(|n| host(n, 100, true, true)).collect(), Default::default());
    let mut counts: BTreeMap<HostId, usize> = BTreeMap::new();
    for _ in 0..200 {
        let picked = snapshot.select_destinations(&spec(1, 64), &[]).expect("fits");
        snapshot.update_resource_stats(picked.host, &spec(1, 64));
        *counts.entry(picked.host).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 50), "{counts:?}");
}

fn cell(n: u128, free: i64, unsettled: i64) -> cells::Candidate {
    let shape = Resources { vcpus_milli: free * 1_000, memory_mib: free * 64, slots: free };
    let summary = Summary { version: 10, hosts: 1, free: shape, frontier: vec![shape], ..Default::default() };
    cells::Candidate {
        id: CellId(Uuid::from_u128(n)),
        region: "r".into(),
        active: true,
        projects: None,
        summary: Some(summary),
        unsettled,
        cap: 1_000,
    }
}

#[test]
fn a_cell_under_test_takes_chosen_projects_only() {
    let chosen = |project: &str| {
        let under_test = cells::Candidate { projects: Some(vec![project.to_owned()]), ..cell(1, 10, 0) };
        cells::Snapshot::new(vec![under_test]).select_destinations(
            InstanceId(Uuid::from_u128(9)),
            &spec(1, 64),
            &[],
            &[],
        )
    };
    assert!(chosen(&spec(1, 64).project).is_ok());
    match chosen("some other") {
        Err(cells::Refused::Never(why)) => assert!(why.to_string().contains("tests with other"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn cells_are_picked_by_what_is_free() {
    let snapshot = cells::Snapshot::new(vec![cell(1, 300, 0), cell(2, 100, 0)]);
    let mut counts: BTreeMap<CellId, i64> = BTreeMap::new();
    for n in 0..4_000_u128 {
        let id = InstanceId(Uuid::from_u128(n << 64 | 7));
        *counts
            .entry(snapshot.select_destinations(id, &spec(1, 64), &[], &[]).expect("fits"))
            .or_default() += 1;
    }
    let first = counts[&CellId(Uuid::from_u128(1))];
    assert!((2_850..3_150).contains(&first), "three quarters of 4000 expected, {first} came");
}

#[test]
fn a_cell_that_may_take_it_later_is_waited_for() {
    let id = InstanceId(Uuid::from_u128(1));
    let huge = spec(1_000, 64);
    let never = cells::Snapshot::new(vec![cell(1, 10, 0)]);
    let told = [(CellId(Uuid::from_u128(1)), 10)];
    assert!(matches!(never.select_destinations(id, &huge, &told, &[]), Err(cells::Refused::Never(_))));
    let later = [(CellId(Uuid::from_u128(1)), 11)];
    for since in [&later[..], &[]] {
        let stale = never.select_destinations(id, &huge, since, &[]);
        assert!(matches!(stale, Err(cells::Refused::Ask(_))), "the summary may be older than the request");
    }
    let mut dark = cell(2, 10, 0);
    dark.summary = None;
    let waits = cells::Snapshot::new(vec![cell(1, 10, 0), dark]);
    assert!(matches!(waits.select_destinations(id, &huge, &told, &[]), Err(cells::Refused::Wait(_))));
    let full = cells::Snapshot::new(vec![cell(1, 10, 1_000)]);
    let refused = full.select_destinations(id, &spec(1, 64), &[], &[]);
    assert!(matches!(refused, Err(cells::Refused::Wait(_))));
    assert!(never.select_destinations(id, &spec(1, 64), &[], &[CellId(Uuid::from_u128(1))]).is_err());
}

#[test]
fn neighbours_are_kept_or_kept_away_from() {
    let snapshot =
        hosts::Snapshot::new((0..3).map(|n| host(n, 100, true, true)).collect(), Default::default());
    let id = |n| InstanceId(Uuid::from_u128(n));
    let lies = |n, on, whose: &str| {
        (id(n), hosts::Neighbour { host: HostId(Uuid::from_u128(on)), project: whose.to_owned() })
    };
    let snapshot = snapshot
        .with_neighbours([lies(10, 2, ""), lies(11, 0, ""), lies(12, 1, "other")].into_iter().collect());
    let pick = |same: &[u128], different: &[u128]| {
        let mut spec = spec(1, 1);
        spec.extra.same_host = same.iter().map(|n| id(*n)).collect();
        spec.extra.different_host = different.iter().map(|n| id(*n)).collect();
        let picked = snapshot.select_destinations(&spec, &[]);
        picked.map(|selection| selection.host.uuid().as_u128()).map_err(|why| why.to_string())
    };
    assert_eq!(pick(&[10], &[]), Ok(2));
    assert_eq!(pick(&[10, 11], &[11]), Ok(2));
    assert_eq!(pick(&[], &[10, 11]), Ok(1));
    assert_eq!(pick(&[], &[12, 99]), Ok(0), "those of others and those that lie nowhere steer nothing");
    for nobody in [12, 99] {
        let why = pick(&[nobody], &[]).expect_err("lies nowhere of its own");
        assert!(why.contains("same host"), "{why}");
    }
}
