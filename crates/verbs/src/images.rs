//! The image catalogue: names for what engines are asked for.

use std::sync::Arc;

use api_db::audit;
use api_db::images::{self, Image, Stored, Visibility};
use model::image::ImageRef;
use model::{Caller, Context, Fault, FaultKind, Flavor};
use serde_json::json;
use sql::Work;
use uuid::Uuid;

use crate::Verbs;

/// What is done to an image; may be tried more than once.
pub type Change = Arc<dyn Fn(&mut Image) -> Result<(), Fault> + Send + Sync>;

/// Glance's text.
fn no_such_image(id: Uuid) -> Fault {
    Fault::not_found(format!("No image found with ID {id}"))
}

fn forbidden(why: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Forbidden, why)
}

/// Refuses what is not the caller's to change.
fn check_owner(caller: &Caller, image: Option<Image>, id: Uuid) -> Result<Image, Fault> {
    let image = image.ok_or_else(|| no_such_image(id))?;
    match () {
        () if caller.is_admin() || caller.project == image.owner => Ok(image),
        () if image.visibility == Visibility::Private => Err(no_such_image(id)),
        () => Err(forbidden("You are not permitted to modify this image.")),
    }
}

/// Refuses a flavor that is too small for an image, with Nova's texts (`nova/exception.py`).
pub(crate) fn check_fits(image: &Image, flavor: &Flavor) -> Result<(), Fault> {
    if flavor.memory_mib < image.min_ram_mib {
        return Err(Fault::invalid("Flavor's memory is too small for requested image."));
    }
    if flavor.disk_gib < image.min_disk_gib {
        return Err(Fault::invalid(format!(
            "Flavor's disk is too small for requested image. Flavor disk is {} bytes, minimum size is {} bytes.",
            flavor.disk_gib << 30,
            image.min_disk_gib << 30
        )));
    }
    Ok(())
}

