//! Users of our own, on both engines: who is let in, for what, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use identity::{
    Backend, Bootstrap, By, Embedded, Filter, Grant, Identity, Issued, Kind, Known, Method, NewCredential,
    Refusal, Request, Scope, ScopeWish, Settings, UserRef, Within,
};
use model::time::Clock;
use model::{Caller, Context, Env, FaultKind, Timestamp};
use serde_json::{Map, Value, json};
use sql::testing::fresh;
use tokio_util::sync::CancellationToken;

/// A clock whose wall time a test may move.
#[derive(Debug, Default)]
struct Hand {
    system: model::time::SystemClock,
    ahead: AtomicI64,
}

impl Hand {
    fn advance(&self, by: Duration) {
        self.ahead.fetch_add(by.as_micros() as i64, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.system.now().0 + self.ahead.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }
}

/// A cloud's identity as two API processes see it.
struct Bed {
    engine: &'static str,
    here: Embedded,
    there: Embedded,
    hand: Arc<Hand>,
    password: String,
    project: String,
    _stop: tokio_util::sync::DropGuard,
}

fn root() -> By {
    let caller = Caller { user: "root".into(), project: "p".into(), roles: vec!["admin".into()] };
    By { caller: Arc::new(caller), context: Context::default() }
}

async fn beds() -> Vec<Bed> {
    let mut beds = Vec::new();
    for fresh in fresh().await {
        let hand = Arc::new(Hand::default());
        let env = Env::new(hand.clone(), Arc::new(model::env::SystemRng));
        let db: api_db::Db = sql::Db::open(&sql::Settings::new(&fresh.url)).expect("opens");
        api_db::SCHEMA.migrate(&db, &env).await.expect("migrates");
        let stop = CancellationToken::new();
        let start = || Embedded::start(Settings::default(), env.clone(), db.clone(), stop.clone());
        let (here, there) = (start(), start());
        let wanted = Bootstrap {
            user: "admin".into(),
            user_id: None,
            project: "admin".into(),
            project_id: None,
            reset_password: false,
        };
        let first = here.bootstrap(wanted.clone()).await.expect("is made");
        let again = here.bootstrap(wanted).await.expect("is there");
        assert_eq!((&again.user, again.password), (&first.user, None), "it is told once");
        let (password, project) = (first.password.expect("is told"), first.project);
        let _stop = stop.drop_guard();
        beds.push(Bed { engine: fresh.engine, here, there, hand, password, project, _stop });
    }
    beds
}

fn named(name: &str) -> UserRef {
    UserRef::Named(name.into(), Within::Named("Default".into()))
}

impl Bed {
    async fn login(&self, user: &str, password: &str, scope: ScopeWish) -> Result<Issued, Refusal> {
        let methods = vec![Method::Password(named(user), password.into())];
        self.here.issue(Request { methods, scope, from: None }).await
    }

    async fn admin(&self) -> Issued {
        let scope = ScopeWish::Project(named("admin"));
        self.login("admin", &self.password, scope).await.unwrap_or_else(|why| panic!("{why:?}"))
    }

    async fn known(&self, token: &str) -> Option<Arc<Known>> {
        check(&self.here, token).await
    }

    async fn make(&self, kind: Kind, said: Value) -> String {
        let said: Map<String, Value> = said.as_object().cloned().expect("an object");
        self.here.create(&root(), kind, said).await.expect("is made").id
    }

    async fn role(&self, name: &str) -> String {
        let filter = Filter { name: Some(name.into()), ..Filter::default() };
        self.here.list(Kind::Role, filter).await.expect("lists").remove(0).id
    }

    /// A user `ana` with the role `member` on the project `shop`.
    async fn ana(&self) -> (String, Grant) {
        let user = self.make(Kind::User, json!({"name": "ana", "password": "ana's own"})).await;
        let project = self.make(Kind::Project, json!({"name": "shop"})).await;
        let on = Some((Kind::Project, project));
        let grant = Grant { user: user.clone(), on, role: self.role("member").await };
        self.here.grant(&root(), grant.clone()).await.expect("is given");
        (user, grant)
    }

