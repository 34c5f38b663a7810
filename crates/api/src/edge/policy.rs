//! Authorization: one table from rule to the least role that it asks for, and a file that may say otherwise.
//!
//! Every route names a rule (see `routes`); some handlers ask for a further one. A rule that is neither in
//! the table nor in the file lets nobody through. Whose project an instance belongs to is checked by the
//! verbs as well, which do not find what is not the caller's: no file opens that.

mod check;
mod file;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use check::Check;
pub use check::{Target, Who};
pub use file::Mistake;

/// The least role that a rule asks for; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Not even a token.
    Anyone,
    /// A token, whatever it is good for.
    Token,
    /// To be the user that the request is about, or an administrator.
    Own,
    /// To be the user that the request is about.
    OnlyOwn,
    /// A service of the cloud, or an administrator.
    Service,
    /// Role `reader` in the project.
    Reader,
    /// Role `member` in the project.
    Member,
    /// An administrator.
    Admin,
}

impl Need {
    /// The same as a rule.
    fn rule(self) -> &'static str {
        match self {
            Self::Anyone | Self::Token => "@",
            Self::Own => "rule:context_is_admin or user_id:%(user_id)s",
            Self::OnlyOwn => "user_id:%(user_id)s",
            Self::Service => "rule:context_is_admin or role:service",
            Self::Reader => "role:reader",
            Self::Member => "role:member",
            Self::Admin => "rule:context_is_admin",
        }
    }

    /// Whether it asks for a token that is good for a project. What the file says stands for itself.
    fn needs_project(self) -> bool {
        matches!(self, Self::Reader | Self::Member)
    }
}

/// Who is an administrator, also for the verbs, which show administrators what is others'.
const IS_ADMIN: &str = "context_is_admin";

/// Rules that guard nothing themselves, for others to name (`nova/policies/base.py`).
const BASE: &[(&str, &str)] = &[
    (IS_ADMIN, "role:admin"),
    ("admin_api", "rule:context_is_admin"),
    ("admin_or_owner", "rule:context_is_admin or project_id:%(project_id)s"),
    ("project_member_api", "role:member and project_id:%(project_id)s"),
    ("project_reader_api", "role:reader and project_id:%(project_id)s"),
    ("project_member_or_admin", "rule:project_member_api or rule:context_is_admin"),
    ("project_reader_or_admin", "rule:project_reader_api or rule:context_is_admin"),
];

/// Longest chain of rules that name each other.
const LONGEST_CHAIN: usize = 16;

