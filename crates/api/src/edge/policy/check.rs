//! One rule: its expression, how it is read, and whom it lets through.
//!
//! The language is that of oslo.policy (`oslo_policy/_parser.py`): checks joined by `not`, `and` and `or`,
//! which bind in this order, tightest first, and parentheses. Checks of remote services (`http:`), and
//! attributes that our tokens do not have, are refused and not taken for false.

use model::Caller;

/// Deepest nesting of parentheses and `not` in one rule.
const DEEPEST: usize = 32;

/// Who a rule is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// User, project, roles.
    pub caller: &'a Caller,
    /// Whether their token is good for the cloud itself and not for a project.
    pub system: bool,
}

impl<'a> From<&'a Caller> for Who<'a> {
    fn from(caller: &'a Caller) -> Self {
        Self { caller, system: false }
    }
}

/// What a rule is asked about: to whom belongs what is acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The project's id.
    pub project: &'a str,
    /// The user's id.
    pub user: &'a str,
}

impl<'a> Target<'a> {
    /// What is the caller's own, as in a list or a create.
    pub fn own(caller: &'a Caller) -> Self {
        Self { project: &caller.project, user: &caller.user }
    }

    fn of(&self, attribute: Attribute) -> &'a str {
        match attribute {
            Attribute::Project => self.project,
            Attribute::User => self.user,
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// `@`, or nothing at all.
    Everybody,
    /// `!`
    Nobody,
    /// `role:NAME`, kept in lower case.
    Role(String),
    /// `rule:NAME`
    Rule(String),
    /// `is_admin:True` and `is_admin:False`: whether the rule `context_is_admin` holds.
    IsAdmin(bool),
    /// `project_id:…` and `user_id:…`: whether the caller's is that.
    Is(Attribute, Value),
    /// `system_scope:all`
    SystemScope,
    /// `not …`
    Not(Box<Check>),
    /// `… and …`
    All(Vec<Check>),
    /// `… or …`
    Any(Vec<Check>),
}

/// An attribute of a caller or of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `project_id`
    Project,
    /// `user_id`
    User,
}

/// What an attribute is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Itself.
    Text(String),
    /// `%(project_id)s` or `%(user_id)s`: the target's.
    OfTarget(Attribute),
}

impl Check {
    /// Reads an expression.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = words(text)?;
        if words.is_empty() {
            return Ok(Self::Everybody);
        }
        let mut reader = Reader { words: &words, at: 0 };
        let check = reader.any(0)?;
        match reader.peek() {
            None => Ok(check),
            Some(")") => Err("a ')' without a '('".to_owned()),
            Some(word) => Err(format!("'{word}' where 'and', 'or' or the end should be")),
        }
    }

    /// Every `rule:NAME` in it, and `context_is_admin` for `is_admin`.
    pub fn each_rule<'a>(&'a self, see: &mut dyn FnMut(&'a str)) {
        match self {
            Self::Rule(name) => see(name),
            Self::IsAdmin(_) => see(super::IS_ADMIN),
            Self::Not(inner) => inner.each_rule(see),
            Self::All(inner) | Self::Any(inner) => inner.iter().for_each(|check| check.each_rule(see)),
            Self::Everybody | Self::Nobody | Self::Role(_) | Self::Is(..) | Self::SystemScope => {}
        }
    }

    /// Whether it compares with the target itself (not by way of another rule).
    pub fn looks_at_target(&self) -> bool {
        match self {
            Self::Is(_, value) => matches!(value, Value::OfTarget(_)),
            Self::Not(inner) => inner.looks_at_target(),
            Self::All(inner) | Self::Any(inner) => inner.iter().any(Self::looks_at_target),
            Self::Everybody | Self::Nobody | Self::Role(_) | Self::Rule(_) => false,
            Self::IsAdmin(_) | Self::SystemScope => false,
        }
    }

    /// Whether it lets `who` act on `target`; `rule` answers for the rules that it names.
    pub fn holds(&self, who: Who<'_>, target: &Target<'_>, rule: &dyn Fn(&str) -> bool) -> bool {
        match self {
            Self::Everybody => true,
            Self::Nobody => false,
            Self::SystemScope => who.system,
            Self::Role(wanted) => who.caller.roles.iter().any(|held| includes(held, wanted)),
            Self::Rule(name) => rule(name),
            Self::IsAdmin(wanted) => rule(super::IS_ADMIN) == *wanted,
            Self::Is(attribute, value) => {
                let own = Target::own(who.caller).of(*attribute);
                // Who has no project is nobody's owner.
                !own.is_empty()
                    && match value {
                        Value::Text(text) => own == text,
                        Value::OfTarget(other) => own == target.of(*other),
                    }
            }
            Self::Not(inner) => !inner.holds(who, target, rule),
            Self::All(inner) => inner.iter().all(|check| check.holds(who, target, rule)),
            Self::Any(inner) => inner.iter().any(|check| check.holds(who, target, rule)),
        }
    }
}

