//! `os-migrations`: servers whose size was changed. skep moves no server to another host by itself.

use axum::http::StatusCode;
use model::hash::fnv64;
use model::{InstanceId, Timestamp};
use uuid::Uuid;
use verbs::{ResizeRecord, ResizesAmong};

use crate::compute::moment;
use crate::edge::call::{Answered, Call};
use crate::edge::json::{Object, answer};
use crate::edge::refused::Refused;
use crate::edge::version::Version;

/// Pages, ids that are UUIDs, and filters by time come with 2.59 (`nova/api/openstack/compute/migrations.py`).
const PAGES: Version = Version(59);
/// Largest page.
const MAX_LIMIT: usize = 1000;

/// `GET /os-migrations`, newest first.
pub async fn index(call: Call) -> Answered {
    let (limit, marker) = match call.version >= PAGES {
        true => (call.params.number("limit")?.unwrap_or(MAX_LIMIT).min(MAX_LIMIT), marker(&call)?),
        false => (MAX_LIMIT, None),
    };
    let records = match among(&call)? {
        Some(among) => call.verbs()?.resizes(&among, marker, limit).await?,
        None => Vec::new(),
    };
    Ok(answer(StatusCode::OK, |body| {
        body.array("migrations", &records, |object, record| put(object, record, call.version));
        if let (true, true, Some(last)) = (call.version >= PAGES, records.len() == limit, records.last()) {
            let query = call.params.with_marker(&last.id.to_string());
            body.array("migrations_links", [()], |link, ()| {
                link.put("rel", "next");
                link.text("href", format_args!("{}/os-migrations?{query}", call.base.versioned()));
            });
        }
    }))
}

/// `GET /servers/{id}/migrations` (2.23): live migrations under way, of which there are none.
pub async fn of_server(call: Call) -> Answered {
    exists(&call).await?;
    Ok(answer(StatusCode::OK, |body| body.put("migrations", &[0_u8; 0])))
}

/// `GET /servers/{id}/migrations/{migration}` (2.23).
pub async fn show(call: Call) -> Answered {
    exists(&call).await?;
    let (id, migration) = (call.instance()?, call.capture("migration"));
    // Nova's text (`nova/exception.py`, MigrationNotFoundForInstance).
    Err(Refused::not_found(format!("Migration {migration} not found for instance {id}")))
}

async fn exists(call: &Call) -> Result<(), Refused> {
    if call.version < Version(23) {
        return Err(Refused::not_found("The resource could not be found."));
    }
    call.verbs()?.show(&call.caller, call.instance()?).await?;
    Ok(())
}

fn marker(call: &Call) -> Result<Option<Uuid>, Refused> {
    let text = call.params.last("marker").filter(|text| !text.is_empty());
    let read = |text: &str| {
        Uuid::parse_str(text).map_err(|_| Refused::bad(format!("Marker {text} could not be found.")))
    };
    text.map(read).transpose()
}

/// What is asked for; none if that cannot be.
fn among(call: &Call) -> Result<Option<ResizesAmong>, Refused> {
    let last = |name: &str| call.params.last(name).filter(|text| !text.is_empty());
    let from = |name: &str, since: u16| last(name).filter(|_| call.version >= Version(since));
    let moment = |name: &str, since: u16| -> Result<Option<Timestamp>, Refused> {
        let read = |text: &str| {
            moment::parse(text).ok_or_else(|| {
                Refused::bad(format!(
                    "Invalid input for query parameters {name}. Value: {text}. It is no date"
                ))
            })
        };
        from(name, since).map(read).transpose()
    };
    let (since, before) = (moment("changes-since", 59)?, moment("changes-before", 66)?);
    if since.zip(before).is_some_and(|(since, before)| since > before) {
        let why = "The value of changes-since must be less than or equal to changes-before.";
        return Err(Refused::bad(why));
    }
    let of_other_kind = last("migration_type").is_some_and(|kind| kind != "resize");
    let host = match (last("host"), last("source_compute")) {
        (Some(host), Some(source)) if host != source => return Ok(None),
        (host, source) => host.or(source),
    };
    let instance = match last("instance_uuid") {
        None => None,
        Some(text) => match Uuid::parse_str(text) {
            Ok(id) => Some(InstanceId(id)),
            Err(_) => return Ok(None),
        },
    };
    if of_other_kind || call.params.truth("hidden").unwrap_or_default() {
        return Ok(None);
    }
    Ok(Some(ResizesAmong {
        instance,
        host: host.map(str::to_owned),
        status: last("status").map(str::to_owned),
        user: from("user_id", 80).map(str::to_owned),
        project: from("project_id", 80).map(str::to_owned),
        since,
        before,
    }))
}

