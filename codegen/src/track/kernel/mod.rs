//! The kernel's own connection tracking in the place of ours, for a network namespace where something else
//! has it on: a rule of iptables with `-m conntrack`, an address translation.
//!
//! Where programs find a packet's connection:
//! - At cgroup_skb/egress the packet carries it (`sk_buff._nfct`), as netfilter has left it: it is confirmed,
//!   also when the packet begins it.
//! - At cgroup_skb/ingress the packet has lost it: `ip_protocol_deliver_rcu` (net/ipv4/ip_input.c) drops the
//!   reference. A program of the type NETFILTER ([`hand_over`]), which is the last at LOCAL_IN but for the
//!   confirmation, leaves it in a map for the processor that it runs on, where the socket's filter runs next.
//! - At XDP a frame has none yet. `bpf_xdp_ct_lookup` finds the connection as it was before the frame, of TCP
//!   and UDP only; the [machine](super::code) says on a copy of it what the frame will be.
//!
//! A packet of which nobody tells has the state [`UNKNOWN`](super::state::UNKNOWN), for which rules that ask
//! drop it. The connections are only read: rules that change them, or ask for what is counted of them, are
//! refused.

mod hand_over;
mod limits;
mod recall;

pub use hand_over::{HandOver, hand_over};
pub use limits::limits;
pub use recall::{FREE, find, recall};

/// The map in which [`hand_over`] leaves the connection of the last packet of each processor.
pub const HANDED_OVER_MAP: &str = "handed_over";
/// How many processors it has places for.
pub const PROCESSORS: u32 = 1024;

/// Where things lie in a value of [`HANDED_OVER_MAP`], in bytes from its start.
pub mod handed {
    /// The address of the packet's `struct sk_buff`.
    pub const PACKET: i16 = 8;
    /// The address of its bytes, which clones of it share: those that raw and multicast sockets get.
    pub const HEAD: i16 = 16;
    /// The address of its network namespace.
    pub const NET: i16 = 24;
    /// `sk_buff._nfct`
    pub const CONNECTION: i16 = 32;
    /// The lower half of `nf_conn.status`.
    pub const STATUS: i16 = 40;
    /// The bytes behind the first eight.
    pub const BYTES: u32 = 40;
}

/// What the lowest bits of `sk_buff._nfct` say (`enum ip_conntrack_info`, `NFCT_PTRMASK`;
/// include/uapi/linux/netfilter/nf_conntrack_common.h).
pub mod info {
    /// All of them.
    pub const MASK: i32 = 7;
    /// The least that says that the packet goes the other way (`IP_CT_IS_REPLY`).
    pub const REPLY: i32 = 3;
    /// That the packet is not tracked (`IP_CT_UNTRACKED`); its connection is null.
    pub const UNTRACKED: i32 = 7;
}
