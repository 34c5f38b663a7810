//! `skep-manage status upgrade check`, which Nova has as `nova-status upgrade check`.

use clap::Subcommand;
use verbs::admin::{CellView, within_one_release};

use super::{CANNOT, Ground};
use crate::exit::{Failure, complain, print};

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Status {
    /// Upgrades
    #[command(subcommand)]
    Upgrade(Upgrade),
}

#[derive(Debug, Subcommand)]
#[command(rename_all = "snake_case")]
pub enum Upgrade {
    /// See whether an upgrade to this release may begin
    Check,
}

/// What came of one check; the codes are Nova's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Success = 0,
    Warning = 1,
    Failure = 2,
}

struct Check {
    name: &'static str,
    outcome: Outcome,
    details: String,
}

impl Status {
    pub async fn run(self, ground: &Ground) -> Result<u8, Failure> {
        let Self::Upgrade(Upgrade::Check) = self;
        let (admin, by) = (&ground.admin, &ground.by);
        // At the same time, so that a cell that does not answer is waited for once.
        let asked = futures::try_join!(admin.cells_view(by, true, false), admin.hosts_view(by, None));
        let (cells, hosts) = match asked {
            Ok(told) => told,
            Err(denied) => {
                complain(&denied.message);
                return Ok(CANNOT);
            }
        };
        let versions: Vec<(String, String)> =
            hosts.hosts.iter().filter_map(|host| Some((host.name.clone(), host.version.clone()?))).collect();
        let checks = [mapped(&cells), answer(&cells), computes(&versions)];
        let worst = checks.iter().map(|check| check.outcome).max().unwrap_or(Outcome::Success);
        print(&show(&checks))?;
        Ok(worst as u8)
    }
}

fn check(name: &'static str, bad: Outcome, details: Option<String>) -> Check {
    match details {
        Some(details) => Check { name, outcome: bad, details },
        None => Check { name, outcome: Outcome::Success, details: "None".to_owned() },
    }
}

fn mapped(cells: &[CellView]) -> Check {
    let cell0 = cells.iter().any(|cell| cell.name == "cell0");
    let found = match (cell0, cells.len()) {
        (false, _) => Some("cell0 is not mapped. Run 'skep-manage cell_v2 map_cell0'.".to_owned()),
        (true, 1) => Some(
            "No cell is mapped beside cell0. Run 'skep cell create' or 'skep-manage cell_v2'.".to_owned(),
        ),
        _ => {
            let unmapped =
                cells.iter().find(|cell| cell.hosts.is_some_and(|hosts| hosts > cell.mapped_hosts));
            unmapped.map(|cell| {
                format!(
                    "Cell {} has hosts that are not mapped. Run 'skep-manage cell_v2 discover_hosts'.",
                    cell.name
                )
            })
        }
    };
    check("Cells v2", Outcome::Failure, found)
}

fn answer(cells: &[CellView]) -> Check {
    let dark: Vec<String> = cells
        .iter()
        .filter(|cell| cell.up == Some(false))
        .map(|cell| format!("{}: {}", cell.name, cell.why.as_deref().unwrap_or_default()))
        .collect();
    check("Cell databases", Outcome::Warning, (!dark.is_empty()).then(|| dark.join("; ")))
}

fn computes(versions: &[(String, String)]) -> Check {
    let ours = env!("CARGO_PKG_VERSION");
    let old: Vec<String> = versions
        .iter()
        .filter(|(_, version)| !within_one_release(version, ours))
        .map(|(name, version)| format!("{name} has {version}"))
        .collect();
    let found = (!old.is_empty()).then(|| format!("{}; this release is {ours}", old.join(", ")));
    check("Older than N-1 computes", Outcome::Failure, found)
}

/// As oslo.upgradecheck prints it: one column, left.
fn show(checks: &[Check]) -> String {
    let word = |outcome| match outcome {
        Outcome::Success => "Success",
        Outcome::Warning => "Warning",
        Outcome::Failure => "Failure",
    };
    let lines = |check: &Check| {
        [
            format!("Check: {}", check.name),
            format!("Result: {}", word(check.outcome)),
            format!("Details: {}", check.details),
        ]
    };
    let head = "Upgrade Check Results".to_owned();
    let all: Vec<[String; 3]> = checks.iter().map(lines).collect();
    let longest = all.iter().flatten().chain([&head]).map(|line| line.chars().count()).max();
    let width = longest.unwrap_or_default();
    let rule = format!("+{}+\n", "-".repeat(width + 2));
    let row = |line: &String| format!("| {line}{} |\n", " ".repeat(width - line.chars().count()));
    let mut out = rule.clone() + &row(&head) + &rule;
    for lines in &all {
        out += &lines.iter().map(row).collect::<String>();
        out += &rule;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_as_nova_prints_it() {
        let checks =
            [check("Cells v2", Outcome::Failure, None), check("X", Outcome::Warning, Some("y".into()))];
        let wanted = "\
+-----------------------+
| Upgrade Check Results |
+-----------------------+
| Check: Cells v2       |
| Result: Success       |
| Details: None         |
+-----------------------+
| Check: X              |
| Result: Warning       |
| Details: y            |
+-----------------------+
";
        assert_eq!(show(&checks), wanted);
    }
}
