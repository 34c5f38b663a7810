//! Tests of queries of server lists: what each filter means, for whom, and since when.

use model::listing::Sort;

use super::*;

const ID: &str = "3f1c5b62-8f2e-8f2e-8f2e-3f1c5b628f2e";

fn read(query: &str, version: u16, every: bool, all_projects: bool) -> Result<Option<Query>, String> {
    let params = Params::of(&format!("/servers?{query}").parse().expect("URI")).expect("query");
    let asked = Asked { version: Version(version), every, all_projects, region: "r1" };
    check_names(&params, asked).and_then(|()| parse(&params, asked)).map_err(|refused| refused.message)
}

fn member(query: &str, version: u16) -> Result<Option<Query>, String> {
    read(query, version, false, false)
}

fn found(query: Result<Option<Query>, String>) -> Query {
    query.expect("legal").expect("some")
}

#[test]
fn what_clients_send() {
    let query = found(member("status=ACTIVE&name=bench-1&limit=1000", 79));
    assert_eq!(query.status, ["ACTIVE"]);
    assert_eq!((query.patterns, query.limit), (vec![(Field::Name, "bench-1".into())], Some(1000)));
    assert_eq!((query.region.as_str(), query.deleted), ("r1", Deleted::No));
    let query = found(member("deleted=False&status=active&status=error", 96));
    assert_eq!(query.status, ["ACTIVE", "ERROR"]);
    let query = found(member(&format!("marker={ID}&limit=2&skep=1&skep_read=cells"), 96));
    assert_eq!(query.marker.map(|marker| marker.to_string()).as_deref(), Some(ID));
    assert_eq!(query.read, Read::Cells);
    // What `openstack server list` has options for.
    let query = found(read(
        "deleted=True&all_tenants=True&project_id=p2&user_id=u2&host=h1&flavor=1&reservation_id=r-1&ip=10.0&ip6=fe&\
         availability_zone=nova&key_name=k&config_drive=&vm_state=active&task_state=spawning&power_state=1&locked=True&\
         tags=a,b&not-tags=c&changes-since=2026-01-05T12:00:00Z&changes-before=2026-01-06",
        96,
        true,
        true,
    ));
    assert_eq!((query.project.as_deref(), query.user.as_deref()), (Some("p2"), Some("u2")));
    assert_eq!((query.host.as_deref(), query.flavor.as_deref()), (Some("h1"), Some("1")));
    assert_eq!((query.vm_state.as_deref(), query.task_state.as_deref()), (Some("active"), Some("spawning")));
    assert_eq!((query.locked, query.deleted), (Some(true), Deleted::Only));
    assert_eq!((query.tags, query.not_tags), (vec!["a".into(), "b".into()], vec!["c".to_owned()]));
    assert!(query.since.is_some() && query.since < query.before);
    let fields: Vec<Field> = query.patterns.into_iter().map(|(field, _)| field).collect();
    let expected = [Field::Zone, Field::Ipv4, Field::Ipv6, Field::KeyName, Field::Power, Field::Reservation];
    assert_eq!(fields, expected);
}

#[test]
fn projects_only_with_all_tenants() {
    let project = |query, all| found(read(query, 96, true, all)).project;
    assert_eq!(project("project_id=p2", false), None);
    assert_eq!(project("project_id=p2", true).as_deref(), Some("p2"));
    assert_eq!(project("tenant_id=p3", true).as_deref(), Some("p3"));
}

#[test]
fn members_use_what_nova_lets_them() {
    let all = "host=h1&node=h1&user_id=u2&vm_state=active&description=d&uuid=x&deleted=True&locked=True&hostname=h&tags=a";
    let query = found(member(all, 1));
    assert!(query.host.is_none() && query.user.is_none() && query.vm_state.is_none() && query.ids.is_empty());
    assert!(query.patterns.is_empty() && query.tags.is_empty() && query.locked.is_none());
    assert_eq!(query.deleted, Deleted::No);
    let query = found(member(all, 83));
    assert_eq!((query.user.as_deref(), query.vm_state.as_deref()), (Some("u2"), Some("active")));
    assert_eq!((query.locked, query.tags.len()), (Some(true), 1));
    assert!(query.host.is_none() && query.ids.is_empty() && query.patterns.is_empty());
    assert_eq!(found(member(all, 90)).patterns, [(Field::Hostname, "h".into())]);
    assert_eq!(found(member("locked=True", 72)).locked, None);
}

#[test]
fn unknown_parameters_are_refused_from_2_75_on() {
    for query in ["foo=bar", "_x=1", "name=a&_host=b"] {
        assert!(member(query, 74).is_ok(), "{query}");
        assert!(read(query, 74, true, false).is_ok(), "{query}");
        assert!(member(query, 75).expect_err(query).contains("was unexpected"));
    }
    assert!(member("metadata=x", 96).is_ok(), "ignored");
    assert!(read("metadata=x", 96, true, false).is_err());
    assert!(member("changes-before=2026-01-05", 65).is_ok(), "not there yet, so ignored");
}

#[test]
fn refuses_and_finds_nothing() {
    assert_eq!(member("marker=x", 96).expect_err("marker"), "marker [x] not found");
    assert_eq!(member("status=sleepy", 38).expect_err("status"), "Invalid status value");
    assert!(member("status=sleepy", 37).expect("legal").is_none());
    assert!(member("limit=0", 96).expect("legal").is_none());
    assert!(member("limit=-1", 96).is_err() && member("limit=a", 96).is_err());
    assert!(member("skep_read=both", 96).is_err());
    assert!(member("changes-since=yesterday", 96).is_err());
    let crossed = "changes-since=2026-01-06T00:00:00Z&changes-before=2026-01-05T00:00:00Z";
    assert!(member(crossed, 66).expect_err("crossed").contains("less than or equal"));
    assert!(member("image=busybox", 96).expect("legal").is_none());
    assert!(read("uuid=x", 96, true, false).expect("legal").is_none());
    assert!(read("progress=50", 96, true, false).expect("legal").is_none());
    assert!(read("progress=0&launch_index=0", 96, true, false).expect("legal").is_some());
    assert!(read("locked_by=admin", 96, true, false).expect_err("filter").contains("'locked_by'"));
    assert!(member("locked_by=admin", 96).is_ok(), "not a member's to use");
    assert!(member("locked=perhaps", 73).is_err());
    assert!(member("sort_key=name", 96).is_err());
}

#[test]
fn deleted_ones() {
    let deleted = |query: &str| found(read(query, 96, true, false)).deleted;
    assert_eq!(deleted("deleted=True"), Deleted::Only);
    assert_eq!(deleted("deleted=perhaps"), Deleted::No);
    assert_eq!(deleted("changes-since=2026-01-05"), Deleted::Both);
    assert_eq!(deleted("changes-since=2026-01-05&deleted=False"), Deleted::No);
    assert_eq!(deleted("status=DELETED"), Deleted::Only);
    assert_eq!(found(member("changes-since=2026-01-05&deleted=False", 96)).deleted, Deleted::Both);
    let refused = member("status=deleted", 96).expect_err("members");
    assert_eq!(refused, "Only administrators may list deleted instances");
    assert_eq!(found(read("sort_key=host", 96, true, false)).order.keys()[0].0, Sort::Host);
}
