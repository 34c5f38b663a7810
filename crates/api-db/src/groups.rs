//! Server groups and their members.

use model::extra::Policy;
use model::{InstanceId, Timestamp};
use sql::{Error, args};
use uuid::Uuid;

use crate::Tx;
use crate::limits::{self, Effective};

/// A server group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerGroup {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub project: String,
    /// Who made it.
    pub user: String,
    /// Its name; need not be unique.
    pub name: String,
    /// What it asks of hosts.
    pub policy: Policy,
    /// How many members one host may have; 0 if that was not said.
    pub max_per_host: i64,
    /// When it was made.
    pub created: Timestamp,
    /// Its members that are not gone, by id.
    pub members: Vec<InstanceId>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    project: String,
    user_id: String,
    name: String,
    policy: String,
    max_per_host: i64,
    created_at: i64,
}

impl Row {
    async fn group(self, tx: &mut Tx) -> Result<ServerGroup, Error> {
        let policy =
            Policy::parse(&self.policy).ok_or_else(|| Error::corrupt("server_group.policy", &self.policy))?;
        Ok(ServerGroup {
            id: self.id,
            project: self.project,
            user: self.user_id,
            name: self.name,
            policy,
            max_per_host: self.max_per_host,
            created: Timestamp(self.created_at),
            members: members(tx, self.id).await?,
        })
    }
}

/// Members of a group that are not gone, by id.
pub async fn members(tx: &mut Tx, group: Uuid) -> Result<Vec<InstanceId>, Error> {
    const SQL: &str =
        "SELECT g.instance FROM server_group_member g JOIN instance_mapping m ON m.id = g.instance
        WHERE g.server_group = $1 AND m.state <> 'deleted' ORDER BY g.instance";
    let rows: Vec<(Uuid,)> = tx.all(SQL, args![group]).await?;
    Ok(rows.into_iter().map(|(id,)| InstanceId(id)).collect())
}

/// Stores a group, within its project's limit.
pub async fn create(tx: &mut Tx, group: &ServerGroup, limits: &Effective) -> Result<(), Error> {
    const SQL: &str =
        "INSERT INTO server_group (id, project, user_id, name, policy, max_per_host, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let project = group.project.as_str();
    limits::lock(tx, &format!("server_group/{project}")).await?;
    limits.check("server_groups", count(tx, project).await?, 1)?;
    let args = args![
        group.id,
        project,
        group.user.as_str(),
        group.name.as_str(),
        group.policy.as_str(),
        group.max_per_host,
        group.created
    ];
    tx.exec(SQL, args).await.map(drop)
}

/// How many groups a project has.
pub async fn count(tx: &mut Tx, project: &str) -> Result<i64, Error> {
    const SQL: &str = "SELECT COUNT(*) FROM server_group WHERE project = $1";
    Ok(tx.opt::<(i64,)>(SQL, args![project]).await?.unwrap_or_default().0)
}

/// One group.
pub async fn get(tx: &mut Tx, id: Uuid) -> Result<Option<ServerGroup>, Error> {
    const SQL: &str = "SELECT id, project, user_id, name, policy, max_per_host, created_at FROM server_group
        WHERE id = $1";
    match tx.opt::<Row>(SQL, args![id]).await? {
        Some(row) => Ok(Some(row.group(tx).await?)),
        None => Ok(None),
    }
}

/// Groups of one project or of all, in the order in which they were made.
pub async fn list(
    tx: &mut Tx,
    project: Option<&str>,
    offset: i64,
    limit: i64,
) -> Result<Vec<ServerGroup>, Error> {
    const ONE: &str = "SELECT id, project, user_id, name, policy, max_per_host, created_at FROM server_group
        WHERE project = $1 ORDER BY created_at, id LIMIT $2 OFFSET $3";
    const ALL: &str = "SELECT id, project, user_id, name, policy, max_per_host, created_at FROM server_group
        ORDER BY created_at, id LIMIT $1 OFFSET $2";
    let rows: Vec<Row> = match project {
        Some(project) => tx.all(ONE, args![project, limit, offset]).await?,
        None => tx.all(ALL, args![limit, offset]).await?,
    };
    let mut groups = Vec::new();
    for row in rows {
        groups.push(row.group(tx).await?);
    }
    Ok(groups)
}

/// Removes a group; its members run on. False if there is none.
pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    tx.exec("DELETE FROM server_group_member WHERE server_group = $1", args![id]).await?;
    Ok(tx.exec("DELETE FROM server_group WHERE id = $1", args![id]).await? == 1)
}

/// Makes instances members of a group, within the limit. False if the group is gone.
pub async fn join(
    tx: &mut Tx,
    group: Uuid,
    instances: &[InstanceId],
    limits: &Effective,
) -> Result<bool, Error> {
    const LOCK: &str = "UPDATE server_group SET name = name WHERE id = $1";
    const SQL: &str = "INSERT INTO server_group_member (instance, server_group) VALUES ($1, $2)";
    if tx.exec(LOCK, args![group]).await? == 0 {
        return Ok(false);
    }
    let used = members(tx, group).await?.len() as i64;
    limits.check("server_group_members", used, instances.len() as i64)?;
    for instance in instances {
        tx.exec(SQL, args![*instance, group]).await?;
    }
    Ok(true)
}

/// The group that an instance belongs to.
pub async fn of(tx: &mut Tx, instance: InstanceId) -> Result<Option<Uuid>, Error> {
    const SQL: &str = "SELECT server_group FROM server_group_member WHERE instance = $1";
    Ok(tx.opt::<(Uuid,)>(SQL, args![instance]).await?.map(|(group,)| group))
}
