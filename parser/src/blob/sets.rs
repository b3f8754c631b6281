//! ipsets: rules of the binary form name them by the kernel's index.

use std::collections::BTreeMap;

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::codec::Refused;
use crate::matches::set::{Lookup, Side};

/// The ipsets of a network namespace by their index (`ip_set_id_t`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetNames(BTreeMap<u16, String>);

impl SetNames {
    /// The name of a set.
    pub fn name(&self, index: u16) -> Option<&str> {
        self.0.get(&index).map(String::as_str)
    }

    /// The index of a set.
    pub fn index(&self, name: &str) -> Option<u16> {
        let found = self.0.iter().find(|row| row.1 == name);
        found.map(|row| *row.0)
    }
}

impl FromIterator<(u16, String)> for SetNames {
    fn from_iter<I: IntoIterator<Item = (u16, String)>>(rows: I) -> Self {
        Self(rows.into_iter().collect())
    }
}

/// `struct xt_set_info` (netfilter/xt_set.h).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct SetInfo {
    index: U16,
    dimension: u8,
    /// Bit 0 inverts; the bit `1 << n` is set if the n-th part of an element, from 1, is of the
    /// source.
    flags: u8,
}

/// `IPSET_DIM_MAX`
const DIMENSION_LIMIT: u8 = 6;
/// `IPSET_INV_MATCH`
const INVERTED: u8 = 0x01;

impl SetInfo {
    /// No set (`IPSET_INVALID_ID`).
    pub const ABSENT: Self = Self {
        index: U16::new(u16::MAX),
        dimension: 0,
        flags: 0,
    };

    pub fn is_absent(self) -> bool {
        self.index == u16::MAX
    }

    /// The lookup, or none if the set has no known name.
    pub fn read(self, sets: &SetNames) -> Result<Option<Lookup>, Refused> {
        if self.dimension > DIMENSION_LIMIT {
            return Err(Refused("too many parts"));
        }
        let sides = (1..=self.dimension).map(|part| match self.flags >> part & 1 {
            0 => Side::Destination,
            _ => Side::Source,
        });
        let name = sets.name(self.index.get());
        Ok(name.map(|name| Lookup {
            name: name.to_owned(),
            sides: sides.collect(),
        }))
    }

    /// The struct of a lookup, or none if nobody knows the set's index.
    pub fn write(lookup: &Lookup, sets: &SetNames) -> Option<Self> {
        let dimension = u8::try_from(lookup.sides.len()).ok()?;
        let flags = (1..=DIMENSION_LIMIT)
            .zip(&lookup.sides)
            .filter(|(_, side)| **side == Side::Source)
            .map(|(part, _)| 1 << part)
            .sum();
        (dimension <= DIMENSION_LIMIT).then_some(())?;
        Some(Self {
            index: sets.index(&lookup.name)?.into(),
            dimension,
            flags,
        })
    }

    pub fn is_inverted(self) -> bool {
        self.flags & INVERTED != 0
    }

    pub fn inverted(mut self, negated: bool) -> Self {
        if negated {
            self.flags |= INVERTED;
        }
        self
    }
}
