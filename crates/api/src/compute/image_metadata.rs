//! Properties of images as Nova showed and changed them until 2.35: its metadata
//! (`nova/api/openstack/compute/image_metadata.py`).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use model::Fault;
use verbs::Image;

use crate::compute::images::one;
use crate::compute::{metadata, read};
use crate::edge::call::{Answered, Call};
use crate::edge::json::empty;
use crate::edge::refused::Refused;
use crate::image::attributes;

/// `GET /images/{id}/metadata`.
pub async fn index(call: Call) -> Answered {
    Ok(metadata::whole(&one(&call).await?.properties))
}

/// `GET /images/{id}/metadata/{key}`.
pub async fn show(call: Call) -> Answered {
    let (image, key) = (one(&call).await?, call.capture("key"));
    let value = image.properties.get(key).ok_or_else(|| Refused::not_found(NO_ITEM))?;
    Ok(metadata::one(key, value))
}

/// `POST /images/{id}/metadata`: puts items and leaves all others.
pub async fn create(call: Call) -> Answered {
    put(call, false).await
}

/// `PUT /images/{id}/metadata`: all items are these.
pub async fn replace(call: Call) -> Answered {
    put(call, true).await
}

/// `PUT /images/{id}/metadata/{key}`.
pub async fn update(call: Call) -> Answered {
    let items = read::pairs("meta", &read::only(&call.body, "meta")?)?;
    let key = call.capture("key").to_owned();
    let (Some(text), 1) = (items.get(&key).cloned(), items.len()) else {
        return Err(Refused::bad("Request body and URI mismatch"));
    };
    change(&call, move |image| set(image, &items)).await?;
    Ok(metadata::one(&key, &text))
}

/// `DELETE /images/{id}/metadata/{key}`.
pub async fn delete(call: Call) -> Answered {
    let key = call.capture("key").to_owned();
    let remove = move |image: &mut Image| match image.properties.remove(&key) {
        Some(_) => Ok(()),
        None => Err(Fault::not_found(NO_ITEM)),
    };
    change(&call, remove).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Nova's text.
const NO_ITEM: &str = "Metadata item was not found";

async fn put(call: Call, replace: bool) -> Answered {
    let items = read::pairs("metadata", &read::only(&call.body, "metadata")?)?;
    let image = change(&call, move |image| {
        if replace {
            image.properties.clear();
        }
        set(image, &items)
    });
    Ok(metadata::whole(&image.await?.properties))
}

fn set(image: &mut Image, items: &BTreeMap<String, String>) -> Result<(), Fault> {
    if let Some(key) = items.keys().find(|key| attributes::is_attribute(key)) {
        return Err(Fault::invalid(format!("'{key}' is an attribute of the image, not metadata.")));
    }
    image.properties.extend(items.iter().map(|(key, value)| (key.clone(), value.clone())));
    attributes::check(image)
}

async fn change(
    call: &Call,
    change: impl Fn(&mut Image) -> Result<(), Fault> + Send + Sync + 'static,
) -> Result<Image, Refused> {
    let id = one(call).await?.id;
    Ok(call.verbs()?.change_image(&call.caller, &call.context, id, Arc::new(change)).await?)
}
