//! iptables' binary interface: the blob that `setsockopt(IPT_SO_SET_REPLACE)` takes and
//! `getsockopt(IPT_SO_GET_ENTRIES)` gives, to a typed [`Table`] and back.
//!
//! # The layout
//!
//! That of x86_64 and every other 64-bit little-endian ABI. Numbers are little-endian; addresses,
//! masks and the ports of NAT ranges are in network order. The sources are the kernel's
//! include/uapi/linux/netfilter/x_tables.h, netfilter_ipv4/ip_tables.h, netfilter_ipv6/ip6_tables.h
//! and, for the data of an extension, the header that its file here names.
//!
//! A blob is a header and a run of entries, each aligned to eight bytes:
//! - For each hook of the table, in hook order, the entries of its rules, then the policy: an entry
//!   that tests nothing and has the verdict ACCEPT or DROP. The header's `hook_entry` and
//!   `underflow` are the offsets of the first and of the last of these.
//! - For each user chain an entry with the target `ERROR` that holds the chain's name, the entries of
//!   its rules, and an entry that tests nothing and has the verdict RETURN.
//! - An entry with the target `ERROR` named `ERROR`.
//!
//! An entry is the base match with counters, then matches, then one target. A standard target holds
//! a verdict: below zero one of netfilter's, above zero the offset of the entry that comes next. That
//! is the first rule of a user chain, or the following entry for a rule that only counts.
//!
//! # What decoding promises
//!
//! Nothing panics on any input, and memory stays within a constant factor of the input, which may
//! have at most [`SIZE_LIMIT`] bytes. Nothing is recursive.
//!
//! What is decoded could have been made by iptables. All that the kernel refuses for its structure is
//! an error (ip_tables.c, `translate_table`, `check_entry_size_and_hooks`, `mark_source_chains`;
//! x_tables.c, `xt_check_entry_offsets`, `xt_check_table_hooks`), and further:
//! - chains lie as libiptc lays them, and have names that a text can hold;
//! - a jump leads to a user chain, never into the middle of one;
//! - no chain reaches itself, not even one that no packet gets to;
//! - the base match is one that an option can write, with zeros where nothing is tested.
//!
//! The data of an extension is typed only if the typed value has the same bytes, but for those that
//! the kernel does not look at. Everything else of an extension (another revision, a field that no option sets) is kept as
//! [`Unknown`](crate::unknown::Unknown) with its bytes, so no bit is ever overlooked. Data that the
//! kernel refuses for a known extension and revision is an error.
//!
//! # What encoding promises
//!
//! A blob that iptables made for a restore encodes to the same bytes after decoding, but for bytes
//! that nobody looks at: behind the mask of a whole IPv4 address they tell whether it was given, and
//! what is written is what comes of the text that iptables saves. In a blob that changes a table,
//! iptables sends old counters and `comefrom` marks along, which the kernel does not look at, either;
//! of these the marks are not kept.
//!
//! The kernel's form differs from the one that iptables sends in three things: hooks that a table
//! does not have are `u32::MAX` in the header, not zero; counters hold; and `comefrom` has the hooks
//! from which an entry is reached.

mod base;
mod chains;
mod codec;
mod encode;
mod entry;
mod error;
mod layout;
mod matches;
mod origin;
mod sets;
mod targets;

pub use error::{BasePart, BlobError, EncodeError, Flaw};
pub use sets::SetNames;

use crate::ruleset::{Family, Table};
use chains::Bounds;
use encode::Form;
use layout::{GetEntries, GetInfo, ReplaceHeader};
use zerocopy::{FromBytes, IntoBytes};

/// The most bytes of a blob that are looked at. The kernel takes 512 MiB (x_tables.c,
/// `XT_MAX_TABLE_SIZE`); a hundred thousand usual rules fit into this. The table takes up to about ten
/// times as much, if the blob consists of matches without data.
pub const SIZE_LIMIT: usize = 32 << 20;

/// What `IPT_SO_SET_REPLACE` asks for (`struct ipt_replace`, `struct ip6t_replace`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replace {
    /// The new table. Counters are what the caller left in the entries; the kernel does not look at
    /// them.
    pub table: Table,
    /// Where the counters of the table that goes are wanted.
    pub old_counters: OldCounters,
}

/// A request for the counters of the entries that are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldCounters {
    /// How many entries the caller believes the current table has; the kernel answers EAGAIN to a
    /// wrong number.
    pub number: u32,
    /// Where to put them, in the caller's memory. Never follow it without the caller's process at
    /// hand.
    pub address: u64,
}

/// What the kernel says of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The answer to `IPT_SO_GET_INFO` (`struct ipt_getinfo`), 84 bytes.
    pub info: Vec<u8>,
    /// The answer to `IPT_SO_GET_ENTRIES` (`struct ipt_get_entries`), 40 bytes and the entries.
    pub entries: Vec<u8>,
}

/// A match or a target, as `IPT_SO_GET_REVISION_MATCH` and `IPT_SO_GET_REVISION_TARGET` ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A match.
    Match,
    /// A target.
    Target,
}

/// Which revisions of an extension have a type here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    /// The one that was asked for.
    Known,
    /// Only others.
    Other,
    /// None: nobody knows the extension.
    Unknown,
}

