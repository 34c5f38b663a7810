//! `skep status`: cells and hosts, for administrators.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::Value;

use super::http::Http;
use super::settings::Settings;
use super::{Output, table};
use crate::exit::{Code, Failure, print};

/// Options of `skep status`.
#[derive(Args, Debug)]
pub struct Status {
    /// How to show it
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: Settings,
}

impl Status {
    /// Shows every cell and its hosts. Ends partial if a cell is down.
    pub async fn run(self) -> Result<Code, Failure> {
        let http = Http::new(&self.settings)?;
        let status = http.get("/admin/v1/status").await?;
        let cells = status["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        print(&match self.output {
            Output::Json => format!("{status:#}\n"),
            Output::Table => tables(cells),
        })?;
        match cells.iter().all(|cell| cell["up"] == Value::Bool(true)) {
            true => Ok(http.verdict()),
            false => Ok(Code::Partial),
        }
    }
}

/// The names of cells by their ids; servers tell ids. Refused where the caller is no administrator, and
/// then ids are shown.
pub async fn names(http: &Http) -> Result<BTreeMap<String, String>, Failure> {
    let status = http.get("/admin/v1/status").await?;
    let cells = status["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value, key: &str| table::clean(value[key].as_str().unwrap_or_default());
    Ok(cells.iter().map(|cell| (text(cell, "id"), text(cell, "name"))).collect())
}

/// For how long the oldest change has waited to be seen in lists, and how many wait.
fn lag(cell: &Value) -> String {
    match (cell["index_behind"].as_i64(), cell["index_lag_seconds"].as_f64()) {
        (Some(0), _) => "0".to_owned(),
        (Some(behind), Some(lag)) => format!("{lag:.1} s ({behind})"),
        _ => "?".to_owned(),
    }
}

fn tables(cells: &[Value]) -> String {
    let text = |value: &Value, key: &str| table::clean(value[key].as_str().unwrap_or_default());
    let number = |value: &Value, key: &str| value[key].as_i64().map(|n| n.to_string()).unwrap_or_default();
    let (mut lines, mut hosts) = (Vec::new(), Vec::new());
    for cell in cells {
        let up = cell["up"] == Value::Bool(true);
        let of_cell = cell["hosts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let good = of_cell.iter().filter(|host| host["healthy"] == true && host["enabled"] == true).count();
        lines.push(vec![
            text(cell, "name"),
            text(cell, "region"),
            text(cell, "state"),
            if up { "up" } else { "DOWN" }.to_owned(),
            if up { format!("{good}/{}", of_cell.len()) } else { "?".to_owned() },
            if up { number(cell, "instances") } else { "?".to_owned() },
            if up { lag(cell) } else { "?".to_owned() },
        ]);
        for host in of_cell {
            let amount = |kind: &str, key: &str| host[kind][key].as_f64().unwrap_or_default();
            let of = |key: &str, unit: f64| {
                format!("{}/{}", amount("used", key) / unit, amount("capacity", key) / unit)
            };
            let health = match (host["healthy"] == true, host["enabled"] == true) {
                (false, _) => "DOWN",
                (true, false) => "disabled",
                (true, true) => "up",
            };
            hosts.push(vec![
                text(cell, "name"),
                text(host, "name"),
                text(host, "zone"),
                health.to_owned(),
                of("vcpus_milli", 1_000.0),
                of("memory_mib", 1.0),
                of("slots", 1.0),
            ]);
        }
    }
    let mut shown =
        table::render(&["CELL", "REGION", "STATE", "HEALTH", "HOSTS", "INSTANCES", "INDEX LAG"], &lines);
    if !hosts.is_empty() {
        shown.push('\n');
        let head = ["CELL", "HOST", "ZONE", "HEALTH", "VCPUS", "MEMORY MIB", "SLOTS"];
        shown.push_str(&table::render(&head, &hosts));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cell_that_is_down_shows_no_numbers() {
        let host = json!({"name": "h1", "zone": "z", "healthy": true, "enabled": true,
            "capacity": {"vcpus_milli": 4000, "memory_mib": 100, "slots": 9},
            "used": {"vcpus_milli": 500, "memory_mib": 1, "slots": 1}});
        let shown = tables(&[
            json!({"name": "c1", "region": "r", "state": "active", "up": true, "hosts": [host], "instances": 7,
                "index_behind": 2, "index_lag_seconds": 1.52}),
            json!({"name": "c2", "region": "r", "state": "active", "up": false, "hosts": [], "instances": 0}),
        ]);
        assert!(shown.contains("c1     r        active   up       1/1     7           1.5 s (2)"), "{shown}");
        assert!(shown.contains("c2     r        active   DOWN     ?       ?           ?"), "{shown}");
        assert!(shown.contains("0.5/4"), "{shown}");
    }
}
