//! Key pairs.

use api_db::keypairs::{self, KeyPair};
use api_db::limits;
use model::{Caller, Fault};
use sql::Work;

use crate::Verbs;

fn missing(user: &str, name: &str) -> Fault {
    // Nova's text (`nova/exception.py`, KeypairNotFound).
    Fault::not_found(format!("Keypair {name} not found for user {user}"))
}

impl Verbs {
    /// Stores a key pair, within the limit of the caller's project.
    ///
    /// # Errors
    /// A conflict if the user has one of that name; over quota.
    pub async fn create_keypair(&self, caller: &Caller, pair: KeyPair) -> Result<(), Fault> {
        let (project, quota, name) = (caller.project.clone(), self.inner.settings.quota, pair.name.clone());
        let write = self.inner.db.write(move |tx| -> Work<'_, bool> {
            let (project, pair) = (project.clone(), pair.clone());
            Box::pin(async move {
                let limits = limits::of(tx, &project, quota).await?;
                keypairs::create(tx, &pair, &limits).await
            })
        });
        match write.await? {
            true => Ok(()),
            false => Err(Fault::conflict(format!("Key pair '{name}' already exists."))),
        }
    }

    /// One key pair of a user.
    pub async fn keypair(&self, user: &str, name: &str) -> Result<KeyPair, Fault> {
        let (whose, which) = (user.to_owned(), name.to_owned());
        let read = self.inner.db.read(move |tx| -> Work<'_, Option<KeyPair>> {
            let (whose, which) = (whose.clone(), which.clone());
            Box::pin(async move { keypairs::get(tx, &whose, &which).await })
        });
        read.await?.ok_or_else(|| missing(user, name))
    }

    /// Up to `limit` key pairs of a user after the one called `marker`, by name.
    ///
    /// # Errors
    /// A marker that is not there.
    pub async fn keypairs(
        &self,
        user: &str,
        marker: Option<&str>,
        limit: i64,
    ) -> Result<Vec<KeyPair>, Fault> {
        if let Some(marker) = marker {
            let found = self.keypair(user, marker).await;
            found.map_err(|_| Fault::invalid(format!("marker [{marker}] not found")))?;
        }
        let (whose, after) = (user.to_owned(), marker.unwrap_or_default().to_owned());
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<KeyPair>> {
            let (whose, after) = (whose.clone(), after.clone());
            Box::pin(async move { keypairs::list(tx, &whose, &after, limit).await })
        });
        Ok(read.await?)
    }

    /// Removes a key pair of a user.
    pub async fn delete_keypair(&self, user: &str, name: &str) -> Result<(), Fault> {
        let (whose, which) = (user.to_owned(), name.to_owned());
        let write = self.inner.db.write(move |tx| -> Work<'_, bool> {
            let (whose, which) = (whose.clone(), which.clone());
            Box::pin(async move { keypairs::delete(tx, &whose, &which).await })
        });
        if write.await? { Ok(()) } else { Err(missing(user, name)) }
    }
}
