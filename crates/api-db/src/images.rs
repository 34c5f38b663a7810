//! The image catalogue.

use std::collections::{BTreeMap, BTreeSet};

use model::Timestamp;
use model::image::ImageRef;
use sql::{Args, Error, Json, args};
use uuid::Uuid;

use crate::Tx;
use crate::limits;

/// Most images of one project.
pub const MOST: i64 = 1_000;

/// An image: a name for a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: Uuid,
    /// The project that it belongs to; empty for one that the configuration names.
    pub owner: String,
    /// Its name, if it has one; need not be unique.
    pub name: Option<String>,
    /// Who may see it.
    pub visibility: Visibility,
    /// What engines are asked for; nothing as long as nobody has said it.
    pub reference: Option<ImageRef>,
    /// Whether nothing may be made of it for the time being.
    pub deactivated: bool,
    /// Whether it is kept from being deleted.
    pub protected: bool,
    /// Whether lists leave it out unless they are asked for hidden ones.
    pub hidden: bool,
    /// Least disk of a flavor for it, GiB.
    pub min_disk_gib: i64,
    /// Least memory of a flavor for it, MiB.
    pub min_ram_mib: i64,
    /// Glance's word for how it is wrapped.
    pub container_format: Option<String>,
    /// Glance's word for what is inside.
    pub disk_format: Option<String>,
    /// Tags.
    pub tags: BTreeSet<String>,
    /// The owner's own properties.
    pub properties: BTreeMap<String, String>,
    /// When it was made; 0 for one that the configuration names.
    pub created: Timestamp,
    /// When anything of it was changed.
    pub updated: Timestamp,
}

/// Who may see an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Everybody who knows it; lists leave it out unless they are asked for such.
    Community,
    /// Its project.
    Private,
}

impl Visibility {
    /// Glance's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Community => "community",
            Self::Private => "private",
        }
    }

    /// What a word means.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Public, Self::Community, Self::Private].into_iter().find(|one| one.word() == word)
    }
}

impl Image {
    /// An image that stands for a reference alone, as everybody may use it.
    pub fn of(reference: ImageRef) -> Self {
        Self {
            id: reference.uuid(),
            owner: String::new(),
            name: Some(reference.to_string()),
            visibility: Visibility::Public,
            reference: Some(reference),
            deactivated: false,
            protected: false,
            hidden: false,
            min_disk_gib: 0,
            min_ram_mib: 0,
            container_format: Some("docker".to_owned()),
            disk_format: Some("raw".to_owned()),
            tags: BTreeSet::new(),
            properties: BTreeMap::new(),
            created: Timestamp(0),
            updated: Timestamp(0),
        }
    }

    /// Its id, where that is not made of the reference.
    pub fn listed(&self) -> Option<Uuid> {
        (self.reference.as_ref().map(ImageRef::uuid) != Some(self.id)).then_some(self.id)
    }

    /// Glance's word for where it stands.
    pub fn status(&self) -> &'static str {
        match &self.reference {
            None => "queued",
            Some(_) if self.deactivated => "deactivated",
            Some(_) => "active",
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    owner: String,
    name: Option<String>,
    visibility: String,
    reference: Option<String>,
    deactivated: bool,
    protected: bool,
    hidden: bool,
    min_disk_gib: i64,
    min_ram_mib: i64,
    container_format: Option<String>,
    disk_format: Option<String>,
    tags: Json<BTreeSet<String>>,
    properties: Json<BTreeMap<String, String>>,
    created_at: i64,
    updated_at: i64,
}

impl Row {
    fn image(self) -> Result<Image, Error> {
        let visibility = Visibility::parse(&self.visibility)
            .ok_or_else(|| Error::corrupt("image.visibility", &self.visibility))?;
        let reference = self.reference.map(|text| text.parse()).transpose();
        Ok(Image {
            id: self.id,
            owner: self.owner,
            name: self.name,
            visibility,
            reference: reference.map_err(|error| Error::corrupt("image.reference", error))?,
            deactivated: self.deactivated,
            protected: self.protected,
            hidden: self.hidden,
            min_disk_gib: self.min_disk_gib,
            min_ram_mib: self.min_ram_mib,
            container_format: self.container_format,
            disk_format: self.disk_format,
            tags: self.tags.0,
            properties: self.properties.0,
            created: Timestamp(self.created_at),
            updated: Timestamp(self.updated_at),
        })
    }
}

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, owner, name, visibility, reference, deactivated, protected, hidden, min_disk_gib,
             min_ram_mib, container_format, disk_format, tags, properties, created_at, updated_at FROM image ",
            $rest
        )
    };
}

