//! A module: the functions and maps of one object, still symbolic.
//!
//! Everything that knows a file format or a kernel interface (the ELF writer, the interpreter, the
//! assembler listing) reads this; everything that knows iptables writes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::asm::Code;
use crate::meaning::limit::BUCKETS;
use crate::meaning::nfacct::ACCOUNTS_MAP;
use crate::meaning::quota::QUOTAS;
use crate::meaning::statistic::CYCLES;
use crate::track::kernel::HANDED_OVER_MAP;
use crate::track::{FLOWS_MAP, LOCKS_MAP, RING_MAP, STATISTICS_MAP};

/// A place in the kernel that runs a program, named as libbpf names its sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hook {
    /// `BPF_PROG_TYPE_CGROUP_SKB`, `BPF_CGROUP_INET_INGRESS`; returns 1 to pass, 0 to drop.
    #[serde(rename = "cgroup_skb/ingress")]
    CgroupIngress,
    /// `BPF_PROG_TYPE_CGROUP_SKB`, `BPF_CGROUP_INET_EGRESS`; returns 1 to pass, 0 to drop.
    #[serde(rename = "cgroup_skb/egress")]
    CgroupEgress,
    /// `BPF_PROG_TYPE_XDP`; returns `XDP_PASS` (2) or `XDP_DROP` (1).
    #[serde(rename = "xdp")]
    Xdp,
}

impl Hook {
    /// All hooks, in the order programs stand in an object.
    pub const ALL: [Hook; 3] = [Hook::CgroupIngress, Hook::CgroupEgress, Hook::Xdp];

    /// The ELF section, which is also the name on the command line.
    pub fn section(self) -> &'static str {
        match self {
            Hook::CgroupIngress => "cgroup_skb/ingress",
            Hook::CgroupEgress => "cgroup_skb/egress",
            Hook::Xdp => "xdp",
        }
    }

    /// The name of the program, which is also the name of its pin; at most 15 bytes.
    pub fn program_name(self) -> &'static str {
        match self {
            Hook::CgroupIngress => "ipt2bpf_ingress",
            Hook::CgroupEgress => "ipt2bpf_egress",
            Hook::Xdp => "ipt2bpf_xdp",
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.section())
    }
}

/// The map of the per-rule and policy counters.
pub const COUNTERS_MAP: &str = "counters";
/// The map from interface index to name, which a loader fills.
pub const DEVICES_MAP: &str = "devices";
/// The map of the types of addresses, which a loader fills: see [`addresses`](crate::addresses).
pub const ADDRESSES_MAP: &str = "addresses";
/// The map with the distance of the time of day from other clocks, which a loader fills: one value, of
/// which [`clock`] tells the parts. As long as it is zero, rules that ask for the time drop packets.
pub const CLOCK_MAP: &str = "clock";
/// What names of maps begin with whose contents a loader keeps when it replaces a program by one that has a
/// map of that name and shape: the tables of `-m hashlimit`, the lists of `-m recent`, what `-m nfacct` counts
/// and the connections, which outlive a reload of rules in the kernel too; and where those of the kernel are
/// handed over.
pub const LASTING_MAPS: [&str; 8] = [
    ACCOUNTS_MAP,
    HASHLIMIT_MAPS,
    RECENT_MAPS,
    FLOWS_MAP,
    LOCKS_MAP,
    RING_MAP,
    STATISTICS_MAP,
    HANDED_OVER_MAP,
];
/// The maps whose values belong to rules by the rules' numbers: what they count, and what `-m limit`, `-m quota`
/// and `-m statistic` remember. Programs that go on from others share them.
pub const NUMBERED_MAPS: [&str; 4] = [COUNTERS_MAP, BUCKETS, QUOTAS, CYCLES];
/// What the names of maps begin with that help to compile rules that take the place of others: see
/// [`Before`](crate::before::Before).
pub const REUSED_MAPS: [&str; 2] = [CLASSES_MAP, RECORD_MAP];
/// What the names of the maps with the arrays of classifiers begin with.
pub const CLASSES_MAP: &str = ".rodata.classes";
/// The map that tells how segments of many rules are decided.
pub const RECORD_MAP: &str = ".rodata.record";
/// The beginning of the names of `-m hashlimit` tables.
pub const HASHLIMIT_MAPS: &str = "HL";
/// The beginning of the names of `-m recent` lists.
pub const RECENT_MAPS: &str = "RC";

