//! Bugs on purpose: each leaves out one rule, and the simulation must find it, or it finds nothing.
//!
//! They are compiled in with the feature `failpoints` only, which no release build has. A thread plants
//! one for what runs on it; nothing else can turn one on.

#[cfg(feature = "failpoints")]
use std::cell::Cell;

macro_rules! bugs {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// A rule that is left out.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug { $($(#[$doc])* $name),* }
        /// Every bug.
        pub const ALL: &[Bug] = &[$(Bug::$name),*];
    };
}

bugs! {
    /// A cell does not release the claims of what has left its host.
    ClaimKept;
    /// A deletion is final as soon as the cell was told of it.
    DeleteUnseen;
    /// A delete whose commit is unknown is taken for done.
    UnknownIsDone;
    /// What was leased by an unknown commit is not given up.
    UnknownLeaseKept;
    /// Nobody takes over the tasks of a dead worker.
    NobodyTakesOver;
    /// New tasks and unplaced instances are looked at when a bell rings, and only then.
    DoorbellOnly;
    /// The dirty set forgets what the index has not taken yet.
    ForgottenFirst;
    /// An engine's failure is taken as evidence that nothing runs.
    FailureIsEvidence;
    /// Observations that did not arrive are not sent again.
    ReportedOnce;
    /// An observation counts although a newer one was heard.
    OldBelieved;
    /// A list leaves out what its cell does not answer for.
    DarkLeftOut;
    /// A step that ran twice counts twice.
    CountedTwice;
    /// A cell that did not answer is taken to have done what it was told.
    SilenceIsConsent;
    /// What was planned is bound although its cell has been cordoned since.
    CordonUnread;
    /// A binding is taken back although its cell may have heard of it.
    UnboundUnsure;
    /// The quota of what is gone is not given back.
    QuotaKept;
}

#[cfg(feature = "failpoints")]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug for what runs on this thread from now on, or none.
#[cfg(feature = "failpoints")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted; never in a release build.
#[inline]
pub fn planted(bug: Bug) -> bool {
    #[cfg(feature = "failpoints")]
    return PLANTED.get() == Some(bug);
    #[cfg(not(feature = "failpoints"))]
    {
        let _ = bug;
        false
    }
}