/// Whether who holds `held` has the role `wanted` (in lower case) too: `admin` includes `manager`, that
/// `member`, and that `reader`, as Keystone's default roles imply each other. Case does not matter.
fn includes(held: &str, wanted: &str) -> bool {
    const IMPLIED: [&str; 4] = ["reader", "member", "manager", "admin"];
    let rank = |role: &str| IMPLIED.iter().position(|name| name.eq_ignore_ascii_case(role));
    held.to_lowercase() == wanted || matches!((rank(held), rank(wanted)), (Some(a), Some(b)) if a >= b)
}

/// Words and parentheses. The parentheses of `%(name)s` belong to their word.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut inside = false;
    for c in text.chars() {
        match c {
            '(' if word.ends_with('%') => {
                inside = true;
                word.push(c);
            }
            ')' if inside => {
                inside = false;
                word.push(c);
            }
            '(' if !word.is_empty() => return Err(format!("a '(' right behind '{word}'")),
            '(' | ')' => words.extend([std::mem::take(&mut word), c.to_string()]),
            c if c.is_whitespace() => {
                inside = false;
                words.push(std::mem::take(&mut word));
            }
            c => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    Ok(words)
}

struct Reader<'a> {
    words: &'a [String],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(String::as_str)
    }

    /// Passes over the next word if it is `wanted`, in any case.
    fn took(&mut self, wanted: &str) -> bool {
        let is = self.peek().is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self, depth: usize) -> Result<Check, String> {
        let mut all = vec![self.all(depth)?];
        while self.took("or") {
            all.push(self.all(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Check::Any(all) })
    }

    fn all(&mut self, depth: usize) -> Result<Check, String> {
        let mut all = vec![self.one(depth)?];
        while self.took("and") {
            all.push(self.one(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Check::All(all) })
    }

    fn one(&mut self, depth: usize) -> Result<Check, String> {
        if depth > DEEPEST {
            return Err(format!("nested deeper than {DEEPEST}"));
        }
        if self.took("not") {
            return Ok(Check::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.took("(") {
            let inner = self.any(depth + 1)?;
            return if self.took(")") { Ok(inner) } else { Err("a '(' without a ')'".to_owned()) };
        }
        let Some(word) = self.peek() else { return Err("it ends where a check should be".to_owned()) };
        self.at += 1;
        single(word)
    }
}

fn single(word: &str) -> Result<Check, String> {
    match word {
        "@" => return Ok(Check::Everybody),
        "!" => return Ok(Check::Nobody),
        _ => {}
    }
    let (kind, value) = word
        .split_once(':')
        .ok_or_else(|| format!("'{word}' where a check should be, such as role:admin, rule:NAME, @ or !"))?;
    if value.is_empty() {
        return Err(format!("'{word}' has nothing behind the colon"));
    }
    let plain = || match value.contains('%') {
        true => Err(format!("'{word}': only project_id and user_id are compared with %(…)s")),
        false => Ok(value.to_owned()),
    };
    match kind {
        "role" => Ok(Check::Role(plain()?.to_lowercase())),
        "rule" => Ok(Check::Rule(plain()?)),
        "is_admin" => match value {
            "True" | "true" | "1" => Ok(Check::IsAdmin(true)),
            "False" | "false" | "0" => Ok(Check::IsAdmin(false)),
            _ => Err(format!("'{word}': is_admin is True or False")),
        },
        "system_scope" if value == "all" => Ok(Check::SystemScope),
        "system_scope" => Err(format!("'{word}': system_scope is all")),
        "project_id" => Ok(Check::Is(Attribute::Project, compared(word, value)?)),
        "user_id" => Ok(Check::Is(Attribute::User, compared(word, value)?)),
        _ => Err(format!(
            "'{word}': '{kind}' is not known; there are role, rule, is_admin, system_scope, project_id and user_id"
        )),
    }
}

fn compared(word: &str, value: &str) -> Result<Value, String> {
    match value {
        "%(project_id)s" => Ok(Value::OfTarget(Attribute::Project)),
        "%(user_id)s" => Ok(Value::OfTarget(Attribute::User)),
        other if other.contains('%') => {
            Err(format!("'{word}': targets have %(project_id)s and %(user_id)s only"))
        }
        text => Ok(Value::Text(text.to_owned())),
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