/// The rules. Names are Nova's where Nova has the route (`nova/policies/`), Glance's for images
/// and Neutron's for networks (`glance/policies/`, `neutron/conf/policies/`).
pub const RULES: &[(&str, Need)] = &[
    ("skep:versions", Need::Anyone),
    ("skep:status", Need::Admin),
    ("skep:cells:show", Need::Admin),
    ("skep:admin:show", Need::Admin),
    ("skep:admin:change", Need::Admin),
    ("get_images", Need::Reader),
    ("get_image", Need::Reader),
    ("add_image", Need::Member),
    ("modify_image", Need::Member),
    ("delete_image", Need::Member),
    ("publicize_image", Need::Admin),
    ("communitize_image", Need::Member),
    ("deactivate", Need::Member),
    ("reactivate", Need::Member),
    ("upload_image", Need::Member),
    ("download_image", Need::Reader),
    ("get_members", Need::Reader),
    ("get_member", Need::Reader),
    ("add_member", Need::Member),
    ("modify_member", Need::Member),
    ("delete_member", Need::Member),
    ("get_network", Need::Reader),
    ("get_subnet", Need::Reader),
    ("get_port", Need::Reader),
    ("get_security_group", Need::Reader),
    ("delete_security_group", Need::Member),
    ("get_floatingip", Need::Reader),
    ("get_router", Need::Reader),
    ("get_quota", Need::Reader),
    ("delete_quota", Need::Admin),
    ("skep:network:extensions", Need::Reader),
    ("os_compute_api:servers:index", Need::Reader),
    ("os_compute_api:servers:index:get_all_tenants", Need::Admin),
    ("os_compute_api:servers:detail:get_all_tenants", Need::Admin),
    ("os_compute_api:servers:allow_all_filters", Need::Admin),
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
    ("os_compute_api:os-deferred-delete:restore", Need::Member),
    ("os_compute_api:os-floating-ips:add", Need::Member),
    ("os_compute_api:os-floating-ips:remove", Need::Member),
    ("os_compute_api:servers:rebuild", Need::Member),
    ("os_compute_api:servers:create_image", Need::Member),
    ("os_compute_api:servers:resize", Need::Member),
    ("os_compute_api:servers:confirm_resize", Need::Member),
    ("os_compute_api:servers:revert_resize", Need::Member),
    ("os_compute_api:os-shelve:shelve", Need::Member),
    ("os_compute_api:os-shelve:unshelve", Need::Member),
    ("os_compute_api:os-pause-server:pause", Need::Member),
    ("os_compute_api:os-pause-server:unpause", Need::Member),
    ("os_compute_api:os-suspend-server:suspend", Need::Member),
    ("os_compute_api:os-suspend-server:resume", Need::Member),
    ("os_compute_api:os-lock-server:lock", Need::Member),
    ("os_compute_api:os-lock-server:unlock", Need::Member),
    ("os_compute_api:os-lock-server:unlock:unlock_override", Need::Admin),
    ("os_compute_api:os-admin-actions:reset_state", Need::Admin),
    ("os_compute_api:server-metadata:update", Need::Member),
    ("os_compute_api:server-metadata:update_all", Need::Member),
    ("os_compute_api:os-server-tags:index", Need::Reader),
    ("os_compute_api:os-server-tags:show", Need::Reader),
    ("os_compute_api:os-server-tags:update", Need::Member),
    ("os_compute_api:os-server-tags:update_all", Need::Member),
    ("os_compute_api:os-server-tags:delete", Need::Member),
    ("os_compute_api:os-server-tags:delete_all", Need::Member),
    ("os_compute_api:os-instance-actions:list", Need::Reader),
    ("os_compute_api:os-instance-actions:show", Need::Reader),
    ("os_compute_api:os-instance-actions:events", Need::Admin),
    ("os_compute_api:os-instance-actions:events:details", Need::Admin),
    ("os_compute_api:os-server-diagnostics", Need::Admin),
    ("compute:server:topology:index", Need::Reader),
    ("os_compute_api:os-server-password:show", Need::Reader),
    ("os_compute_api:os-server-password:clear", Need::Member),
    ("os_compute_api:os-remote-consoles", Need::Member),
    ("os_compute_api:servers:create:forced_host", Need::Admin),
    ("compute:servers:create:requested_destination", Need::Admin),
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
    ("os_compute_api:os-flavor-manage:create", Need::Admin),
    ("os_compute_api:os-flavor-manage:update", Need::Admin),
    ("os_compute_api:os-flavor-manage:delete", Need::Admin),
    ("os_compute_api:os-flavor-access", Need::Admin),
    ("os_compute_api:os-flavor-access:add_tenant_access", Need::Admin),
    ("os_compute_api:os-flavor-access:remove_tenant_access", Need::Admin),
    ("os_compute_api:os-flavor-extra-specs:create", Need::Admin),
    ("os_compute_api:os-flavor-extra-specs:show", Need::Reader),
    ("os_compute_api:os-flavor-extra-specs:update", Need::Admin),
    ("os_compute_api:os-flavor-extra-specs:delete", Need::Admin),
    ("os_compute_api:os-keypairs:index", Need::Reader),
    ("os_compute_api:os-keypairs:create", Need::Reader),
    ("os_compute_api:os-keypairs:show", Need::Reader),
    ("os_compute_api:os-keypairs:delete", Need::Reader),
    ("os_compute_api:os-server-groups:index", Need::Reader),
    ("os_compute_api:os-server-groups:index:all_projects", Need::Admin),
    ("os_compute_api:os-server-groups:create", Need::Member),
    ("os_compute_api:os-server-groups:show", Need::Reader),
    ("os_compute_api:os-server-groups:delete", Need::Member),
    ("os_compute_api:os-aggregates:index", Need::Admin),
    ("os_compute_api:os-aggregates:create", Need::Admin),
    ("os_compute_api:os-aggregates:show", Need::Admin),
    ("os_compute_api:os-aggregates:update", Need::Admin),
    ("os_compute_api:os-aggregates:delete", Need::Admin),
    ("os_compute_api:os-aggregates:add_host", Need::Admin),
    ("os_compute_api:os-aggregates:remove_host", Need::Admin),
    ("os_compute_api:os-aggregates:set_metadata", Need::Admin),
    ("compute:aggregates:images", Need::Admin),
    ("os_compute_api:os-quota-sets:show", Need::Reader),
    ("os_compute_api:os-quota-sets:defaults", Need::Reader),
    ("os_compute_api:os-quota-sets:detail", Need::Reader),
    ("os_compute_api:os-quota-sets:update", Need::Admin),
    ("os_compute_api:os-quota-sets:delete", Need::Admin),
    ("os_compute_api:os-quota-class-sets:show", Need::Admin),
    ("os_compute_api:os-quota-class-sets:update", Need::Admin),
    ("os_compute_api:limits", Need::Reader),
    ("os_compute_api:limits:other_project", Need::Admin),
    ("os_compute_api:os-simple-tenant-usage:list", Need::Admin),
    ("os_compute_api:os-simple-tenant-usage:show", Need::Reader),
    ("os_compute_api:extensions", Need::Reader),
    ("os_compute_api:os-availability-zone:list", Need::Reader),
    ("os_compute_api:os-availability-zone:detail", Need::Admin),
    ("os_compute_api:os-services:list", Need::Admin),
    ("os_compute_api:os-services:update", Need::Admin),
    ("identity:authenticate", Need::Anyone),
    ("identity:own_token", Need::Token),
    ("identity:validate_token", Need::Service),
    ("identity:get_user", Need::Own),
    ("identity:change_password", Need::OnlyOwn),
    ("identity:list_user_projects", Need::Own),
    ("identity:get_project", Need::Token),
    ("identity:get_domain", Need::Token),
    ("identity:list_application_credentials", Need::Own),
    ("identity:create_application_credential", Need::OnlyOwn),
    ("identity:delete_application_credential", Need::Own),
    ("identity:list_projects", Need::Admin),
    ("identity:manage_projects", Need::Admin),
    ("identity:list_users", Need::Admin),
    ("identity:manage_users", Need::Admin),
    ("identity:list_domains", Need::Admin),
    ("identity:manage_domains", Need::Admin),
    ("identity:list_roles", Need::Admin),
    ("identity:manage_roles", Need::Admin),
    ("identity:list_role_assignments", Need::Admin),
    ("identity:list_grants", Need::Admin),
    ("identity:manage_grants", Need::Admin),
    ("identity:list_catalog", Need::Token),
    ("identity:manage_catalog", Need::Admin),
    ("os_compute_api:os-hypervisors:list", Need::Admin),
    ("os_compute_api:os-hypervisors:list-detail", Need::Admin),
    ("os_compute_api:os-hypervisors:statistics", Need::Admin),
    ("os_compute_api:os-hypervisors:show", Need::Admin),
    ("os_compute_api:os-hypervisors:search", Need::Admin),
    ("os_compute_api:os-hypervisors:servers", Need::Admin),
    ("os_compute_api:os-hypervisors:uptime", Need::Admin),
    ("os_compute_api:images:index", Need::Reader),
    ("os_compute_api:images:detail", Need::Reader),
    ("os_compute_api:images:show", Need::Reader),
    ("os_compute_api:images:delete", Need::Member),
    ("os_compute_api:image-metadata:index", Need::Reader),
    ("os_compute_api:image-metadata:show", Need::Reader),
    ("os_compute_api:image-metadata:create", Need::Member),
    ("os_compute_api:image-metadata:update_all", Need::Member),
    ("os_compute_api:image-metadata:update", Need::Member),
    ("os_compute_api:image-metadata:delete", Need::Member),
    ("os_compute_api:os-networks:list", Need::Reader),
    ("os_compute_api:os-networks:show", Need::Reader),
    ("os_compute_api:os-tenant-networks:list", Need::Reader),
    ("os_compute_api:os-tenant-networks:show", Need::Reader),
    ("os_compute_api:os-instance-usage-audit-log:list", Need::Admin),
    ("os_compute_api:os-instance-usage-audit-log:show", Need::Admin),
    ("os_compute_api:os-hosts:list", Need::Admin),
    ("os_compute_api:os-hosts:show", Need::Admin),
    ("os_compute_api:os-hosts:update", Need::Admin),
    ("os_compute_api:os-hosts:start", Need::Admin),
    ("os_compute_api:os-hosts:shutdown", Need::Admin),
    ("os_compute_api:os-hosts:reboot", Need::Admin),
    ("os_compute_api:os-migrations:index", Need::Admin),
    ("os_compute_api:servers:migrations:index", Need::Admin),
    ("os_compute_api:servers:migrations:show", Need::Admin),
];

