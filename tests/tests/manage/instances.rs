//! `skep instance`: what cells hold against what is mapped, straight on the databases.

use serde_json::{Value, json};

use crate::bed::{Bed, CANARY, beds};

fn told(bed: &Bed, line: &str, code: i32) -> Value {
    let ended = bed.direct(&format!("{line} -o json"));
    assert_eq!(ended.code, code, "{} {line}: {ended:?}", bed.engine);
    serde_json::from_str(&ended.out).unwrap_or_else(|why| panic!("{line}: {why}: {ended:?}"))
}

#[tokio::test]
async fn operators_see_rows_mappings_and_offers() {
    for mut bed in beds().await {
        let (one, two) = (bed.cell("one").await, bed.cell("two").await);
        let (h1, h2) = (bed.host(&one, "h1", false).await, bed.host(&one, "h2", false).await);
        let (a, b) = (bed.instance(&one, Some(h1)).await, bed.instance(&one, Some(h2)).await);
        assert_eq!(bed.manage("cell_v2 map_instances --cell_uuid one").code, 0);
        let c = bed.instance(&two, None).await;

        let all = told(&bed, "instance list", 0);
        assert_eq!(all.as_array().map(Vec::len), Some(3), "{all}");
        let on = told(&bed, "instance list --host h1", 0);
        assert_eq!((on[0]["id"].clone(), on[1].clone()), (json!(a), Value::Null), "{on}");
        assert_eq!(on[0]["at"], json!({"epoch": 1, "placement": 1, "generation": 1}));
        assert_eq!((&on[0]["mapping"]["cell"], &on[0]["mapping"]["epoch"]), (&json!("one"), &json!(1)));
        let of = told(&bed, "instance list --cell two", 0);
        assert_eq!(
            (of[0]["id"].clone(), of[0]["mapping"].clone()),
            (json!(c), Value::Null),
            "not mapped: {of}"
        );
        assert!(bed.direct("instance list --limit 1").err.contains("there are more"));
        assert!(bed.direct("instance list").out.contains("1/1/1"));
        assert_eq!(bed.direct("instance list --host nine").code, 1);

        let shown = told(&bed, &format!("instance show {b}"), 0);
        assert_eq!((&shown["rows"][0]["host"], &shown["mapping"]["state"]), (&json!("h2"), &json!("live")));
        assert!(bed.direct(&format!("instance show {b}")).out.contains("saga_token"));
        assert_eq!(bed.direct("instance show 00000000-0000-0000-0000-000000000001").code, 1);
        assert_eq!(bed.direct("instance show b").code, 2);

        // What a host has and the cell does not know.
        const OFFER: &str =
            "INSERT INTO offered (instance, host, epoch, placement, generation, project, cell,
            spec_hash, power, told_at) VALUES ($1, $2, 3, 2, 1, 'p', 'old', 'abc', 'running', 5)";
        let x: model::InstanceId = bed.env.id();
        bed.below(&one, OFFER, sql::args![x, h1]).await;
        let offered = told(&bed, "instance list --offered", 0);
        assert_eq!(
            (&offered[0]["host_name"], &offered[0]["cell"]),
            (&json!("h1"), &json!("old")),
            "{offered}"
        );
        assert_eq!(told(&bed, "instance list --offered --cell two", 0), json!([]));
        assert_eq!(told(&bed, &format!("instance show {x}"), 0)["offers"][0]["at"]["epoch"], json!(3));

        bed.map("dark", &format!("postgres://u:{CANARY}@127.0.0.1:1/x"));
        assert_eq!(told(&bed, "instance list", 3).as_array().map(Vec::len), Some(3));
        assert_eq!(bed.direct("instance list --offered").code, 3);
        assert_eq!(bed.direct(&format!("instance show {a}")).code, 3);
    }
}
