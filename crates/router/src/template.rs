//! Templates: a cell's URLs may name files, variables, and parts of a URL of the process's own configuration.

use model::Fault;

/// Puts in their places the contents of files and variables, `{file:PATH}` and `{env:NAME}`, without the
/// white space around them, and parts of the base URL: Nova's words `{scheme}`, `{username}`, `{password}`,
/// `{hostname}`, `{port}`, `{path}`, `{query}` and `{fragment}`, as its `CellMapping` fills them in. Where the
/// base names several hosts, `{username1}`, `{hostname2}` and so on are parts of the first, the second. Braces
/// around anything but lower-case letters and digits are left as they are; what is put in is not read again.
///
/// # Errors
/// A file that cannot be read, a variable that is not set, braces that are not closed, a word that is not
/// known, or one that the base URL does not have. The message holds no secret. Nothing that failed is ever
/// used as it stands.
pub(crate) fn fill(template: &str, base: Option<&str>) -> Result<String, Fault> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, marked)) = rest.split_once('{') {
        out.push_str(before);
        let closed = marked.split_once('}');
        let read = ["file:", "env:"].iter().find(|kind| marked.starts_with(**kind));
        rest = match (read, closed) {
            (Some(_), None) => return Err(Fault::invalid("'{file:' or '{env:' without a closing '}'")),
            (Some(kind), Some((inside, after))) => {
                out.push_str(outside(kind, &inside[kind.len()..])?.trim());
                after
            }
            (None, Some((inside, after))) if is_word(inside) => {
                out.push_str(&word(inside, base)?);
                after
            }
            _ => {
                out.push('{');
                marked
            }
        };
    }
    out.push_str(rest);
    Ok(out)
}

/// The contents of a file or variable.
fn outside(kind: &str, name: &str) -> Result<String, Fault> {
    if kind == "file:" {
        return std::fs::read_to_string(name)
            .map_err(|why| Fault::invalid(format!("cannot read the secret file {name}: {why}")));
    }
    #[expect(clippy::disallowed_methods, reason = "templates name variables of this process")]
    let value = std::env::var(name);
    value.map_err(|_| Fault::invalid(format!("the environment variable {name} is not set here")))
}

fn is_word(inside: &str) -> bool {
    inside.starts_with(|c: char| c.is_ascii_lowercase())
        && inside.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

const WORDS: [&str; 8] = ["scheme", "username", "password", "hostname", "port", "path", "query", "fragment"];

fn word(inside: &str, base: Option<&str>) -> Result<String, Fault> {
    let name = inside.trim_end_matches(|c: char| c.is_ascii_digit());
    if !WORDS.contains(&name) {
        return Err(Fault::invalid(format!(
            "'{{{inside}}}' is no word of a template: those are {}; a brace that is meant is written %7B",
            WORDS.join(", ")
        )));
    }
    let base = base.ok_or_else(|| {
        Fault::invalid(format!("'{{{inside}}}' is a part of the base URL, and this process has none"))
    })?;
    let number = &inside[name.len()..];
    part(base, name, number).ok_or_else(|| Fault::invalid(format!("the base URL here has no {inside}")))
}

/// A part of a URL (RFC 3986, section 3), as it is written there; `number` is that of the host, from 1, or
/// empty.
fn part(url: &str, name: &str, number: &str) -> Option<String> {
    let (scheme, rest) = url.split_once(':')?;
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => ("", rest),
    };
    let text = match (name, number) {
        ("scheme", "") => scheme,
        ("path", "") => path.trim_start_matches('/'),
        ("query", "") => query,
        ("fragment", "") => fragment,
        _ => {
            let nth = if number.is_empty() { 1 } else { number.parse::<usize>().ok()? };
            let host = hosts.split(',').nth(nth.checked_sub(1)?)?;
            let (user, host) = host.rsplit_once('@').unwrap_or(("", host));
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            // The address of IPv6 has colons of its own, within brackets.
            let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
                Some((host, port)) => (host, port.strip_prefix(':').unwrap_or_default()),
                None => host.split_once(':').unwrap_or((host, "")),
            };
            let found = match name {
                "username" => user,
                "password" => password,
                "hostname" => host,
                "port" => port,
                _ => "",
            };
            return (!found.is_empty()).then(|| found.to_owned());
        }
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables_are_put_in() {
        let path = std::env::temp_dir().join(format!("skep-secret-{}", model::Env::system().uuid()));
        std::fs::write(&path, "hun{env:TER}2\n").expect("is written");
        let template = format!("postgres://u:{{file:{}}}@{{X}}/d{{", path.display());
        assert_eq!(fill(&template, None).as_deref(), Ok("postgres://u:hun{env:TER}2@{X}/d{"));
        std::fs::remove_file(&path).expect("is removed");
        for bad in [template.as_str(), "{env:SKEP_NOT_SET_ANYWHERE}", "{file:/x"] {
            assert!(fill(bad, None).is_err(), "{bad}");
        }
        assert_eq!(fill("plain", None).as_deref(), Ok("plain"));
    }

    #[test]
    fn words_are_parts_of_the_base() {
        let base = Some("postgres://ann:hun%40ter2@db.example:5433/nova?sslmode=on#top");
        for (template, wanted) in [
            (
                "{scheme}://{username}:{password}@{hostname}:{port}/{path}_cell1?{query}#{fragment}",
                "postgres://ann:hun%40ter2@db.example:5433/nova_cell1?sslmode=on#top",
            ),
            ("postgres://bob:x@{hostname}/d", "postgres://bob:x@db.example/d"),
        ] {
            assert_eq!(fill(template, base).as_deref(), Ok(wanted));
        }
        let several = Some("amqp://a:x@one:1,b:y@[::2]:2/v");
        assert_eq!(
            fill("amqp://{username2}:{password2}@[{hostname2}]:{port2}/{path}?{hostname1}", several)
                .as_deref(),
            Ok("amqp://b:y@[::2]:2/v?one")
        );
        assert_eq!(fill("{scheme}:/x/{path}", Some("sqlite:y.db")).as_deref(), Ok("sqlite:/x/y.db"));
    }

    #[test]
    fn a_word_that_cannot_be_filled_in_is_an_error() {
        let bare = Some("postgres://db.example/hunter2");
        for (template, base, wanted) in [
            ("postgres://{usrname}@h/d", bare, "no word of a template"),
            ("postgres://{username}@h/d", bare, "has no username"),
            ("postgres://u:{password}@h/d", bare, "has no password"),
            ("postgres://h:{port}/d", bare, "has no port"),
            ("postgres://{hostname2}/d", bare, "has no hostname2"),
            ("postgres://{hostname0}/d", bare, "has no hostname0"),
            ("postgres://{hostname}/d", Some("sqlite:hunter2"), "has no hostname"),
            ("postgres://{hostname}/d", None, "this process has none"),
        ] {
            let why = fill(template, base).expect_err(template).message;
            assert!(why.contains(wanted) && !why.contains("hunter2"), "{template}: {why}");
        }
    }
}
