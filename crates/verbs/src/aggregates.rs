//! Host aggregates. What they say of zones is copied down into the cells, by whoever works there.

use std::collections::BTreeMap;

use api_db::aggregates::{self, Aggregate};
use api_db::{Tx, hosts};
use model::Fault;
use rpc::Bell;
use sql::{Error, Work};

use crate::Verbs;

/// What to change of an aggregate; what is not named stays as it is.
#[derive(Clone, Debug, Default)]
pub struct AggregateChange {
    /// Its name.
    pub name: Option<String>,
    /// Its zone.
    pub zone: Option<Option<String>>,
    /// Metadata to put, or to remove where there is no value.
    pub metadata: BTreeMap<String, Option<String>>,
}

fn missing(id: i64) -> Fault {
    // Nova's text (`nova/exception.py`, AggregateNotFound).
    Fault::not_found(format!("Aggregate {id} could not be found."))
}

fn taken(name: &str) -> Fault {
    Fault::conflict(format!("Aggregate {name} already exists."))
}

/// Refuses to put a host into two zones.
fn one_zone(all: &[Aggregate], changed: &Aggregate) -> Result<(), Fault> {
    let Some(zone) = &changed.zone else { return Ok(()) };
    let others = all.iter().filter(|other| other.id != changed.id);
    for other in others.filter(|other| other.zone.as_ref().is_some_and(|at| at != zone)) {
        if let Some(host) = other.hosts.iter().find(|host| changed.hosts.contains(host)) {
            let at = other.zone.as_deref().unwrap_or_default();
            return Err(Fault::conflict(format!("Host {host} is in availability zone {at} already")));
        }
    }
    Ok(())
}

async fn find(tx: &mut Tx, id: i64) -> Result<(Vec<Aggregate>, Aggregate), Error> {
    aggregates::lock(tx).await?;
    let all = aggregates::all(tx).await?;
    let found = all.iter().find(|aggregate| aggregate.id == id).cloned();
    let found = found.ok_or_else(|| Error::from(missing(id)))?;
    Ok((all, found))
}

impl Verbs {
    /// All aggregates, by number.
    pub async fn aggregates(&self) -> Result<Vec<Aggregate>, Fault> {
        let read = self
            .inner
            .db
            .read(|tx| -> Work<'_, Vec<Aggregate>> { Box::pin(async move { aggregates::all(tx).await }) });
        Ok(read.await?)
    }

    /// One aggregate.
    pub async fn aggregate(&self, id: i64) -> Result<Aggregate, Fault> {
        let found = self.aggregates().await?.into_iter().find(|aggregate| aggregate.id == id);
        found.ok_or_else(|| missing(id))
    }

    /// Makes an aggregate.
    ///
    /// # Errors
    /// A conflict if the name is taken.
    pub async fn create_aggregate(&self, name: String, zone: Option<String>) -> Result<Aggregate, Fault> {
        let new = Aggregate {
            id: 0,
            uuid: self.inner.env.uuid(),
            name,
            zone,
            metadata: BTreeMap::new(),
            hosts: Vec::new(),
            created: self.inner.env.now(),
            updated: None,
        };
        let made = new.clone();
        let write = self.inner.db.write(move |tx| -> Work<'_, Option<i64>> {
            let new = new.clone();
            Box::pin(async move {
                aggregates::lock(tx).await?;
                aggregates::create(tx, &new).await
            })
        });
        match write.await? {
            Some(id) => Ok(Aggregate { id, ..made }),
            None => Err(taken(&made.name)),
        }
    }

    /// Changes an aggregate.
    pub async fn change_aggregate(&self, id: i64, change: AggregateChange) -> Result<Aggregate, Fault> {
        let now = self.inner.env.now();
        let write = self.inner.db.write(move |tx| -> Work<'_, Aggregate> {
            let change = change.clone();
            Box::pin(async move {
                let (all, mut changed) = find(tx, id).await?;
                changed.name = change.name.unwrap_or(changed.name);
                changed.zone = change.zone.unwrap_or(changed.zone);
                for (key, value) in change.metadata {
                    match value {
                        Some(value) => changed.metadata.insert(key, value),
                        None => changed.metadata.remove(&key),
                    };
                }
                one_zone(&all, &changed)?;
                if !aggregates::update(tx, &changed, now).await? {
                    return Err(taken(&changed.name).into());
                }
                Ok(Aggregate { updated: Some(now), ..changed })
            })
        });
        let changed = write.await?;
        self.ring_up();
        Ok(changed)
    }

    /// Removes an aggregate that has no hosts.
    pub async fn delete_aggregate(&self, id: i64) -> Result<(), Fault> {
        let write = self.inner.db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                find(tx, id).await?;
                match aggregates::delete(tx, id).await? {
                    true => Ok(()),
                    false => Err(Fault::invalid(format!(
                        "Cannot remove aggregate {id}: Host aggregate is not empty"
                    ))
                    .into()),
                }
            })
        });
        Ok(write.await?)
    }

    /// Adds a host to an aggregate.
    ///
    /// # Errors
    /// No such host; a conflict if it is there already, or lies in another zone.
    pub async fn add_host(&self, id: i64, host: &str) -> Result<Aggregate, Fault> {
        let name = host.to_owned();
        let now = self.inner.env.now();
        let write = self.inner.db.write(move |tx| -> Work<'_, Aggregate> {
            let name = name.clone();
            Box::pin(async move {
                let (all, mut changed) = find(tx, id).await?;
                if !hosts::all(tx).await?.iter().any(|mapping| mapping.name == name) {
                    return Err(Fault::not_found(format!("Compute host {name} could not be found.")).into());
                }
                changed.hosts.push(name.clone());
                changed.hosts.sort();
                one_zone(&all, &changed)?;
                if !aggregates::add_host(tx, id, &name).await? {
                    return Err(Fault::conflict(format!("Aggregate {id} already has host {name}.")).into());
                }
                aggregates::update(tx, &changed, now).await?;
                Ok(Aggregate { updated: Some(now), ..changed })
            })
        });
        let changed = write.await?;
        self.ring_up();
        Ok(changed)
    }

    /// Removes a host from an aggregate.
    pub async fn remove_host(&self, id: i64, host: &str) -> Result<Aggregate, Fault> {
        let name = host.to_owned();
        let now = self.inner.env.now();
        let write = self.inner.db.write(move |tx| -> Work<'_, Aggregate> {
            let name = name.clone();
            Box::pin(async move {
                let (_, mut changed) = find(tx, id).await?;
                if !aggregates::remove_host(tx, id, &name).await? {
                    let why = format!("Aggregate {id} has no host {name}.");
                    return Err(Fault::not_found(why).into());
                }
                changed.hosts.retain(|host| *host != name);
                aggregates::update(tx, &changed, now).await?;
                Ok(Aggregate { updated: Some(now), ..changed })
            })
        });
        let changed = write.await?;
        self.ring_up();
        Ok(changed)
    }

    fn ring_up(&self) {
        if let Some(bus) = &self.inner.bus {
            bus.ring(Bell::Superconductors);
        }
    }
}
