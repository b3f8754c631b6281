//! What the user of the compiler may choose.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::asm::{Extern, KernelField, KfuncId};
use crate::before::Before;
use crate::classify::Strategy;
use crate::module::Hook;
use crate::sets::Sets;
use crate::track::MAX_FLOWS;
use crate::track::timeouts::Timeouts;

/// Whose connection tracking programs ask for a packet's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionTable {
    /// That of the programs ([`track`](crate::track)).
    #[default]
    Own,
    /// That of the kernel, where something else has it track connections
    /// ([`track::kernel`](crate::track::kernel)).
    Kernel,
}

/// How a program learns the name of a packet's interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceNames {
    /// From the map [`DEVICES_MAP`](crate::module::DEVICES_MAP), which a loader fills and keeps. A
    /// packet from an interface that the map does not hold is dropped by the first rule that asks.
    #[default]
    Table,
    /// From the kernel's own structures, always right, also after a rename. The program is for the
    /// kernel of these numbers only.
    Kernel(DeviceAccess),
    /// The same for every kernel from [`KernelVersion::KERNEL_CONTEXT`] on: the loader finds the numbers
    /// in the kernel's type information. libbpf does, and with it bpftool; aya-obj 0.3, which
    /// `ipt2bpf_runtime` reads objects with, refuses such an object because it knows no functions of the
    /// kernel.
    Relocated,
}

/// Where the running kernel keeps what programs look up in its structures: ids of functions and byte
/// offsets from its BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceAccess {
    /// BTF ids of [`Extern::ALL`].
    functions: [Option<u32>; Extern::ALL.len()],
    /// Offsets of [`KernelField::ALL`].
    offsets: [Option<u16>; KernelField::ALL.len()],
}

impl DeviceNames {
    /// Whether programs look into the kernel's structures.
    pub fn reads_kernel(self) -> bool {
        self != DeviceNames::Table
    }

    /// Whether programs can find a field of the kernel's structures.
    pub fn reads(self, field: KernelField) -> bool {
        match self {
            DeviceNames::Table => false,
            DeviceNames::Kernel(access) => access.offsets[field as usize].is_some(),
            DeviceNames::Relocated => true,
        }
    }

    /// Whether programs can call a function of the kernel.
    pub fn calls(self, function: Extern) -> bool {
        match self {
            DeviceNames::Table => false,
            DeviceNames::Kernel(access) => access.functions[function as usize].is_some(),
            DeviceNames::Relocated => true,
        }
    }
}

impl DeviceAccess {
    /// None when something is not known that every kernel has from [`KernelVersion::KERNEL_CONTEXT`] on.
    pub fn new(
        function: impl Fn(Extern) -> Option<u32>,
        offset: impl Fn(KernelField) -> Option<u16>,
    ) -> Option<Self> {
        let mut functions = [None; Extern::ALL.len()];
        for (place, wanted) in functions.iter_mut().zip(Extern::ALL) {
            *place = function(wanted);
            if place.is_none() && !wanted.is_optional() {
                return None;
            }
        }
        let mut offsets = [None; KernelField::ALL.len()];
        for (place, field) in offsets.iter_mut().zip(KernelField::ALL) {
            *place = offset(field);
            if place.is_none() && !field.is_optional() {
                return None;
            }
        }
        Some(DeviceAccess { functions, offsets })
    }

    /// The id of a function; 0, which is none's, for one that is not there ([`DeviceNames::calls`]).
    pub fn function(&self, function: Extern) -> KfuncId {
        KfuncId(self.functions[function as usize].unwrap_or_default())
    }

    /// The offset of a field in its structure, in bytes; 0 for one that is not there
    /// ([`DeviceNames::reads`]).
    pub fn offset(&self, field: KernelField) -> u16 {
        self.offsets[field as usize].unwrap_or_default()
    }
}

/// Which of INPUT and FORWARD an XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpPath {
    /// What the kernel's routing says of each packet (`bpf_fib_lookup`).
    #[default]
    Auto,
    /// INPUT for all.
    Input,
    /// FORWARD for all.
    Forward,
}

/// A control group of version 2 that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ControlGroup {
    /// Its id, as `bpf_skb_ancestor_cgroup_id` gives it.
    pub id: u64,
    /// How many groups are above it.
    pub level: u32,
}

