//! Flavors: reading them.

use axum::http::StatusCode;
use axum::response::Response;
use verbs::Offer;

use crate::compute::view::Encoded;
use crate::edge::base::Base;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::query::{Params, truth};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Largest page.
const MAX_LIMIT: usize = 1000;

/// `GET /flavors`.
pub async fn index(call: Call) -> Answered {
    list(call, false).await
}

/// `GET /flavors/detail`.
pub async fn detail(call: Call) -> Answered {
    list(call, true).await
}

async fn list(call: Call, detailed: bool) -> Answered {
    let flavors = call.verbs()?.flavors(&call.caller).await?;
    let (page, more) = page(&flavors, &call.params, call.caller.is_admin())?;
    Ok(answer(StatusCode::OK, |body| {
        body.array("flavors", &page, |object, flavor| {
            put(object, flavor, detailed, call.version, &call.base)
        });
        if let (true, Some(last)) = (more, page.last()) {
            let query = call.params.with_marker(&last.flavor.id);
            let path = if detailed { "/flavors/detail" } else { "/flavors" };
            body.array("flavors_links", [()], |link, ()| {
                link.put("rel", "next");
                link.text("href", format_args!("{}{path}?{query}", call.base.versioned()));
            });
        }
    }))
}

/// The flavors of the page that was asked for, and whether there are more. Administrators choose whether
/// they see public ones, others, or all (`None`); what others may use was read already.
fn page<'a>(offers: &'a [Offer], params: &Params, admin: bool) -> Result<(Vec<&'a Offer>, bool), Refused> {
    let least = |name: &str| -> Result<i64, Refused> {
        Ok(params.number(name)?.map_or(0, |least| i64::try_from(least).unwrap_or(i64::MAX)))
    };
    let (ram, disk) = (least("minRam")?, least("minDisk")?);
    let public = match params.last("is_public") {
        _ if !admin => None,
        None => Some(true),
        Some(word) if word.eq_ignore_ascii_case("none") => None,
        Some(word) => {
            Some(truth(word).ok_or_else(|| Refused::bad(format!("Invalid is_public filter [{word}]")))?)
        }
    };
    let mut matching: Vec<&Offer> = offers
        .iter()
        .filter(|offer| public.is_none_or(|public| offer.public == public))
        .filter(|offer| offer.flavor.memory_mib >= ram && offer.flavor.disk_gib >= disk)
        .collect();
    if let Some(marker) = params.last("marker").filter(|marker| !marker.is_empty()) {
        let at = matching
            .iter()
            .position(|offer| offer.flavor.id == marker)
            .ok_or_else(|| Refused::bad(format!("marker [{marker}] not found")))?;
        matching.drain(..=at);
    }
    let limit = params.number("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT);
    let more = limit > 0 && matching.len() > limit;
    matching.truncate(limit);
    Ok((matching, more))
}

/// `GET /flavors/{id}`.
pub async fn show(call: Call) -> Answered {
    let offer = call.verbs()?.flavor(&call.caller, call.capture("id")).await?;
    Ok(shown(&call, &offer))
}

/// One flavor, as show, create and update answer.
pub fn shown(call: &Call, offer: &Offer) -> Response {
    answer(StatusCode::OK, |body| {
        body.object("flavor", |object| put(object, offer, true, call.version, &call.base));
    })
}

fn put(object: &mut Object<'_>, offer: &Offer, detailed: bool, version: Version, base: &Base) {
    let flavor = &offer.flavor;
    object.put("id", &flavor.id);
    object.put("name", &flavor.name);
    if detailed {
        object.put("ram", &flavor.memory_mib);
        object.put("disk", &flavor.disk_gib);
        if version >= Version(75) || offer.swap_mib != 0 {
            object.put("swap", &offer.swap_mib);
        } else {
            object.put("swap", "");
        }
        object.put("OS-FLV-EXT-DATA:ephemeral", &offer.ephemeral_gib);
        object.put("OS-FLV-DISABLED:disabled", &false);
        object.put("vcpus", &flavor.vcpus);
        object.put("os-flavor-access:is_public", &offer.public);
        object.put("rxtx_factor", &(offer.rxtx_milli as f64 / 1_000.0));
    }
    if version >= Version(55) {
        object.put("description", &offer.description);
    }
    if detailed && version >= Version(61) {
        object.put("extra_specs", &offer.extra_specs);
    }
    object.array("links", [true, false], |link, versioned| {
        let id = Encoded(&flavor.id);
        if versioned {
            link.put("rel", "self");
            link.text("href", format_args!("{}/flavors/{id}", base.versioned()));
        } else {
            link.put("rel", "bookmark");
            link.text("href", format_args!("{}/flavors/{id}", base.bookmark()));
        }
    });
}

#[cfg(test)]
mod tests {
    use model::Flavor;

    use super::*;

    fn flavor(id: &str, memory_mib: i64) -> Offer {
        let name = format!("m.{id}");
        Offer {
            flavor: Flavor { id: id.into(), name, vcpus: 1, memory_mib, disk_gib: 1, pids: 100 },
            public: true,
            description: None,
            swap_mib: 0,
            ephemeral_gib: 0,
            rxtx_milli: 1_000,
            extra_specs: Default::default(),
        }
    }

    fn keys(version: u16, detailed: bool) -> Vec<String> {
        let mut out = Vec::new();
        Object::write(&mut out, |object| {
            put(object, &flavor("a b", 64), detailed, Version(version), &Base::default());
        });
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&out).expect("JSON");
        read.keys().cloned().collect()
    }

    #[test]
    fn shapes_by_microversion() {
        assert_eq!(keys(1, false), ["id", "links", "name"]);
        assert_eq!(keys(55, false), ["description", "id", "links", "name"]);
        assert_eq!(keys(1, true).len(), 11);
        assert!(!keys(54, true).contains(&"description".into()));
        assert!(!keys(60, true).contains(&"extra_specs".into()));
        assert_eq!(keys(61, true).len(), 13);
    }

    #[test]
    fn pages_and_filters() {
        let all = [flavor("1", 64), flavor("2", 128), Offer { public: false, ..flavor("3", 256) }];
        let asked = |query: &str, admin: bool| {
            let params = Params::of(&format!("/flavors?{query}").parse().expect("URI")).expect("query");
            page(&all, &params, admin)
                .map(|(page, more)| {
                    (page.iter().map(|offer| offer.flavor.id.clone()).collect::<Vec<_>>().join(","), more)
                })
                .map_err(|refused| refused.status.as_u16())
        };
        let ask = |query: &str| asked(query, true);
        assert_eq!(ask("is_public=None"), Ok(("1,2,3".into(), false)));
        assert_eq!(ask("is_public=False"), Ok(("3".into(), false)));
        assert_eq!(ask(""), Ok(("1,2".into(), false)));
        assert_eq!(asked("is_public=False", false), Ok(("1,2,3".into(), false)), "what it may use, always");
        assert_eq!(ask("is_public=None&limit=2"), Ok(("1,2".into(), true)));
        assert_eq!(ask("is_public=None&limit=2&marker=2"), Ok(("3".into(), false)));
        assert_eq!(ask("is_public=None&minRam=100"), Ok(("2,3".into(), false)));
        assert_eq!(ask("marker=x"), Err(400));
        assert_eq!(ask("minRam=x"), Err(400));
        assert_eq!(ask("is_public=maybe"), Err(400));
    }
}
