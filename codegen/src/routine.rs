//! What rules do that is more than a look at fields: searches in the packet's bytes, state that lasts
//! from packet to packet, effects of targets.
//!
//! A routine is said twice, like everything: [`Perform::perform`] is the reference, [`Perform::link`] gives
//! the function that does it in a program. Both stand in the file of the extension in
//! [`meaning`](crate::meaning); the table below names them.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;

use crate::addresses::AddressEntry;
use crate::emit::link::{Call, Constant, Linker};
use crate::field::Field;
use crate::meaning::headers6::{ah, frag, ipv6header, options, rt, srh};
use crate::meaning::rewrite::path_mtu::UNBOUNDED;
use crate::meaning::rewrite::whole_header;
use crate::meaning::socket::{self, HostSocket};
use crate::meaning::{addrtype, cgroup, nfacct, owner};
use crate::meaning::{bpf, dccp_option, sctp_chunks, string, u32};
use crate::meaning::{
    change_ecn, change_mark, change_tos, classify, ct, hmark, hops, mss, strip_options, tell, trace,
};
use crate::meaning::{cluster, connbytes, connlimit, connmark, conntrack};
use crate::meaning::{hashlimit, limit, quota, recent, reject, set, statistic, time};
use crate::options::{DEFAULT_TICK_RATE, KernelVersion};
use crate::packet::Packet;
use crate::semantic::CounterId;
use crate::track::table::Flows;
use crate::track::timeouts::Timeouts;

/// The work of a routine.
pub trait Perform: fmt::Display {
    /// Does it to a packet and gives the answer.
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32;

