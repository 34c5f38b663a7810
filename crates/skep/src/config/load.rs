//! Reading the file and the variables, and saying exactly where a mistake is, without quoting a secret.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::secret::expand;
use super::{Config, Token, Tokens, Variables, environment};
use crate::exit::Failure;

/// Where the configuration came from, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// The overriding variables.
    pub variables: Variables,
}

impl Source {
    /// `file` and this process's environment.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, variables: environment::overrides() }
    }
}

/// Reads the configuration.
pub fn load(source: &Source) -> Result<Config, Failure> {
    let mut table = match &source.file {
        Some(path) => read::<Config>(path)?,
        None => Table::new(),
    };
    for (name, value) in &source.variables {
        let wrong = |why: &str| Failure::usage(format!("environment variable {name}: {why}"));
        let layer = layer(name, value).map_err(|why| wrong(&why))?;
        Config::deserialize(layer.clone()).map_err(|why| wrong(why.message()))?;
        merge(&mut table, layer);
    }
    fill(&mut table, "").map_err(Failure::usage)?;
    Config::deserialize(table).map_err(|why| Failure::usage(format!("configuration: {}", why.message())))
}

/// Reads a file of tokens.
pub fn tokens(path: &Path) -> Result<Vec<Token>, Failure> {
    let mut table = read::<Tokens>(path)?;
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    fill(&mut table, "").map_err(wrong)?;
    Ok(Tokens::deserialize(table).map_err(|why| wrong(why.message().to_owned()))?.tokens)
}

/// The file as a table, after it was checked by itself: only then are lines known.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Table, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}{why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|why| wrong(format!(": cannot read it: {why}")))?;
    // The error's own text would quote the line, which may hold a secret.
    let place = |why: toml::de::Error| {
        let at = why.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        wrong(format!(":{line}:{column}: {}", why.message()))
    };
    toml::from_str::<T>(&text).map_err(place)?;
    toml::from_str(&text).map_err(place)
}

