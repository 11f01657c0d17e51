//! Rules broken on purpose, for the simulator to catch. Outside of the feature `sim` nothing can be broken.

/// A rule that is left out or worded otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The literal paper rule: a BuddyCert is final.
    BuddiesFinalize,
    /// Rule 0: votes leave before the log is on disk.
    SendBeforeLog,
    /// Rule 0: a node that lost its log votes at once.
    VoteWithoutLog,
    /// Rule 1: votes on what it did not execute.
    VoteUnexecuted,
    /// Rule 1: the first proposal of a term may have any notarized parent.
    AnyParentAcrossTerms,
    /// Rule 1: within a term the parent may be any notarized view.
    AnyParentWithinTerm,
    /// Rule 1: a second Notarize in a view, on another digest.
    NotarizeTwice,
    /// Rule 1: Notarize after a Skip.
    NotarizeAfterSkip,
    /// Rule 1: no Notarize without a BuddyCert, however long it takes.
    NoBuddyTimer,
    /// Rule 1: an invalid checkpoint is not skipped at once.
    NoSkipOfInvalid,
    /// Rule 2: Finalize along with Notarize, without the certificate.
    FinalizeUncertified,
    /// Rule 2: Finalize after a Skip.
    FinalizeAfterSkip,
    /// Rule 3, an earlier wording: Skip outside of the current view, for the next one.
    SkipAhead,
    /// Rule 3, an earlier wording: Skip of a view before the current one, after a later Notarize or Finalize.
    SkipAfterVote,
    /// Rule 3: no Skip on the view's timer.
    NoSkip,
    /// Rule 3: a node that skipped does not skip the later views of the term that it enters.
    NoSkipOnEntry,
    /// Rule 4, an earlier wording: SkipCerts of lower views of the term are ignored.
    LowerSkipIgnored,
    /// Rule 4: certificates that move a node on are not relayed.
    NoRelay,
    /// Rule 4: nothing is sent again at an expiry.
    NoResend,
    /// Rule 4: votes of lower views and epochs are not answered.
    NoAnswer,
    /// Rule 4: what is missing is not asked for.
    NoFetch,
    /// Rule 5, an earlier wording: no timer in an idle view, though what is notarized is not final.
    NotarizedIsIdle,
    /// Rule 6, an earlier wording: an epoch's first proposal does not need the terms before it skipped.
    EpochStartWithoutSkips,
    /// Rule 6: a NotarizeCert of an epoch's end opens the next epoch.
    NotarizedEndsEpoch,
    /// Rule 6: an epoch goes on above its end.
    EpochWithoutEnd,
    /// A quorum of one less.
    SmallQuorum,
    /// A quorum of one more than n − F.
    LargeQuorum,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::BuddiesFinalize,
        Self::SendBeforeLog,
        Self::VoteWithoutLog,
        Self::VoteUnexecuted,
        Self::AnyParentAcrossTerms,
        Self::AnyParentWithinTerm,
        Self::NotarizeTwice,
        Self::NotarizeAfterSkip,
        Self::NoBuddyTimer,
        Self::NoSkipOfInvalid,
        Self::FinalizeUncertified,
        Self::FinalizeAfterSkip,
        Self::SkipAhead,
        Self::SkipAfterVote,
        Self::NoSkip,
        Self::NoSkipOnEntry,
        Self::LowerSkipIgnored,
        Self::NoRelay,
        Self::NoResend,
        Self::NoAnswer,
        Self::NoFetch,
        Self::NotarizedIsIdle,
        Self::EpochStartWithoutSkips,
        Self::NotarizedEndsEpoch,
        Self::EpochWithoutEnd,
        Self::SmallQuorum,
        Self::LargeQuorum,
    ];
}

/// Which rule this node breaks, and whether it leads as an adversary does.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tampering {
    /// The rule that it breaks.
    #[cfg(feature = "sim")]
    pub mutation: Option<Mutation>,
    /// As a leader it builds on the oldest parent that it can name, justified or not.
    #[cfg(feature = "sim")]
    pub oldest_parent: bool,
}

impl Tampering {
    #[cfg(feature = "sim")]
    pub(crate) fn breaks(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    #[cfg(not(feature = "sim"))]
    pub(crate) fn breaks(&self, _: Mutation) -> bool {
        false
    }

    pub(crate) fn oldest_parent(&self) -> bool {
        #[cfg(feature = "sim")]
        return self.oldest_parent;
        #[cfg(not(feature = "sim"))]
        false
    }
}
