//! `struct xt_owner_match_info` (netfilter/xt_owner.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::owner::Owner;
use crate::range::Range;
use crate::ruleset::Negatable;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Owner1 {
    users: [U32; 2],
    groups: [U32; 2],
    tests: u8,
    inverted: u8,
    padding: [u8; 2],
}

/// `XT_OWNER_UID`
const USER: u8 = 1 << 0;
/// `XT_OWNER_GID`
const GROUP: u8 = 1 << 1;
/// `XT_OWNER_SOCKET`
const SOCKET: u8 = 1 << 2;
/// `XT_OWNER_SUPPL_GROUPS`
const SUPPLEMENTARY_GROUPS: u8 = 1 << 3;

impl Wire for Owner1 {
    type Value = Owner;
    const NAME: &'static str = "owner";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Owner>, Refused> {
        if self.tests & !(USER | GROUP | SOCKET | SUPPLEMENTARY_GROUPS) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let has = |bit| self.tests & bit != 0;
        let is_inverted = |bit| self.inverted & bit != 0;
        let range = |[low, high]: [U32; 2], bit| {
            let range = Range {
                low: low.get(),
                high: high.get(),
            };
            match has(bit) {
                true if range.low > range.high => Err(Refused("a range that runs backwards")),
                true => Ok(Some(test(is_inverted(bit), range))),
                false => Ok(None),
            }
        };
        Ok(Some(Owner {
            socket_exists: has(SOCKET).then(|| test(is_inverted(SOCKET), ())),
            user: range(self.users, USER)?,
            group: range(self.groups, GROUP)?,
            supplementary_groups: has(SUPPLEMENTARY_GROUPS),
        }))
    }

    fn write(value: &Owner, _: &Context<'_>) -> Option<Self> {
        let range = |range: &Option<Negatable<Range<u32>>>| match range {
            None => [0.into(); 2],
            Some(range) => [range.value.value.low.into(), range.value.value.high.into()],
        };
        Some(Self {
            users: range(&value.user),
            groups: range(&value.group),
            tests: flag(value.user.is_some(), USER)
                | flag(value.group.is_some(), GROUP)
                | flag(value.socket_exists.is_some(), SOCKET)
                | flag(value.supplementary_groups, SUPPLEMENTARY_GROUPS),
            inverted: inversion(&value.user, USER)
                | inversion(&value.group, GROUP)
                | inversion(&value.socket_exists, SOCKET),
            padding: [0; 2],
        })
    }
}
