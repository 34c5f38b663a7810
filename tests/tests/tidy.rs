//! The house rules that a compiler does not check: who may use whom, and how long and how documented files are.
//!
//! The tables here are those of `docs/architecture.md`; a rule changes in both places, with a decision record.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Which crates of ours a crate may use, in any kind of dependency. `ALL` stands for all.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("scheduler", &["model"]),
    ("sql", &["model"]),
    ("rpc", &["model"]),
    ("tasks", &["sql", "model"]),
    ("api-db", &["sql", "tasks", "model"]),
    ("cell-db", &["sql", "tasks", "model"]),
    ("router", &["api-db", "cell-db", "rpc", "sql", "model"]),
    ("conductor", &["cell-db", "sql", "tasks", "scheduler", "rpc", "model"]),
    ("superconductor", &["router", "api-db", "cell-db", "sql", "tasks", "scheduler", "rpc", "model"]),
    ("agent", &["rpc", "model"]),
    ("verbs", &["router", "api-db", "cell-db", "sql", "tasks", "rpc", "model"]),
    ("identity", &["api-db", "sql", "model"]),
    ("api", &["verbs", "identity", "model"]),
    ("skep", ALL),
    ("tests", ALL),
];
/// Every crate of ours.
const ALL: &[&str] = &["*"];

/// Crates of others that may be used in their home only.
const HOMES: &[(&str, &[&str])] = &[
    // In `tests` it puts messages on queues that no role of ours would.
    ("lapin", &["rpc", "tests"]),
    // In `tests` it is the bare server that a benchmark compares the API with.
    ("axum", &["api", "tests"]),
    // In `tests` it reads the books of a whole cloud, and measures bare commits.
    ("sqlx", &["sql", "api-db", "cell-db", "tasks", "tests"]),
    ("bollard", &["agent"]),
    ("redb", &["agent"]),
    // In `rpc` it speaks with the management API of a broker.
    ("hyper", &["skep", "agent", "api", "identity", "rpc", "tests"]),
    ("hyper-util", &["skep", "agent", "api", "identity", "rpc", "tests"]),
];

/// Production lines from which a file is worth a second look, and above which it is refused.
const LONG: usize = 400;
const TOO_LONG: usize = 600;

#[test]
fn crates_use_only_what_lies_below_them() {
    none(foreign_arrows(&packages()));
}

#[test]
fn crates_of_others_stay_in_their_homes() {
    none(strays(&packages()));
}

#[test]
fn files_are_short() {
    let lengths = files().map(|(name, text)| (production_lines(&text), name));
    let long: Vec<_> = lengths.filter(|(lines, _)| *lines > LONG).collect();
    for (lines, name) in &long {
        eprintln!("warning: {name} has {lines} lines; {LONG} are a reason to think of a cut");
    }
    none(long.into_iter().filter(|(lines, _)| *lines > TOO_LONG).map(|(lines, name)| {
        format!("{name} has {lines} lines without its tests, {TOO_LONG} are allowed: cut it by subject")
    }));
}

#[test]
fn every_module_says_what_it_is() {
    let silent = files().filter(|(_, text)| !is_introduced(text));
    none(silent.map(|(name, _)| format!("{name} does not start with `//!` and a sentence on what it is")));
}

/// Arrows between our crates that the table does not have, and crates that it does not know.
fn foreign_arrows(packages: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (user, dependencies) in each(packages) {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == user) else {
            found.push(format!("crate {user} is not in the table of arrows"));
            continue;
        };
        let ours = dependencies.iter().filter(|used| used["path"].is_string());
        for used in ours.filter_map(|used| used["name"].as_str()) {
            // A crate may name itself, to turn on a feature for its own tests.
            if *allowed != ALL && used != user && !allowed.contains(&used) {
                found.push(format!("{user} uses {used}; it may use: {}", allowed.join(", ")));
            }
        }
    }
    found
}

/// Uses of others' crates outside their homes.
fn strays(packages: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (user, dependencies) in each(packages) {
        for used in dependencies.iter().filter_map(|used| used["name"].as_str()) {
            if let Some((_, homes)) = HOMES.iter().find(|(name, _)| *name == used)
                && !homes.contains(&user)
            {
                found.push(format!("{user} uses {used}, whose home is {}", homes.join(", ")));
            }
        }
    }
    found
}

