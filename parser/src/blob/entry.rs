//! One entry: its fixed part, its matches and its target, cut out of the blob with every size
//! checked.

use zerocopy::{FromBytes, IntoBytes};

use super::base::Base;
use super::error::{BlobError, EncodeError, Flaw};
use super::layout::{
    ALIGNMENT, ERROR, Entry4, Entry6, EntryCounters, ErrorTarget, ExtensionHeader, STANDARD,
    StandardTarget, until_nul, with_nul,
};
use crate::ruleset::{Counters, Family};

/// An entry of a blob.
pub(super) struct Entry<'a> {
    /// Its offset in the blob.
    pub at: usize,
    /// Its length in bytes.
    pub length: usize,
    pub head: Head,
    pub matches: Vec<RawExtension<'a>>,
    pub target: RawTarget<'a>,
}

/// The fixed part of an entry, sizes aside.
pub(super) struct Head {
    pub base: Base,
    /// A bit for each hook from which the kernel found a way to the entry.
    pub comefrom: u32,
    pub counters: Counters,
}

/// A match or target that is not yet understood.
pub(super) struct RawExtension<'a> {
    /// Its offset in the blob.
    pub at: usize,
    pub name: &'a str,
    pub revision: u8,
    pub data: &'a [u8],
}

/// What an entry ends in.
pub(super) enum RawTarget<'a> {
    /// A verdict below zero, or an offset in the entries.
    Standard(i32),
    /// The name of a chain, or of the end of the table.
    Error(&'a [u8]),
    /// An extension.
    Extension(RawExtension<'a>),
}

impl<'a> Entry<'a> {
    /// Cuts out the entry at the start of `bytes`, which stands at the offset `at` of the blob.
    pub fn read(family: Family, bytes: &'a [u8], at: usize) -> Result<Self, BlobError> {
        let (head, sizes) = Head::read(family, bytes, at)?;
        let bad_target = || Flaw::TargetOffset(sizes.target_offset).at(at);
        let length = usize::from(sizes.next_offset);
        if !length.is_multiple_of(ALIGNMENT) {
            return Err(Flaw::NextOffset(sizes.next_offset).at(at));
        }
        let entry = bytes.get(..length).ok_or(Flaw::EntryOverrun.at(at))?;
        let target_offset = usize::from(sizes.target_offset);
        let mut rest = entry
            .get(sizes.head..target_offset)
            .ok_or_else(bad_target)?;
        let mut matches = Vec::new();
        while !rest.is_empty() {
            let offset = at + target_offset - rest.len();
            let (extension, size) = RawExtension::read(rest, offset)?;
            matches.push(extension);
            rest = rest.get(size..).unwrap_or_default();
        }
        let rest = entry.get(target_offset..).ok_or_else(bad_target)?;
        let (target, size) = RawExtension::read(rest, at + target_offset)?;
        if size != rest.len() {
            return Err(Flaw::NextOffset(sizes.next_offset).at(at));
        }
        Ok(Self {
            at,
            length,
            head,
            matches,
            target: RawTarget::new(target)?,
        })
    }

    /// Whether it tests nothing (ip_tables.c, `unconditional`).
    pub fn is_unconditional(&self) -> bool {
        self.head.base.is_unconditional() && self.matches.is_empty()
    }

    /// The verdict of an entry that tests nothing, unless it jumps.
    pub fn unconditional_verdict(&self) -> Option<i32> {
        match self.target {
            RawTarget::Standard(verdict) if verdict < 0 && self.is_unconditional() => Some(verdict),
            _ => None,
        }
    }
}

/// The sizes in an entry's fixed part, and of it.
struct Sizes {
    head: usize,
    target_offset: u16,
    next_offset: u16,
}

/// The size of an entry's fixed part.
fn head_size(family: Family) -> usize {
    match family {
        Family::V4 => size_of::<Entry4>(),
        Family::V6 => size_of::<Entry6>(),
    }
}

impl Head {
    fn read(family: Family, bytes: &[u8], at: usize) -> Result<(Self, Sizes), BlobError> {
        let overrun = || Flaw::EntryOverrun.at(at);
        let (base, comefrom, counters, target_offset, next_offset) = match family {
            Family::V4 => {
                let (entry, _) = Entry4::ref_from_prefix(bytes).map_err(|_| overrun())?;
                let base = Base::read_4(&entry.ip);
                let sizes = (entry.target_offset, entry.next_offset);
                (base, entry.comefrom, entry.counters, sizes.0, sizes.1)
            }
            Family::V6 => {
                let (entry, _) = Entry6::ref_from_prefix(bytes).map_err(|_| overrun())?;
                let base = Base::read_6(&entry.ip);
                let sizes = (entry.target_offset, entry.next_offset);
                (base, entry.comefrom, entry.counters, sizes.0, sizes.1)
            }
        };
        let head = Self {
            base: base.map_err(|part| Flaw::Base(part).at(at))?,
            comefrom: comefrom.get(),
            counters: Counters {
                packets: counters.packets.get(),
                bytes: counters.bytes.get(),
            },
        };
        let sizes = Sizes {
            head: head_size(family),
            target_offset: target_offset.get(),
            next_offset: next_offset.get(),
        };
        Ok((head, sizes))
    }

    /// Writes an entry with these matches and this target in their binary form.
    pub fn write(
        &self,
        family: Family,
        matches: &[u8],
        target: &[u8],
    ) -> Result<Vec<u8>, EncodeError> {
        let target_offset = head_size(family) + matches.len();
        let short = |size: usize| u16::try_from(size).map_err(|_| EncodeError::RuleTooLong);
        let next_offset = short(target_offset + target.len())?.into();
        let target_offset = short(target_offset)?.into();
        let counters = EntryCounters {
            packets: self.counters.packets.into(),
            bytes: self.counters.bytes.into(),
        };
        let head = match family {
            Family::V4 => Entry4 {
                ip: self.base.write_4()?,
                nfcache: 0.into(),
                target_offset,
                next_offset,
                comefrom: self.comefrom.into(),
                counters,
            }
            .as_bytes()
            .to_vec(),
            Family::V6 => Entry6 {
                ip: self.base.write_6()?,
                nfcache: 0.into(),
                target_offset,
                next_offset,
                comefrom: self.comefrom.into(),
                padding: [0; 4],
                counters,
            }
            .as_bytes()
            .to_vec(),
        };
        Ok([&head, matches, target].concat())
    }
}

impl<'a> RawExtension<'a> {
    /// Cuts out the extension at the start of `bytes`, and tells its size.
    fn read(bytes: &'a [u8], at: usize) -> Result<(Self, usize), BlobError> {
        let room = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        let (header, _) = ExtensionHeader::ref_from_prefix(bytes)
            .map_err(|_| Flaw::ExtensionSize(room).at(at))?;
        let size = header.size.get();
        let bad_size = || Flaw::ExtensionSize(size).at(at);
        let length = usize::from(size);
        if !length.is_multiple_of(ALIGNMENT) {
            return Err(bad_size());
        }
        let data = bytes
            .get(size_of::<ExtensionHeader>()..length)
            .ok_or_else(bad_size)?;
        let name = until_nul(&header.name)
            .and_then(|name| str::from_utf8(name).ok())
            .filter(|name| {
                name.bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'/')
            })
            .ok_or(Flaw::ExtensionName.at(at))?;
        let extension = Self {
            at,
            name,
            revision: header.revision,
            data,
        };
        Ok((extension, length))
    }
}

