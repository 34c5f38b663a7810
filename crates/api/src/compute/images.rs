//! Images as Nova showed them until 2.35, for clients that know of no image face
//! (`nova/api/openstack/compute/images.py`).

use axum::http::StatusCode;
use uuid::Uuid;
use verbs::{Image, Visibility};

use crate::compute::hosts::until;
use crate::edge::base::Base;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer, empty};
use crate::edge::query::Params;
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Images are no more from here on.
const NO_IMAGES: Version = Version(36);
/// Largest page.
const MAX_LIMIT: usize = 1000;

/// `GET /images`.
pub async fn index(call: Call) -> Answered {
    list(&call, "/images", short).await
}

/// `GET /images/detail`.
pub async fn detail(call: Call) -> Answered {
    list(&call, "/images/detail", whole).await
}

/// `GET /images/{id}`.
pub async fn show(call: Call) -> Answered {
    let image = one(&call).await?;
    Ok(answer(StatusCode::OK, |body| body.object("image", |object| whole(object, &image, &call.base))))
}

/// `DELETE /images/{id}`.
pub async fn delete(call: Call) -> Answered {
    let image = one(&call).await?;
    call.verbs()?.delete_image(&call.caller, &call.context, image.id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The image that the path names. What is no UUID is not found, as in Nova.
pub(super) async fn one(call: &Call) -> Result<Image, Refused> {
    until(call, NO_IMAGES)?;
    let missing = || Refused::not_found("Image not found.");
    let id = Uuid::try_parse(call.capture("id")).map_err(|_| missing())?;
    match call.verbs()?.image(&call.caller, id).await {
        Ok(image) => Ok(image),
        Err(fault) if fault.kind == model::FaultKind::NotFound => Err(missing()),
        Err(fault) => Err(fault.into()),
    }
}

async fn list(call: &Call, path: &str, put: fn(&mut Object<'_>, &Image, &Base)) -> Answered {
    until(call, NO_IMAGES)?;
    let images = call.verbs()?.images(&call.caller).await?;
    let (page, more) = page(&images, &call.params, &call.caller.project)?;
    Ok(answer(StatusCode::OK, |body| {
        body.array("images", &page, |object, image| put(object, image, &call.base));
        if let (true, Some(last)) = (more, page.last()) {
            let query = call.params.with_marker(&last.id.to_string());
            body.array("images_links", [()], |link, ()| {
                link.put("rel", "next");
                link.text("href", format_args!("{}{path}?{query}", call.base.versioned()));
            });
        }
    }))
}

/// The images of the page that was asked for, newest first, and whether there are more.
fn page<'a>(images: &'a [Image], params: &Params, project: &str) -> Result<(Vec<&'a Image>, bool), Refused> {
    let least = |name: &str| -> Result<i64, Refused> {
        Ok(params.number(name)?.map_or(0, |least| i64::try_from(least).unwrap_or(i64::MAX)))
    };
    let (ram, disk) = (least("minRam")?, least("minDisk")?);
    let mut matching: Vec<&Image> = images
        .iter()
        .filter(|image| {
            !image.hidden && (image.visibility != Visibility::Community || image.owner == project)
        })
        .filter(|image| params.last("name").is_none_or(|name| image.name.as_deref() == Some(name)))
        .filter(|image| params.last("status").is_none_or(|word| word.eq_ignore_ascii_case(status(image))))
        .filter(|image| image.min_ram_mib >= ram && image.min_disk_gib >= disk)
        .collect();
    matching.sort_by_key(|image| std::cmp::Reverse((image.created, image.id)));
    if let Some(marker) = params.last("marker").filter(|marker| !marker.is_empty()) {
        let at = matching.iter().position(|image| image.id.to_string() == marker);
        matching.drain(..=at.ok_or_else(|| Refused::bad(format!("marker [{marker}] not found")))?);
    }
    let limit = params.number("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let more = limit > 0 && matching.len() > limit;
    matching.truncate(limit);
    Ok((matching, more))
}

/// Nova's word for where an image stands.
fn status(image: &Image) -> &'static str {
    match image.status() {
        "active" => "ACTIVE",
        "queued" => "SAVING",
        _ => "UNKNOWN",
    }
}

fn short(object: &mut Object<'_>, image: &Image, base: &Base) {
    object.put("id", &image.id);
    object.put("name", &image.name);
    object.array("links", [("self", true), ("bookmark", false)], |link, (rel, versioned)| {
        link.put("rel", rel);
        match versioned {
            true => link.text("href", format_args!("{}/images/{}", base.versioned(), image.id)),
            false => link.text("href", format_args!("{}/images/{}", base.bookmark(), image.id)),
        }
    });
}

fn whole(object: &mut Object<'_>, image: &Image, base: &Base) {
    short(object, image, base);
    object.put("status", status(image));
    object.put("progress", &if status(image) == "ACTIVE" { 100 } else { 25 });
    object.put("minDisk", &image.min_disk_gib);
    object.put("minRam", &image.min_ram_mib);
    object.put("created", &image.created.seconds_z());
    object.put("updated", &image.updated.seconds_z());
    object.put("metadata", &image.properties);
    object.put("OS-EXT-IMG-SIZE:size", &0);
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn they_are_no_more() {
        let refused = index(testing::call(36, "reader", "")).await.expect_err("is no more");
        assert_eq!(refused.status.as_u16(), 404);
    }

    #[test]
    fn filtered_ordered_and_paged() {
        let image = |text: &str, n: i64| Image {
            created: Timestamp(n * 1_000_000),
            min_ram_mib: n,
            ..Image::of(text.parse().expect("a reference"))
        };
        let mut all = [image("a", 1), image("b", 2), image("c", 3), image("d", 4)];
        all[2].deactivated = true;
        all[3].hidden = true;
        let ask = |query: &str| {
            let params = Params::of(&format!("/images?{query}").parse().expect("URI")).expect("query");
            page(&all, &params, "p")
                .map(|(page, more)| {
                    let names: Vec<_> = page.iter().filter_map(|image| image.name.as_deref()).collect();
                    (names.join(" "), more)
                })
                .map_err(|refused| refused.status.as_u16())
        };
        let is =
            |query: &str, names: &str, more| assert_eq!(ask(query), Ok((names.to_owned(), more)), "{query}");
        is("", "c b a", false);
        is("status=active", "b a", false);
        is("name=a", "a", false);
        is("minRam=2", "c b", false);
        is("limit=1", "c", true);
        is(&format!("marker={}", all[2].id), "b a", false);
        assert_eq!(ask("marker=x"), Err(400));
        assert_eq!(ask("limit=x"), Err(400));
    }
}
