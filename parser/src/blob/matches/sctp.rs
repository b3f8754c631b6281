//! `struct xt_sctp_info` (netfilter/xt_sctp.h).

use std::collections::BTreeMap;

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::PortRange;
use crate::matches::sctp::{ChunkFlags, ChunkList, Chunks, Relation, Sctp};
use crate::ruleset::Negatable;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Sctp0 {
    destination_ports: [U16; 2],
    source_ports: [U16; 2],
    /// A bit for each type in the first eight words. The rest is only as long as it is by mistake.
    chunks: [U32; 64],
    relation: U32,
    flags: [FlagTest; 4],
    flag_count: U32,
    tests: U32,
    inverted: U32,
}

/// `struct xt_sctp_flag_info`
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct FlagTest {
    kind: u8,
    set: u8,
    mask: u8,
}

/// A slot that libxt_sctp did not fill.
const NO_FLAGS: FlagTest = FlagTest {
    kind: 0xff,
    set: 0,
    mask: 0,
};
/// `XT_SCTP_SRC_PORTS`
const SOURCE: u32 = 0x01;
/// `XT_SCTP_DEST_PORTS`
const DESTINATION: u32 = 0x02;
/// `XT_SCTP_CHUNK_TYPES`
const CHUNKS: u32 = 0x04;
/// `SCTP_CHUNK_MATCH_ANY`, `_ALL` and `_ONLY`
const RELATIONS: [(u32, Relation); 3] =
    [(1, Relation::Any), (2, Relation::All), (4, Relation::Only)];

impl Wire for Sctp0 {
    type Value = Sctp;
    const NAME: &'static str = "sctp";
    const PROTOCOLS: &'static [u8] = &[132];

    fn read(&self, _: &Context<'_>) -> Result<Option<Sctp>, Refused> {
        let (tests, inverted) = (self.tests.get(), self.inverted.get());
        if tests & !(SOURCE | DESTINATION | CHUNKS) != 0 || inverted & !tests != 0 {
            return Err(Refused("an unknown flag"));
        }
        let ports = |[low, high]: [U16; 2], bit| {
            let ports = PortRange {
                low: low.get(),
                high: high.get(),
            };
            (tests & bit != 0).then(|| test(inverted & bit != 0, ports))
        };
        let mut chunks = None;
        if tests & CHUNKS != 0 {
            let relation = RELATIONS.iter().find(|row| row.0 == self.relation.get());
            let Some(&(_, relation)) = relation else {
                return match self.relation.get() & 7 {
                    0 => Err(Refused("no relation of the chunks")),
                    _ => Ok(None),
                };
            };
            let list = self.list();
            chunks = Some(test(inverted & CHUNKS != 0, Chunks { relation, list }));
        }
        Ok(Some(Sctp {
            source_ports: ports(self.source_ports, SOURCE),
            destination_ports: ports(self.destination_ports, DESTINATION),
            chunks,
        }))
    }

    fn write(value: &Sctp, _: &Context<'_>) -> Option<Self> {
        let ports = |ports: &Option<Negatable<PortRange>>| match ports {
            None => [0.into(); 2],
            Some(ports) => [ports.value.value.low.into(), ports.value.value.high.into()],
        };
        let mut wire = Self {
            destination_ports: ports(&value.destination_ports),
            source_ports: ports(&value.source_ports),
            chunks: [0.into(); 64],
            relation: 0.into(),
            flags: [NO_FLAGS; 4],
            flag_count: 0.into(),
            tests: (flag(value.source_ports.is_some(), SOURCE)
                | flag(value.destination_ports.is_some(), DESTINATION)
                | flag(value.chunks.is_some(), CHUNKS))
            .into(),
            inverted: (inversion(&value.source_ports, SOURCE)
                | inversion(&value.destination_ports, DESTINATION)
                | inversion(&value.chunks, CHUNKS))
            .into(),
        };
        if let Some(chunks) = &value.chunks {
            let Chunks { relation, list } = &chunks.value.value;
            let row = RELATIONS.iter().find(|row| row.1 == *relation)?;
            wire.relation = row.0.into();
            wire.set_list(list)?;
        }
        Some(wire)
    }
}

impl Sctp0 {
    fn list(&self) -> ChunkList {
        if self.chunks.iter().all(|word| word.get() == u32::MAX) {
            return ChunkList::Everything;
        }
        let mut types: BTreeMap<u8, ChunkFlags> = BTreeMap::new();
        for kind in 0..=u8::MAX {
            let word = self
                .chunks
                .get(usize::from(kind / 32))
                .map_or(0, |it| it.get());
            if word >> (kind % 32) & 1 != 0 {
                types.insert(kind, ChunkFlags::default());
            }
        }
        let count = usize::try_from(self.flag_count.get()).unwrap_or(usize::MAX);
        for FlagTest { kind, set, mask } in self.flags.into_iter().take(count) {
            types.insert(kind, ChunkFlags { mask, set });
        }
        ChunkList::Types(types)
    }

    fn set_list(&mut self, list: &ChunkList) -> Option<()> {
        let types = match list {
            ChunkList::Everything => {
                self.chunks = [u32::MAX.into(); 64];
                return Some(());
            }
            ChunkList::Types(types) => types,
        };
        let mut slots = self.flags.iter_mut();
        for (&kind, flags) in types {
            let word = self.chunks.get_mut(usize::from(kind / 32))?;
            *word = (word.get() | 1 << (kind % 32)).into();
            if flags.mask != 0 {
                *slots.next()? = FlagTest {
                    kind,
                    set: flags.set,
                    mask: flags.mask,
                };
                self.flag_count += 1;
            }
        }
        Some(())
    }
}