/// What the table asks of callers for `rule`, if it has it.
pub fn need(rule: &str) -> Option<Need> {
    RULES.iter().find(|(name, _)| *name == rule).map(|(_, need)| *need)
}

/// Who may do what: the table, overridden by a file.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: HashMap<String, Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    text: String,
    check: Check,
    /// Its line in the file; none if it is the table's.
    line: Option<usize>,
    /// Whether it looks at the target, itself or by a rule that it names.
    looks_at_target: bool,
    /// Whether a token that is good for no project is refused.
    needs_project: bool,
}

/// A rule, for showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its expression.
    pub text: &'a str,
    /// Whether the file says so.
    pub overridden: bool,
}

impl Default for Policy {
    fn default() -> Self {
        let table = RULES.iter().map(|(name, need)| (*name, need.rule(), need.needs_project()));
        let table = table.chain(BASE.iter().map(|(name, text)| (*name, *text, false)));
        let rule = |(name, text, needs_project): (&str, &str, bool)| {
            // What could not be read would let nobody through; a test reads them all.
            let check = Check::parse(text).unwrap_or(Check::Nobody);
            let (text, line) = (text.to_owned(), None);
            let rule = Rule { text, check, line, looks_at_target: false, needs_project };
            (name.to_owned(), rule)
        };
        let mut policy = Self { rules: table.map(rule).collect() };
        policy.mark_targets();
        policy
    }
}

