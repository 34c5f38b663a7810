//! Flavors, read-only.

use axum::http::StatusCode;
use model::Flavor;

use crate::compute::view::Encoded;
use crate::edge::base::Base;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::query::Params;
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
    let flavors = call.verbs()?.flavors().await?;
    let (page, more) = page(&flavors, &call.params)?;
    Ok(answer(StatusCode::OK, |body| {
        body.array("flavors", &page, |object, flavor| {
            put(object, flavor, detailed, call.version, &call.base)
        });
        if let (true, Some(last)) = (more, page.last()) {
            let query = call.params.with_marker(&last.id);
            let path = if detailed { "/flavors/detail" } else { "/flavors" };
            body.array("flavors_links", [()], |link, ()| {
                link.put("rel", "next");
                link.text("href", format_args!("{}{path}?{query}", call.base.versioned()));
            });
        }
    }))
}

/// The flavors of the page that was asked for, and whether there are more.
fn page<'a>(flavors: &'a [Flavor], params: &Params) -> Result<(Vec<&'a Flavor>, bool), Refused> {
    let least = |name: &str| -> Result<i64, Refused> {
        Ok(params.number(name)?.map_or(0, |least| i64::try_from(least).unwrap_or(i64::MAX)))
    };
    let (ram, disk) = (least("minRam")?, least("minDisk")?);
    // All flavors are public.
    let private =
        params.last("is_public").is_some_and(|value| crate::edge::query::truth(value) == Some(false));
    let mut matching: Vec<&Flavor> = flavors
        .iter()
        .filter(|flavor| !private && flavor.memory_mib >= ram && flavor.disk_gib >= disk)
        .collect();
    if let Some(marker) = params.last("marker").filter(|marker| !marker.is_empty()) {
        let at = matching
            .iter()
            .position(|flavor| flavor.id == marker)
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
    let flavor = call.verbs()?.flavor(call.capture("id")).await?;
    Ok(answer(StatusCode::OK, |body| {
        body.object("flavor", |object| put(object, &flavor, true, call.version, &call.base));
    }))
}

/// `GET /flavors/{id}/os-extra_specs`: there are none.
pub async fn extra_specs(call: Call) -> Answered {
    call.verbs()?.flavor(call.capture("id")).await?;
    Ok(answer(StatusCode::OK, |body| body.object("extra_specs", |_| {})))
}

fn put(object: &mut Object<'_>, flavor: &Flavor, detailed: bool, version: Version, base: &Base) {
    let nothing: Option<&str> = None;
    object.put("id", &flavor.id);
    object.put("name", &flavor.name);
    if detailed {
        object.put("ram", &flavor.memory_mib);
        object.put("disk", &flavor.disk_gib);
        if version >= Version(75) {
            object.put("swap", &0);
        } else {
            object.put("swap", "");
        }
        object.put("OS-FLV-EXT-DATA:ephemeral", &0);
        object.put("OS-FLV-DISABLED:disabled", &false);
        object.put("vcpus", &flavor.vcpus);
        object.put("os-flavor-access:is_public", &true);
        object.put("rxtx_factor", &1.0);
    }
    if version >= Version(55) {
        object.put("description", &nothing);
    }
    if detailed && version >= Version(61) {
        object.object("extra_specs", |_| {});
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
    use super::*;

    fn flavor(id: &str, memory_mib: i64) -> Flavor {
        Flavor { id: id.into(), name: format!("m.{id}"), vcpus: 1, memory_mib, disk_gib: 1, pids: 100 }
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
        let all = [flavor("1", 64), flavor("2", 128), flavor("3", 256)];
        let ask = |query: &str| {
            let params = Params::of(&format!("/flavors?{query}").parse().expect("URI")).expect("query");
            page(&all, &params)
                .map(|(page, more)| {
                    (page.iter().map(|flavor| flavor.id.clone()).collect::<Vec<_>>().join(","), more)
                })
                .map_err(|refused| refused.status.as_u16())
        };
        assert_eq!(ask("is_public=None"), Ok(("1,2,3".into(), false)));
        assert_eq!(ask("is_public=False"), Ok((String::new(), false)));
        assert_eq!(ask("limit=2"), Ok(("1,2".into(), true)));
        assert_eq!(ask("limit=2&marker=2"), Ok(("3".into(), false)));
        assert_eq!(ask("minRam=100"), Ok(("2,3".into(), false)));
        assert_eq!(ask("marker=x"), Err(400));
        assert_eq!(ask("minRam=x"), Err(400));
    }
}
