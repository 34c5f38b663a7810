//! What a token in the database stands for at this moment.

use api_db::identity as db;
use api_db::identity::tokens::Found;
use model::Timestamp;
use sql::Error;

use super::roles::Roles;
use crate::access::AccessRule;
use crate::known::{CredentialOf, InDomain, Known, Role, Scope};

/// The token of that hash, if it is good at `now`, and the revision that it was read at.
pub async fn token(
    tx: &mut api_db::Tx,
    hash: &[u8],
    now: Timestamp,
    roles: &Roles,
) -> Result<Option<(Known, i64)>, Error> {
    let Some(found) = db::tokens::find(tx, hash).await? else { return Ok(None) };
    let revision = found.revision;
    if !found.enabled || now >= Timestamp(found.expires_at) {
        return Ok(None);
    }
    let Some(scope) = scope(&found) else { return Ok(None) };
    let known = roles.at(tx, revision).await?;
    let mut held = match scope {
        Scope::None => Default::default(),
        _ => {
            let direct = db::assignments::roles(tx, &found.user_id, &found.scope, &found.target).await?;
            known.with_implied(&direct)
        }
    };
    let (mut credential, mut access_rules) = (None, None);
    if let Some(id) = &found.credential {
        let Some(with) = db::credentials::get(tx, id).await? else { return Ok(None) };
        if with.expires.is_some_and(|expires| now >= expires) {
            return Ok(None);
        }
        let allowed = known.with_implied(&with.roles);
        held.retain(|role| allowed.contains(role));
        let rules: Vec<AccessRule> = serde_json::from_value(with.access_rules.clone())
            .map_err(|_| Error::corrupt("identity_credential.access_rules", &with.access_rules))?;
        access_rules = (!rules.is_empty()).then_some(rules);
        credential = Some(CredentialOf { id: with.id, name: with.name, restricted: !with.unrestricted });
    }
    let roles = known.named(held);
    // A scope is worth nothing to who has no role there any more.
    if scope != Scope::None && roles.is_empty() {
        return Ok(None);
    }
    let domain = Role { id: found.domain, name: found.domain_name };
    let user = InDomain { id: found.user_id, name: found.user_name, domain };
    let known = Known {
        caller: Known::caller_of(&user, &scope, &roles),
        user,
        scope,
        roles,
        methods: found.methods.0,
        audit_ids: found.audit_ids.0,
        issued: Timestamp(found.issued_at),
        expires: Some(Timestamp(found.expires_at)),
        credential,
        access_rules,
    };
    Ok(Some((known, revision)))
}

/// The scope; nothing if its target is gone.
fn scope(found: &Found) -> Option<Scope> {
    let id = found.target.clone();
    match found.scope.as_str() {
        "project" => {
            let domain = Role { id: found.target_domain.clone()?, name: found.target_domain_name.clone()? };
            Some(Scope::Project(InDomain { id, name: found.target_name.clone()?, domain }))
        }
        "domain" => Some(Scope::Domain(Role { id, name: found.target_name.clone()? })),
        "system" => Some(Scope::System),
        _ => Some(Scope::None),
    }
}
