//! The user's commands against a stub: what they send, print, and end with.

mod stub;

use std::process::{Command, Output};

use serde_json::{Value, json};
use stub::Stub;

const ID: &str = "019a0000-0000-7000-8000-0123456789ab";
const OTHER: &str = "019a0000-0000-7000-8000-ba9876543210";

fn code(output: &Output) -> i32 {
    output.status.code().expect("was not killed")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn server(status: &str) -> Value {
    json!({"server": {"id": ID, "name": "web", "status": status, "OS-EXT-STS:task_state": null}})
}

#[test]
fn run_sends_a_nova_request_and_waits_for_active() {
    let stub = Stub::new(|line, before| match line {
        "GET /v2.1/flavors/detail" => {
            (200, "", json!({"flavors": [{"id": "1", "name": "tiny", "ram": 64, "vcpus": 1}]}))
        }
        "POST /v2.1/servers" => (202, "", json!({"server": {"id": ID}})),
        _ => (200, "", server(if before < 4 { "BUILD" } else { "ACTIVE" })),
    });
    let output = stub.skep("run --name web --flavor tiny -p 80 --wait skep/web:1 sleep 9");
    assert_eq!((code(&output), out(&output), err(&output)), (0, format!("{ID}\n"), String::new()));
    let asked = stub.asked();
    assert_eq!(asked[1].body["server"]["flavorRef"], "1");
    assert_eq!(asked[1].body["server"]["skep"]["command"], json!(["sleep", "9"]));
    assert_eq!(asked[1].body["server"]["networks"], "auto");
    let headers = asked[1].headers.join("\n").to_ascii_lowercase();
    for header in ["x-auth-token: t0k", "x-skep-api: 1", "openstack-api-version: compute 2.96"] {
        assert!(headers.contains(header), "{header} is missing in {headers}");
    }
    assert!(asked.len() >= 5, "it waited: {asked:?}");
}

#[test]
fn wait_ends_one_with_the_fault_and_four_on_timeout() {
    let stub = Stub::new(|line, _| match line {
        "GET /v2.1/flavors/detail" => (200, "", json!({"flavors": [{"id": "1", "name": "tiny"}]})),
        "POST /v2.1/servers" => (202, "", json!({"server": {"id": ID}})),
        _ => {
            let mut body = server("ERROR");
            body["server"]["fault"] = json!({"code": 500, "message": "no host has 9 GiB"});
            (200, "", body)
        }
    });
    let output = stub.skep("run --wait skep/web:1");
    assert_eq!(code(&output), 1);
    assert!(err(&output).contains("no host has 9 GiB"), "{}", err(&output));

    let stub = Stub::new(|line, _| match line.starts_with("POST") {
        true => (202, "", Value::Null),
        false => (200, "", server("ACTIVE")),
    });
    let output = stub.skep(&format!("stop {ID} --wait --timeout 1"));
    assert_eq!(code(&output), 4);
    assert!(err(&output).contains("last seen ACTIVE"), "{}", err(&output));
}

#[test]
fn rm_by_a_piece_of_an_id_waits_until_it_is_gone() {
    let stub = Stub::new(|line, before| match line {
        "GET /v2.1/servers?limit=1000" => {
            (200, "", json!({"servers": [{"id": ID, "name": "web"}, {"id": OTHER, "name": "x"}]}))
        }
        line if line.starts_with("DELETE") => (204, "", Value::Null),
        _ if before < 4 => (503, "", Value::Null),
        _ => (404, "", json!({"itemNotFound": {"code": 404, "message": "gone"}})),
    });
    let output = stub.skep("rm 456789ab --wait");
    assert_eq!((code(&output), err(&output)), (0, String::new()));
    assert_eq!(stub.asked()[1].line, format!("DELETE /v2.1/servers/{ID}"));
}

#[test]
fn an_ambiguous_piece_is_refused_and_the_rest_is_done() {
    let stub = Stub::new(|line, _| match line.starts_with("GET") {
        true => (200, "", json!({"servers": [{"id": ID, "name": "web"}, {"id": OTHER, "name": "db"}]})),
        false => (202, "", Value::Null),
    });
    let output = stub.skep("stop 019a db");
    assert_eq!((code(&output), out(&output)), (1, "db\n".to_owned()));
    assert!(err(&output).contains(ID) && err(&output).contains(OTHER), "{}", err(&output));
    assert_eq!(stub.asked()[1].line, format!("POST /v2.1/servers/{OTHER}/action"));
    assert_eq!(stub.asked().len(), 2);
}

#[test]
fn ps_pages_shows_and_ends_three_when_a_cell_is_dark() {
    let stub = Stub::new(|line, _| match line.contains("marker=") {
        false => (
            200,
            "",
            json!({
                "servers": [{"id": ID, "name": "web\u{1b}[2J", "status": "ACTIVE", "image": {"id": "x"}, "created": "2026-01-01T00:00:00Z",
                    "skep": {"ports": [{"container": 80, "protocol": "tcp", "address": "10.0.0.1", "host": 32768}]}}],
                "servers_links": [{"rel": "next", "href": "http://elsewhere/"}],
            }),
        ),
        true => (200, "X-Skep-Dark-Cells: cell2", json!({"servers": [{"id": OTHER, "status": "UNKNOWN"}]})),
    });
    let output = stub.skep("ps -a --status error --name ^w");
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("cell2"), "{}", err(&output));
    let lines: Vec<_> = out(&output).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("ID             NAME"), "{lines:?}");
    assert!(lines[1].starts_with("0123456789ab   web[2J   x"), "{lines:?}");
    assert!(lines[1].contains("10.0.0.1:32768->80/tcp"), "{lines:?}");
    assert!(lines[2].starts_with("ba9876543210") && lines[2].contains("UNKNOWN"), "{lines:?}");
    assert_eq!(
        stub.asked()[0].line,
        "GET /v2.1/servers/detail?limit=1000&all_tenants=1&name=%5Ew&status=ERROR"
    );
    assert!(stub.asked()[1].line.ends_with(&format!("&marker={ID}")));
    assert_eq!(out(&stub.skep("ps -o name --limit 1")), "web[2J\n");
}

