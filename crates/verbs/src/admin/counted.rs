//! Projects' sums against what their instances add up to.

use api_db::quotas::{self, Uneven};
use serde_json::json;
use sql::Work;
use uuid::Uuid;

use super::doctor::Diagnosis;
use super::{Admin, By, Denied};

impl Admin {
    /// Looks for projects whose sums are not those of their instances; with `fix` sets them.
    pub(super) async fn examine_quotas(
        &self,
        by: &By,
        fix: bool,
        found: &mut Diagnosis,
    ) -> Result<(), Denied> {
        let read = self.db.read(|tx| -> Work<'_, Vec<Uneven>> { Box::pin(quotas::uneven(tx)) });
        for Uneven { project, counted, sum } in read.await? {
            let words = |[instances, cores, memory]: [i64; 3]| {
                format!("{instances} instances, {cores} cores and {memory} MiB")
            };
            let what = format!("its quota counts {}, its instances are {}", words(counted), words(sum));
            if fix {
                self.even(by, &project).await?;
            }
            found.mended("Q001", None, Some(project), &what, "skep doctor --fix", fix);
        }
        Ok(())
    }

    async fn even(&self, by: &By, project: &str) -> Result<(), Denied> {
        let entry = self.entry(by, "quota.recount")?;
        let project = project.to_owned();
        let written = self.db.write(move |tx| -> Work<'_, ()> {
            let (entry, project) = (entry.clone(), project.clone());
            Box::pin(async move {
                quotas::even(tx, &project).await?;
                entry.record(tx, Uuid::nil(), json!({"project": project})).await
            })
        });
        Ok(written.await?)
    }
}
