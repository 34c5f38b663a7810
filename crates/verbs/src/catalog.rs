//! Flavors and images on offer.

use std::time::Duration;

use model::image::ImageRef;
use model::{Caller, Fault, Flavor};
use sql::Work;

use crate::Verbs;
use crate::types::Image;

/// How long a flavor is remembered.
const REMEMBERED: Duration = Duration::from_secs(2);

impl Verbs {
    /// All flavors, by id.
    pub async fn flavors(&self) -> Result<Vec<Flavor>, Fault> {
        let read = self
            .inner
            .db
            .read(|tx| -> Work<'_, Vec<Flavor>> { Box::pin(async move { api_db::flavors::all(tx).await }) });
        Ok(read.await?)
    }

    /// The flavor of that id.
    pub async fn flavor(&self, id: &str) -> Result<Flavor, Fault> {
        let now = self.inner.env.monotonic();
        if let Some((flavor, read)) = self.inner.flavors.get(id)
            && now.saturating_sub(read) < REMEMBERED
        {
            return Ok(flavor);
        }
        let key = id.to_owned();
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<Flavor>> {
            let key = key.clone();
            Box::pin(async move { api_db::flavors::get(tx, &key).await })
        });
        // Nova's text (`nova/exception.py`, FlavorNotFound).
        let flavor =
            read.await?.ok_or_else(|| Fault::not_found(format!("Flavor {id} could not be found.")))?;
        self.inner.flavors.insert(id.to_owned(), (flavor.clone(), now));
        Ok(flavor)
    }

    /// The images that the configuration names.
    pub async fn images(&self, _: &Caller) -> Result<Vec<Image>, Fault> {
        let image = |reference: &ImageRef| Image { id: reference.uuid(), reference: reference.clone() };
        Ok(self.inner.settings.images.iter().map(image).collect())
    }

    /// The image of that id, or any reference: engines know more images than the configuration names.
    pub async fn image(&self, caller: &Caller, id_or_reference: &str) -> Result<Image, Fault> {
        let images = self.images(caller).await?;
        if let Ok(id) = uuid::Uuid::parse_str(id_or_reference) {
            let found = images.into_iter().find(|image| image.id == id);
            return found.ok_or_else(|| Fault::not_found(format!("Image {id} could not be found.")));
        }
        let reference: ImageRef = id_or_reference.parse()?;
        Ok(Image { id: reference.uuid(), reference })
    }
}
