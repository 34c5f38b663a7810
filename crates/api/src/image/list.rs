//! Lists of images: filters, order, pages.

use std::cmp::Ordering;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use verbs::{Image, Visibility};

use super::view;
use crate::edge::call::{Answered, Call};
use crate::edge::json::value;
use crate::edge::query::{Params, truth};
use crate::edge::refused::Refused;

/// Largest page.
const MAX_LIMIT: usize = 1000;
/// Smallest that is useful where nothing is said (Glance's `limit_param_default`).
const DEFAULT_LIMIT: usize = 25;
/// Orders by these.
const KEYS: &[&str] = &[
    "name",
    "status",
    "container_format",
    "disk_format",
    "size",
    "virtual_size",
    "id",
    "created_at",
    "updated_at",
    "min_disk",
    "min_ram",
    "owner",
    "visibility",
    "os_hidden",
    "protected",
];

/// `GET /v2/images`.
pub async fn index(call: Call) -> Answered {
    let images = call.verbs()?.images(&call.caller).await?;
    let (page, more) = page(&images, &call.params, &call.caller.project)?;
    let mut body = json!({"first": first(&call.params), "schema": "/v2/schemas/images"});
    if let (true, Some(last)) = (more, page.last()) {
        let query = call.params.with_marker(last["id"].as_str().unwrap_or_default());
        body["next"] = json!(format!("/v2/images?{query}"));
    }
    body["images"] = page.into_iter().map(Value::Object).collect();
    Ok(value(StatusCode::OK, &body))
}

fn first(params: &Params) -> String {
    let rest: Vec<_> = params.0.iter().filter(|(key, _)| key != "marker").cloned().collect();
    match rest.is_empty() {
        true => "/v2/images".to_owned(),
        false => format!("/v2/images?{}", Params(rest).encoded()),
    }
}

/// The images of the page that was asked for, and whether there are more.
fn page(
    images: &[Image],
    params: &Params,
    project: &str,
) -> Result<(Vec<Map<String, Value>>, bool), Refused> {
    let visibility = params.last("visibility").filter(|word| !word.is_empty());
    if let Some(word) = visibility
        && !["public", "community", "private", "shared", "all"].contains(&word)
    {
        return Err(Refused::bad(format!("Invalid visibility value: {word}")));
    }
    let hidden = match params.last("os_hidden") {
        None => false,
        Some(word) => {
            truth(word).ok_or_else(|| Refused::bad(format!("Invalid value '{word}' for os_hidden filter")))?
        }
    };
    let offered = |image: &&Image| match visibility {
        None => image.visibility != Visibility::Community || image.owner == project,
        Some("all") => true,
        Some(word) => image.visibility.word() == word,
    };
    let mut matching: Vec<(&Image, Map<String, Value>)> = images
        .iter()
        .filter(|image| image.hidden == hidden)
        .filter(offered)
        .map(|image| (image, view::document(image)))
        .collect();
    for (key, value) in &params.0 {
        match key.as_str() {
            "limit" | "marker" | "member_status" | "sort" | "sort_key" | "sort_dir" | "skep"
            | "visibility" | "os_hidden" => {}
            "tag" => matching.retain(|(image, _)| image.tags.contains(value)),
            "size_min" | "size_max" => matching.clear(),
            "created_at" | "updated_at" => {
                return Err(Refused::bad(format!("The filter '{key}' is not supported.")));
            }
            // As Glance: `in:a,b`, or one value.
            "id" | "name" | "status" | "container_format" | "disk_format" if value.starts_with("in:") => {
                let given: Vec<&str> =
                    value[3..].split(',').map(|one| one.trim().trim_matches('"')).collect();
                matching.retain(|(_, image)| image[key].as_str().is_some_and(|text| given.contains(&text)));
            }
            "protected" => matching.retain(|(image, _)| truth(value) == Some(image.protected)),
            _ => matching.retain(|(_, image)| match image.get(key) {
                Some(Value::String(text)) => text == value,
                Some(Value::Number(number)) => number.to_string() == *value,
                _ => false,
            }),
        }
    }
    let order = order(params)?;
    matching.sort_by(|(_, a), (_, b)| {
        let by = |(key, descending): &(&str, bool)| {
            let ordering = compare(a.get(*key), b.get(*key));
            if *descending { ordering.reverse() } else { ordering }
        };
        order.iter().map(by).find(|ordering| *ordering != Ordering::Equal).unwrap_or(Ordering::Equal)
    });
    if let Some(marker) = params.last("marker").filter(|marker| !marker.is_empty()) {
        let at = matching
            .iter()
            .position(|(image, _)| image.id.to_string() == marker)
            .ok_or_else(|| Refused::bad(format!("Marker {marker} could not be found.")))?;
        matching.drain(..=at);
    }
    let limit = params.number("limit")?.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let more = limit > 0 && matching.len() > limit;
    matching.truncate(limit);
    Ok((matching.into_iter().map(|(_, image)| image).collect(), more))
}

