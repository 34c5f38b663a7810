//! Tests of the table and of files that override it.

use proptest::prelude::*;

use model::Caller;

use super::*;

fn caller(roles: &[&str]) -> Caller {
    Caller {
        user: "u".into(),
        project: "p".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    }
}

fn may(policy: &Policy, roles: &[&str], rule: &str) -> bool {
    let caller = caller(roles);
    policy.allows(&caller, &Target::own(&caller), rule)
}

#[test]
fn the_table_asks_for_roles_and_a_role_includes_those_below() {
    let policy = Policy::default();
    for (roles, allowed) in [
        (&[][..], [false, false, false]),
        (&["auditor"][..], [false, false, false]),
        (&["reader"][..], [true, false, false]),
        (&["reader", "member"][..], [true, true, false]),
        (&["admin"][..], [true, true, true]),
    ] {
        let rules = ["os_compute_api:servers:show", "os_compute_api:servers:create", "skep:status"];
        assert_eq!(rules.map(|rule| may(&policy, roles, rule)), allowed, "{roles:?}");
    }
}

#[test]
fn an_unknown_rule_lets_nobody_through() {
    assert!(!may(&Policy::default(), &["admin"], "os_compute_api:no-such"));
}

#[test]
fn every_rule_of_ours_can_be_read_and_stands_once() {
    let all: Vec<(&str, &str)> =
        RULES.iter().map(|(name, need)| (*name, need.rule())).chain(BASE.iter().copied()).collect();
    let policy = Policy::default();
    for (index, (name, text)) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|(other, _)| other != name), "{name} stands twice");
        let check = Check::parse(text).expect(name);
        check.each_rule(&mut |named| assert!(policy.knows(named), "{name} names {named}"));
    }
    assert_eq!(policy.rules().len(), all.len());
    assert!(!policy.looks_at_target("os_compute_api:servers:show"));
    assert!(policy.looks_at_target("project_reader_or_admin"));
}

#[test]
fn a_file_overrides_single_rules() {
    let text = "# ours\n\"os_compute_api:servers:delete\": \"rule:deleters\"\n\
                \"deleters\": \"rule:project_member_or_admin and user_id:%(user_id)s\"\n\
                \"os_compute_api:os-availability-zone:list\": \"@\"\n";
    let policy = Policy::parse(text).expect("legal");
    assert!(may(&policy, &[], "os_compute_api:os-availability-zone:list"));
    assert!(!may(&policy, &["member"], "os_compute_api:os-availability-zone:detail"), "the table's");
    let delete = "os_compute_api:servers:delete";
    assert!(policy.looks_at_target(delete) && !policy.looks_at_target("skep:status"));
    for (roles, user, allowed) in
        [("member", "u", true), ("member", "x", false), ("reader", "u", false), ("admin", "x", false)]
    {
        let target = Target { project: "p", user };
        assert_eq!(policy.allows(&caller(&[roles]), &target, delete), allowed, "{roles} {user}");
    }
    let shown = policy.rules();
    let last = shown.last().expect("some");
    assert_eq!((last.name, last.overridden), ("deleters", true));
    assert!(shown.iter().any(|rule| rule.name == "skep:status" && !rule.overridden));
}

#[test]
fn who_is_an_administrator_can_be_said() {
    let policy = Policy::parse("context_is_admin: role:operator").expect("legal");
    assert!(policy.is_admin(&caller(&["operator"])) && !policy.is_admin(&caller(&["admin"])));
    assert!(may(&policy, &["operator"], "skep:status") && !may(&policy, &["admin"], "skep:status"));
}

#[test]
fn mistakes_are_refused_with_their_line() {
    for (text, line, why) in [
        ("\"os_compute_api:servers:delte\": \"!\"", 1, "there is no rule 'os_compute_api:servers:delte'"),
        ("\n\"skep:status\": \"rule:nobody\"", 2, "'nobody', which there is not"),
        ("\"skep:status\": \"role:a or\"", 1, "'skep:status': it ends"),
        ("\"skep:versions\": \"!\"", 1, "stays so"),
        ("a: rule:b\nb: rule:a", 1, "circle"),
        ("skep:status: rule:skep:status", 1, "circle"),
        ("context_is_admin: is_admin:True", 1, "circle"),
        ("skep:status: '@'\nskep:status: '!'", 2, "line 1 already"),
        ("skep:status\n", 1, "NAME: RULE"),
    ] {
        let mistake = Policy::parse(text).expect_err(text);
        assert!(mistake.why.contains(why), "{text}: {mistake}");
        assert_eq!(mistake.line, line, "{text}");
    }
    let chain = |length: usize| {
        let mut text = "skep:status: rule:r0\n".to_owned();
        (0..length).for_each(|i| text += &format!("r{i}: rule:r{} and rule:r{}\n", i + 1, i + 1));
        text + &format!("r{length}: '@'\n")
    };
    assert!(Policy::parse(&chain(5)).is_ok());
    assert!(Policy::parse(&chain(10_000)).expect_err("long").why.contains("chain"));
}

#[test]
fn what_is_in_force_can_be_replaced() {
    let shared = InForce::default();
    let other = shared.clone();
    assert!(may(&shared.now(), &["admin"], "skep:status"));
    shared.replace(Policy::parse("skep:status: '!'").expect("legal"));
    assert!(!may(&other.now(), &["admin"], "skep:status"));
}

proptest! {
    #[test]
    fn any_text_is_a_policy_or_refused(text in "(\\PC|\\n|'|\"|: |rule:|role:|skep:status|and |not |\\(|\\)){0,60}") {
        if let Ok(policy) = Policy::parse(&text) {
            let _ = may(&policy, &["member"], "skep:status");
        }
    }
}