/// All choices.
#[derive(Clone, Debug)]
pub struct Options {
    /// The hooks to make programs for; all when empty.
    pub hooks: Vec<Hook>,
    /// Which of INPUT and FORWARD an XDP program runs.
    pub xdp_path: XdpPath,
    /// Translate what cannot be decided so that it only errs towards dropping.
    pub approximate: bool,
    /// Beside an XDP program whose rules ask for connections, and where the object has no program for
    /// what leaves: put one in it that tracks what this host sends and lets everything pass.
    pub companion: bool,
    /// How many connections are remembered at most.
    pub connections: u32,
    /// How long they are remembered.
    pub timeouts: Timeouts,
    /// Whose connections rules ask for.
    pub conntrack: ConnectionTable,
    /// Leave out nat rules even where later rules would see translated addresses.
    pub ignore_nat: bool,
    /// How interface names are found.
    pub device_names: DeviceNames,
    /// The sets that `-m set` and `-j SET` may ask for.
    pub sets: Sets,
    /// The control groups that `-m cgroup --path` may ask for, by the path that rules write.
    pub groups: HashMap<Vec<u8>, ControlGroup>,
    /// Whether those sets that can be are kept in maps that can be changed while programs run. A loader
    /// fills them; before that they are empty.
    pub live_sets: bool,
    /// Ticks of the kernel's clock in a second (`CONFIG_HZ`), by which `-m limit` and its like count.
    pub tick_rate: u32,
    /// The oldest kernel the object must load on; when not given, the oldest that the rulesets allow.
    pub target_kernel: Option<KernelVersion>,
    /// How rules are decided, wherever that can be done in this way; when not given, as is fastest.
    pub strategy: Option<Strategy>,
    /// How many bytes the arrays of a segment of rules may take.
    pub max_memory: usize,
    /// Whether other rules may take the place of these while what rules have counted and remember goes on:
    /// maps then have room for more rules, and the object keeps what helps to compile the others.
    pub lasts: bool,
    /// What the object goes on from.
    pub before: Option<Arc<Before>>,
}

/// What the arrays of a segment may take unless it is said otherwise.
pub const DEFAULT_MAX_MEMORY: usize = 64 << 20;

/// The largest map of one value that every kernel makes (`KMALLOC_MAX_SIZE`; `array_map_alloc_check`,
/// kernel/bpf/arraymap.c).
pub const MAX_VALUE: usize = 4 << 20;

impl Default for Options {
    fn default() -> Self {
        Options {
            hooks: Vec::new(),
            xdp_path: XdpPath::default(),
            approximate: false,
            companion: false,
            connections: MAX_FLOWS,
            timeouts: Timeouts::default(),
            conntrack: ConnectionTable::default(),
            ignore_nat: false,
            device_names: DeviceNames::default(),
            sets: Sets::default(),
            groups: HashMap::new(),
            live_sets: false,
            tick_rate: DEFAULT_TICK_RATE,
            target_kernel: None,
            strategy: None,
            max_memory: DEFAULT_MAX_MEMORY,
            lasts: false,
            before: None,
        }
    }
}

/// What most distributions build their kernels with.
pub const DEFAULT_TICK_RATE: u32 = 250;

/// A kernel release, such as 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The first number.
    pub major: u16,
    /// The second.
    pub minor: u16,
}

impl KernelVersion {
    /// The oldest kernel that anything is made for.
    pub const BASELINE: KernelVersion = KernelVersion::new(5, 10);
    /// Global functions take pointers ("bpf: Support pointers in global func args").
    pub const GLOBAL_POINTERS: KernelVersion = KernelVersion::new(5, 12);
    /// `bpf_fib_lookup` tells the MTU.
    pub const PATH_MTU: KernelVersion = KernelVersion::new(5, 12);
    /// `bpf_for_each_map_elem`.
    pub const FOR_EACH: KernelVersion = KernelVersion::new(5, 13);
    /// `bpf_loop`.
    pub const LOOP: KernelVersion = KernelVersion::new(5, 17);
    /// `bpf_ktime_get_tai_ns`.
    pub const TAI: KernelVersion = KernelVersion::new(6, 1);
    /// Maps whose only value is larger than [`MAX_VALUE`]: the oldest kernel that it was tried on.
    pub const LARGE_VALUES: KernelVersion = KernelVersion::new(6, 18);
    /// `bpf_cast_to_kern_ctx` for every type of program.
    pub const KERNEL_CONTEXT: KernelVersion = KernelVersion::new(6, 2);

    /// A release by its numbers.
    pub const fn new(major: u16, minor: u16) -> Self {
        KernelVersion { major, minor }
    }
}

impl FromStr for KernelVersion {
    type Err = String;

    /// Reads `6.1`; none older than [`KernelVersion::BASELINE`].
    fn from_str(text: &str) -> Result<Self, String> {
        let (major, minor) = text.split_once('.').ok_or("write it as 6.1")?;
        let number = |digits: &str| digits.parse().map_err(|_| "write it as 6.1".to_owned());
        let version = KernelVersion::new(number(major)?, number(minor)?);
        match version < KernelVersion::BASELINE {
            true => Err(format!(
                "{} is the oldest supported",
                KernelVersion::BASELINE
            )),
            false => Ok(version),
        }
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_read() {
        assert_eq!("6.12".parse(), Ok(KernelVersion::new(6, 12)));
        let error = |text: &str| text.parse::<KernelVersion>().unwrap_err();
        assert_eq!(error("4.19"), "5.10 is the oldest supported");
        assert_eq!(error("6"), "write it as 6.1");
        assert_eq!(error("6.x"), "write it as 6.1");
    }
}
