//! What the interpreter tells a program about one packet.

use super::fault::Cause;
use crate::meaning::socket::HostSocket;
use crate::module::Hook;

/// One packet and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Context<'p> {
    /// The frame at XDP; from the IP header on at the other hooks.
    pub packet: &'p [u8],
    /// What lies in front of the packet at cgroup hooks: the link layer's header.
    pub link_header: &'p [u8],
    /// How many bytes of the packet programs may read directly; more than there are means all.
    pub linear: usize,
    /// `__sk_buff.len`, in bytes.
    pub length: u32,
    /// `__sk_buff.ifindex`: the interface the packet is on.
    pub ifindex: u32,
    /// `ingress_ifindex`: the interface the packet came in on, 0 for one made here.
    pub ingress_ifindex: u32,
    /// `__sk_buff.protocol`: the ethertype, in host byte order here.
    pub protocol: u16,
    /// `__sk_buff.mark`.
    pub mark: u32,
    /// `__sk_buff.priority`.
    pub priority: u32,
    /// `__sk_buff.pkt_type`, `PACKET_*` of `include/uapi/linux/if_packet.h`.
    pub packet_type: u32,
    /// What the routing tables say about it.
    pub fib: FibAnswer,
    /// The kernel's clock of ticks.
    pub jiffies: u64,
    /// The time since boot, in nanoseconds.
    pub boot_time: u64,
    /// The international atomic time, in nanoseconds since 1970.
    pub atomic_time: u64,
    /// The kernel's monotonic clock, in nanoseconds.
    pub nanoseconds: u64,
    /// The ids of the control groups that the sending socket is in, from the root on.
    pub groups: &'p [u64],
    /// The sockets of this host.
    pub sockets: &'p [HostSocket],
    /// The number of the processor.
    pub cpu: u32,
    /// How many bytes a frame at XDP can grow at its end.
    pub tailroom: usize,
    /// Memory of the kernel that begins with the structure behind the context; programs find nothing when
    /// it is empty. Pointers in it are [`kernel_address`](super::kernel_address)es.
    pub kernel: &'p [u8],
}

/// What `bpf_fib_lookup` gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FibAnswer {
    /// `BPF_FIB_LKUP_RET_*`, or a negative error number.
    pub code: i64,
    /// The interface the packet would leave by.
    pub ifindex: u32,
    /// The MTU of the route; 0 where the lookup knows none.
    pub mtu: u16,
    /// The source address that it gives with [`FIB_SOURCE`], IPv4's in the first four bytes.
    pub source: [u8; 16],
}

/// What a driver leaves at least behind a frame in a page of its own: `struct skb_shared_info`'s
/// place is kept free besides.
const TAILROOM: usize = 256;

/// `BPF_FIB_LOOKUP_SRC`: the lookup also gives the source address of what is sent there.
pub const FIB_SOURCE: u64 = 1 << 4;

impl<'p> Context<'p> {
    /// A packet that can be read directly as a whole, with everything else zero.
    pub fn new(packet: &'p [u8]) -> Self {
        Context {
            packet,
            link_header: &[],
            linear: packet.len(),
            length: u32::try_from(packet.len()).unwrap_or(u32::MAX),
            ifindex: 0,
            ingress_ifindex: 0,
            protocol: 0,
            mark: 0,
            priority: 0,
            groups: &[],
            sockets: &[],
            packet_type: 0,
            fib: FibAnswer::default(),
            jiffies: 0,
            boot_time: 0,
            atomic_time: 0,
            nanoseconds: 0,
            cpu: 0,
            tailroom: TAILROOM,
            kernel: &[],
        }
    }

    /// The bytes that programs may read directly.
    pub(super) fn linear(&self) -> &'p [u8] {
        self.packet.get(..self.linear).unwrap_or(self.packet)
    }

    /// A field of the context as a load gives it, by its offset in `struct xdp_md` or
    /// `struct __sk_buff` of `include/uapi/linux/bpf.h`.
    /// `packet` are the addresses of the packet's first byte and of the first behind it.
    pub(super) fn load(
        &self,
        hook: Hook,
        offset: i64,
        size: usize,
        packet: (u64, u64),
    ) -> Result<u64, Cause> {
        let (start, end) = packet;
        let field = match (hook, offset) {
            (Hook::Xdp, 0 | 8) => Some(start),
            (Hook::Xdp, 4) => Some(end),
            (Hook::Xdp, 12) => Some(u64::from(self.ingress_ifindex)),
            (Hook::Xdp, _) => None,
            (_, 0) => Some(u64::from(self.length)),
            (_, 4) => Some(u64::from(self.packet_type)),
            (_, 8) => Some(u64::from(self.mark)),
            (_, 16) => Some(u64::from(self.protocol.swap_bytes())),
            (_, 32) => Some(u64::from(self.priority)),
            (_, 36) => Some(u64::from(self.ingress_ifindex)),
            (_, 40) => Some(u64::from(self.ifindex)),
            (_, 76) => Some(start),
            (_, 80) => Some(end),
            _ => None,
        };
        field
            .filter(|_| size == 4)
            .ok_or(Cause::NoSuchField { offset, size })
    }

    /// Writes a field of the context, of which filters may write few.
    pub(super) fn store(
        &mut self,
        hook: Hook,
        offset: i64,
        size: usize,
        value: u64,
    ) -> Result<(), Cause> {
        let field = match (hook, offset, size) {
            (Hook::CgroupIngress | Hook::CgroupEgress, 8, 4) => &mut self.mark,
            (Hook::CgroupIngress | Hook::CgroupEgress, 32, 4) => &mut self.priority,
            _ => return Err(Cause::ReadOnly),
        };
        *field = value as u32;
        Ok(())
    }
}
