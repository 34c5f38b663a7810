//! The image face: Glance's v2 API over the catalogue.
//!
//! An image is a name for an OCI reference, which is its property `oci_reference`: engines hold the content or
//! fetch it from registries. There is no content here, neither up nor down.

pub(crate) mod attributes;
mod list;
mod patch;
mod schema;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::{HeaderValue, LOCATION};
use model::{Fault, FaultKind};
use serde_json::{Value, json};
use uuid::Uuid;
use verbs::{Image, Visibility};

use crate::edge::body;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{answer, empty, value};
use crate::edge::refused::Refused;
use attributes::Powers;

pub use list::index;
pub use schema::show as schema;

/// Most tags and most properties of an image, as Glance has them.
const MOST: usize = 128;

/// `GET /image`: 300, as Glance answers.
pub async fn versions(call: Call) -> Answered {
    let versions = json!([{
        "id": "v2.9",
        "status": "CURRENT",
        "links": [{"rel": "self", "href": format!("{}/image/v2/", call.base.origin)}],
    }]);
    Ok(answer(StatusCode::MULTIPLE_CHOICES, |body| body.put("versions", &versions)))
}

/// The image that the path names. What is no UUID is not found: clients look for names so.
fn id(call: &Call) -> Result<Uuid, Refused> {
    let id = call.capture("id");
    Uuid::try_parse(id).map_err(|_| Refused::not_found(format!("No image found with ID {id}")))
}

/// `GET /v2/images/{id}`.
pub async fn show(call: Call) -> Answered {
    let image = call.verbs()?.image(&call.caller, id(&call)?).await?;
    Ok(value(StatusCode::OK, &view::document(&image)))
}

/// `POST /v2/images`.
pub async fn create(call: Call) -> Answered {
    let mut said = body::object(&call.body)?;
    let id = match said.remove("id") {
        // Attempts under one key make one image.
        None | Some(Value::Null) => call.once.unwrap_or_else(|| call.shared.env.uuid()),
        Some(Value::String(text)) => {
            Uuid::try_parse(&text).map_err(|_| Refused::bad(format!("Invalid image id format: {text}")))?
        }
        Some(other) => return Err(Refused::bad(format!("Invalid image id format: {other}"))),
    };
    let mut image = Image {
        id,
        owner: call.caller.project.clone(),
        name: None,
        visibility: Visibility::Private,
        reference: None,
        deactivated: false,
        protected: false,
        hidden: false,
        min_disk_gib: 0,
        min_ram_mib: 0,
        container_format: None,
        disk_format: None,
        tags: Default::default(),
        properties: BTreeMap::new(),
        created: call.shared.env.now(),
        updated: call.shared.env.now(),
    };
    let powers = Powers::of(&call);
    for (name, value) in &said {
        attributes::set(&mut image, name, value, powers)?;
    }
    attributes::check(&image)?;
    if image.owner.is_empty() {
        return Err(Refused::bad("This token is good for no project: say whose the image is by 'owner'."));
    }
    let verbs = call.verbs()?;
    let image = match verbs.create_image(&call.caller, &call.context, image).await {
        // An attempt before this one made it, and died before it had answered.
        Err(fault) if fault.kind == FaultKind::Conflict && call.once == Some(id) => {
            verbs.image(&call.caller, id).await?
        }
        made => made?,
    };
    let mut response = value(StatusCode::CREATED, &view::document(&image));
    if let Ok(location) = HeaderValue::from_str(&format!("{}/image/v2/images/{id}", call.base.origin)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// `PATCH /v2/images/{id}`: a JSON patch (RFC 6902).
pub async fn update(call: Call) -> Answered {
    let steps = patch::read(&call.body)?;
    let powers = Powers::of(&call);
    let image = change(&call, move |image| {
        let before = view::document(image);
        let after = patch::apply(&before, &steps)?;
        for (name, value) in &after {
            if before.get(name) != Some(value) {
                attributes::set(image, name, value, powers)?;
            }
        }
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            attributes::unset(image, name)?;
        }
        attributes::check(image)
    });
    Ok(value(StatusCode::OK, &view::document(&image.await?)))
}

async fn change(
    call: &Call,
    change: impl Fn(&mut Image) -> Result<(), Fault> + Send + Sync + 'static,
) -> Result<Image, Refused> {
    let id = id(call)?;
    Ok(call.verbs()?.change_image(&call.caller, &call.context, id, Arc::new(change)).await?)
}

/// `DELETE /v2/images/{id}`.
pub async fn delete(call: Call) -> Answered {
    call.verbs()?.delete_image(&call.caller, &call.context, id(&call)?).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `PUT /v2/images/{id}/tags/{tag}`.
pub async fn tag(call: Call) -> Answered {
    let tag = call.capture("tag").to_owned();
    change(&call, move |image| {
        image.tags.insert(attributes::tag(&tag)?);
        attributes::check(image)
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `DELETE /v2/images/{id}/tags/{tag}`.
pub async fn untag(call: Call) -> Answered {
    let tag = call.capture("tag").to_owned();
    change(&call, move |image| match image.tags.remove(&tag) {
        true => Ok(()),
        false => Err(Fault::not_found("Unable to find requested tag on the image.")),
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `POST /v2/images/{id}/actions/deactivate`.
pub async fn deactivate(call: Call) -> Answered {
    activation(call, true).await
}

/// `POST /v2/images/{id}/actions/reactivate`.
pub async fn reactivate(call: Call) -> Answered {
    activation(call, false).await
}

async fn activation(call: Call, deactivated: bool) -> Answered {
    change(&call, move |image| {
        if image.reference.is_none() {
            return Err(Fault::new(
                model::FaultKind::Forbidden,
                "Not allowed to change an image in status 'queued'.",
            ));
        }
        image.deactivated = deactivated;
        Ok(())
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// `PUT /v2/images/{id}/file`. Clients send an empty body where they have nothing to say but their input is no
/// terminal; any other is refused, and none of it is read.
pub async fn upload(call: Call) -> Answered {
    call.verbs()?.image(&call.caller, id(&call)?).await?;
    if call.body.is_empty() {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    Err(Refused::unsupported(
        "uploading an image. Push it to a registry, and name it by the property oci_reference of an image without data",
    ))
}

/// `GET /v2/images/{id}/file`.
pub async fn download(call: Call) -> Answered {
    let image = call.verbs()?.image(&call.caller, id(&call)?).await?;
    match image.reference {
        None => Ok(empty(StatusCode::NO_CONTENT)),
        Some(reference) => Err(Refused::unsupported(&format!(
            "downloading an image. Engines hold it or fetch it from its registry as {reference}"
        ))),
    }
}

/// `/v2/images/{id}/members` and below: no image is shared, and Glance says so of such.
pub async fn members(call: Call) -> Answered {
    call.verbs()?.image(&call.caller, id(&call)?).await?;
    Err(Refused::new(
        StatusCode::FORBIDDEN,
        "Only shared images have members. Images are not shared here: make it public, community or private.",
    ))
}