/// Every image.
pub async fn all(tx: &mut Tx) -> Result<Vec<Image>, Error> {
    many(tx, select!(""), args![]).await
}

/// Those that a project may see: its own, and all that are not private.
pub async fn seen_by(tx: &mut Tx, project: &str) -> Result<Vec<Image>, Error> {
    many(tx, select!("WHERE owner = $1 OR visibility <> 'private'"), args![project]).await
}

/// Those of a name that are a project's own, or public.
pub async fn named(tx: &mut Tx, project: &str, name: &str) -> Result<Vec<Image>, Error> {
    const SQL: &str = select!("WHERE name = $2 AND (owner = $1 OR visibility = 'public')");
    many(tx, SQL, args![project, name]).await
}

async fn many(tx: &mut Tx, sql: &'static str, args: Args) -> Result<Vec<Image>, Error> {
    tx.all::<Row>(sql, args).await?.into_iter().map(Row::image).collect()
}

/// The image of that id.
pub async fn get(tx: &mut Tx, id: Uuid) -> Result<Option<Image>, Error> {
    tx.opt::<Row>(select!("WHERE id = $1"), args![id]).await?.map(Row::image).transpose()
}

/// The image of that id, which nobody else changes until the commit.
pub async fn hold(tx: &mut Tx, id: Uuid) -> Result<Option<Image>, Error> {
    tx.exec("UPDATE image SET owner = owner WHERE id = $1", args![id]).await?;
    get(tx, id).await
}

/// How storing an image ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    Yes,
    /// Its id is taken.
    Taken,
    /// Its project has as many as it may have.
    TooMany,
}

/// Stores an image.
pub async fn create(tx: &mut Tx, image: &Image) -> Result<Stored, Error> {
    const SQL: &str = "INSERT INTO image (id, owner, name, visibility, reference, deactivated, protected, hidden,
            min_disk_gib, min_ram_mib, container_format, disk_format, tags, properties, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT DO NOTHING";
    const COUNT: &str = "SELECT COUNT(*) FROM image WHERE owner = $1";
    let owner = image.owner.as_str();
    limits::lock(tx, &format!("image/{owner}")).await?;
    if tx.opt::<(i64,)>(COUNT, args![owner]).await?.unwrap_or_default().0 >= MOST {
        return Ok(Stored::TooMany);
    }
    let mut args = columns(image)?;
    args.push(image.created.into());
    args.push(image.updated.into());
    Ok(if tx.exec(SQL, args).await? == 1 { Stored::Yes } else { Stored::Taken })
}

/// Stores what an image is now. False if there is none of that id.
pub async fn update(tx: &mut Tx, image: &Image) -> Result<bool, Error> {
    const SQL: &str =
        "UPDATE image SET owner = $2, name = $3, visibility = $4, reference = $5, deactivated = $6,
            protected = $7, hidden = $8, min_disk_gib = $9, min_ram_mib = $10, container_format = $11,
            disk_format = $12, tags = $13, properties = $14, updated_at = $15
        WHERE id = $1";
    let mut args = columns(image)?;
    args.push(image.updated.into());
    Ok(tx.exec(SQL, args).await? == 1)
}

fn columns(image: &Image) -> Result<Args, Error> {
    let json = |value: Result<serde_json::Value, serde_json::Error>| {
        value.map_err(|error| Error::corrupt("image", error))
    };
    Ok(args![
        image.id,
        image.owner.as_str(),
        image.name.clone(),
        image.visibility.word(),
        image.reference.as_ref().map(ImageRef::to_string),
        image.deactivated,
        image.protected,
        image.hidden,
        image.min_disk_gib,
        image.min_ram_mib,
        image.container_format.clone(),
        image.disk_format.clone(),
        json(serde_json::to_value(&image.tags))?,
        json(serde_json::to_value(&image.properties))?,
    ])
}

/// Removes an image. Instances keep what it stood for. False if there is none.
pub async fn delete(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    Ok(tx.exec("DELETE FROM image WHERE id = $1", args![id]).await? == 1)
}