#[test]
fn logs_are_printed_as_they_are() {
    let stub = Stub::new(|_, _| (200, "", json!({"output": "a\nb"})));
    let output = stub.skep(&format!("logs -n 2 {ID}"));
    assert_eq!((code(&output), out(&output)), (0, "a\nb\n".to_owned()));
    assert_eq!(stub.asked()[0].body, json!({"os-getConsoleOutput": {"length": 2}}));
}

#[test]
fn refusals_and_mistakes() {
    let stub =
        Stub::new(|_, _| (409, "", json!({"conflictingRequest": {"code": 409, "message": "Cannot 'stop'"}})));
    let output = stub.skep(&format!("stop {ID}"));
    assert_eq!((code(&output), err(&output)), (1, "skep: Cannot 'stop'\n".to_owned()));
    assert_eq!(code(&stub.skep("stop")), 2);
    assert_eq!(code(&stub.skep("run -p 80:80 web")), 2);
    let bare = Command::new(env!("CARGO_BIN_EXE_skep")).arg("ps").env_clear().output().expect("runs");
    assert_eq!(code(&bare), 2);
    assert!(err(&bare).contains("SKEP_ENDPOINT"), "{}", err(&bare));
    let mut nobody = Command::new(env!("CARGO_BIN_EXE_skep"));
    let nobody = nobody
        .args(["ps", "--endpoint", "http://127.0.0.1:1"])
        .env("SKEP_TOKEN", "t")
        .output()
        .expect("runs");
    assert_eq!(code(&nobody), 1);
    assert!(err(&nobody).contains("cannot reach http://127.0.0.1:1"), "{}", err(&nobody));
}

#[test]
fn status_ends_three_when_a_cell_is_down() {
    let stub = Stub::new(|_, _| {
        (
            200,
            "",
            json!({"cells": [{"name": "cell1", "region": "r", "state": "active", "up": false, "hosts": [], "instances": 0}]}),
        )
    });
    let output = stub.skep("status");
    assert_eq!(code(&output), 3);
    assert!(out(&output).contains("DOWN"));
    let shown: Value = serde_json::from_str(&out(&stub.skep("status -o json"))).expect("JSON");
    assert_eq!(shown["cells"][0]["name"], "cell1");
}
