//! `struct xt_set_info_target_v3` (netfilter/xt_set.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::sets::SetInfo;
use crate::targets::set::{Add, Map, Set};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Set3 {
    add: SetInfo,
    delete: SetInfo,
    map: SetInfo,
    flags: U32,
    /// That of the set if it is all ones.
    timeout: U32,
}

/// `IPSET_FLAG_EXIST`
const EXIST: u32 = 1 << 0;
/// `IPSET_FLAG_MAP_SKBMARK`
const MAP_MARK: u32 = 1 << 8;
/// `IPSET_FLAG_MAP_SKBPRIO`
const MAP_PRIORITY: u32 = 1 << 9;
/// `IPSET_FLAG_MAP_SKBQUEUE`
const MAP_QUEUE: u32 = 1 << 10;

impl Wire for Set3 {
    type Value = Set;
    const NAME: &'static str = "SET";
    const REVISION: u8 = 3;

    fn read(&self, context: &Context<'_>) -> Result<Option<Set>, Refused> {
        let has = |flag| self.flags.get() & flag != 0;
        let lookup = |set: SetInfo| match set.is_absent() {
            true => Ok(Some(None)),
            false => set.read(context.sets).map(|lookup| lookup.map(Some)),
        };
        let (Some(add), Some(delete), Some(map)) =
            (lookup(self.add)?, lookup(self.delete)?, lookup(self.map)?)
        else {
            return Ok(None);
        };
        let timeout = (self.timeout != u32::MAX).then(|| self.timeout.get());
        Ok(Some(Set {
            add: add.map(|entry| Add {
                entry,
                exist: has(EXIST),
                timeout,
            }),
            delete,
            map: map.map(|entry| Map {
                entry,
                mark: has(MAP_MARK),
                priority: has(MAP_PRIORITY),
                queue: has(MAP_QUEUE),
            }),
        }))
    }

    fn write(value: &Set, context: &Context<'_>) -> Option<Self> {
        let set = |lookup| match lookup {
            None => Some(SetInfo::ABSENT),
            Some(lookup) => SetInfo::write(lookup, context.sets),
        };
        let has = |test: fn(&Map) -> bool| value.map.as_ref().is_some_and(test);
        let flags = flag(value.add.as_ref().is_some_and(|add| add.exist), EXIST)
            | flag(has(|map| map.mark), MAP_MARK)
            | flag(has(|map| map.priority), MAP_PRIORITY)
            | flag(has(|map| map.queue), MAP_QUEUE);
        let timeout = value.add.as_ref().and_then(|add| add.timeout);
        Some(Self {
            add: set(value.add.as_ref().map(|add| &add.entry))?,
            delete: set(value.delete.as_ref())?,
            map: set(value.map.as_ref().map(|map| &map.entry))?,
            flags: flags.into(),
            timeout: timeout.unwrap_or(u32::MAX).into(),
        })
    }
}