impl Verbs {
    fn configured(&self) -> impl Iterator<Item = Image> + '_ {
        self.inner.settings.images.iter().cloned().map(Image::of)
    }

    /// Refuses to change what the configuration names.
    fn check_configured(&self, id: Uuid) -> Result<(), Fault> {
        match self.configured().any(|image| image.id == id) {
            true => Err(forbidden("This image is named by the cloud's configuration, and stays as it is.")),
            false => Ok(()),
        }
    }

    /// The images that the caller may see: those that the configuration names, the project's own, and what is
    /// not private; all of them for an administrator.
    pub async fn images(&self, caller: &Caller) -> Result<Vec<Image>, Fault> {
        let project = (!caller.is_admin()).then(|| caller.project.clone());
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<Image>> {
            let project = project.clone();
            Box::pin(async move {
                match project {
                    Some(project) => images::seen_by(tx, &project).await,
                    None => images::all(tx).await,
                }
            })
        });
        Ok(self.configured().chain(read.await?).collect())
    }

    /// The image of that id.
    ///
    /// # Errors
    /// There is none, or it is another project's and private.
    pub async fn image(&self, caller: &Caller, id: Uuid) -> Result<Image, Fault> {
        if let Some(image) = self.configured().find(|image| image.id == id) {
            return Ok(image);
        }
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<Image>> {
            Box::pin(async move { images::get(tx, id).await })
        });
        let seen = |image: &Image| {
            caller.is_admin() || caller.project == image.owner || image.visibility != Visibility::Private
        };
        read.await?.filter(seen).ok_or_else(|| no_such_image(id))
    }

    /// What instances are made of, by an image's id, by the name of one that is the project's own or public, or
    /// by a reference, which engines may know without any image.
    ///
    /// # Errors
    /// There is none, several have that name, it has no reference yet, or it is deactivated.
    pub async fn bootable(&self, caller: &Caller, named: &str) -> Result<Image, Fault> {
        let image = match Uuid::try_parse(named) {
            Ok(id) => self.image(caller, id).await,
            Err(_) => self.by_name(caller, named).await,
        };
        let image = image.map_err(|fault| match fault.kind {
            FaultKind::NotFound => Fault::invalid(format!("Image {named} could not be found.")),
            _ => fault,
        })?;
        match image.status() {
            "active" => Ok(image),
            // Nova's text (`nova/exception.py`, ImageNotActive).
            _ => Err(Fault::invalid(format!("Image {} is not active.", image.id))),
        }
    }

    async fn by_name(&self, caller: &Caller, named: &str) -> Result<Image, Fault> {
        if let Some(image) = self.configured().find(|image| image.name.as_deref() == Some(named)) {
            return Ok(image);
        }
        let (project, name) = (caller.project.clone(), named.to_owned());
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<Image>> {
            let (project, name) = (project.clone(), name.clone());
            Box::pin(async move { images::named(tx, &project, &name).await })
        });
        let mut found = read.await?;
        match (found.pop(), found.is_empty()) {
            (Some(image), true) => Ok(image),
            (Some(_), false) => {
                Err(Fault::invalid(format!("More than one image is called {named}: give the id of one.")))
            }
            (None, _) => Ok(Image::of(named.parse::<ImageRef>()?)),
        }
    }

    /// Refuses a flavor that is too small for an image.
    pub async fn check_fits(&self, caller: &Caller, image: &Image, flavor: &str) -> Result<(), Fault> {
        if image.min_ram_mib == 0 && image.min_disk_gib == 0 {
            return Ok(());
        }
        check_fits(image, &self.size(caller, flavor).await?.0)
    }

    /// Stores an image.
    ///
    /// # Errors
    /// A conflict if its id is taken; over quota if the project has [`images::MOST`].
    pub async fn create_image(
        &self,
        caller: &Caller,
        context: &Context,
        mut image: Image,
    ) -> Result<Image, Fault> {
        let taken = format!("Image ID {} already exists!", image.id);
        if self.configured().any(|configured| configured.id == image.id) {
            return Err(Fault::conflict(taken));
        }
        let (now, record) = (self.inner.env.now(), self.inner.env.uuid());
        (image.created, image.updated) = (now, now);
        let work = Arc::new((image.clone(), caller.clone(), context.clone()));
        let write = self.inner.db.write(move |tx| -> Work<'_, Stored> {
            let work = work.clone();
            Box::pin(async move {
                let (image, caller, context) = &*work;
                let stored = images::create(tx, image).await?;
                if stored == Stored::Yes {
                    let detail = json!({"name": image.name, "reference": image.reference});
                    audit::record(tx, record, now, (caller, context), "image.create", Some(image.id), detail)
                        .await?;
                }
                Ok(stored)
            })
        });
        match write.await? {
            Stored::Yes => Ok(image),
            Stored::Taken => Err(Fault::conflict(taken)),
            Stored::TooMany => {
                let why = format!("A project may have {} images; delete some.", images::MOST);
                Err(Fault::new(FaultKind::OverQuota, why))
            }
        }
    }

    /// Changes an image of the caller's project, or any for an administrator; gives it as it is then.
    ///
    /// # Errors
    /// What `change` refuses; not found or forbidden if it is not the caller's.
    pub async fn change_image(
        &self,
        caller: &Caller,
        context: &Context,
        id: Uuid,
        change: Change,
    ) -> Result<Image, Fault> {
        self.check_configured(id)?;
        let (now, record) = (self.inner.env.now(), self.inner.env.uuid());
        let work = Arc::new((caller.clone(), context.clone(), change));
        let write = self.inner.db.write(move |tx| -> Work<'_, Image> {
            let work = work.clone();
            Box::pin(async move {
                let (caller, context, change) = &*work;
                let before = check_owner(caller, images::hold(tx, id).await?, id)?;
                let mut image = before.clone();
                change(&mut image)?;
                if image != before {
                    image.updated = now;
                    images::update(tx, &image).await?;
                    let detail = json!({"name": image.name, "reference": image.reference,
                        "visibility": image.visibility.word(), "owner": image.owner});
                    audit::record(tx, record, now, (caller, context), "image.update", Some(id), detail)
                        .await?;
                }
                Ok(image)
            })
        });
        Ok(write.await?)
    }

    /// Removes an image of the caller's project, or any for an administrator. Instances made of it go on.
    ///
    /// # Errors
    /// Forbidden if it is protected; not found or forbidden if it is not the caller's.
    pub async fn delete_image(&self, caller: &Caller, context: &Context, id: Uuid) -> Result<(), Fault> {
        self.check_configured(id)?;
        let (now, record) = (self.inner.env.now(), self.inner.env.uuid());
        let who = Arc::new((caller.clone(), context.clone()));
        let write = self.inner.db.write(move |tx| -> Work<'_, ()> {
            let who = who.clone();
            Box::pin(async move {
                let image = check_owner(&who.0, images::hold(tx, id).await?, id)?;
                if image.protected {
                    let why = format!("Image {id} is protected and cannot be deleted.");
                    return Err(forbidden(why).into());
                }
                images::delete(tx, id).await?;
                let detail = json!({"name": image.name});
                audit::record(tx, record, now, (&who.0, &who.1), "image.delete", Some(id), detail).await
            })
        });
        Ok(write.await?)
    }
}
