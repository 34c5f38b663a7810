//! The secrets in cell mappings: their URLs may be templates, which every process of the API level fills
//! in by itself when it opens the cell.

use model::{Cell, Fault};

/// A cell's URLs as they are connected to.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Urls {
    pub(crate) database: String,
    pub(crate) transport: String,
}

/// Fills in a cell's URLs.
pub(crate) fn urls(cell: &Cell) -> Result<Urls, Fault> {
    Ok(Urls { database: resolve(&cell.database_url)?, transport: resolve(&cell.transport_url)? })
}

/// Puts the contents of files and variables in the place of `{file:PATH}` and `{env:NAME}`, without the
/// white space around them. Anything else is left as it is.
///
/// # Errors
/// A file that cannot be read, a variable that is not set, or braces that are not closed. The message holds
/// no secret. Nothing that failed is ever used as it stands.
pub fn resolve(template: &str) -> Result<String, Fault> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = ["{file:", "{env:"].iter().filter_map(|mark| rest.find(mark)).min() {
        let (before, marked) = rest.split_at(at);
        let Some((inside, after)) = marked[1..].split_once('}') else {
            return Err(Fault::invalid("'{file:' or '{env:' without a closing '}'"));
        };
        let (kind, name) = inside.split_once(':').unwrap_or((inside, ""));
        out.push_str(before);
        out.push_str(read(kind, name)?.trim());
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn read(kind: &str, name: &str) -> Result<String, Fault> {
    if kind == "file" {
        return std::fs::read_to_string(name)
            .map_err(|why| Fault::invalid(format!("cannot read the secret file {name}: {why}")));
    }
    #[expect(clippy::disallowed_methods, reason = "templates name variables of this process")]
    let value = std::env::var(name);
    value.map_err(|_| Fault::invalid(format!("the environment variable {name} is not set here")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_or_refused() {
        let path = std::env::temp_dir().join(format!("skep-secret-{}", model::Env::system().uuid()));
        std::fs::write(&path, "hunter2\n").expect("is written");
        let template = format!("postgres://u:{{file:{}}}@{{x}}/d", path.display());
        assert_eq!(resolve(&template).as_deref(), Ok("postgres://u:hunter2@{x}/d"));
        std::fs::remove_file(&path).expect("is removed");
        for bad in [template.as_str(), "{env:SKEP_NOT_SET_ANYWHERE}", "{file:/x"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
        assert_eq!(resolve("plain").as_deref(), Ok("plain"));
    }
}
