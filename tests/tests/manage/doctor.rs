//! `skep doctor` and `skep task`: what does not fit together is found, and mended where that is safe.

use serde_json::Value;

use crate::bed::{Bed, CANARY, Ended, beds};

fn findings(bed: &Bed, line: &str, code: i32) -> Vec<(String, bool)> {
    let Ended { code: ended, out, err, .. } = bed.direct(&format!("{line} -o json"));
    assert_eq!(ended, code, "{} {line}: {out}{err}", bed.engine);
    let found: Value = serde_json::from_str(&out).expect("JSON");
    let all = found["findings"].as_array().expect("a list");
    let text = |finding: &Value| finding["code"].as_str().unwrap_or_default().to_owned();
    all.iter().map(|finding| (text(finding), finding["fixed"] == true)).collect()
}

#[tokio::test]
async fn the_doctor_finds_what_does_not_fit() {
    for mut bed in beds().await {
        assert_eq!(findings(&bed, "doctor", 1), [("C003".to_owned(), false)]);
        let cell0 = bed.database("cell0");
        bed.migrate(&cell0).await;
        assert_eq!(bed.manage(&format!("cell_v2 map_cell0 --database_connection {cell0}")).code, 0);
        let one = bed.cell("one").await;
        assert_eq!(bed.direct("doctor").out, "nothing is wrong\n");
        let host = bed.host(&one, "h1", false).await;
        assert_eq!(findings(&bed, "doctor", 1), [("H001".to_owned(), false)]);
        assert_eq!(findings(&bed, "doctor --fix", 0), [("H001".to_owned(), true)]);
        assert_eq!(findings(&bed, "doctor", 0), []);

        let held = bed.instance(&one, Some(host)).await;
        assert_eq!(findings(&bed, "doctor", 1), [("I001".to_owned(), false)]);
        assert_eq!(bed.manage("cell_v2 map_instances --cell_uuid one").code, 0);
        assert_eq!(findings(&bed, "doctor", 0), []);
        bed.below(&one, "DELETE FROM instance WHERE id = $1", sql::args![held]).await;
        let wanted = [("A001".to_owned(), false), ("I002".to_owned(), false)];
        assert_eq!(findings(&bed, "doctor", 1), wanted);
        let wanted = [("A001".to_owned(), true), ("I002".to_owned(), false)];
        assert_eq!(findings(&bed, "doctor --fix", 1), wanted);
        // Something works on it: that is no finding.
        const TASK: &str =
            "INSERT INTO task (id, kind, subject, state, bucket, attempt, run_at, deadline, parked,
            request_id, created_at) VALUES ($1, 'build/9', $1, $2, 1, 0, 0, 0, $3, 'req-1', 5)";
        bed.above(TASK, sql::args![held, serde_json::json!({}), false]).await;
        assert_eq!(findings(&bed, "doctor", 0), []);
        let listed = bed.direct("task list");
        assert!(
            listed.code == 0 && listed.out.contains("build/9") && listed.out.contains("waits"),
            "{listed:?}"
        );
        assert_eq!(bed.direct("task list --parked").out.lines().count(), 1);
        bed.above("UPDATE task SET parked = $1", sql::args![true]).await;
        assert_eq!(findings(&bed, "doctor", 1), [("T001".to_owned(), false)]);
        assert!(bed.direct("task list --parked").out.contains("set aside"));
        bed.above("DELETE FROM task", vec![]).await;
        bed.above("UPDATE instance_mapping SET state = 'deleted'", vec![]).await;

        bed.below(&one, "UPDATE host SET used_slots = used_slots + 1", vec![]).await;
        // The project still counts the instance that is gone.
        let wanted = [("A002".to_owned(), false), ("Q001".to_owned(), true)];
        assert_eq!(findings(&bed, "doctor --fix", 1), wanted);
        assert_eq!(findings(&bed, "doctor --fix", 1), wanted[..1]);
        bed.below(&one, "DELETE FROM host", vec![]).await;
        assert_eq!(findings(&bed, "doctor", 1), [("H002".to_owned(), false)]);

        // What cannot be looked at is told, and the rest is looked at all the same.
        bed.map("dark", &format!("postgres://u:{CANARY}@127.0.0.1:1/x"));
        let wanted = [("C001".to_owned(), false), ("H002".to_owned(), false)];
        assert_eq!(findings(&bed, "doctor", 2), wanted);
        bed.api = format!("postgres://u:{CANARY}@127.0.0.1:1/x");
        bed.write_config("");
        assert_eq!(bed.direct("doctor").code, 2);
    }
}
