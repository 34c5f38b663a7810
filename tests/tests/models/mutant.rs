//! The rules that carry the safety, each with a switch that leaves it out. A model without its rule must
//! fail: that is the test of the checker.

/// A rule left out. The one marked *today* is what the code still does; the models without a mutant are
/// the code with it mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// None: the rules as they should be.
    None,

    // Tokens.
    /// Cell writes do not compare `saga_token`.
    CellsIgnoreToken,
    /// `saga_token` begins anew with every task, instead of belonging to the subject.
    TokenPerTask,
    /// A binding or flip of the mapping does not compare `saga_token`.
    MappingIgnoresToken,
    /// A delete replaces a task without raising `saga_token`, and the flip does not look at the state.
    SupersedeKeepsToken,
    /// `tasks::store::{advance, finish}` know a lease by its owner only, so that what an
    /// earlier lease of the same worker left behind writes under the newer one.
    LeaseIsOwner,
    /// `Superconductor::wait` lets a job of an earlier lease take the place of a newer one.
    WaitReplaces,

    // Tombstones.
    /// A row that has become a tombstone is deleted.
    TombstoneDeleted,
    /// Tombstones are rows of a second table: checked, and then the row is inserted.
    SecondTable,
    /// `instances::want_gone` leaves an older tombstone as it is, so that the epoch that is to
    /// go is not covered.
    TombstoneNotRaised,
    /// A delete that replaces a move wants only the mapped cell's row gone.
    DeleteForgetsTarget,

    // Evidence.
    /// Another cell is tried without having seen this one's tombstone.
    RetargetUnseen,
    /// A binding is taken back although an earlier lease's insertion may be on its way.
    UnbindUnsure,
    /// A delete is final before everything was observed gone.
    DeleteUnseen,
    /// A move goes on without having observed that the source stopped.
    FlipUnseen,
    /// An engine's failure frees the placement, although the copy may be there, and although an
    /// agent that dies may have forgotten that it gave up.
    FailureIsEvidence,
    /// An agent that was told that its copy is superseded says that it is gone before it is.
    BurialToldFirst,

    // The host.
    /// The agent takes what is not above its journal.
    JournalUnchecked,
    /// In-cell writes do not compare the version that was read.
    NoCompareAndSwap,
    /// The agent does not stop its containers when its lease ran out.
    NoSelfStop,
    /// The agent counts its lease from the answer, not from the call.
    LeaseFromAnswer,
    /// The conductor does not wait out the lease.
    EvacuateEarly,
    /// The conductor moves what it judged lost a while ago, without comparing the beat.
    BeatNotCompared,
    /// After a reboot the agent starts what its journal says, before it has heard its cell.
    StartBeforeSync,

    // Leasing.
    /// A worker that was declared dead, and has not noticed, leases under its old name.
    GhostsKeep,
    /// What was leased in a transaction of unknown outcome is held by nobody in memory, and stays so.
    UnknownLeaseKept,
    /// A worker that does not know what it holds tries once to give up its name, and forgets it
    /// if the database is still away then.
    RenewOnce,
}