/// Lines before the test module, which stands at the end of a file.
fn production_lines(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let starts_tests =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    lines.windows(2).position(starts_tests).unwrap_or(lines.len())
}

/// Does the file start with a module comment of more than a word?
fn is_introduced(text: &str) -> bool {
    text.lines().next().and_then(|line| line.strip_prefix("//! ")).is_some_and(|said| said.contains(' '))
}

/// Name and dependencies of each package.
fn each(packages: &Value) -> impl Iterator<Item = (&str, &[Value])> {
    packages.as_array().into_iter().flatten().filter_map(|package| {
        Some((package["name"].as_str()?, package["dependencies"].as_array()?.as_slice()))
    })
}

/// The workspace's packages, as Cargo sees them.
fn packages() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(tests::root().join("Cargo.toml"))
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].take();
    assert_eq!(packages.as_array().map(Vec::len), Some(ARROWS.len()), "a crate of the table is missing");
    packages
}

/// Name and text of every Rust source file of the workspace.
fn files() -> impl Iterator<Item = (String, String)> {
    let root = tests::root();
    let paths = ["crates", "tests"].map(|folder| tests::sources(&root.join(folder))).concat();
    assert!(paths.len() > 10, "no sources under {}", root.display());
    paths.into_iter().map(move |path| {
        let text = std::fs::read_to_string(&path).expect("a source file can be read");
        (path.strip_prefix(&root).unwrap_or(Path::new("?")).display().to_string(), text)
    })
}

fn none(found: impl IntoIterator<Item = String>) {
    let found: Vec<String> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Each rule finds what it forbids, and only that.
#[cfg(test)]
mod rules {
    use serde_json::json;

    use super::*;

    fn package(name: &str, ours: &[&str], others: &[&str]) -> Value {
        let ours = ours.iter().map(|name| json!({"name": name, "path": "/x"}));
        let others = others.iter().map(|name| json!({"name": name}));
        json!([{"name": name, "dependencies": ours.chain(others).collect::<Vec<_>>()}])
    }

    #[test]
    fn an_upcall_is_found() {
        let found = foreign_arrows(&package("conductor", &["model", "cell-db", "api-db"], &["router"]));
        assert_eq!(found, ["conductor uses api-db; it may use: cell-db, sql, tasks, scheduler, rpc, model"]);
        assert!(foreign_arrows(&package("tests", &["conductor", "api-db"], &[])).is_empty());
    }

    #[test]
    fn a_new_crate_needs_its_row() {
        assert_eq!(foreign_arrows(&package("misc", &[], &[])), ["crate misc is not in the table of arrows"]);
    }

    #[test]
    fn a_stray_is_found() {
        assert_eq!(
            strays(&package("verbs", &[], &["axum", "serde"])),
            ["verbs uses axum, whose home is api, tests"]
        );
        assert!(strays(&package("api", &[], &["axum", "hyper"])).is_empty());
    }

    #[test]
    fn the_table_has_no_circle_and_no_unknown_name() {
        for (index, (user, allowed)) in ARROWS.iter().enumerate().filter(|(_, (_, allowed))| *allowed != ALL)
        {
            for used in *allowed {
                let below = ARROWS.iter().position(|(name, _)| name == used);
                assert!(below.is_some_and(|below| below < index), "{user} stands before {used}");
            }
        }
    }

    #[test]
    fn tests_do_not_count_as_production_lines() {
        let text = "//! A.\n#[cfg(test)]\nuse a;\nfn b() {}\n#[cfg(test)]\nmod tests {\n}\n";
        assert_eq!(production_lines(text), 4);
        assert_eq!(production_lines(&"x\n".repeat(TOO_LONG + 1)), TOO_LONG + 1);
    }

    #[test]
    fn a_module_without_a_sentence_is_found() {
        assert!(is_introduced("//! The nouns of skep.\n"));
        for silent in ["", "use a;\n", "//! .\n", "\n//! The nouns.\n", "// The nouns.\n"] {
            assert!(!is_introduced(silent), "{silent:?}");
        }
    }
}
