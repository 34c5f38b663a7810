//! Which server a user means: a whole id, a piece of one, or a name.

use serde_json::Value;

use super::http::{Http, escape};
use super::server::Server;
use super::table::clean;
use crate::exit::Failure;

/// Shortest piece of an id that is taken, in hex digits.
const SHORTEST: usize = 4;

/// The ids of the servers that the user means, in the order given; each may be refused on its own.
pub async fn find(http: &Http, wanted: &[String]) -> Result<Vec<Result<String, Failure>>, Failure> {
    let known = match wanted.iter().all(|text| whole(text).is_some()) {
        true => Vec::new(),
        false => match wanted {
            // A name that cannot be a piece of an id, nor a regular expression, needs only its namesakes.
            [name] if piece(name).is_none() && plain(name) => {
                all(http, &format!("&name={}", escape(name))).await?
            }
            _ => all(http, "").await?,
        },
    };
    Ok(wanted.iter().map(|text| choose(text, &known)).collect())
}

/// The id of the one server that the user means.
pub async fn one(http: &Http, wanted: &str) -> Result<String, Failure> {
    let found = find(http, &[wanted.to_owned()]).await?;
    found.into_iter().next().unwrap_or_else(|| Err(Failure::usage("no instance was named")))
}

/// All servers of the caller's project, as brief as the API gives them.
async fn all(http: &Http, filter: &str) -> Result<Vec<Server>, Failure> {
    let mut servers: Vec<Server> = Vec::new();
    loop {
        let after = servers.last().map(|last| format!("&marker={}", escape(last.id()))).unwrap_or_default();
        let page = http.get(&format!("/v2.1/servers?limit=1000{filter}{after}")).await?;
        let items = page.get("servers").and_then(Value::as_array).cloned().unwrap_or_default();
        let more = page.get("servers_links").is_some() && !items.is_empty();
        servers.extend(items.into_iter().map(Server));
        if !more {
            return Ok(servers);
        }
    }
}

fn whole(text: &str) -> Option<String> {
    uuid::Uuid::parse_str(text).ok().map(|id| id.to_string())
}

fn piece(text: &str) -> Option<String> {
    let hex: String = text.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    let long_enough = (SHORTEST..=32).contains(&hex.len());
    (long_enough && hex.bytes().all(|b| b.is_ascii_hexdigit())).then_some(hex)
}

fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
}

fn choose(text: &str, known: &[Server]) -> Result<String, Failure> {
    if let Some(id) = whole(text) {
        return Ok(id);
    }
    // An exact name goes before a piece of an id: the name was chosen by a person.
    let named: Vec<_> = known.iter().filter(|server| server.plain_name() == text).collect();
    let matching = match (named.is_empty(), piece(text)) {
        (true, Some(hex)) => known.iter().filter(|server| fits(server.id(), &hex)).collect(),
        _ => named,
    };
    match matching.as_slice() {
        [server] => Ok(server.id().to_owned()),
        [] => Err(Failure::new(format!(
            "no instance has the name '{text}' or an id that begins or ends with it (at least {SHORTEST} hex digits)"
        ))),
        several => {
            let mut lines: Vec<_> =
                several.iter().take(10).map(|s| format!("  {}  {}", clean(s.id()), s.name())).collect();
            if several.len() > lines.len() {
                lines.push(format!("  and {} more", several.len() - lines.len()));
            }
            let count = several.len();
            Err(Failure::new(format!("'{text}' may be any of {count} instances:\n{}", lines.join("\n"))))
        }
    }
}

fn fits(id: &str, hex: &str) -> bool {
    let id = id.replace('-', "");
    id.starts_with(hex) || id.ends_with(hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known() -> Vec<Server> {
        let server = |id: &str, name: &str| Server(json!({"id": id, "name": name}));
        vec![
            server("019a1111-0000-7000-8000-00000000beef", "web"),
            server("019a1111-0000-7000-8000-00000000cafe", "beef"),
            server("019a2222-0000-7000-8000-000000001234", "twin"),
            server("019a3333-0000-7000-8000-000000005678", "twin"),
        ]
    }

    #[test]
    fn names_and_pieces() {
        let id = |text: &str| choose(text, &known()).map_err(|why| why.message);
        assert_eq!(id("web").expect("a name"), known()[0].id());
        assert_eq!(id("cafe").expect("an end"), known()[1].id());
        assert_eq!(id("00000000CAFE").expect("an end"), known()[1].id());
        assert_eq!(id("019a2222").expect("a beginning"), known()[2].id());
        assert_eq!(id("019a3333-0000").expect("a beginning"), known()[3].id());
        assert_eq!(id("beef").expect("the name goes first"), known()[1].id());
        let whole = "00000000-0000-0000-0000-000000000001";
        assert_eq!(id(whole).expect("a whole id is not looked up"), whole);
    }

    #[test]
    fn what_is_unclear_is_refused() {
        let why = |text: &str| choose(text, &known()).expect_err(text).message;
        assert!(why("twin").contains("019a2222") && why("twin").contains("019a3333"));
        assert!(why("019a1111").contains("any of 2 instances"));
        assert!(why("caf").contains("no instance"), "three digits are too few");
        assert!(why("nobody").contains("no instance"));
    }
}
