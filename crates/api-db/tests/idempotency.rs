//! Idempotency keys, on both engines.

use std::collections::BTreeMap;

use api_db::idempotency::{self, Answer, Attempt, Known};
use api_db::{Db, Tx};
use model::{Env, Timestamp};
use sql::{Error, Work};
use uuid::Uuid;

async fn databases() -> Vec<(&'static str, Db)> {
    sql::testing::migrated(&api_db::SCHEMA).await
}

fn attempt(id: Uuid, body: &str) -> Attempt {
    Attempt {
        id,
        fingerprint: body.as_bytes().to_vec(),
        project: "p".into(),
        request_id: "req-1".into(),
        by: Env::system().uuid(),
    }
}

fn said(text: &str) -> Answer {
    Answer {
        status: 202,
        headers: BTreeMap::from([("location".into(), "/here".into())]),
        body: text.as_bytes().to_vec(),
        request_id: "req-1".into(),
    }
}

/// What is known at a moment.
async fn known(tx: &mut Tx, of: &Attempt, at: i64) -> Result<Option<Known>, Error> {
    idempotency::find(tx, of.id, &of.fingerprint, Timestamp(at)).await
}

#[tokio::test]
async fn a_held_key_is_answered_by_its_holder_alone() {
    for (engine, db) in databases().await {
        let done = db.write(move |tx| -> Work<'_, ()> {
            Box::pin(async move {
                let id = Env::system().uuid();
                let (one, two, other) = (attempt(id, "body"), attempt(id, "body"), attempt(id, "other"));
                let hold = async |tx: &mut Tx, who: &Attempt, now: i64| {
                    idempotency::hold(tx, who, Timestamp(now), Timestamp(now + 10), Timestamp(100)).await
                };
                assert_eq!(hold(tx, &one, 1).await?, Some(one.by));
                assert_eq!(known(tx, &two, 2).await?, Some(Known::Held));
                assert_eq!(known(tx, &other, 2).await?, Some(Known::Other));
                assert_eq!(hold(tx, &two, 2).await?, None);
                assert_eq!(hold(tx, &other, 50).await?, None, "another request never gets it");
                // The first one's time is over: the second takes it, under the name of the first.
                assert_eq!(known(tx, &two, 11).await?, None);
                assert_eq!(hold(tx, &two, 11).await?, Some(one.by));
                assert!(!idempotency::settle(tx, &one, &said("late")).await?);
                idempotency::release(tx, &one).await?;
                assert_eq!(known(tx, &one, 12).await?, Some(Known::Held));
                idempotency::release(tx, &two).await?;
                assert_eq!(hold(tx, &one, 12).await?, Some(one.by), "free at once");
                assert!(idempotency::settle(tx, &one, &said("done")).await?);
                assert!(!idempotency::settle(tx, &one, &said("twice")).await?);
                assert_eq!(known(tx, &two, 99).await?, Some(Known::Answered(said("done"))));
                assert_eq!(hold(tx, &two, 99).await?, None);
                // Expired: whatever the request, it is a new one.
                assert_eq!(known(tx, &other, 100).await?, None);
                let held = idempotency::hold(tx, &other, Timestamp(100), Timestamp(110), Timestamp(200));
                assert_eq!(held.await?, Some(other.by));
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}

#[tokio::test]
async fn one_of_many_answers_wins_and_what_expired_is_swept() {
    for (engine, db) in databases().await {
        let id = Env::system().uuid();
        let mut tries = tokio::task::JoinSet::new();
        for n in 0..8 {
            let db = db.clone();
            tries.spawn(async move {
                let text = format!("answer {n}");
                let stored = db.write(move |tx| -> Work<'_, bool> {
                    let text = text.clone();
                    Box::pin(async move {
                        let (who, now) = (attempt(id, "body"), Timestamp(1));
                        idempotency::answer(tx, &who, &said(&text), now, Timestamp(100)).await
                    })
                });
                (n, stored.await.expect("is stored"))
            });
        }
        let won: Vec<i32> =
            tries.join_all().await.into_iter().filter(|(_, won)| *won).map(|(n, _)| n).collect();
        assert_eq!(won.len(), 1, "{engine}");
        let winner = format!("answer {}", won[0]);
        let done = db.write(move |tx| -> Work<'_, ()> {
            let winner = winner.clone();
            Box::pin(async move {
                let who = attempt(id, "body");
                assert_eq!(known(tx, &who, 50).await?, Some(Known::Answered(said(&winner))));
                for n in 0..4 {
                    let (new, till) = (attempt(Env::system().uuid(), "x"), Timestamp(200 + n));
                    assert!(idempotency::answer(tx, &new, &said(""), Timestamp(1), till).await?);
                }
                assert_eq!(idempotency::sweep(tx, Timestamp(99), 10).await?, 0);
                assert_eq!(
                    idempotency::sweep(tx, Timestamp(202), 2).await?,
                    2,
                    "oldest first, so many at most"
                );
                assert_eq!(known(tx, &who, 50).await?, None);
                assert_eq!(idempotency::sweep(tx, Timestamp(202), 10).await?, 2);
                assert_eq!(idempotency::sweep(tx, Timestamp(1_000), 10).await?, 1);
                Ok(())
            })
        });
        done.await.unwrap_or_else(|error| panic!("{engine}: {error}"));
    }
}
