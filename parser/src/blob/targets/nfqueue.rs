//! `struct xt_NFQ_info_v3` (netfilter/xt_NFQUEUE.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::targets::nfqueue::{Nfqueue, Queues};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Nfqueue3 {
    first: U16,
    count: U16,
    flags: U16,
}

/// `NFQ_FLAG_BYPASS`
const BYPASS: u16 = 0x01;
/// `NFQ_FLAG_CPU_FANOUT`
const CPU_FANOUT: u16 = 0x02;

impl Wire for Nfqueue3 {
    type Value = Nfqueue;
    const NAME: &'static str = "NFQUEUE";
    const REVISION: u8 = 3;

    fn read(&self, _: &Context<'_>) -> Result<Option<Nfqueue>, Refused> {
        let first = self.first.get();
        let more = self.count.get().checked_sub(1);
        let last = more.and_then(|more| first.checked_add(more));
        let last = last.ok_or(Refused("no queue, or one past the last"))?;
        if self.flags.get() & !(BYPASS | CPU_FANOUT) != 0 {
            return Err(Refused("an unknown flag"));
        }
        Ok(Some(Nfqueue {
            queues: Queues { first, last },
            bypass: self.flags.get() & BYPASS != 0,
            cpu_fanout: self.flags.get() & CPU_FANOUT != 0,
        }))
    }

    fn write(value: &Nfqueue, _: &Context<'_>) -> Option<Self> {
        let Queues { first, last } = value.queues;
        let count = last.checked_sub(first)?.checked_add(1)?;
        Some(Self {
            first: first.into(),
            count: count.into(),
            flags: (flag(value.bypass, BYPASS) | flag(value.cpu_fanout, CPU_FANOUT)).into(),
        })
    }
}
