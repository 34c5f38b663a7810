//! Who may speak for a host: it enrols once with a key of its own, and signs whatever it says from then on.
//!
//! A stolen key forges nothing of another host; what was signed for an earlier session, or was heard before, is not
//! heard again; of two agents with one host id one is refused, and both sides say so.

use cell_db::Tx;
use cell_db::hosts::{self, Registered};
use cell_db::keys::{self, Key};
use model::{Fault, FaultKind, HostId, Timestamp};
use rpc::Signed;
use rpc::contract::Register;
use sql::Error;
use uuid::Uuid;

/// What a host needs to enrol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// A join token, which an operator makes for it.
    #[default]
    Token,
    /// Nothing but a way to the cell's broker: the first key that speaks for a host is its own from then on.
    Open,
}

/// What becomes of who wants to register.
pub(crate) enum Admitted {
    /// It is the host.
    Yes,
    /// It has to ask again, signed for this number of sessions.
    Again(i64),
    /// It is not, and is told why.
    No(Fault),
}

/// Decides on who wants to register, and enrols it if it is new. `is_still` says whether a host's beat has stood at
/// this number long enough to take its agent for ended.
pub(crate) async fn admit(
    tx: &mut Tx,
    call: &Register,
    signed: Option<&Signed>,
    join: Join,
    is_still: impl FnOnce(i64) -> bool,
    now: Timestamp,
) -> Result<Admitted, Error> {
    let host = call.host;
    let (known, key) = (hosts::registered(tx, host).await?, keys::of(tx, host).await?);
    let standing = key.as_ref().filter(|key| !key.revoked);
    if let Some(key) = standing
        && let Err(fault) = is_signed(host, call.session, key, signed)
    {
        return refuse(tx, call, another_key(call, key, fault), now).await;
    }
    let successor = known.as_ref().filter(|before| before.session != call.session);
    if let Some(before) = successor {
        if standing.is_some() && call.sessions != Some(before.sessions) {
            return Ok(Admitted::Again(before.sessions));
        }
        if let Some(fault) = doubled(call, before, is_still) {
            return refuse(tx, call, fault, now).await;
        }
    }
    match (standing, signed) {
        (Some(_), Some(signed)) => keys::heard(tx, host, signed.session, signed.counter).await?,
        _ => {
            if let Err(fault) = enrol(tx, call, signed, (known.is_some(), key.as_ref()), join, now).await? {
                return refuse(tx, call, fault, now).await;
            }
        }
    }
    keys::accept(tx, host).await?;
    Ok(Admitted::Yes)
}

async fn refuse(tx: &mut Tx, call: &Register, fault: Fault, now: Timestamp) -> Result<Admitted, Error> {
    keys::refuse(tx, call.host, &call.name, &fault.message, now).await?;
    Ok(Admitted::No(fault))
}

/// Makes the key that a call was signed with the host's, if it may be.
async fn enrol(
    tx: &mut Tx,
    call: &Register,
    signed: Option<&Signed>,
    (is_registered, revoked): (bool, Option<&Key>),
    join: Join,
    now: Timestamp,
) -> Result<Result<(), Fault>, Error> {
    let (host, name) = (call.host, &call.name);
    // Agents of the release before sign nothing, and their hosts have enrolled by being registered.
    let is_trusted = revoked.is_none() && (is_registered || join == Join::Open);
    let (Some(public), Some(signed)) = (&call.key, signed) else {
        let why = format!(
            "host {host} ({name}) is not enrolled, and its agent signs nothing: it needs a newer release"
        );
        return Ok(if is_trusted { Ok(()) } else { Err(forbidden(why)) });
    };
    if signed.host != host || signed.session != call.session || !signed.is_by(public) {
        return Ok(Err(forbidden(format!(
            "the call of host {host} ({name}) is not signed with the key that it names"
        ))));
    }
    if revoked.is_some_and(|key| key.public_key == *public) {
        return Ok(Err(forbidden(format!(
            "the key of host {host} ({name}) was revoked: remove host-key in its state_dir, and give it a join token"
        ))));
    }
    if !is_trusted {
        let made = "made with: skep host join-token --cell CELL";
        let Some(token) = &call.join else {
            return Ok(Err(forbidden(format!(
                "host {host} ({name}) is not enrolled: put a join token into the file that agent.join_token_file \
                 names, {made}"
            ))));
        };
        if !keys::spend(tx, &token.fingerprint(), host, now).await? {
            return Ok(Err(forbidden(format!(
                "the join token of host {host} ({name}) is not of this cell, was used before or is over: it needs a \
                 new one, {made}"
            ))));
        }
    }
    keys::put(tx, host, public, (signed.session, signed.counter), now).await?;
    tracing::info!(host.id = %host, host.name = name, "host enrolled");
    Ok(Ok(()))
}

/// Whether a call of a host's session is signed with its key and was not heard before.
///
/// # Errors
/// `Forbidden`: it is of somebody else; `Conflict`: it was heard before.
pub(crate) fn is_signed(
    host: HostId,
    session: Uuid,
    key: &Key,
    signed: Option<&Signed>,
) -> Result<(), Fault> {
    if key.revoked {
        return Err(forbidden(format!(
            "the key of host {host} was revoked: remove host-key in its state_dir, give it a join token, and start \
             its agent again"
        )));
    }
    let Some(signed) = signed.filter(|signed| signed.host == host && signed.session == session) else {
        return Err(forbidden(format!("host {host} is enrolled and has to sign what it says")));
    };
    if !signed.is_by(&key.public_key) {
        return Err(forbidden(format!("this is not signed with the key of host {host}")));
    }
    if signed.session == key.session && signed.counter <= key.counter {
        return Err(Fault::conflict("this was heard before"));
    }
    Ok(())
}

/// Says more where whoever registers has a key, but not the host's.
fn another_key(call: &Register, key: &Key, fault: Fault) -> Fault {
    if fault.kind != FaultKind::Forbidden || call.key.as_ref() == Some(&key.public_key) {
        return fault;
    }
    let Register { host, name, .. } = call;
    forbidden(format!(
        "host {host} is enrolled with another key than that of {name}: if this machine is a copy of another, remove \
         host-id, host-key and journal.redb in its state_dir; if its key was lost, run: skep host revoke, and give it \
         a join token"
    ))
}

/// Why somebody who registers in the place of an agent is its double and not its successor.
fn doubled(call: &Register, before: &Registered, is_still: impl FnOnce(i64) -> bool) -> Option<Fault> {
    let Register { host, name, .. } = call;
    let remedy = "two agents run with one host id: stop one, and remove host-id, host-key and journal.redb in the \
        state_dir of a machine that is a copy";
    if before.session_before == Some(call.session) {
        return Some(Fault::conflict(format!(
            "another agent has registered as host {host} ({name}) since: {remedy}"
        )));
    }
    // The same machine has one journal, which one agent has at a time; another machine has another boot id.
    let may_live = before.boot != call.boot && !before.silent && !is_still(before.beat);
    may_live.then(|| {
        Fault::conflict(format!(
            "the agent that is registered as host {host} ({name}) was heard of just now. If its machine was booted \
             again this passes by itself; else {remedy}"
        ))
    })
}

fn forbidden(why: String) -> Fault {
    Fault::new(FaultKind::Forbidden, why)
}
