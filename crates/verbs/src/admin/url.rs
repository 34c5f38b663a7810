//! URLs of databases and brokers: what may be shown of them, and what can be made of them.

/// A URL with what may be secret in it replaced by `****`: everything between the user's name and the
/// host, and query parameters that speak of a password. Templates are hidden there too.
pub fn mask(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    // The last '@': a password that was not escaped may hold one.
    let shown = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:****@{host}"),
            None => format!("{user}@{host}"),
        },
        None => rest.to_owned(),
    };
    let Some((path, query)) = shown.split_once('?') else { return format!("{scheme}://{shown}") };
    let parameter = |text: &str| match text.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("pass") => format!("{key}=****"),
        _ => text.to_owned(),
    };
    let query: Vec<String> = query.split('&').map(parameter).collect();
    format!("{scheme}://{path}?{}", query.join("&"))
}

/// The path of a SQLite database, if it is one in a file.
pub fn sqlite_path(url: &str) -> Option<&str> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    (path != ":memory:" && !path.is_empty()).then_some(path)
}

/// The URL of cell0's database beside another one: its name with `_cell0` behind it, as Nova makes it.
pub fn beside(url: &str) -> Option<String> {
    let (path, query) = match url.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (url, String::new()),
    };
    if path.starts_with("sqlite:") {
        let stem = path.strip_suffix(".db").unwrap_or(path);
        return Some(format!("{stem}_cell0{}{query}", &path[stem.len()..]));
    }
    let (_, name) = path.split_once("://")?.1.rsplit_once('/')?;
    (!name.is_empty()).then(|| format!("{path}_cell0{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden() {
        for (url, shown) in [
            ("postgres://u:hunter2@h:5/d", "postgres://u:****@h:5/d"),
            ("postgres://u:hun/te@r2@h/d?sslmode=off", "postgres://u:****@h/d?sslmode=off"),
            ("postgres://u@h/d?password=hunter2&a=b", "postgres://u@h/d?password=****&a=b"),
            ("postgres://u:{file:/run/pw}@h/d", "postgres://u:****@h/d"),
            ("amqp://h/v", "amqp://h/v"),
            ("sqlite:/x/y.db", "sqlite:/x/y.db"),
            ("none:///", "none:///"),
            ("{env:CELL1_DB}", "{env:CELL1_DB}"),
        ] {
            assert_eq!(mask(url), shown);
        }
    }

    #[test]
    fn cell0_lies_beside() {
        for (url, wanted) in [
            ("postgres://u:p@h/skep?a=b", Some("postgres://u:p@h/skep_cell0?a=b")),
            ("sqlite:/x/cell1.db", Some("sqlite:/x/cell1_cell0.db")),
            ("sqlite:/x/cell1", Some("sqlite:/x/cell1_cell0")),
            ("postgres://h/", None),
            ("nonsense", None),
        ] {
            assert_eq!(beside(url).as_deref(), wanted);
        }
    }

    #[test]
    fn paths_of_sqlite() {
        assert_eq!(sqlite_path("sqlite:///x/y.db?mode=ro"), Some("/x/y.db"));
        assert_eq!(sqlite_path("sqlite:y.db"), Some("y.db"));
        assert_eq!(sqlite_path("sqlite::memory:"), None);
        assert_eq!(sqlite_path("postgres://h/d"), None);
    }
}
