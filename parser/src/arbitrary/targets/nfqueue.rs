//! `-j NFQUEUE`

use proptest::prelude::*;

use crate::targets::Target;
use crate::targets::nfqueue::{Nfqueue, Queues};

pub(in crate::arbitrary) fn nfqueue() -> impl Strategy<Value = Target> {
    let one = any::<u16>().prop_map(|queue| (queue, queue, false));
    let several = (0..0x8000_u16, 0x8000..0xffff_u16, any::<bool>());
    (prop_oneof![one, several], any::<bool>()).prop_map(|((first, last, cpu_fanout), bypass)| {
        Target::Nfqueue(Nfqueue {
            queues: Queues { first, last },
            bypass,
            cpu_fanout,
        })
    })
}
