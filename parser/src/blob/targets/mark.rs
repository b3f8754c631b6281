//! `struct xt_mark_tginfo2` (netfilter/xt_mark.h) and `struct xt_connmark_tginfo2`
//! (netfilter/xt_connmark.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::targets::connmark::{Connmark, Masks, Operation, Shift};
use crate::targets::mark::Mark;
use crate::targets::mark_change::MarkChange;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Mark2 {
    value: U32,
    mask: U32,
}

impl Wire for Mark2 {
    type Value = Mark;
    const NAME: &'static str = "MARK";
    const REVISION: u8 = 2;

    fn read(&self, _: &Context<'_>) -> Result<Option<Mark>, Refused> {
        let change = MarkChange {
            value: self.value.get(),
            mask: self.mask.get(),
        };
        Ok(Some(Mark { change }))
    }

    fn write(value: &Mark, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            value: value.change.value.into(),
            mask: value.change.mask.into(),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Connmark2 {
    value: U32,
    connection_mask: U32,
    packet_mask: U32,
    /// 1 for a shift to the right.
    is_right: u8,
    bits: u8,
    mode: u8,
    padding: u8,
}

/// `XT_CONNMARK_SET`
const SET: u8 = 0;
/// `XT_CONNMARK_SAVE`
const SAVE: u8 = 1;
/// `XT_CONNMARK_RESTORE`
const RESTORE: u8 = 2;

impl Wire for Connmark2 {
    type Value = Connmark;
    const NAME: &'static str = "CONNMARK";
    const REVISION: u8 = 2;

    fn read(&self, _: &Context<'_>) -> Result<Option<Connmark>, Refused> {
        let masks = Masks {
            packet: self.packet_mask.get(),
            connection: self.connection_mask.get(),
        };
        let operation = match self.mode {
            SET => Operation::Set(MarkChange {
                value: self.value.get(),
                mask: self.connection_mask.get(),
            }),
            SAVE => Operation::Save(masks),
            RESTORE => Operation::Restore(masks),
            _ => return Ok(None),
        };
        let shift = match (self.is_right, self.bits) {
            (0, bits @ 0..=31) => Shift::Left(bits),
            (1, bits @ 1..=31) => Shift::Right(bits),
            _ => return Ok(None),
        };
        Ok(Some(Connmark { operation, shift }))
    }

    fn write(value: &Connmark, _: &Context<'_>) -> Option<Self> {
        // libxt_CONNMARK fills the masks before it reads the options.
        let (mode, mark, masks) = match value.operation {
            Operation::Set(change) => {
                let masks = Masks {
                    packet: u32::MAX,
                    connection: change.mask,
                };
                (SET, change.value, masks)
            }
            Operation::Save(masks) => (SAVE, 0, masks),
            Operation::Restore(masks) => (RESTORE, 0, masks),
        };
        let (is_right, bits) = match value.shift {
            Shift::Left(bits) => (0, bits),
            Shift::Right(bits) => (1, bits),
        };
        Some(Self {
            value: mark.into(),
            connection_mask: masks.connection.into(),
            packet_mask: masks.packet.into(),
            is_right,
            bits,
            mode,
            padding: 0,
        })
    }
}