/// Writes an extension. The data is padded to the alignment.
pub(super) fn write_extension(name: &str, revision: u8, data: &[u8]) -> Option<Vec<u8>> {
    let padding = vec![0; data.len().next_multiple_of(ALIGNMENT) - data.len()];
    let size = size_of::<ExtensionHeader>() + data.len() + padding.len();
    let header = ExtensionHeader {
        size: u16::try_from(size).ok()?.into(),
        name: with_nul(name.as_bytes())?,
        revision,
    };
    Some([header.as_bytes(), data, &padding].concat())
}

impl<'a> RawTarget<'a> {
    fn new(target: RawExtension<'a>) -> Result<Self, BlobError> {
        let at = target.at;
        let bad_size = |name, expected| Flaw::DataSize {
            name,
            expected,
            found: target.data.len(),
        };
        match target.name {
            STANDARD => {
                let standard = StandardTarget::ref_from_bytes(target.data);
                let bad_size = bad_size("the verdict", size_of::<StandardTarget>());
                let standard = standard.map_err(|_| bad_size.at(at))?;
                Ok(Self::Standard(standard.verdict.get()))
            }
            ERROR => {
                let error = ErrorTarget::ref_from_bytes(target.data);
                let bad_size = bad_size(ERROR, size_of::<ErrorTarget>());
                let error = error.map_err(|_| bad_size.at(at))?;
                let name = until_nul(&error.name).ok_or(Flaw::ChainName.at(at))?;
                Ok(Self::Error(name))
            }
            _ => Ok(Self::Extension(target)),
        }
    }
}