/// Whether an extension of this name and revision is decoded to a type.
pub fn revision(family: Family, kind: Kind, name: &str, revision: u8) -> Revision {
    let mut known = match kind {
        Kind::Match => codec::revisions(matches::CODECS, family, name),
        Kind::Target if name == layout::STANDARD || name == layout::ERROR => vec![0],
        Kind::Target => codec::revisions(targets::CODECS, family, name),
    }
    .into_iter()
    .peekable();
    match (known.peek().is_some(), known.any(|it| it == revision)) {
        (_, true) => Revision::Known,
        (true, false) => Revision::Other,
        (false, false) => Revision::Unknown,
    }
}

/// Reads what `IPT_SO_SET_REPLACE` is given. `sets` has the names of the ipsets that rules may name
/// by index.
///
/// # Errors
/// The first flaw with its offset in the blob.
pub fn decode_replace(family: Family, blob: &[u8], sets: &SetNames) -> Result<Replace, BlobError> {
    let header = Flaw::TooShort.at(0);
    let (header, area) = ReplaceHeader::ref_from_prefix(blob).map_err(|_| header)?;
    let kind = layout::table_kind(&header.name).ok_or(Flaw::TableName.at(0))?;
    let bounds = Bounds {
        valid_hooks: header.valid_hooks.get(),
        number: header.num_entries.get(),
        size: header.size.get(),
        hook_entry: header.hook_entry.map(|it| it.get()),
        underflow: header.underflow.map(|it| it.get()),
    };
    // The kernel allocates this many counters (ip_tables.c, `do_replace`).
    const COUNTERS_LIMIT: u32 = (i32::MAX / 16) as u32;
    let number = header.num_counters.get();
    if number == 0 || number >= COUNTERS_LIMIT {
        let at = std::mem::offset_of!(ReplaceHeader, num_counters);
        return Err(Flaw::CounterNumber(number).at(at));
    }
    let start = size_of::<ReplaceHeader>();
    let table = chains::table(family, kind, &bounds, area, start, sets)?;
    Ok(Replace {
        table,
        old_counters: OldCounters {
            number,
            address: header.counters.get(),
        },
    })
}

/// Reads the kernel's answers to `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`.
///
/// # Errors
/// The first flaw with its offset, in the information if the flaw is of the header, else in the
/// entries.
pub fn decode_entries(
    family: Family,
    listing: &Listing,
    sets: &SetNames,
) -> Result<Table, BlobError> {
    let info = GetInfo::ref_from_bytes(&listing.info).map_err(|_| Flaw::TooShort.at(0))?;
    let (header, area) =
        GetEntries::ref_from_prefix(&listing.entries).map_err(|_| Flaw::TooShort.at(0))?;
    let kind = layout::table_kind(&info.name).ok_or(Flaw::TableName.at(0))?;
    if header.name != info.name {
        return Err(Flaw::TableName.at(0));
    }
    if header.size != info.size {
        let at = std::mem::offset_of!(GetEntries, size);
        return Err(Flaw::Size(header.size.get()).at(at));
    }
    let bounds = Bounds {
        valid_hooks: info.valid_hooks.get(),
        number: info.num_entries.get(),
        size: info.size.get(),
        hook_entry: info.hook_entry.map(|it| it.get()),
        underflow: info.underflow.map(|it| it.get()),
    };
    chains::table(family, kind, &bounds, area, size_of::<GetEntries>(), sets)
}

/// Writes what iptables passes to `IPT_SO_SET_REPLACE`.
///
/// # Errors
/// A part of the table has no binary form.
pub fn encode_replace(
    family: Family,
    replace: &Replace,
    sets: &SetNames,
) -> Result<Vec<u8>, EncodeError> {
    let (bounds, area) = encode::entries(family, &replace.table, sets, Form::Sent)?;
    let header = ReplaceHeader {
        name: layout::table_name(replace.table.kind),
        valid_hooks: bounds.valid_hooks.into(),
        num_entries: bounds.number.into(),
        size: bounds.size.into(),
        hook_entry: bounds.hook_entry.map(Into::into),
        underflow: bounds.underflow.map(Into::into),
        num_counters: replace.old_counters.number.into(),
        counters: replace.old_counters.address.into(),
    };
    Ok([header.as_bytes(), &area].concat())
}

/// Writes what the kernel answers to `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES` when it has this
/// table.
///
/// # Errors
/// A part of the table has no binary form.
pub fn encode_entries(
    family: Family,
    table: &Table,
    sets: &SetNames,
) -> Result<Listing, EncodeError> {
    let (bounds, area) = encode::entries(family, table, sets, Form::Kept)?;
    let name = layout::table_name(table.kind);
    let info = GetInfo {
        name,
        valid_hooks: bounds.valid_hooks.into(),
        hook_entry: bounds.hook_entry.map(Into::into),
        underflow: bounds.underflow.map(Into::into),
        num_entries: bounds.number.into(),
        size: bounds.size.into(),
    };
    let header = GetEntries {
        name,
        size: bounds.size.into(),
        padding: [0; 4],
    };
    Ok(Listing {
        info: info.as_bytes().to_vec(),
        entries: [header.as_bytes(), &area].concat(),
    })
}