/// Where things lie in the value of [`CLOCK_MAP`], in bytes from its start, in the machine's byte order.
pub mod clock {
    /// Nanoseconds from the time since boot (`CLOCK_BOOTTIME`) to the time of day (`CLOCK_REALTIME`): `i64`.
    pub const REAL_LESS_BOOT: i16 = 8;
    /// Nanoseconds from the atomic time (`CLOCK_TAI`) to the time of day: `i64`.
    pub const REAL_LESS_TAI: i16 = 16;
    /// The kernel's time zone, in minutes west of Greenwich (settimeofday(2)): `i32`.
    pub const MINUTES_WEST: i16 = 24;
    /// Whether the value was filled: `u32`, 1 or 0.
    pub const FILLED: i16 = 28;
    /// The bytes behind the lock.
    pub const BYTES: u32 = 24;
}

/// The section with the text of the rulesets as `iptables-save -c` prints it, both families.
pub const RULES_MAP: &str = ".rodata.rules";

/// Everything that goes into one object.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Functions; the programs among them first.
    pub functions: Vec<Function>,
    /// Maps.
    pub maps: Vec<Map>,
}

/// One function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its symbol, unique in the module.
    pub name: String,
    /// Who may call it, and how the verifier looks at it.
    pub kind: FunctionKind,
    /// Its parameters, R1 on.
    pub parameters: Vec<Parameter>,
    /// What it does.
    pub code: Code,
}

/// Who calls a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FunctionKind {
    /// The kernel, at a hook: a section of its own.
    Program(Hook),
    /// Other functions; verified anew at each call with what is known there. In `.text`, local.
    Static,
    /// Other functions; verified once, for all arguments (5.12 for pointers). In `.text`, global.
    Global,
}

/// The type of a parameter, as BTF tells it to the verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parameter {
    /// The program's context (`struct __sk_buff *` or `struct xdp_md *`) at a hook.
    Context(Hook),
    /// A pointer to memory of this many bytes (a struct of that size); may be null in a
    /// [`FunctionKind::Global`] function.
    Memory(u32),
    /// `u32`
    U32,
    /// `u64`
    U64,
}

/// One map.
#[derive(Clone, Debug)]
pub struct Map {
    /// Its name; at most 15 bytes.
    pub name: String,
    /// What it holds.
    pub kind: MapKind,
}

/// The kinds of map we use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_PERCPU_ARRAY` of `struct counter { u64 packets; u64 bytes; }`.
    Counters {
        /// Number of counters.
        entries: u32,
    },
    /// `BPF_MAP_TYPE_HASH` from interface index (`u32`) to its name (16 bytes, zero-padded).
    Devices {
        /// How many interfaces there may be.
        entries: u32,
    },
    /// `BPF_MAP_TYPE_ARRAY` of `struct state { struct bpf_spin_lock lock; u32; u8 bytes[]; }`: what
    /// matches remember, all zero at first.
    State {
        /// Number of values.
        entries: u32,
        /// Bytes behind the lock, which takes 8.
        bytes: u32,
    },
    /// `BPF_MAP_TYPE_HASH`, or `BPF_MAP_TYPE_LRU_HASH`, of `struct entry`, laid out as `struct state`.
    Hash(HashShape),
    /// `BPF_MAP_TYPE_LPM_TRIE` of `struct prefix`, whose keys begin with their length in bits as `u32`:
    /// a lookup finds the longest that the wanted bits begin with.
    Prefixes {
        /// Bytes of a key behind its length.
        key: u32,
        /// Bytes of a value.
        bytes: u32,
        /// Number of entries.
        entries: u32,
    },
    /// `BPF_MAP_TYPE_RINGBUF`: records for whoever reads them.
    Ring {
        /// Its size: a power of two and a multiple of the page size.
        bytes: u32,
    },
    /// Constant bytes: an ELF section `.rodata` or `.rodata.NAME` named as the map, which loaders
    /// turn into a frozen array map of one value. No program needs to refer to it.
    Constant {
        /// The contents.
        bytes: Vec<u8>,
    },
}

/// The figures of a hash map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashShape {
    /// Bytes of a key.
    pub key: u32,
    /// Bytes of a value, behind the lock if there is one, which takes 8.
    pub bytes: u32,
    /// Number of entries.
    pub entries: u32,
    /// Whether a full map forgets what was used least lately; else it takes nothing more.
    pub evicts: bool,
    /// Whether each entry has a lock, which a map that evicts cannot have. Without one, the value is the
    /// bytes alone.
    pub locked: bool,
}
