//! Quotas and usage.

use std::collections::BTreeMap;

use api_db::limits::{self, Effective};
use api_db::quotas;
use api_db::usage::{self, Used};
use model::{Fault, Timestamp};
use sql::Work;

use crate::Verbs;

/// What a project may have and has.
#[derive(Clone, Debug)]
pub struct Quota {
    /// Its limits.
    pub limits: Effective,
    /// What it uses, by resource.
    pub used: BTreeMap<&'static str, i64>,
}

impl Verbs {
    /// What a project may have of which nothing else is set.
    pub fn default_limits(&self) -> quotas::Limits {
        self.inner.settings.quota
    }

    /// What a project may have and has.
    pub async fn quota(&self, project: &str) -> Result<Quota, Fault> {
        let (project, default) = (project.to_owned(), self.inner.settings.quota);
        let read = self.inner.db.read(move |tx| -> Work<'_, Quota> {
            let project = project.clone();
            Box::pin(async move {
                let limits = limits::of(tx, &project, default).await?;
                let used = quotas::used(tx, &project).await?;
                Ok(Quota { limits, used })
            })
        });
        Ok(read.await?)
    }

    /// The limits of projects that have none of their own.
    pub async fn default_quota(&self, class: &str) -> Result<Effective, Fault> {
        let (class, default) = (class.to_owned(), self.inner.settings.quota);
        let read = self.inner.db.read(move |tx| -> Work<'_, Effective> {
            let class = class.clone();
            Box::pin(async move { limits::of_class(tx, &class, default).await })
        });
        Ok(read.await?)
    }

    /// Sets limits of a project; with `force` also below what it uses.
    pub async fn set_quota(
        &self,
        project: &str,
        wanted: BTreeMap<String, i64>,
        force: bool,
    ) -> Result<Quota, Fault> {
        let (project, default) = (project.to_owned(), self.inner.settings.quota);
        let write = self.inner.db.write(move |tx| -> Work<'_, Quota> {
            let (project, wanted) = (project.clone(), wanted.clone());
            Box::pin(async move {
                let used = quotas::used(tx, &project).await?;
                for (resource, maximum) in wanted.iter().filter(|(_, maximum)| !force && **maximum >= 0) {
                    let used = used.get(resource.as_str()).copied().unwrap_or_default();
                    if used > *maximum {
                        // Nova's text (`nova/api/openstack/compute/quota_sets.py`).
                        return Err(Fault::invalid(format!(
                            "Quota limit {maximum} for {resource} must be greater than or equal to already used and reserved {used}."
                        ))
                        .into());
                    }
                }
                limits::set(tx, &project, &wanted).await?;
                Ok(Quota { limits: limits::of(tx, &project, default).await?, used })
            })
        });
        Ok(write.await?)
    }

    /// Sets limits of a class of projects; every project is in `default`.
    pub async fn set_default_quota(
        &self,
        class: &str,
        wanted: BTreeMap<String, i64>,
    ) -> Result<Effective, Fault> {
        let (class, default) = (class.to_owned(), self.inner.settings.quota);
        let write = self.inner.db.write(move |tx| -> Work<'_, Effective> {
            let (class, wanted) = (class.clone(), wanted.clone());
            Box::pin(async move {
                limits::set_class(tx, &class, &wanted).await?;
                limits::of_class(tx, &class, default).await
            })
        });
        Ok(write.await?)
    }

    /// Forgets the limits of a project.
    pub async fn reset_quota(&self, project: &str) -> Result<(), Fault> {
        let project = project.to_owned();
        let write = self.inner.db.write(move |tx| -> Work<'_, ()> {
            let project = project.clone();
            Box::pin(async move { limits::reset(tx, &project).await })
        });
        Ok(write.await?)
    }

    /// What was used between two moments, by one project or by all.
    pub async fn usage(
        &self,
        project: Option<&str>,
        span: (Timestamp, Timestamp),
    ) -> Result<Vec<Used>, Fault> {
        let project = project.map(str::to_owned);
        let read = self.inner.db.read(move |tx| -> Work<'_, Vec<Used>> {
            let project = project.clone();
            Box::pin(async move { usage::between(tx, project.as_deref(), span).await })
        });
        Ok(read.await?)
    }
}