/// Keys and whether each is descending: newest first, if nothing is said, and at last by id.
fn order(params: &Params) -> Result<Vec<(&str, bool)>, Refused> {
    let descends = |word: &str| match word {
        "asc" => Ok(false),
        "desc" | "" => Ok(true),
        other => Err(Refused::bad(format!("Unknown sort direction '{other}', must be 'desc' or 'asc'"))),
    };
    let mut order: Vec<(&str, bool)> = Vec::new();
    let keys: Vec<&str> = params.all("sort_key").collect();
    let directions: Vec<&str> = params.all("sort_dir").collect();
    match params.last("sort").filter(|sort| !sort.is_empty()) {
        Some(sort) if keys.is_empty() && directions.is_empty() => {
            for one in sort.split(',') {
                let (key, direction) = one.split_once(':').unwrap_or((one, ""));
                order.push((key.trim(), descends(direction.trim())?));
            }
        }
        Some(_) => return Err(Refused::bad("Old and new sorting syntax cannot be combined")),
        None => {
            for (n, key) in keys.iter().enumerate() {
                let direction = directions.get(n).or(directions.last()).copied().unwrap_or_default();
                order.push((key, descends(direction)?));
            }
            if keys.is_empty() {
                order.push(("created_at", descends(directions.first().copied().unwrap_or_default())?));
            }
        }
    }
    if let Some((key, _)) = order.iter().find(|(key, _)| !KEYS.contains(key)) {
        return Err(Refused::bad(format!(
            "Invalid sort key: {key}. It must be one of: {}.",
            KEYS.join(", ")
        )));
    }
    for key in ["created_at", "id"] {
        if !order.iter().any(|(there, _)| *there == key) {
            order.push((key, true));
        }
    }
    Ok(order)
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a.as_i64().cmp(&b.as_i64()),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        _ => a.and_then(Value::as_str).cmp(&b.and_then(Value::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;

    fn image(text: &str, n: i64) -> Image {
        let created = Timestamp(n * 1_000_000);
        Image { created, updated: created, ..Image::of(text.parse().expect("a reference")) }
    }

    #[test]
    fn filters_orders_and_pages() {
        let mut all = [image("busybox:1.36", 1), image("skep/web:1", 2), image("c", 3), image("d", 4)];
        (all[2].visibility, all[2].owner) = (Visibility::Community, "p".to_owned());
        (all[3].hidden, all[3].min_ram_mib) = (true, 64);
        all[1].tags.insert("t".to_owned());
        all[1].properties.insert("os_distro".to_owned(), "x".to_owned());
        let ask = |query: &str| {
            let params = Params::of(&format!("/v2/images?{query}").parse().expect("URI")).expect("query");
            page(&all, &params, "q")
                .map(|(page, more)| {
                    let names = page.iter().map(|image| image["name"].as_str().expect("a name").to_owned());
                    (names.collect::<Vec<_>>().join(" "), more)
                })
                .map_err(|refused| refused.status.as_u16())
        };
        let names = |query: &str| ask(query).map(|(names, _)| names);
        let is = |query: &str, expected: &str| assert_eq!(names(query), Ok(expected.to_owned()), "{query}");
        is("", "skep/web:1 busybox:1.36");
        is("visibility=all", "c skep/web:1 busybox:1.36");
        is("visibility=community&owner=p", "c");
        is("os_hidden=True&min_ram=64", "d");
        is("name=skep/web:1", "skep/web:1");
        is(&format!("id=in:{},x", all[0].id), "busybox:1.36");
        is("tag=t", "skep/web:1");
        is("tag=u", "");
        is("os_distro=x&status=active&protected=false", "skep/web:1");
        is("os_distro=y", "");
        is("oci_reference=busybox:1.36", "busybox:1.36");
        is("sort=name:asc", "busybox:1.36 skep/web:1");
        is("sort_key=name&sort_dir=desc", "skep/web:1 busybox:1.36");
        is("limit=0", "");
        assert_eq!(ask("limit=1"), Ok(("skep/web:1".to_owned(), true)));
        let marker = format!("limit=1&marker={}", all[1].id);
        assert_eq!(ask(&marker), Ok(("busybox:1.36".to_owned(), false)));
        for bad in ["marker=x", "limit=-1", "sort=x:asc", "sort_key=name&sort_dir=up", "visibility=some"] {
            assert_eq!(ask(bad), Err(400), "{bad}");
        }
    }
}
