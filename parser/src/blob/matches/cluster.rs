//! `struct xt_cluster_match_info` (netfilter/xt_cluster.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::matches::cluster::Cluster;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Cluster0 {
    total: U32,
    nodes: U32,
    seed: U32,
    flags: U32,
}

/// `XT_CLUSTER_F_INV`
const INVERTED: u32 = 1 << 0;
/// `XT_CLUSTER_NODES_MAX`
const NODES_LIMIT: u32 = 32;

impl Wire for Cluster0 {
    type Value = Cluster;
    const NAME: &'static str = "cluster";

    fn read(&self, _: &Context<'_>) -> Result<Option<Cluster>, Refused> {
        let total = self.total.get();
        if total > NODES_LIMIT {
            return Err(Refused("too many nodes"));
        }
        if u64::from(self.nodes.get()) >= 1 << total {
            return Err(Refused("a node that is not there"));
        }
        Ok(Some(Cluster {
            nodes: test(self.flags.get() & INVERTED != 0, self.nodes.get()),
            total,
            seed: self.seed.get(),
        }))
    }

    fn write(value: &Cluster, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            total: value.total.into(),
            nodes: value.nodes.value.value.into(),
            seed: value.seed.into(),
            flags: flag(value.nodes.negated, INVERTED).into(),
        })
    }
}
