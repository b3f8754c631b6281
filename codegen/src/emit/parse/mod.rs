//! Before the first rule: from the hook's context to the `struct packet` on the program's stack.
//!
//! Registers: R6 the context; R7, at XDP, the start of the IP header in the frame; R9 an offset from that.
//! R8 is free. At cgroup hooks, where the linear part may be short, a helper copies the bytes of a header;
//! at XDP they are read in the frame, behind one check for all.
//!
//! What is asked for by tests alone is all that is written to the struct, or set to zero before: each store
//! counts when there are few rules.

mod bytes;
mod device;
mod ip;
mod kernel;
mod metadata;
mod transport;

pub use kernel::KernelAccess;

use foldhash::HashSet;

use super::frame::Frame;
use crate::asm::{Alu, Code, Cond, Label, Reg, Size};
use crate::field::{Field, layout};
use crate::frame::MAX_VLAN_TAGS;
use crate::module::Hook;
use crate::routine::Routine;
use crate::semantic::{FamilyFilter, Path, Test};
use crate::track::state;
use ipt2bpf_parser::ruleset::Family;

/// The context, all through a program.
pub const CONTEXT: Reg = Reg::R6;
/// The IP header in an XDP frame.
const BASE: Reg = Reg::R7;
/// The loop variable of walks.
const STEP: Reg = Reg::R8;
/// The numbers of all VLAN tags, put together; until the packet is read.
const TAGS: Reg = Reg::R8;
/// An offset from the IP header.
const AT: Reg = Reg::R9;

/// Offsets in `struct __sk_buff` (include/uapi/linux/bpf.h).
pub mod skb {
    #![allow(missing_docs)]
    pub const LEN: i16 = 0;
    pub const PKT_TYPE: i16 = 4;
    pub const MARK: i16 = 8;
    pub const PROTOCOL: i16 = 16;
    pub const IFINDEX: i16 = 40;
}

/// Offsets in `struct xdp_md` (include/uapi/linux/bpf.h).
pub mod xdp {
    #![allow(missing_docs)]
    pub const DATA: i16 = 0;
    pub const DATA_END: i16 = 4;
    pub const INGRESS_IFINDEX: i16 = 12;
}

/// Ethertypes as a little-endian load reads them from the frame.
pub const ETHERTYPE_IPV4: i32 = 0x0008;
/// See [`ETHERTYPE_IPV4`].
pub const ETHERTYPE_IPV6: i32 = 0xdd86;

/// The bits of a tag that are the VLAN's number; 0 is none (IEEE 802.1Q).
const VLAN_ID: i32 = 0x0fff;
/// The number of the loopback interface in every network namespace (include/linux/netdevice.h).
const LOOPBACK_IFINDEX: i32 = 1;

/// What the rules of a family ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    fields: HashSet<Field>,
    /// Whether a kind of TCP option is looked for.
    tcp_options: bool,
    /// Whether the state of connections is asked for.
    pub tracking: bool,
    /// Whether it is asked if more fragments follow.
    pub more_fragments: bool,
    /// Whether the index of the interface that routing chooses at XDP is asked for.
    pub out_index: bool,
    /// Whether packets are sent their ways before the rules are done, by addresses, type of service and whether
    /// they are later fragments.
    routed: bool,
    /// Whether others than tests read the struct: routines, trackers, and the verifier where a global
    /// function is given it.
    pub whole: bool,
}

impl Demand {
    /// What a filter's tests look at.
    pub fn of(filter: &FamilyFilter) -> Self {
        let mut demand = Demand::default();
        filter.leaves(&mut |leaf| match leaf {
            Test::TcpOption(_) => demand.tcp_options = true,
            Test::Masked { field, .. } | Test::Range { field, .. } => {
                demand.fields.insert(*field);
            }
            Test::Not(_) | Test::All(_) | Test::Any(_) => {}
        });
        for routine in filter.routines() {
            demand.fields.extend(routine.work().reads());
            demand.out_index |= matches!(routine, Routine::Tell(_));
            demand.more_fragments |= matches!(routine, Routine::FindSocket(_));
        }
        if demand.has(Field::PacketType) {
            // Whom the packet is for tells it from broadcasts.
            demand.fields.insert(Field::Destination4);
        }
        demand.routed = filter.stages.iter().any(|stage| stage.path != Path::All);
        demand.tracking = filter.tracking.is_some();
        demand.more_fragments |= demand.tracking;
        demand.whole = demand.tracking || filter.routines().next().is_some();
        demand
    }

    /// Whether the 8 bytes of the struct from an offset on are read before something is written there.
    fn reads(&self, offset: i16) -> bool {
        let inside = |place: i16, size: i16| place < offset + 8 && offset < place + size;
        let mut fields = self.fields.iter().map(|field| field.place());
        self.whole
            || fields.any(|place| inside(place.offset, place.size.into()))
            || (self.tcp_options && inside(layout::TCP_OPTIONS, 32))
    }