impl Policy {
    /// The table, overridden by the text of a file. `docs/operations.md` describes its form.
    ///
    /// # Errors
    /// The first mistake: a line or a rule that cannot be read, a rule that is not there, a rule that does
    /// not exist and is not named by another one of the file, or rules that name each other in a circle.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let mut policy = Self::default();
        let lines = file::read(text)?;
        for line in &lines {
            let wrong = |why| Mistake { line: line.number, why };
            if need(&line.name) == Some(Need::Anyone) {
                return Err(wrong(format!(
                    "'{}' is for everybody and stays so; remove this line",
                    line.name
                )));
            }
            let check = Check::parse(&line.text).map_err(|why| wrong(format!("'{}': {why}", line.name)))?;
            let text = line.text.clone();
            let (number, looks_at_target, needs_project) = (Some(line.number), false, false);
            let rule = Rule { text, check, line: number, looks_at_target, needs_project };
            policy.rules.insert(line.name.clone(), rule);
        }
        let mut named = HashSet::new();
        for line in &lines {
            let mut missing = None;
            policy.rules[&line.name].check.each_rule(&mut |name| {
                named.insert(name);
                missing = missing.or((!policy.rules.contains_key(name)).then_some(name));
            });
            if let Some(missing) = missing {
                let why = format!("'{}' names the rule '{missing}', which there is not", line.name);
                return Err(Mistake { line: line.number, why });
            }
        }
        let known = |name: &str| need(name).is_some() || BASE.iter().any(|(base, _)| *base == name);
        if let Some(line) =
            lines.iter().find(|line| !known(&line.name) && !named.contains(line.name.as_str()))
        {
            let why = format!(
                "there is no rule '{}', nor does another rule here name it; `skep policy list` shows all",
                line.name
            );
            return Err(Mistake { line: line.number, why });
        }
        drop(named);
        policy.refuse_circles(&lines)?;
        policy.mark_targets();
        Ok(policy)
    }

    /// Every rule: the table's in its order, then what they may name, then the file's own.
    pub fn rules(&self) -> Vec<Shown<'_>> {
        let table = RULES.iter().map(|(name, _)| *name).chain(BASE.iter().map(|(name, _)| *name));
        let mut names: Vec<&str> = table.collect();
        let known: HashSet<&str> = names.iter().copied().collect();
        let mut own: Vec<(&str, Option<usize>)> = self
            .rules
            .iter()
            .filter(|(name, _)| !known.contains(name.as_str()))
            .map(|(name, rule)| (name.as_str(), rule.line))
            .collect();
        own.sort_by_key(|(_, line)| *line);
        names.extend(own.into_iter().map(|(name, _)| name));
        let shown = |name| {
            let (name, rule) = self.rules.get_key_value(name)?;
            Some(Shown { name, text: &rule.text, overridden: rule.line.is_some() })
        };
        names.into_iter().filter_map(shown).collect()
    }

    /// Whether there is such a rule.
    pub fn knows(&self, rule: &str) -> bool {
        self.rules.contains_key(rule)
    }

    /// Whether `who` may do what `rule` is about to what belongs to `target`. A rule that does not exist
    /// lets nobody through.
    pub fn allows<'a>(&self, who: impl Into<Who<'a>>, target: &Target<'_>, rule: &str) -> bool {
        let who = who.into();
        match self.rules.get(rule) {
            Some(found) if found.needs_project && who.caller.project.is_empty() => false,
            Some(found) => found.check.holds(who, target, &|name| self.allows(who, target, name)),
            None => {
                tracing::error!(rule, "there is no such rule; refusing");
                false
            }
        }
    }

    /// Whether `caller` is an administrator.
    pub(crate) fn is_admin<'a>(&self, who: impl Into<Who<'a>>) -> bool {
        let who = who.into();
        self.allows(who, &Target::own(who.caller), IS_ADMIN)
    }

    /// Whether the answer depends on whose the target is.
    pub(crate) fn looks_at_target(&self, rule: &str) -> bool {
        self.rules.get(rule).is_some_and(|rule| rule.looks_at_target)
    }

    /// Refuses rules that name each other in a circle, or in a chain that is too long to follow.
    fn refuse_circles(&self, lines: &[file::Line]) -> Result<(), Mistake> {
        let mut lengths = HashMap::new();
        for line in lines {
            if self.length(&line.name, 0, &mut lengths).is_none() {
                let why = format!(
                    "'{}' begins a circle of rules that name each other, or a chain of more than {LONGEST_CHAIN}",
                    line.name
                );
                return Err(Mistake { line: line.number, why });
            }
        }
        Ok(())
    }

    /// How long a chain of rules `name` begins, if it is not too long.
    fn length<'a>(
        &'a self,
        name: &'a str,
        before: usize,
        known: &mut HashMap<&'a str, usize>,
    ) -> Option<usize> {
        if let Some(length) = known.get(name) {
            return (before + length <= LONGEST_CHAIN).then_some(*length);
        }
        if before >= LONGEST_CHAIN {
            return None;
        }
        let mut named = Vec::new();
        if let Some(rule) = self.rules.get(name) {
            rule.check.each_rule(&mut |name| named.push(name));
        }
        let mut longest = 0;
        for name in named {
            longest = longest.max(self.length(name, before + 1, known)?);
        }
        known.insert(name, longest + 1);
        Some(longest + 1)
    }

    /// Marks the rules that look at the target by way of others, too.
    fn mark_targets(&mut self) {
        let mut looking: HashSet<String> = HashSet::new();
        loop {
            let more: Vec<String> = self
                .rules
                .iter()
                .filter(|(name, _)| !looking.contains(*name))
                .filter(|(_, rule)| {
                    let mut looks = rule.check.looks_at_target();
                    rule.check.each_rule(&mut |name| looks |= looking.contains(name));
                    looks
                })
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                break;
            }
            looking.extend(more);
        }
        for (name, rule) in &mut self.rules {
            rule.looks_at_target = looking.contains(name);
        }
    }
}

/// The policy that is in force, which may be replaced while requests are served. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    policy: Arc<RwLock<Arc<Policy>>>,
}

impl InForce {
    /// Puts `policy` in force.
    pub fn new(policy: Policy) -> Self {
        Self { policy: Arc::new(RwLock::new(Arc::new(policy))) }
    }

    /// What is in force now.
    pub fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces it. Requests that were let in stay so.
    pub fn replace(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}

#[cfg(test)]
#[path = "policy/tests.rs"]
mod tests;