    /// The function that does it in a program, made when it is not there yet, and its arguments.
    fn link(&self, linker: &mut Linker<'_>) -> Call;

    /// The fields that the function reads, beyond those that are always there: addresses, length,
    /// IPv4's protocol.
    fn reads(&self) -> Vec<Field> {
        Vec::new()
    }

    /// Whether it looks at bytes of the IP header that change on the way through a router.
    fn sees_hops(&self) -> bool {
        false
    }

    /// Whether later rules see another IP header than the bytes of the packet.
    fn changes_header(&self) -> bool {
        false
    }

    /// Whether netfilter changes the TCP header, and neither the packet nor what later rules see of it does.
    fn leaves_tcp_header(&self) -> bool {
        false
    }

    /// Whether it writes to the packet.
    fn rewrites(&self) -> bool {
        false
    }

    /// The constant bytes that the function reads.
    fn constants(&self) -> Vec<Constant> {
        Vec::new()
    }

    /// The oldest kernel that the function loads on.
    fn kernel(&self) -> KernelVersion {
        KernelVersion::BASELINE
    }

    /// How many conditional branches the verifier walks at each call, or a few more.
    fn branches(&self) -> usize {
        32
    }

    /// Whether it counts packets, so that it matters who joins them before (GRO).
    fn counts_packets(&self) -> bool {
        false
    }

    /// Whether it does no more than tell of the packet, so that no verdict depends on it.
    fn only_tells(&self) -> bool {
        false
    }
}

/// Makes the enumeration of all routines from their table.
macro_rules! routines {
    ($($(#[$meaning:meta])* $name:ident($kind:ty),)*) => {
        /// A routine with its constants.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Routine {
            $($(#[$meaning])* $name($kind),)*
        }

        impl Routine {
            /// Its work.
            pub fn work(&self) -> &dyn Perform {
                match self {
                    $(Routine::$name(work) => work,)*
                }
            }
        }

        $(impl From<$kind> for Routine {
            fn from(work: $kind) -> Self {
                Routine::$name(work)
            }
        })*
    };
}

routines! {
    /// `-j CONNMARK`
    ChangeConnectionMark(connmark::ChangeMark),
    /// `-m connbytes`
    HasCarried(connbytes::HasCarried),
    /// `-m connlimit`
    CountConnections(connlimit::CountConnections),
    /// `-m conntrack`
    LooksLike(conntrack::tuple::LooksLike),
    /// `-m cluster`
    FindNode(cluster::FindNode),
    /// `-m nfacct`
    CountUnder(nfacct::CountUnder),
    /// `-m owner`
    CompareOwner(owner::CompareOwner),
    /// `-m cgroup`
    CompareClass(cgroup::CompareClass),
    /// `-m cgroup --path`
    FindGroup(cgroup::FindGroup),
    /// `-m socket`
    FindSocket(socket::FindSocket),
    /// `-m addrtype`
    FindAddressType(addrtype::FindAddressType),
    /// `-m limit`
    TakeToken(limit::TakeToken),
    /// `-m set`
    TestElements(set::TestElements),
    /// `-m set` with a list of sets
    TestList(set::TestList),
    /// `-j SET`
    ChangeElements(set::ChangeElements),
    /// `-m bpf`
    RunClassic(bpf::RunClassic),
    /// `-m ah` of IPv6
    Authentication(ah::Authentication),
    /// `-m frag`
    Fragment(frag::Fragment),
    /// `-m hbh` and `-m dst`
    OptionsHeader(options::OptionsHeader),
    /// `-m ipv6header`
    ListHeaders(ipv6header::ListHeaders),
    /// `-m rt`
    Routing(rt::Routing),
    /// `-m srh`
    SegmentRouting(srh::SegmentRouting),
    /// `-m dccp --dccp-option`
    FindOption(dccp_option::FindOption),
    /// `-m sctp --chunk-types`
    FindChunks(sctp_chunks::FindChunks),
    /// `-m string`
    FindBytes(string::FindBytes),
    /// `-m u32`
    CompareWords(u32::CompareWords),
    /// `-m hashlimit`
    TakeShare(hashlimit::TakeShare),
    /// `-m quota`
    Spend(quota::Spend),
    /// `-m recent`
    Recall(recent::Recall),
    /// `-m statistic --mode random`
    Toss(statistic::Toss),
    /// `-m statistic --mode nth`
    Turn(statistic::Turn),
    /// `-m time`
    AskClock(time::AskClock),
    /// `-j REJECT`
    Reject(reject::NoteAnswer),
    /// `-j HMARK`
    HashMark(hmark::HashMark),
    /// What `-j LOG` and others tell of a packet
    Tell(tell::Tell),
    /// `-j MARK`
    ChangeMark(change_mark::ChangeMark),
    /// `-j TOS` and `-j DSCP`
    ChangeTos(change_tos::ChangeTos),
    /// `-j TTL` and `-j HL`
    ChangeHops(hops::ChangeHops),
    /// `-j ECN`
    ChangeCongestion(change_ecn::ChangeCongestion),
    /// `-j TCPMSS`
    ChangeSegment(mss::ChangeSegment),
    /// `-j TCPMSS` and `-j TCPOPTSTRIP` where packets cannot be written
    DemandTcpHeader(whole_header::DemandTcpHeader),
    /// `-j TCPOPTSTRIP`
    StripOptions(strip_options::StripOptions),
    /// `-j CT` and `-j NOTRACK`
    GiveState(ct::GiveState),
    /// `-j CLASSIFY`
    SetPriority(classify::SetPriority),
    /// `-j TRACE`
    StartTrace(trace::StartTrace),
}

impl fmt::Display for Routine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.work().fmt(f)
    }
}

/// Which match of which rule keeps a state: the rule by its counter, the match by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The rule's counter.
    pub rule: CounterId,
    /// The number of the match in the rule, from 0; targets come last.
    pub index: u16,
}

/// What the reference knows and remembers beyond a packet: clocks, chance, and the state of matches.
pub struct World {
    /// The kernel's clock of ticks, as `bpf_jiffies64` gives it.
    pub jiffies: u64,
    /// How many of them a second has.
    pub tick_rate: u32,
    /// How long connections are remembered.
    pub timeouts: Timeouts,
    /// The time of day, in seconds since 1970 (UTC).
    pub seconds: i64,
    /// The kernel's time zone, in minutes that it is west of Greenwich (settimeofday(2)).
    pub minutes_west: i32,
    /// The connections.
    pub flows: Flows,
    /// The most bytes that the routes of a forwarded packet let through, its own and that back.
    pub path_mtu: [u32; 2],
    /// What is known of the types of addresses; nothing when a loader has told nothing.
    pub addresses: Vec<AddressEntry>,
    /// The sockets of this host.
    pub sockets: Vec<HostSocket>,
    /// What `bpf_get_prandom_u32` will give, the next one last; zero when there is none.
    pub random: Vec<u32>,
    /// What was written to the socket buffer.
    pub written: Written,
    /// What was told of packets.
    pub told: Vec<tell::Telling>,
    state: HashMap<String, Box<dyn Any>>,
}

/// What routines write to a packet's socket buffer, where there is one; none where they leave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The mark.
    pub mark: Option<u32>,
    /// The priority.
    pub priority: Option<u32>,
}

impl Default for World {
    fn default() -> Self {
        World {
            written: Written::default(),
            told: Vec::new(),
            jiffies: 0,
            seconds: 0,
            minutes_west: 0,
            tick_rate: DEFAULT_TICK_RATE,
            timeouts: Timeouts::default(),
            flows: Flows::new(),
            path_mtu: [UNBOUNDED; 2],
            addresses: Vec::new(),
            sockets: Vec::new(),
            random: Vec::new(),
            state: HashMap::new(),
        }
    }
}

impl World {
    /// A state by the place of its match, made at the first use.
    pub fn at<T: Default + 'static>(&mut self, place: Place) -> &mut T {
        self.named(&format!("{}:{}", place.rule.0, place.index))
    }

    /// A state by its name, for what several rules share.
    pub fn named<T: Default + 'static>(&mut self, name: &str) -> &mut T {
        let key = format!("{} {name}", std::any::type_name::<T>());
        let state = self
            .state
            .entry(key)
            .or_insert_with(|| Box::new(T::default()));
        state
            .downcast_mut()
            .expect("a type's states have the type in their name")
    }

    /// The next random number.
    pub fn random(&mut self) -> u32 {
        self.random.pop().unwrap_or(0)
    }
}