    /// How many of the first bytes of the transport header are asked for.
    fn transport_bytes(&self) -> i16 {
        let fields = self.fields.iter().filter(|field| field.is_header());
        let ends = fields.map(|field| {
            let place = field.place();
            place.offset + i16::from(place.size) - layout::HEADER
        });
        match self.whole || self.tcp_options || self.has_any(&Field::OF_TCP_OPTIONS) {
            true => layout::HEADER_SIZE,
            false => ends.max().unwrap_or(0),
        }
    }

    /// Whether some test looks at a field.
    pub fn has(&self, field: Field) -> bool {
        self.fields.contains(&field)
    }

    /// Whether anything looks at a field of the IP header.
    fn wants(&self, field: Field) -> bool {
        self.whole || self.routed || self.has(field)
    }

    /// Whether anything looks at what lies behind the IP header, or at its length.
    fn reads_behind_ip(&self) -> bool {
        self.whole || self.has(Field::TransportLength) || self.transport()
    }

    /// Whether some test looks at one of these fields.
    pub fn has_any(&self, fields: &[Field]) -> bool {
        fields.iter().any(|&field| self.has(field))
    }

    /// The Ethernet header.
    fn link(&self) -> bool {
        self.has_any(&[Field::Link, Field::SourceMac, Field::SourceIsEui64])
    }

    /// The IPv6 extension header walk, or what lies behind it.
    fn walk(&self) -> bool {
        let found = [
            Field::Protocol,
            Field::BrokenHeaders,
            Field::FragmentOffset,
            Field::TransportLength,
        ];
        self.tracking || self.has_any(&found) || self.transport()
    }

    /// Fields of the transport header.
    fn transport(&self) -> bool {
        self.tcp_options || self.fields.iter().any(|field| field.is_transport())
    }
}

/// Writes the reading of packets into a program.
pub struct Parser<'a> {
    /// The program.
    pub code: &'a mut Code,
    /// Its hook.
    pub hook: Hook,
    /// Its stack.
    pub frame: Frame,
    /// Where a packet is dropped that cannot be read.
    pub drop: Label,
    /// Where a packet is left to the kernel, uncounted.
    pub pass: Label,
}

impl Parser<'_> {
    /// Leaves the ethertype in R1 and, at XDP, the start of the IP header in R7 and, if `tags`, whether the
    /// frame has a VLAN's number in R8.
    pub fn ethertype(&mut self, tags: bool) {
        self.code.line("which family");
        match self.hook {
            Hook::CgroupIngress | Hook::CgroupEgress => {
                self.load(Size::W, Reg::R1, CONTEXT, skb::PROTOCOL)
            }
            Hook::Xdp => {
                self.load(Size::W, BASE, CONTEXT, xdp::DATA);
                self.bytes_from(BASE, 14, self.pass);
                self.load(Size::H, Reg::R1, BASE, 12);
                self.set(AT, 14);
                if tags {
                    self.set(TAGS, 0);
                }
                let untagged = self.code.label();
                for tag in 0..MAX_VLAN_TAGS as i16 {
                    let tagged = self.code.label();
                    self.if_imm(Cond::Eq, Reg::R1, 0x0081, tagged);
                    self.if_imm(Cond::Ne, Reg::R1, 0xa888, untagged);
                    self.code.bind(tagged);
                    let header = 14 + 4 * tag;
                    self.bytes_from(BASE, header + 4, self.pass);
                    if tags {
                        self.load(Size::H, Reg::R2, BASE, header);
                        self.alu(Alu::Or, TAGS, Reg::R2);
                    }
                    self.load(Size::H, Reg::R1, BASE, header + 2);
                    self.set(AT, i32::from(header) + 4);
                }
                self.code.bind(untagged);
                if tags {
                    self.code.to_big_endian(TAGS, 16);
                    self.alu(Alu::And, TAGS, VLAN_ID);
                    self.forget(TAGS);
                }
                self.forget(AT);
                self.alu(Alu::And, AT, 0x3f);
                self.alu(Alu::Add, BASE, AT);
            }
        }
    }

    /// Drops a frame with a VLAN's number: netfilter would see it on the VLAN's own interface, which is not known
    /// here.
    pub fn no_vlan(&mut self) {
        self.if_imm(Cond::Ne, TAGS, 0, self.drop);
    }

    /// Fills the struct for a packet of a family.
    pub fn packet(&mut self, family: Family, demand: &Demand) {
        self.code.line("read the packet");
        for offset in (0..self.frame.packet_size()).step_by(8) {
            if demand.reads(offset) {
                self.store(Size::D, offset, 0);
            }
        }
        if self.hook != Hook::Xdp {
            self.load(Size::W, Reg::R1, CONTEXT, skb::LEN);
            self.keep(Size::W, layout::LENGTH, Reg::R1);
        }
        if self.hook == Hook::Xdp {
            self.keep(Size::B, layout::IP_HEADER, AT);
        }
        if demand.tracking {
            let place = Field::CtState.place().offset;
            self.store(Size::B, place, i32::from(state::INVALID));
        }
        self.set(AT, 0);
        match family {
            Family::V4 => self.header4(demand),
            Family::V6 => self.header6(demand),
        }
        if demand.walk() && family == Family::V6 {
            self.walk(demand);
        }
        if demand.reads_behind_ip() {
            self.transport(demand);
        }
        self.metadata(family, demand);
    }
}
