//! Flavors on offer.

use std::collections::BTreeMap;
use std::time::Duration;

use api_db::flavors::{self, Offer};
use model::{Caller, Fault, Flavor};
use sql::Work;

use crate::Verbs;

/// How long a flavor is remembered.
const REMEMBERED: Duration = Duration::from_secs(2);
/// Nova's text (`nova/exception.py`, FlavorNotFound).
fn no_such_flavor(id: &str) -> Fault {
    Fault::not_found(format!("Flavor {id} could not be found."))
}

impl Verbs {
    /// The flavors that the caller may use, or all of them for an administrator; by id.
    pub async fn flavors(&self, caller: &Caller) -> Result<Vec<Offer>, Fault> {
        let project = (!caller.is_admin()).then(|| caller.project.clone());
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<Offer>> {
            let project = project.clone();
            Box::pin(async move {
                match project {
                    Some(project) => flavors::usable(tx, &project).await,
                    None => flavors::all(tx).await,
                }
            })
        });
        Ok(read.await?)
    }

    /// The flavor of that id.
    ///
    /// # Errors
    /// There is none, or it is not public and the caller's project has no access to it.
    pub async fn flavor(&self, caller: &Caller, id: &str) -> Result<Offer, Fault> {
        let key =
            (caller.is_admin().then(String::new).unwrap_or_else(|| caller.project.clone()), id.to_owned());
        let now = self.inner.env.monotonic();
        if let Some((offer, read)) = self.inner.flavors.get(&key)
            && now.saturating_sub(read) < REMEMBERED
        {
            return Ok(offer);
        }
        let (id, project, admin) = (key.1.clone(), caller.project.clone(), caller.is_admin());
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<Offer>> {
            let (id, project) = (id.clone(), project.clone());
            Box::pin(async move {
                let Some(offer) = flavors::get(tx, &id).await? else { return Ok(None) };
                let usable = offer.public || admin || flavors::access(tx, &id).await?.contains(&project);
                Ok(usable.then_some(offer))
            })
        });
        let offer = read.await?.ok_or_else(|| no_such_flavor(&key.1))?;
        self.inner.flavors.insert(key, (offer.clone(), now));
        Ok(offer)
    }

    /// Stores a flavor.
    ///
    /// # Errors
    /// A conflict if its id or name is taken.
    pub async fn create_flavor(&self, offer: Offer) -> Result<(), Fault> {
        let (id, name) = (offer.flavor.id.clone(), offer.flavor.name.clone());
        let write = self.inner.db.write(move |tx| -> Work<'_, Option<bool>> {
            let offer = offer.clone();
            Box::pin(async move {
                if flavors::get(tx, &offer.flavor.id).await?.is_some() {
                    return Ok(None);
                }
                Ok(Some(flavors::create(tx, &offer).await?))
            })
        });
        match write.await? {
            Some(true) => Ok(()),
            // Nova's texts (`nova/exception.py`, FlavorExists and FlavorIdExists).
            Some(false) => Err(Fault::conflict(format!("Flavor with name {name} already exists."))),
            None => Err(Fault::conflict(format!("Flavor with ID {id} already exists."))),
        }
    }

    /// Sets a flavor's description.
    pub async fn describe_flavor(&self, id: &str, description: Option<String>) -> Result<Offer, Fault> {
        let key = id.to_owned();
        let write = self.inner.db.write(move |tx| -> Work<'_, Option<Offer>> {
            let (key, description) = (key.clone(), description.clone());
            Box::pin(async move {
                flavors::describe(tx, &key, description).await?;
                flavors::get(tx, &key).await
            })
        });
        let offer = write.await?;
        self.inner.flavors.invalidate_all();
        offer.ok_or_else(|| no_such_flavor(id))
    }

    /// Removes a flavor; instances keep what it was.
    pub async fn delete_flavor(&self, id: &str) -> Result<(), Fault> {
        let key = id.to_owned();
        let write = self.inner.db.write(move |tx| -> Work<'_, bool> {
            let key = key.clone();
            Box::pin(async move { flavors::delete(tx, &key).await })
        });
        let gone = write.await?;
        self.inner.flavors.invalidate_all();
        if gone { Ok(()) } else { Err(no_such_flavor(id)) }
    }

    /// Adds extra specs to a flavor, and removes the one of that key; gives all as they are then.
    pub async fn change_extra_specs(
        &self,
        id: &str,
        put: BTreeMap<String, String>,
        remove: Option<String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let key = id.to_owned();
        let write = self.inner.db.write(move |tx| -> Work<'_, Option<BTreeMap<String, String>>> {
            let (key, put, remove) = (key.clone(), put.clone(), remove.clone());
            Box::pin(async move { flavors::change_specs(tx, &key, &put, remove.as_deref()).await })
        });
        let specs = write.await?;
        self.inner.flavors.invalidate_all();
        specs.ok_or_else(|| no_such_flavor(id))
    }

    /// Which projects may use a flavor that is not public.
    ///
    /// # Errors
    /// Not found if it is public: then there is no list.
    pub async fn flavor_access(&self, id: &str) -> Result<Vec<String>, Fault> {
        let key = id.to_owned();
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<(bool, Vec<String>)>> {
            let key = key.clone();
            Box::pin(async move {
                match flavors::get(tx, &key).await? {
                    Some(offer) => Ok(Some((offer.public, flavors::access(tx, &key).await?))),
                    None => Ok(None),
                }
            })
        });
        match read.await? {
            Some((false, projects)) => Ok(projects),
            Some((true, _)) => Err(Fault::not_found("Access list not available for public flavors.")),
            None => Err(no_such_flavor(id)),
        }
    }

    /// Lets a project use a flavor that is not public, or takes that back; gives who may then.
    pub async fn change_flavor_access(
        &self,
        id: &str,
        project: &str,
        allow: bool,
    ) -> Result<Vec<String>, Fault> {
        let (key, whose) = (id.to_owned(), project.to_owned());
        let write = self.inner.db.write(move |tx| -> Work<'_, Vec<String>> {
            let (key, whose) = (key.clone(), whose.clone());
            Box::pin(async move {
                let Some(offer) = flavors::get(tx, &key).await? else {
                    return Err(no_such_flavor(&key).into());
                };
                if offer.public && allow {
                    // Nova's text, for 409.
                    let why = "Can not add access to a public flavor.";
                    return Err(Fault::conflict(why).into());
                }
                let changed = match allow {
                    true => flavors::allow(tx, &key, &whose).await?,
                    false => flavors::deny(tx, &key, &whose).await?,
                };
                match (changed, allow) {
                    (true, _) => flavors::access(tx, &key).await,
                    (false, true) => Err(Fault::conflict(format!(
                        "Flavor access already exists for flavor {key} and project {whose} combination."
                    ))
                    .into()),
                    (false, false) => Err(Fault::not_found(format!(
                        "Flavor access not found for {key} / {whose} combination."
                    ))
                    .into()),
                }
            })
        });
        let projects = write.await?;
        self.inner.flavors.invalidate_all();
        Ok(projects)
    }

    /// What an instance of that flavor is made of.
    pub(crate) async fn size(
        &self,
        caller: &Caller,
        id: &str,
    ) -> Result<(Flavor, BTreeMap<String, String>), Fault> {
        let Offer { flavor, extra_specs, .. } =
            self.flavor(caller, id).await.map_err(|fault| match fault.kind {
                model::FaultKind::NotFound => Fault::invalid(fault.message),
                _ => fault,
            })?;
        Ok((flavor, extra_specs))
    }
}