    async fn ana_comes(&self) -> Issued {
        let scope = ScopeWish::Project(named("shop"));
        self.login("ana", "ana's own", scope).await.unwrap_or_else(|why| panic!("{why:?}"))
    }

    /// Waits until another process refuses a token.
    async fn refused_there(&self, token: &str, why: &str) {
        for _ in 0..1_500 {
            if check(&self.there, token).await.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{}: the other process still lets a token through: {why}", self.engine);
    }
}

async fn check(embedded: &Embedded, token: &str) -> Option<Arc<Known>> {
    let identity = Identity::new(&[], Backend::Embedded(embedded.clone()), &Env::system());
    identity.validate(token).await.expect("the database answers")
}

fn roles(known: &Known) -> Vec<&str> {
    known.roles.iter().map(|role| role.name.as_str()).collect()
}

fn is_unauthenticated<T>(result: Result<T, Refusal>) -> bool {
    matches!(result, Err(Refusal::Fault(fault)) if fault.kind == FaultKind::Unauthenticated)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_and_for_what() {
    for bed in beds().await {
        let admin = bed.admin().await;
        assert_eq!(roles(&admin.known), ["admin", "manager", "member", "reader"], "{}", bed.engine);
        assert_eq!(admin.known.caller.project, bed.project);
        let known = bed.known(&admin.token).await.expect("is known");
        assert_eq!(*known, *admin.known);
        assert!(bed.known("no such token").await.is_none());

        let system = bed.login("admin", &bed.password, ScopeWish::System).await.unwrap_or_else(|_| panic!());
        assert!(system.known.is_system() && system.known.caller.project.is_empty());
        assert!(system.known.caller.is_admin());
        let unscoped =
            bed.login("admin", &bed.password, ScopeWish::Unscoped).await.unwrap_or_else(|_| panic!());
        assert_eq!(unscoped.known.scope, Scope::None);
        assert!(unscoped.known.caller.roles.is_empty());

        bed.ana().await;
        let ana = bed.ana_comes().await;
        assert_eq!(roles(&ana.known), ["member", "reader"]);
        for scope in [
            ScopeWish::System,
            ScopeWish::Project(named("admin")),
            ScopeWish::Domain(Within::Named("Default".into())),
        ] {
            assert!(is_unauthenticated(bed.login("ana", "ana's own", scope.clone()).await), "{scope:?}");
        }
        for (user, password) in [("ana", "ana's"), ("ana", ""), ("nobody", "ana's own")] {
            assert!(
                is_unauthenticated(bed.login(user, password, ScopeWish::Unscoped).await),
                "{user} {password}"
            );
        }
        // A token gets another one, which ends no later.
        bed.hand.advance(Duration::from_secs(60));
        let methods = vec![Method::Token(ana.token.clone())];
        let scope = ScopeWish::Unscoped;
        let next = bed.here.issue(Request { methods, scope, from: None }).await.unwrap_or_else(|_| panic!());
        assert_eq!(next.known.expires, ana.known.expires);
        assert_eq!(next.known.audit_ids.last(), ana.known.audit_ids.last());
        bed.hand.advance(Duration::from_secs(3_600));
        for token in [&ana.token, &next.token, &admin.token] {
            assert!(bed.known(token).await.is_none(), "an hour is over");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_gone_everywhere() {
    for bed in beds().await {
        let (ana, grant) = bed.ana().await;
        let token = bed.ana_comes().await.token;
        assert!(check(&bed.there, &token).await.is_some());
        bed.here.revoke(&root(), &token).await.expect("is revoked");
        assert!(bed.known(&token).await.is_none(), "here at once");
        bed.refused_there(&token, "it was revoked").await;
        assert!(bed.here.revoke(&root(), &token).await.is_err(), "once only");

        let token = bed.ana_comes().await.token;
        assert!(check(&bed.there, &token).await.is_some());
        bed.here.revoke_role(&root(), grant.clone()).await.expect("is taken away");
        bed.refused_there(&token, "its role is gone").await;
        bed.here.grant(&root(), grant.clone()).await.expect("is given");

        let token = bed.ana_comes().await.token;
        assert!(check(&bed.there, &token).await.is_some());
        let change = |said: Value| said.as_object().cloned().expect("an object");
        let enabled = |on: bool| change(json!({"enabled": on}));
        bed.here.update(&root(), Kind::User, &ana, enabled(false)).await.expect("is disabled");
        bed.refused_there(&token, "its user is disabled").await;
        let scope = ScopeWish::Project(named("shop"));
        assert!(is_unauthenticated(bed.login("ana", "ana's own", scope.clone()).await));
        bed.here.update(&root(), Kind::User, &ana, enabled(true)).await.expect("is enabled");
        assert!(bed.known(&token).await.is_none(), "it stays revoked");

        let token = bed.ana_comes().await.token;
        let (_, project) = grant.on.clone().expect("on a project");
        bed.here.update(&root(), Kind::Project, &project, enabled(false)).await.expect("is disabled");
        bed.refused_there(&token, "its project is disabled").await;
        assert!(is_unauthenticated(bed.login("ana", "ana's own", scope.clone()).await));
        bed.here.update(&root(), Kind::Project, &project, enabled(true)).await.expect("is enabled");

        let token = bed.ana_comes().await.token;
        let by = root();
        let wrong = bed.here.change_password(&by, &ana, "wrong", "another", None).await;
        assert!(is_unauthenticated(wrong));
        bed.here.change_password(&by, &ana, "ana's own", "another", None).await.expect("is changed");
        bed.refused_there(&token, "the password was changed").await;
        assert!(is_unauthenticated(bed.login("ana", "ana's own", scope.clone()).await));
        let token = bed.login("ana", "another", scope).await.unwrap_or_else(|_| panic!()).token;
        bed.here.delete(&root(), Kind::User, &ana).await.expect("is removed");
        bed.refused_there(&token, "its user is gone").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_programs() {
    for bed in beds().await {
        let (user, grant) = bed.ana().await;
        let manager = Grant { role: bed.role("manager").await, ..grant.clone() };
        bed.here.grant(&root(), manager.clone()).await.expect("is given");
        let ana = bed.ana_comes().await;
        let new = |name: &str, roles: &[&str]| NewCredential {
            name: name.into(),
            description: None,
            secret: None,
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            access_rules: Vec::new(),
            expires: None,
            unrestricted: false,
        };
        let make =
            async |with: &Known, new: NewCredential| bed.here.create_credential(&root(), with, new).await;
        let (ci, secret) = make(&ana.known, new("ci", &["reader"])).await.expect("is made");
        assert_eq!(make(&ana.known, new("ci", &[])).await.err().map(|f| f.kind), Some(FaultKind::Conflict));
        assert!(make(&ana.known, new("root", &["admin"])).await.is_err(), "not more than the token has");

        let come = async |which: UserRef, of: Option<UserRef>, secret: &str, scope: ScopeWish| {
            let methods = vec![Method::Credential(which, of, secret.to_owned())];
            bed.here.issue(Request { methods, scope, from: None }).await
        };
        let by_id = come(UserRef::Id(ci.id.clone()), None, &secret, ScopeWish::Unsaid).await;
        let by_id = by_id.unwrap_or_else(|_| panic!());
        assert_eq!(roles(&by_id.known), ["reader"]);
        assert_eq!(by_id.known.caller.project, ana.known.caller.project);
        let which = UserRef::Named("ci".into(), Within::Id(String::new()));
        let by_name = come(which.clone(), Some(named("ana")), &secret, ScopeWish::Unsaid).await;
        assert!(by_name.is_ok());
        assert!(is_unauthenticated(come(which, Some(named("admin")), &secret, ScopeWish::Unsaid).await));
        assert!(is_unauthenticated(come(UserRef::Id(ci.id.clone()), None, "wrong", ScopeWish::Unsaid).await));
        assert!(is_unauthenticated(
            come(UserRef::Id(ci.id.clone()), None, &secret, ScopeWish::Unscoped).await
        ));
        // A restricted one makes no other, and its token gets no wider one.
        assert!(make(&by_id.known, new("more", &[])).await.is_err());
        let methods = vec![Method::Token(by_id.token.clone())];
        let wider = bed.here.issue(Request { methods, scope: ScopeWish::Unscoped, from: None }).await;
        assert!(is_unauthenticated(wider));

        // It is worth no more than its user's roles.
        let (whole, own) = make(&ana.known, new("whole", &[])).await.expect("is made");
        let whole =
            come(UserRef::Id(whole.id), None, &own, ScopeWish::Unsaid).await.unwrap_or_else(|_| panic!());
        assert_eq!(roles(&whole.known), ["manager", "member", "reader"]);
        bed.here.revoke_role(&root(), manager).await.expect("is taken away");
        let known = bed.known(&whole.token).await.expect("is known");
        assert_eq!(roles(&known), ["member", "reader"]);

        let soon = NewCredential {
            expires: Some(bed.hand.now().plus(Duration::from_secs(60))),
            secret: Some("chosen by ana".into()),
            ..new("soon", &[])
        };
        let (soon, chosen) = make(&ana.known, soon).await.expect("is made");
        assert_eq!(chosen, "chosen by ana");
        let token = come(UserRef::Id(soon.id.clone()), None, &chosen, ScopeWish::Unsaid).await;
        let token = token.unwrap_or_else(|_| panic!()).token;
        bed.hand.advance(Duration::from_secs(61));
        assert!(bed.known(&token).await.is_none(), "it ends with its credential");
        assert!(is_unauthenticated(come(UserRef::Id(soon.id), None, &chosen, ScopeWish::Unsaid).await));

        bed.here.delete_credential(&root(), &ana.known, &user, &ci.id).await.expect("is removed");
        assert!(bed.known(&by_id.token).await.is_none());
        bed.refused_there(&by_id.token, "its credential is gone").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_slowed() {
    let bed = beds().await.remove(0);
    bed.ana().await;
    let mut slowed = false;
    // Waits grow with each failure, so a slow machine meets one too.
    for _ in 0..15 {
        let refused = bed.login("ana", "wrong", ScopeWish::Unscoped).await;
        slowed |= matches!(refused, Err(Refusal::Wait(_)));
    }
    assert!(slowed, "nobody was told to wait");
    assert!(bed.login("admin", &bed.password, ScopeWish::Unscoped).await.is_ok(), "others are not");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_and_what_is_named_exists() {
    for bed in beds().await {
        let said = |value: Value| value.as_object().cloned().expect("an object");
        let make = async |kind: Kind, value: Value| bed.here.create(&root(), kind, said(value)).await;
        bed.make(Kind::User, json!({"name": "bo"})).await;
        let kinds = |result: Result<_, model::Fault>| result.err().map(|fault| fault.kind);
        assert_eq!(kinds(make(Kind::User, json!({"name": "bo"})).await), Some(FaultKind::Conflict));
        let elsewhere = json!({"name": "bo", "domain_id": "nowhere"});
        assert_eq!(kinds(make(Kind::User, elsewhere).await), Some(FaultKind::NotFound));
        for wrong in
            [json!({}), json!({"name": ""}), json!({"name": 7}), json!({"name": "x", "enabled": "yes"})]
        {
            assert_eq!(kinds(make(Kind::Project, wrong.clone()).await), Some(FaultKind::Invalid), "{wrong}");
        }
        let domain = bed.make(Kind::Domain, json!({"name": "other"})).await;
        let user = bed.make(Kind::User, json!({"name": "bo", "domain_id": domain})).await;
        assert!(bed.here.delete(&root(), Kind::Domain, &domain).await.is_err(), "it is enabled");
        bed.here
            .update(&root(), Kind::Domain, &domain, said(json!({"enabled": false})))
            .await
            .expect("changes");
        bed.here.delete(&root(), Kind::Domain, &domain).await.expect("is removed");
        assert!(bed.here.get(Kind::User, &user).await.is_err(), "its users go with it");
        let (a, b) = (bed.role("admin").await, bed.role("reader").await);
        assert!(bed.here.imply(&root(), &b, &a).await.is_err(), "no circles");
    }
}
