//! The programs that hand the kernel's connections over to a program at cgroup_skb/ingress
//! ([`track::kernel`](ipt2bpf_codegen::track::kernel)): one for each family, in a network namespace.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use aya_obj::generated::{bpf_attach_type, bpf_insn, bpf_prog_type};
use ipt2bpf_codegen::track::kernel::{HANDED_OVER_MAP, hand_over};

use crate::bpffs;
use crate::error::{Error, Step};
use crate::kernel;
use crate::load::{LICENSE, Loaded};
use crate::sys::{Link, Map, NetfilterPlace, Object, Program, ProgramSpec};

/// The names of the pins, with the families' numbers (`NFPROTO_IPV4`, `NFPROTO_IPV6` of
/// include/uapi/linux/netfilter.h).
const FAMILIES: [(&str, u32); 2] = [("ipt2bpf_hand4", 2), ("ipt2bpf_hand6", 10)];
/// `NF_INET_LOCAL_IN` (include/uapi/linux/netfilter.h).
const LOCAL_IN: u32 = 1;
/// Before the confirmation of connections, which comes last: at `i32::MAX`, and one before for IPv6
/// (`ipv4_conntrack_ops` and `ipv6_conntrack_ops`, net/netfilter/nf_conntrack_proto.c). Programs of netfilter
/// share no priority with anyone, so each takes the last that is free.
const PRIORITIES: std::ops::Range<i32> = i32::MAX - 1000..i32::MAX - 1;

const PROGRAM_NAME: &str = "ipt2bpf_hand";

/// `BPF_PSEUDO_MAP_FD` (include/uapi/linux/bpf.h).
const PSEUDO_MAP_FD: u8 = 1;

/// Where the links of a directory are pinned.
pub(crate) fn pins(dir: &Path) -> impl Iterator<Item = PathBuf> {
    FAMILIES.map(|(name, _)| dir.join(name)).into_iter()
}

/// Attaches what an object needs to the network namespace of the calling thread. Gives the links with their
/// pins; none for what is pinned in the directory already, and hands over to the same map.
///
/// # Errors
/// [`Error::Refused`] also by kernels before 6.4.
pub(crate) fn links(loaded: &Loaded, dir: &Path) -> Result<Vec<(Link, PathBuf)>, Error> {
    let Some(map) = loaded.maps().iter().find(|map| map.name == HANDED_OVER_MAP) else {
        return Ok(Vec::new());
    };
    let mut links = Vec::new();
    let mut program = None;
    for (pin, (_, family)) in pins(dir).zip(FAMILIES) {
        if serves(&pin, map)? {
            continue;
        }
        let program = match &mut program {
            Some(program) => program,
            none => none.insert(load(map)?),
        };
        let link = attach(program, family).map_err(Error::refused(Step::HandOver))?;
        links.push((link, pin));
    }
    Ok(links)
}

fn attach(program: &Program, family: u32) -> io::Result<Link> {
    let mut taken = io::Error::from_raw_os_error(libc::EBUSY);
    for priority in PRIORITIES.rev() {
        let place = NetfilterPlace {
            family,
            hook: LOCAL_IN,
            priority,
        };
        match Link::netfilter(program, place) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => taken = error,
            other => return other,
        }
    }
    Err(taken)
}

/// Whether an object needs them.
pub(crate) fn is_needed(loaded: &Loaded) -> bool {
    loaded.maps().iter().any(|map| map.name == HANDED_OVER_MAP)
}

/// Removes the links of a directory.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    pins(dir).try_for_each(|pin| bpffs::remove(&pin))
}

/// Whether a pinned link hands over to a map.
fn serves(pin: &Path, map: &Map) -> Result<bool, Error> {
    let Some(Object::Link(link)) = bpffs::open(pin)? else {
        return Ok(false);
    };
    let program = Program::from_id(link.program_id).map_err(Error::refused(Step::Inspect))?;
    Ok(program.map_ids.contains(&map.id))
}

fn load(map: &Map) -> Result<Program, Error> {
    let code = kernel::device_access().and_then(hand_over);
    let code = code.ok_or_else(|| Error::object("this kernel does not tell its structures"))?;
    let mut instructions: Vec<bpf_insn> = code.instructions.iter().map(instruction).collect();
    if let Some(refers) = instructions.get_mut(code.map) {
        refers.set_src_reg(PSEUDO_MAP_FD);
        refers.imm = map.as_fd().as_raw_fd();
    }
    Program::load(&ProgramSpec {
        name: PROGRAM_NAME,
        kind: bpf_prog_type::BPF_PROG_TYPE_NETFILTER,
        attach_type: bpf_attach_type::BPF_NETFILTER,
        license: LICENSE,
        instructions: &instructions,
        btf: None,
        flags: 0,
        target: None,
    })
    .map_err(|(source, log)| Error::Refused {
        step: Step::HandOver,
        source,
        log,
    })
}

/// An instruction as the kernel takes it, from its bytes in an object.
fn instruction(bytes: &[u8; 8]) -> bpf_insn {
    let [code, registers, low, high, imm @ ..] = *bytes;
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(registers & 15, registers >> 4),
        off: i16::from_le_bytes([low, high]),
        imm: i32::from_le_bytes(imm),
    }
}
