//! Wishes for other sizes of instances that the cell knows nothing of, on both engines.

use cell_db::resizes::{self, Standing, Wish, Wished};
use cell_db::{Db, actions};
use model::instance::Action;
use model::testing::spec;
use model::{Caller, Context, Env, InstanceId, Phase, Size, Timestamp};
use sql::testing::fresh;
use sql::{Error, Settings, Work};
use uuid::Uuid;

async fn wish(db: &Db, record: Uuid, instance: InstanceId) -> Result<Wished, Error> {
    db.write(move |tx| -> Work<'_, Wished> {
        Box::pin(async move {
            let caller = Caller { user: "u".into(), project: "p".into(), roles: vec![] };
            let (size, action) = (Some(Size::of(&spec())), Action::Resize);
            let wish = Wish { record, instance, epoch: 1, saga_token: 1, action, size };
            resizes::wish(tx, &wish, (&caller, &Context::default()), Timestamp(6)).await
        })
    })
    .await
}

#[tokio::test]
async fn a_wish_about_nothing_comes_to_an_end() {
    let env = Env::system();
    for fresh in fresh().await {
        let db = Db::open(&Settings::new(&fresh.url)).expect("opens");
        cell_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let (record, id) = (env.uuid(), env.id());
        let Wished::Refused(fault) = wish(&db, record, id).await.expect("is recorded") else {
            panic!("{}: there is no such row", fresh.engine);
        };
        assert_eq!(wish(&db, record, id).await.expect("is known"), Wished::Before);
        let read = db.read(move |tx| -> Work<'_, _> {
            Box::pin(async move {
                Ok((resizes::standing(tx, &[(id, record)]).await?, actions::of(tx, id).await?))
            })
        });
        let (standing, recorded) = read.await.expect("reads");
        let ended = Standing { id, phase: Phase::Plain, size: None, other: None, went_well: false };
        assert_eq!(standing, [ended], "{}", fresh.engine);
        assert_eq!(recorded.len(), 1);
        assert_eq!(recorded[0].result.as_deref(), Some("Error"));
        assert_eq!(recorded[0].message.as_ref(), Some(&fault.message));
    }
}
