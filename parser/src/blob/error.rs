//! What can be wrong with a blob, and with a table that is to become one.

use thiserror::Error;

use crate::ruleset::NfHook;

/// A blob that is not decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at byte {offset}: {flaw}")]
pub struct BlobError {
    /// Where the flaw is, in bytes from the start of the blob.
    pub offset: usize,
    /// What is wrong.
    pub flaw: Flaw,
}

/// What is wrong with a blob.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The blob ends inside its header, or is longer than its header may be.
    #[error("the header has another length")]
    TooShort,
    /// The entries are longer than [`SIZE_LIMIT`](super::SIZE_LIMIT).
    #[error("{0} bytes of entries are too many")]
    TooLarge(usize),
    /// The name is not ended by a NUL, or is that of no table.
    #[error("there is no table of this name")]
    TableName,
    /// `valid_hooks` is not what the table has.
    #[error("the table does not have the hooks {0:#x}")]
    Hooks(u32),
    /// `num_counters` is zero or too large.
    #[error("{0} counters cannot be asked for")]
    CounterNumber(u32),
    /// `size` is not the size of the entries.
    #[error("there are not {0} bytes of entries")]
    Size(u32),
    /// `num_entries` is not the number of entries.
    #[error("there are not {0} entries")]
    EntryNumber(u32),
    /// An entry ends behind the last byte.
    #[error("the entry is not whole")]
    EntryOverrun,
    /// `next_offset` is not a multiple of eight, or leaves no room for the target.
    #[error("no entry can start {0} bytes behind this one")]
    NextOffset(u16),
    /// `target_offset` is inside the fixed part, or leaves no room for the target.
    #[error("no target can start at {0} in this entry")]
    TargetOffset(u16),
    /// The size of a match or target is less than its header or more than there is room for.
    #[error("an extension cannot have {0} bytes here")]
    ExtensionSize(u16),
    /// The name of a match or target is empty, not ended, or not printable.
    #[error("this is no name of an extension")]
    ExtensionName,
    /// The size of an extension's data is not that of its type.
    #[error("{name} has {found} bytes of data instead of {expected}")]
    DataSize {
        /// The extension.
        name: &'static str,
        /// The size of its type.
        expected: usize,
        /// The size in the blob.
        found: usize,
    },
    /// The extension cannot stand in this rule or table.
    #[error("{0} cannot stand in this rule")]
    Misplaced(&'static str),
    /// The kernel refuses the extension's data.
    #[error("{name}: {reason}")]
    Data {
        /// The extension.
        name: &'static str,
        /// What the kernel refuses.
        reason: &'static str,
    },
    /// No option writes these addresses, interfaces, protocols or flags.
    #[error("no rule has these {0}")]
    Base(BasePart),
    /// The verdict is none of the standard ones.
    #[error("{0} is no verdict")]
    Verdict(i32),
    /// The verdict is the offset of no user chain.
    #[error("no chain starts at {0}")]
    Jump(i32),
    /// The goto flag stands on a rule that leads to no chain.
    #[error("the rule goes to no chain")]
    Goto,
    /// An `ERROR` entry stands inside a chain, or has a rule's tests.
    #[error("an ERROR entry cannot stand here")]
    ErrorEntry,
    /// A built-in chain does not start behind the one before it.
    #[error("the {0} chain does not start here")]
    HookEntry(NfHook),
    /// The policy is not an entry behind the start of its chain.
    #[error("the {0} chain does not end here")]
    Underflow(NfHook),
    /// The last entry of a built-in chain is no policy.
    #[error("the last entry of the {0} chain is no policy")]
    Policy(NfHook),
    /// An entry that is not in any chain.
    #[error("the entry belongs to no chain")]
    Stray,
    /// A user chain does not end in an unconditional RETURN.
    #[error("the chain {0} does not end in RETURN")]
    ChainEnd(String),
    /// The name is not ended, too long, or cannot be written.
    #[error("this is no name of a chain")]
    ChainName,
    /// Two chains have one name.
    #[error("there are two chains {0}")]
    DuplicateChain(String),
    /// Chains lead to themselves.
    #[error("the chains form a loop: {0}")]
    Loop(String),
    /// An extension is reached from a hook that the kernel does not let it see.
    #[error("{0}")]
    Hook(String),
    /// The last entry is not the end of the table.
    #[error("the last entry is not ERROR")]
    TableEnd,
}

/// A part of the base match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BasePart {
    /// An address has bits outside its mask.
    #[error("addresses")]
    Address,
    /// A name is not ended, not UTF-8, or does not fit its mask.
    #[error("interfaces")]
    Interface,
    /// The protocol number.
    #[error("protocols")]
    Protocol,
    /// The flags or inversion flags.
    #[error("flags")]
    Flags,
}

impl Flaw {
    /// The error at this offset.
    pub(super) fn at(self, offset: usize) -> BlobError {
        BlobError { offset, flaw: self }
    }
}

/// A table that has no binary form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// An extension without a binary form here, or with a value that it cannot hold.
    #[error("the extension {0} has no binary form")]
    Extension(String),
    /// A rule leads to a chain that the table does not have.
    #[error("there is no chain {0}")]
    MissingChain(String),
    /// A chain's name is longer than 29 bytes.
    #[error("the chain name {0} is too long")]
    ChainName(String),
    /// An interface name is longer than 15 bytes.
    #[error("the interface name {0} is too long")]
    Interface(String),
    /// An address or option of the other family.
    #[error("a rule is not of the table's family")]
    Family,
    /// A rule is longer than 65,535 bytes.
    #[error("a rule is too long")]
    RuleTooLong,
    /// The entries are longer than [`SIZE_LIMIT`](super::SIZE_LIMIT).
    #[error("the table is too large")]
    TooLarge,
}
