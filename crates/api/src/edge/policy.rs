//! Authorization: one table from rule to the least role that it asks for.
//!
//! Every route names a rule (see `routes`); some handlers ask for a further one. A rule that is not in
//! the table lets nobody through. Whose project an instance belongs to is checked by the verbs, which
//! do not find what is not the caller's.

use axum::http::StatusCode;
use model::Caller;

use crate::edge::refused::Refused;

/// The least role that a rule asks for; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Not even a token.
    Anyone,
    /// Role `reader` in the project.
    Reader,
    /// Role `member` in the project.
    Member,
    /// Role `admin`.
    Admin,
}

/// The rules. Names are Nova's where Nova has the route (`nova/policies/`).
pub const RULES: &[(&str, Need)] = &[
    ("skep:versions", Need::Anyone),
    ("skep:status", Need::Admin),
    ("skep:cells:show", Need::Admin),
    ("image:list", Need::Reader),
    ("image:show", Need::Reader),
    ("os_compute_api:servers:index", Need::Reader),
    ("os_compute_api:servers:index:get_all_tenants", Need::Admin),
    ("os_compute_api:servers:detail", Need::Reader),
    ("os_compute_api:servers:show", Need::Reader),
    ("os_compute_api:servers:create", Need::Member),
    ("os_compute_api:servers:update", Need::Member),
    ("os_compute_api:servers:delete", Need::Member),
    ("os_compute_api:servers:action", Need::Member),
    ("os_compute_api:servers:start", Need::Member),
    ("os_compute_api:servers:stop", Need::Member),
    ("os_compute_api:servers:reboot", Need::Member),
    ("os_compute_api:os-deferred-delete:force", Need::Member),
    ("os_compute_api:os-console-output", Need::Member),
    ("os_compute_api:os-extended-server-attributes", Need::Admin),
    ("os_compute_api:server-metadata:index", Need::Reader),
    ("os_compute_api:server-metadata:show", Need::Reader),
    ("os_compute_api:server-metadata:create", Need::Member),
    ("os_compute_api:server-metadata:delete", Need::Member),
    ("os_compute_api:ips:index", Need::Reader),
    ("os_compute_api:ips:show", Need::Reader),
    ("os_compute_api:os-volumes-attachments:index", Need::Reader),
    ("os_compute_api:os-security-groups:list", Need::Reader),
    ("os_compute_api:flavors", Need::Reader),
    ("os_compute_api:os-flavor-extra-specs:index", Need::Reader),
    ("os_compute_api:extensions", Need::Reader),
    ("os_compute_api:os-availability-zone:list", Need::Admin),
    ("os_compute_api:os-availability-zone:detail", Need::Admin),
    ("os_compute_api:os-services:list", Need::Admin),
];

/// What `rule` asks for, if there is such a rule.
pub fn need(rule: &str) -> Option<Need> {
    RULES.iter().find(|(name, _)| *name == rule).map(|(_, need)| *need)
}

/// Whether `caller` may do what `rule` is about.
pub fn may(caller: &Caller, rule: &str) -> bool {
    let Some(need) = need(rule) else {
        tracing::error!(rule, "there is no such rule; refusing");
        return false;
    };
    let held = caller.roles.iter().map(|role| match role.as_str() {
        "admin" => Need::Admin,
        "member" => Need::Member,
        "reader" => Need::Reader,
        _ => Need::Anyone,
    });
    held.max().unwrap_or(Need::Anyone) >= need
}

/// Refuses, with 403 and Nova's text, what `caller` may not do.
pub fn allow(caller: &Caller, rule: &str) -> Result<(), Refused> {
    if may(caller, rule) {
        return Ok(());
    }
    Err(Refused::new(StatusCode::FORBIDDEN, format!("Policy doesn't allow {rule} to be performed.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(roles: &[&str]) -> Caller {
        Caller {
            user: "u".into(),
            project: "p".into(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        }
    }

    #[test]
    fn roles_include_those_below() {
        let create = "os_compute_api:servers:create";
        let show = "os_compute_api:servers:show";
        let status = "skep:status";
        for (roles, allowed) in [
            (&[][..], [false, false, false]),
            (&["auditor"][..], [false, false, false]),
            (&["reader"][..], [true, false, false]),
            (&["reader", "member"][..], [true, true, false]),
            (&["admin"][..], [true, true, true]),
        ] {
            let caller = caller(roles);
            assert_eq!([show, create, status].map(|rule| may(&caller, rule)), allowed, "{roles:?}");
        }
    }

    #[test]
    fn an_unknown_rule_lets_nobody_through() {
        assert!(!may(&caller(&["admin"]), "os_compute_api:no-such"));
    }

    #[test]
    fn no_rule_stands_twice() {
        for (index, (name, _)) in RULES.iter().enumerate() {
            assert!(RULES[..index].iter().all(|(other, _)| other != name), "{name}");
        }
    }
}