fn put(object: &mut Object<'_>, record: &ResizeRecord, version: Version) {
    let nothing: Option<&str> = None;
    object.put("id", &(record.id.as_u128() as u32 >> 1));
    object.put("instance_uuid", &record.instance);
    object.put("status", &record.status);
    for name in ["source_compute", "source_node", "dest_compute", "dest_node"] {
        object.put(name, &record.host);
    }
    object.put("dest_host", &nothing);
    object.put("old_instance_type_id", &number(&record.old_flavor));
    object.put("new_instance_type_id", &number(&record.new_flavor));
    object.put("created_at", &record.created.micros_naive());
    object.put("updated_at", &record.updated.micros_naive());
    if version >= Version(23) {
        object.put("migration_type", "resize");
    }
    if version >= PAGES {
        object.put("uuid", &record.id);
    }
    if version >= Version(80) {
        object.put("user_id", &record.user);
        object.put("project_id", &record.project);
    }
}

/// Nova's flavors have numbers inside, which it shows here; ours have ids only.
fn number(flavor: &str) -> u32 {
    flavor.parse().unwrap_or_else(|_| fnv64(flavor.as_bytes()) as u32 >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_is_asked_for() {
        let among = |version: u16, query: &str| among(&testing::call(version, "admin", query));
        let found = |version, query: &str| among(version, query).expect(query).expect(query);
        assert_eq!(found(1, "status=finished&host=h").status.as_deref(), Some("finished"));
        assert_eq!(found(80, "user_id=u&project_id=p").project.as_deref(), Some("p"));
        assert_eq!(found(79, "user_id=u").user, None);
        assert!(found(59, "changes-since=2026-01-01T00:00:00Z").since.is_some());
        assert!(found(58, "changes-since=2026-01-01T00:00:00Z").since.is_none());
        for none in ["migration_type=evacuation", "hidden=1", "instance_uuid=x", "host=a&source_compute=b"] {
            assert!(among(80, none).expect(none).is_none(), "{none}");
        }
        for bad in
            ["changes-since=x", "changes-since=2026-01-02T00:00:00Z&changes-before=2026-01-01T00:00:00Z"]
        {
            assert!(among(80, bad).is_err(), "{bad}");
        }
        assert!(marker(&testing::call(59, "admin", "marker=x")).is_err());
    }

    #[tokio::test]
    async fn members_by_version() {
        let record = ResizeRecord {
            id: Uuid::from_u128(6),
            instance: InstanceId(Uuid::nil()),
            project: "p".into(),
            user: "u".into(),
            host: "h1".into(),
            old_flavor: "1".into(),
            new_flavor: "large".into(),
            status: "finished".into(),
            created: Timestamp(0),
            updated: Timestamp(0),
        };
        let members = async |version| {
            let response = answer(StatusCode::OK, |body| put(body, &record, Version(version)));
            testing::json(response).await.1
        };
        let body = members(80).await;
        assert_eq!((&body["id"], &body["old_instance_type_id"]), (&3.into(), &1.into()));
        assert!(body["new_instance_type_id"].is_u64());
        let has = async |version, name: &str| members(version).await.get(name).is_some();
        for (name, first) in [("migration_type", 23), ("uuid", 59), ("user_id", 80), ("project_id", 80)] {
            assert!(has(first, name).await && !has(first - 1, name).await, "{name}");
        }
    }
}
