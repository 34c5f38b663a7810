//! The image face: Glance's v2 API, read-only.

use axum::http::StatusCode;
use serde_json::json;
use verbs::Image;

use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::query::{Params, truth};
use crate::edge::refused::Refused;

/// Largest page.
const MAX_LIMIT: usize = 1000;

/// `GET /image`: 300, as Glance answers.
pub async fn versions(call: Call) -> Answered {
    let versions = json!([{
        "id": "v2.9",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": format!("{}/image/v2/", call.base.origin)}],
    }]);
    Ok(answer(StatusCode::MULTIPLE_CHOICES, |body| body.put("versions", &versions)))
}

/// `GET /v2/images`.
pub async fn index(call: Call) -> Answered {
    let images = call.verbs()?.images(&call.caller).await?;
    let (page, more) = page(&images, &call.params)?;
    Ok(answer(StatusCode::OK, |body| {
        body.array("images", &page, |object, image| put(object, image));
        body.put("first", "/v2/images");
        body.put("schema", "/v2/schemas/images");
        if let (true, Some(last)) = (more, page.last()) {
            let query = call.params.with_marker(&last.id.to_string());
            body.text("next", format_args!("/v2/images?{query}"));
        }
    }))
}

/// The images of the page that was asked for, and whether there are more.
fn page<'a>(images: &'a [Image], params: &Params) -> Result<(Vec<&'a Image>, bool), Refused> {
    let mut matching: Vec<&Image> = images.iter().collect();
    for (key, value) in &params.0 {
        // `in:a,b` or one value.
        let given = value.strip_prefix("in:").unwrap_or(value);
        let among = |text: &str| given.split(',').any(|one| one.trim().trim_matches('"') == text);
        match key.as_str() {
            "id" => matching.retain(|image| among(&image.id.to_string())),
            "name" => {
                matching.retain(|image| image.reference.as_str() == value || among(image.reference.as_str()))
            }
            "status" => matching.retain(|_| among("active")),
            "visibility" => matching.retain(|_| among("public") || among("all")),
            "container_format" => matching.retain(|_| among("docker")),
            "disk_format" => matching.retain(|_| among("raw")),
            "os_hidden" | "protected" => matching.retain(|_| truth(value) != Some(true)),
            "limit" | "marker" | "member_status" | "sort" | "sort_key" | "sort_dir" | "skep" => {}
            // A property that no image has, or an owner: none matches.
            _ => matching.clear(),
        }
    }
    if let Some(marker) = params.last("marker").filter(|marker| !marker.is_empty()) {
        let at = matching
            .iter()
            .position(|image| image.id.to_string() == marker)
            .ok_or_else(|| Refused::bad(format!("Marker {marker} could not be found")))?;
        matching.drain(..=at);
    }
    let limit = params.number("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let more = limit > 0 && matching.len() > limit;
    matching.truncate(limit);
    Ok((matching, more))
}

/// `GET /v2/images/{id}`.
pub async fn show(call: Call) -> Answered {
    let id = call.capture("id");
    if uuid::Uuid::try_parse(id).is_err() {
        return Err(Refused::not_found(format!("No image found with ID {id}")));
    }
    let image = call.verbs()?.image(&call.caller, id).await?;
    Ok(answer(StatusCode::OK, |body| put(body, &image)))
}

fn put(object: &mut Object<'_>, image: &Image) {
    let nothing: Option<&str> = None;
    object.put("id", &image.id);
    object.put("name", &image.reference);
    object.put("status", "active");
    object.put("visibility", "public");
    object.put("protected", &false);
    object.put("container_format", "docker");
    object.put("disk_format", "raw");
    object.put("min_disk", &0);
    object.put("min_ram", &0);
    object.put("owner", &nothing);
    object.put("os_hidden", &false);
    object.put("size", &nothing);
    object.put("virtual_size", &nothing);
    object.put("checksum", &nothing);
    object.put("os_hash_algo", &nothing);
    object.put("os_hash_value", &nothing);
    object.put("tags", &[0_u8; 0]);
    object.text("self", format_args!("/v2/images/{}", image.id));
    object.text("file", format_args!("/v2/images/{}/file", image.id));
    object.put("schema", "/v2/schemas/image");
}

#[cfg(test)]
mod tests {
    use model::image::ImageRef;

    use super::*;

    #[test]
    fn filters_and_pages() {
        let image = |text: &str| {
            let reference: ImageRef = text.parse().expect("reference");
            Image { id: reference.uuid(), reference }
        };
        let all = [image("busybox:1.36"), image("skep/web:1")];
        let ask = |query: &str| {
            let params = Params::of(&format!("/v2/images?{query}").parse().expect("URI")).expect("query");
            page(&all, &params)
                .map(|(page, more)| {
                    (page.iter().map(|image| image.reference.to_string()).collect::<Vec<_>>(), more)
                })
                .map_err(|refused| refused.status.as_u16())
        };
        let both = || vec!["busybox:1.36".to_owned(), "skep/web:1".to_owned()];
        assert_eq!(ask("").map(|(names, _)| names), Ok(both()));
        assert_eq!(ask("name=skep/web:1").map(|(names, _)| names), Ok(vec!["skep/web:1".to_owned()]));
        assert_eq!(
            ask(&format!("id=in:{},x", all[0].id)).map(|(names, _)| names),
            Ok(vec!["busybox:1.36".to_owned()])
        );
        assert_eq!(ask("name=busybox:1.36&os_hidden=True").map(|(names, _)| names), Ok(vec![]));
        assert_eq!(ask("os_distro=x").map(|(names, _)| names), Ok(vec![]));
        assert_eq!(ask("limit=1").map(|(names, more)| (names.len(), more)), Ok((1, true)));
        assert_eq!(ask(&format!("limit=1&marker={}", all[1].id)).map(|(names, _)| names), Ok(vec![]));
        assert_eq!(ask("marker=x"), Err(400));
    }
}
