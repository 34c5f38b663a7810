//! Tests of answers about servers that need no verbs.

use std::collections::HashSet;

use verbs::Named;

use super::*;
use crate::testing::{self, json};

fn page() -> Page {
    let fresh = Seen::Fresh(Box::new(testing::instance()));
    let dark = Seen::Dark(Box::new(testing::dark()));
    Page { items: vec![fresh, dark], next: testing::ID.parse().ok(), dark_cells: vec!["cell2".into()] }
}

#[tokio::test]
async fn a_page_with_a_dark_cell() {
    let call = testing::call(69, "member", "limit=2&status=ACTIVE");
    let response = listed(&call, &page());
    assert_eq!(response.headers().get("x-skep-dark-cells").map(HeaderValue::as_bytes), Some(&b"1"[..]));
    let (status, body) = json(response).await;
    assert_eq!(status, 200);
    assert_eq!(body["servers"].as_array().map(Vec::len), Some(2));
    assert_eq!(body["servers"][1]["status"], "UNKNOWN");
    let next = format!(
        "http://cloud.example/compute/v2.1/servers/detail?limit=2&marker={}&status=ACTIVE",
        testing::ID
    );
    assert_eq!(body["servers_links"], serde_json::json!([{"rel": "next", "href": next}]));
}

#[tokio::test]
async fn dark_ones_are_left_out_below_2_69_but_counted() {
    let call = testing::call(68, "member", "");
    let named = |dark| Named { id: testing::instance().id, name: "n".into(), dark };
    let names =
        Names { items: vec![named(false), named(true)], next: None, dark_cells: vec!["cell2".into()] };
    let response = indexed(&call, &names);
    assert_eq!(response.headers().get("x-skep-dark-cells").map(HeaderValue::as_bytes), Some(&b"1"[..]));
    let (_, body) = json(response).await;
    let servers = body["servers"].as_array().expect("array");
    assert_eq!(servers.len(), 1);
    let keys: HashSet<&str> = servers[0].as_object().expect("object").keys().map(String::as_str).collect();
    assert_eq!(keys, HashSet::from(["id", "name", "links"]));
}

#[tokio::test]
async fn showing_a_dark_one() {
    let dark = Seen::Dark(Box::new(testing::dark()));
    let refused = shown(&testing::call(68, "member", ""), &dark).expect_err("below 2.69");
    assert_eq!(refused.status, 503, "not 500: a cell that is away is no defect");
    let response = shown(&testing::call(69, "member", ""), &dark).expect("partial");
    let (status, body) = json(response).await;
    assert_eq!((status.as_u16(), &body["server"]["status"]), (200, &serde_json::json!("UNKNOWN")));
}

#[tokio::test]
async fn created_as_nova_answers() {
    let call = testing::call(79, "member", "");
    let password = password(&call.shared.env);
    assert_eq!(password.len(), 12);
    let response = created(&call, &testing::instance(), &password);
    let location = format!("http://cloud.example/compute/v2.1/servers/{}", testing::ID);
    assert_eq!(response.headers().get(LOCATION).map(HeaderValue::as_bytes), Some(location.as_bytes()));
    let (status, body) = json(response).await;
    assert_eq!(status, 202);
    let keys: HashSet<&str> =
        body["server"].as_object().expect("object").keys().map(String::as_str).collect();
    assert_eq!(keys, HashSet::from(["id", "links", "OS-DCF:diskConfig", "security_groups", "adminPass"]));
    assert_eq!(body["server"]["links"][0]["href"], location);
}

#[test]
fn a_missing_image_or_flavor_makes_the_request_wrong() {
    assert_eq!(missing_is_invalid(Fault::not_found("x")).kind, FaultKind::Invalid);
    assert_eq!(missing_is_invalid(Fault::unavailable("x")).kind, FaultKind::Unavailable);
}