/// `SKEP__A__B=x` as a table.
fn layer(name: &str, value: &str) -> Result<Table, String> {
    let path = name.strip_prefix("SKEP__").unwrap_or(name).to_ascii_lowercase();
    let keys: Vec<&str> = path.split("__").collect();
    if keys.len() < 2 || keys.iter().any(|key| key.is_empty()) {
        return Err("is not of the form SKEP__SECTION__KEY".to_owned());
    }
    // Lists are written as in the file; everything else is text, which numbers understand too.
    let leaf = match value.trim_start().starts_with('[') {
        true => {
            let list: Table =
                toml::from_str(&format!("list = {value}")).map_err(|_| "is no TOML list".to_owned())?;
            list.into_iter().next().map(|(_, list)| list).unwrap_or(Value::Array(Vec::new()))
        }
        false => Value::String(value.to_owned()),
    };
    let nest = |inner: Value, key: &&str| Value::Table(Table::from_iter([((*key).to_owned(), inner)]));
    match keys.iter().rev().fold(leaf, nest) {
        Value::Table(table) => Ok(table),
        _ => Err("is not of the form SKEP__SECTION__KEY".to_owned()),
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Expands `{file:…}` and `{env:…}` everywhere below `table`.
fn fill(table: &mut Table, path: &str) -> Result<(), String> {
    for (key, value) in table.iter_mut() {
        fill_value(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") })?;
    }
    Ok(())
}

fn fill_value(value: &mut Value, path: &str) -> Result<(), String> {
    match value {
        Value::Table(table) => fill(table, path),
        Value::Array(items) => items.iter_mut().try_for_each(|item| fill_value(item, path)),
        Value::String(text) => {
            *text = expand(text, &outside).map_err(|why| format!("{path}: {why}"))?;
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The contents of a file or of a variable.
pub fn outside(kind: &str, name: &str) -> Result<String, String> {
    match kind {
        "file" => std::fs::read_to_string(name).map_err(|why| format!("cannot read {name}: {why}")),
        _ => environment::var(name).ok_or_else(|| format!("environment variable {name} is not set")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct File(PathBuf);

    impl File {
        fn new(text: &str) -> Self {
            let name = format!("skep-config-{}.toml", model::Env::system().uuid());
            let path = std::env::temp_dir().join(name);
            std::fs::write(&path, text).expect("writes");
            Self(path)
        }

        fn load(&self, variables: &[(&str, &str)]) -> Result<Config, Failure> {
            let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            load(&Source { file: Some(self.0.clone()), variables })
        }
    }

    impl Drop for File {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn variables_go_before_the_file() {
        let file = File::new("[log]\nlevel = 'debug'\n[cell.database]\nurl = 'sqlite:a'\nconnections = 3\n");
        let config = file
            .load(&[("SKEP__CELL__DATABASE__CONNECTIONS", "5"), ("SKEP__AGENT__CAPACITY__VCPUS", "4")])
            .expect("legal");
        assert_eq!((config.cell.database.connections, config.agent.capacity.vcpus), (5, 4));
        assert_eq!((config.log.level.as_str(), config.api_database.connections), ("debug", 8));
        let skip = "SKEP__API__LIST_RECORDS_BY_SKIPPING_DOWN_CELLS";
        assert!(!file.load(&[(skip, "false")]).expect("legal").api.list_records_by_skipping_down_cells);
        let images = file.load(&[("SKEP__API__IMAGES", "['a', 'b']")]).expect("legal").api.images;
        assert_eq!(images, ["a", "b"]);
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        let why = |text: &str, variables: &[(&str, &str)]| {
            let file = File::new(text);
            let why = file.load(variables).expect_err("must be refused");
            assert_eq!(why.code, crate::exit::Code::Usage);
            why.message.replace(&file.0.display().to_string(), "FILE")
        };
        let unknown = why("[api_database]\nconnections = 2\nulr = 'postgres://u:hunter2@h/d'\n", &[]);
        assert!(unknown.starts_with("FILE:3:1: unknown field `ulr`"), "{unknown}");
        assert!(!unknown.contains("hunter2"), "{unknown}");
        assert!(why("[agent]\nengine = 'rkt'\n", &[]).starts_with("FILE:2:10: "));
        assert!(why("[agent\n", &[]).starts_with("FILE:1:"));
        assert!(why("", &[("SKEP__API__LISTN", "x")]).contains("variable SKEP__API__LISTN: unknown field"));
        assert!(why("", &[("SKEP__AGENT__HEARTBEAT_MS", "soon")]).contains("HEARTBEAT_MS: expected a whole"));
        assert!(why("[agent]\nheartbeat_ms = -1\n", &[]).contains("out of range"));
        assert!(why("[cell.transport]\nurl = '{env:SKEP_NOT_SET}'\n", &[]).contains("cell.transport.url"));
    }

    #[test]
    fn secrets_come_from_files_and_are_not_dumped() {
        let secret = File::new("hunter2\n");
        let text = format!("[cell.database]\nurl = 'postgres://u:{{file:{}}}@h/d'\n", secret.0.display());
        let config = File::new(&text).load(&[]).expect("legal");
        let url = config.cell.database.url.as_ref().expect("is set");
        assert_eq!(url.reveal(), "postgres://u:hunter2@h/d");
        let dump = toml::to_string_pretty(&config).expect("is shown");
        assert!(dump.contains("url = \"****\"") && !dump.contains("hunter2"), "{dump}");
        assert!(toml::from_str::<Config>(&dump).is_ok(), "a dump is a configuration again");
    }

    #[test]
    fn the_examples_are_legal() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/config");
        let mut seen = 0;
        for entry in std::fs::read_dir(dir).expect("is there").flatten() {
            let path = entry.path();
            if path.ends_with("policy.yaml") {
                let text = std::fs::read_to_string(&path).expect("is read");
                assert!(
                    api::Policy::parse(&text).is_ok_and(|policy| policy.rules().iter().any(|r| r.overridden))
                );
                continue;
            }
            let read = match path.ends_with("tokens.toml") {
                true => read::<Tokens>(&path),
                false => read::<Config>(&path),
            };
            assert!(read.is_ok(), "{}", read.expect_err("failed").message);
            seen += 1;
        }
        assert!(seen >= 6, "examples are missing");
    }

    #[test]
    fn every_key_is_described() {
        let text = include_str!("../../../../docs/operations.md");
        let all = Table::try_from(Config::default()).expect("is shown");
        let optional = [
            "public_url",
            "tokens_file",
            "policy_file",
            "tls_cert",
            "tls_key",
            "otlp_endpoint",
            "host_name",
            "engine_url",
            "engine_name",
            "parallel_starts",
            "url",
        ];
        let keys =
            all.values().filter_map(Value::as_table).flat_map(|section| section.keys().map(String::as_str));
        for key in keys.chain(optional).filter(|key| !["database", "transport"].contains(key)) {
            assert!(text.contains(&format!("`{key}`")), "docs/operations.md does not describe {key}");
        }
    }
}
