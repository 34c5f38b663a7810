//! Tests of single rules: every operator, their order, and what is refused.

use proptest::prelude::*;

use super::*;

fn caller(roles: &[&str]) -> Caller {
    Caller {
        user: "u1".into(),
        project: "p1".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    }
}

/// Whether `text` lets a caller with `roles` act on what belongs to project `p2` and user `u1`; the rule
/// `yes` holds and no other does.
fn holds(text: &str, roles: &[&str]) -> bool {
    let check = Check::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    check.holds((&caller(roles)).into(), &Target { project: "p2", user: "u1" }, &|name| name == "yes")
}

#[test]
fn every_check() {
    for (text, expected) in [
        ("@", true),
        ("", true),
        ("  ", true),
        ("!", false),
        ("role:auditor", true),
        ("role:Auditor", true),
        ("role:admin", false),
        ("rule:yes", true),
        ("rule:no", false),
        ("is_admin:False", true),
        ("is_admin:True", false),
        ("project_id:p1", true),
        ("project_id:p2", false),
        ("project_id:%(project_id)s", false),
        ("user_id:u1", true),
        ("user_id:u2", false),
        ("user_id:%(user_id)s", true),
        ("user_id:%(project_id)s", false),
    ] {
        assert_eq!(holds(text, &["AUDITOR"]), expected, "{text}");
    }
}

#[test]
fn roles_include_those_below() {
    for (roles, expected) in [
        (&[][..], [false, false, false]),
        (&["auditor"][..], [false, false, false]),
        (&["reader"][..], [true, false, false]),
        (&["member", "auditor"][..], [true, true, false]),
        (&["Admin"][..], [true, true, true]),
    ] {
        assert_eq!(["role:reader", "role:member", "role:admin"].map(|text| holds(text, roles)), expected);
    }
}

#[test]
fn operators_and_their_order() {
    for (text, expected) in [
        ("@ and @", true),
        ("@ and !", false),
        ("! or @", true),
        ("! or !", false),
        ("not !", true),
        ("not @", false),
        ("not not @", true),
        ("NOT ! AND @ Or !", true),
        // and before or, on either side
        ("@ or @ and !", true),
        ("! and @ or @", true),
        ("(@ or @) and !", false),
        ("! and (@ or @)", false),
        // not before and, and before or
        ("not ! and !", false),
        ("not (! and !)", true),
        ("not @ or @", true),
        ("not (@ or @)", false),
        ("((@))", true),
        ("( ! or (@)and @ )", true),
        ("@ or ! or !", true),
        ("@ and @ and !", false),
        ("(user_id:%(user_id)s)", true),
        ("(project_id:%(project_id)s or user_id:%(user_id)s) and not role:admin", true),
    ] {
        assert_eq!(holds(text, &[]), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_the_reason() {
    for (text, why) in [
        ("admin", "'admin' where a check should be"),
        ("role:", "nothing behind the colon"),
        ("role:admin member", "'member' where 'and'"),
        ("role:admin and", "it ends"),
        ("and role:admin", "'and' where a check"),
        ("not", "it ends"),
        ("(role:admin", "without a ')'"),
        ("role:admin)", "without a '('"),
        ("()", "')' where a check"),
        ("role(admin)", "right behind"),
        ("role:%(x)s", "only project_id"),
        ("project_id:%(domain_id)s", "%(project_id)s and %(user_id)s only"),
        ("project_id:%(project_id", "only"),
        ("http://policy.example/", "'http' is not known"),
        ("system_scope:some", "system_scope is all"),
        ("is_admin:maybe", "True or False"),
    ] {
        let refused = Check::parse(text).expect_err(text);
        assert!(refused.contains(why), "{text}: {refused}");
    }
    assert!(Check::parse(&"(".repeat(100_000)).expect_err("deep").contains("deeper"));
    assert!(Check::parse(&"not ".repeat(100_000)).expect_err("deep").contains("deeper"));
}

/// Any expression, as text.
fn expression() -> impl Strategy<Value = (String, bool)> {
    let leaf = prop_oneof![Just(("@".to_owned(), true)), Just(("!".to_owned(), false))];
    leaf.prop_recursive(5, 32, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|(text, holds)| (format!("not ({text})"), !holds)),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| (format!("({}) and ({})", a.0, b.0), a.1 && b.1)),
            (inner.clone(), inner).prop_map(|(a, b)| (format!("({}) or ({})", a.0, b.0), a.1 || b.1)),
        ]
    })
}

proptest! {
    #[test]
    fn means_what_it_says((text, expected) in expression()) {
        prop_assert_eq!(holds(&text, &[]), expected, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*") {
        let _ = Check::parse(&text);
    }

    #[test]
    fn near_misses_are_read_or_refused(
        words in prop::collection::vec(
            prop::sample::select(vec!["(", ")", "not", "and", "or", "@", "!", "role:a", "rule:", "%(", "x:%(project_id)s", ":"]),
            0..40,
        ),
        gap in prop::sample::select(vec!["", " ", "\t"]),
    ) {
        let _ = Check::parse(&words.join(gap));
    }
}
