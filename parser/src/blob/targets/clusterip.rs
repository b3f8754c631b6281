//! `struct ipt_clusterip_tgt_info` (netfilter_ipv4/ipt_CLUSTERIP.h). The kernel's pointer is zero on
//! the wire.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::matches::mac::MacAddress;
use crate::ruleset::Family;
use crate::targets::clusterip::{Cluster, Clusterip, HashMode};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Clusterip0 {
    flags: U32,
    mac: [u8; 6],
    total_nodes: U16,
    local_count: U16,
    local_nodes: [U16; NODES],
    padding: [u8; 2],
    hash_mode: U32,
    seed: U32,
    kernel: [u8; 8],
}

/// `CLUSTERIP_MAX_NODES`
const NODES: usize = 16;
/// `CLUSTERIP_FLAG_NEW`
const NEW: u32 = 0x1;

impl Wire for Clusterip0 {
    type Value = Clusterip;
    const NAME: &'static str = "CLUSTERIP";
    const FAMILY: Option<Family> = Some(Family::V4);

    fn read(&self, _: &Context<'_>) -> Result<Option<Clusterip>, Refused> {
        let mode = match self.hash_mode.get() {
            0 => HashMode::Sourceip,
            1 => HashMode::SourceipSourceport,
            2 => HashMode::SourceipSourceportDestport,
            _ => return Err(Refused("an unknown hash mode")),
        };
        if usize::from(self.local_count.get()) > NODES {
            return Err(Refused("too many local nodes"));
        }
        if self.flags.get() & NEW == 0 {
            return Ok(Some(Clusterip { new: None }));
        }
        let is_node = |node: U16| usize::from(node.get()) <= NODES;
        let [local_node, ..] = self.local_nodes;
        let is_multicast = self.mac[0] & 1 == 1;
        let is_written = is_multicast && is_node(self.total_nodes) && is_node(local_node);
        Ok((is_written && local_node != 0).then(|| Clusterip {
            new: Some(Cluster {
                mode,
                mac: MacAddress(self.mac),
                total_nodes: self.total_nodes.get(),
                local_node: local_node.get(),
                seed: self.seed.get(),
            }),
        }))
    }

    fn write(value: &Clusterip, _: &Context<'_>) -> Option<Self> {
        let Some(cluster) = &value.new else {
            return Some(Self::new_zeroed());
        };
        let mut wire = Self {
            flags: NEW.into(),
            mac: cluster.mac.0,
            total_nodes: cluster.total_nodes.into(),
            local_count: 1.into(),
            hash_mode: (cluster.mode as u32).into(),
            seed: cluster.seed.into(),
            ..Self::new_zeroed()
        };
        wire.local_nodes[0] = cluster.local_node.into();
        Some(wire)
    }
}
