//! The helper functions, as `include/uapi/linux/bpf.h` describes them.

use std::net::{IpAddr, SocketAddr};

use super::context::FIB_SOURCE;
use super::fault::Cause;
use super::memory::Region;
use super::{Registers, Run};
use crate::asm::{Helper, MapId};
use crate::meaning::socket::HostSocket;
use crate::module::Hook;
use crate::track::resolve::protocol;

/// The number of `bpf_loop`, which calls back.
pub(super) const LOOP: i32 = Helper::Loop as i32;
/// The number of `bpf_for_each_map_elem`, which calls back.
pub(super) const FOR_EACH_MAP_ELEM: i32 = Helper::ForEachMapElem as i32;
const MAP_LOOKUP_ELEM: i32 = Helper::MapLookupElem as i32;
const MAP_UPDATE_ELEM: i32 = Helper::MapUpdateElem as i32;
const MAP_DELETE_ELEM: i32 = Helper::MapDeleteElem as i32;
const KTIME_GET_NS: i32 = Helper::KtimeGetNs as i32;
const GET_PRANDOM_U32: i32 = Helper::GetPrandomU32 as i32;
const GET_SMP_PROCESSOR_ID: i32 = Helper::GetSmpProcessorId as i32;
const SPIN_LOCK: i32 = Helper::SpinLock as i32;
const SPIN_UNLOCK: i32 = Helper::SpinUnlock as i32;
const RINGBUF_OUTPUT: i32 = Helper::RingbufOutput as i32;
const RINGBUF_RESERVE: i32 = Helper::RingbufReserve as i32;
const RINGBUF_SUBMIT: i32 = Helper::RingbufSubmit as i32;
const PROBE_READ_KERNEL: i32 = Helper::ProbeReadKernel as i32;
const SKB_LOAD_BYTES_RELATIVE: i32 = Helper::SkbLoadBytesRelative as i32;
const JIFFIES64: i32 = Helper::Jiffies64 as i32;
const KTIME_GET_BOOT_NS: i32 = Helper::KtimeGetBootNs as i32;
const KTIME_GET_TAI_NS: i32 = Helper::KtimeGetTaiNs as i32;
const SKB_LOAD_BYTES: i32 = Helper::SkbLoadBytes as i32;
const SK_LOOKUP_TCP: i32 = Helper::SkLookupTcp as i32;
const SK_LOOKUP_UDP: i32 = Helper::SkLookupUdp as i32;
const SKC_LOOKUP_TCP: i32 = Helper::SkcLookupTcp as i32;
const SK_RELEASE: i32 = Helper::SkRelease as i32;
const SKB_ANCESTOR_CGROUP_ID: i32 = Helper::SkbAncestorCgroupId as i32;
const FIB_LOOKUP: i32 = Helper::FibLookup as i32;
const CSUM_DIFF: i32 = Helper::CsumDiff as i32;
const XDP_ADJUST_HEAD: i32 = Helper::XdpAdjustHead as i32;
const XDP_ADJUST_TAIL: i32 = Helper::XdpAdjustTail as i32;

/// What `bpf_loop` gives for more rounds.
pub(super) const E2BIG: i64 = -7;
const EFAULT: i64 = -14;
const EINVAL: i64 = -22;

/// `BPF_MAX_LOOPS` of `include/linux/bpf.h`.
pub(super) const MAX_LOOPS: u32 = 8 << 20;

/// Size of `struct bpf_fib_lookup`, and where its `ifindex` is.
const FIB_SIZE: usize = 64;
const FIB_IFINDEX: u64 = 8;
/// `tot_len`, and `mtu_result` in its place.
const FIB_LENGTH: u64 = 6;
/// `BPF_FIB_LKUP_RET_FRAG_NEEDED`
const FIB_TOO_LONG: u64 = 8;
const FIB_SOURCE_ADDRESS: u64 = 16;
const AF_INET: u64 = 2;

/// `XDP_PACKET_HEADROOM` of `include/uapi/linux/bpf.h`.
const HEADROOM: i32 = 256;
/// `ETH_HLEN`: no frame is cut shorter.
const ETHERNET_HEADER: usize = 14;
/// The most that `bpf_csum_diff` takes before 6.13 (`MAX_BPF_STACK`).
const CSUM_MAX: usize = 512;

impl Run<'_, '_> {
    /// Calls a helper that does not call back, and gives R0.
    pub(super) fn helper(&mut self, helper: i32, registers: &Registers) -> Result<u64, Cause> {
        let hook = self.hook;
        match (helper, hook) {
            (MAP_LOOKUP_ELEM, _) => self.map_lookup(registers),
            (SKB_LOAD_BYTES, Hook::CgroupIngress | Hook::CgroupEgress) => {
                self.skb_load_bytes(registers)
            }
            (MAP_UPDATE_ELEM, _) => self.map_update(registers),
            (MAP_DELETE_ELEM, _) => self.map_delete(registers),
            (GET_PRANDOM_U32, _) => Ok(self.random.pop().unwrap_or(0).into()),
            (GET_SMP_PROCESSOR_ID, _) => Ok(self.context.cpu.into()),
            (SPIN_LOCK | SPIN_UNLOCK, _) => self.lock(registers),
            (RINGBUF_OUTPUT, _) => self.ringbuf_output(registers),
            (RINGBUF_RESERVE, _) => self.ringbuf_reserve(registers),
            (RINGBUF_SUBMIT, _) => self.ringbuf_submit(registers),
            (PROBE_READ_KERNEL, _) if !self.context.kernel.is_empty() => self.probe_read(registers),
            (PROBE_READ_KERNEL, Hook::Xdp) => self.probe_read_kernel(registers),
            (SKB_LOAD_BYTES_RELATIVE, Hook::CgroupIngress | Hook::CgroupEgress) => {
                self.skb_load_bytes_relative(registers)
            }
            (KTIME_GET_NS, _) => Ok(self.context.nanoseconds),
            (JIFFIES64, _) => Ok(self.context.jiffies),
            (KTIME_GET_BOOT_NS, _) => Ok(self.context.boot_time),
            (KTIME_GET_TAI_NS, _) => Ok(self.context.atomic_time),
            (SKB_ANCESTOR_CGROUP_ID, Hook::CgroupIngress | Hook::CgroupEgress) => {
                self.skb_ancestor_cgroup_id(registers)
            }
            (SKC_LOOKUP_TCP, Hook::Xdp) => self.sk_lookup(registers, protocol::TCP, |_| true),
            (SK_LOOKUP_TCP, Hook::Xdp) => {
                self.sk_lookup(registers, protocol::TCP, HostSocket::is_full)
            }
            (SK_LOOKUP_UDP, Hook::Xdp) => self.sk_lookup(registers, protocol::UDP, |_| true),
            (SK_RELEASE, Hook::Xdp) => self.sk_release(registers),
            (FIB_LOOKUP, Hook::Xdp) => self.fib_lookup(registers),
            (CSUM_DIFF, Hook::Xdp) => self.csum_diff(registers),
            (XDP_ADJUST_HEAD, Hook::Xdp) => self.adjust_head(registers),
            (XDP_ADJUST_TAIL, Hook::Xdp) => self.adjust_tail(registers),
            _ => Err(Cause::Helper { helper, hook }),
        }
    }

    /// R1: map, R2: address of the key. Gives the address of the value, or null.
    fn map_lookup(&self, registers: &Registers) -> Result<u64, Cause> {
        let Some((Region::Map(id), 0)) = Region::of(registers.get(1)?) else {
            return Err(Cause::Argument(1));
        };
        let map = self.memory.map(id).ok_or(Cause::Argument(1))?;
        let key = self.memory.bytes(registers.get(2)?, map.key_size())?;
        let value = map.lookup(key);
        Ok(value.map_or(0, |offset| Region::Values(id).address(offset)))
    }

    /// R1: map, R2: address of the key, R3: of the value, R4: flags.
    fn map_update(&mut self, registers: &Registers) -> Result<u64, Cause> {
        let (id, key) = self.map_key(registers)?;
        let map = self.memory.map(id).ok_or(Cause::Argument(1))?;
        let size = map.value_size().ok_or(Cause::Argument(1))?;
        let value = self.memory.bytes(registers.get(3)?, size)?.to_vec();
        let flags = registers.get(4)?;
        let map = self.memory.map_mut(id).ok_or(Cause::Argument(1))?;
        Ok(map.update(&key, &value, flags).cast_unsigned())
    }

    /// R1: destination, R2: size, R3: address in the kernel. Zero, or an error with the destination
    /// cleared.
    fn probe_read(&mut self, registers: &Registers) -> Result<u64, Cause> {
        let size = registers.get(2)? as u32 as usize;
        let address = registers.get(3)?;
        let found = match Region::of(address) {
            Some((Region::Kernel, _)) => self.memory.bytes(address, size).ok(),
            _ => None,
        };
        let found = found.map(<[u8]>::to_vec);
        let to = self.memory.bytes_mut(registers.get(1)?, size)?;
        match found {
            Some(found) => {
                to.copy_from_slice(&found);
                Ok(0)
            }
            None => {
                to.fill(0);
                Ok(EFAULT.cast_unsigned())
            }
        }
    }

    /// R1: ring, R2: record, R3: its size, R4: flags.
    fn ringbuf_output(&mut self, registers: &Registers) -> Result<u64, Cause> {
        let Some((Region::Map(id), 0)) = Region::of(registers.get(1)?) else {
            return Err(Cause::Argument(1));
        };
        let size = registers.get(3)? as usize;
        let record = self.memory.bytes(registers.get(2)?, size)?.to_vec();
        registers.get(4)?;
        let ring = self.memory.map_mut(id).ok_or(Cause::Argument(1))?;
        let result = ring.output(&record).ok_or(Cause::Argument(1))?;
        Ok(result.cast_unsigned())
    }

    /// R1: ring, R2: size, R3: flags. Gives room for a record of the ring.
    fn ringbuf_reserve(&mut self, registers: &Registers) -> Result<u64, Cause> {
        let Some((Region::Map(id), 0)) = Region::of(registers.get(1)?) else {
            return Err(Cause::Argument(1));
        };
        let size = registers.get(2)? as usize;
        registers.get(3)?;
        self.memory.reserve(id, size).ok_or(Cause::Argument(1))
    }

    /// R1: what was reserved, R2: flags. Puts it into its ring.
    fn ringbuf_submit(&mut self, registers: &Registers) -> Result<u64, Cause> {
        registers.get(2)?;
        let submitted = self.memory.submit(registers.get(1)?);
        submitted.map(|()| 0).ok_or(Cause::Argument(1))
    }

    /// R1: destination, R2: length, R3: source. Of the kernel's memory, only the packet is here.
    fn probe_read_kernel(&mut self, registers: &Registers) -> Result<u64, Cause> {
        let length = registers.get(2)? as u32 as usize;
        let from = registers.get(3)?;
        if !matches!(Region::of(from), Some((Region::Packet, _))) {
            return Err(Cause::Argument(3));
        }
        let bytes = self.memory.bytes(from, length)?.to_vec();
        let to = self.memory.bytes_mut(registers.get(1)?, length)?;
        to.copy_from_slice(&bytes);
        Ok(0)
    }

    /// R1: context, R2: offset, R3: destination, R4: length, R5: from where the offset counts, which
    /// here is always the link layer's header.
    fn skb_load_bytes_relative(&mut self, registers: &Registers) -> Result<u64, Cause> {
        check_context(registers)?;
        let start = registers.get(2)? as u32 as usize;
        let length = registers.get(4)? as u32 as usize;
        if length == 0 {
            return Err(Cause::Argument(4));
        }
        if registers.get(5)? != 0 {
            return Err(Cause::Argument(5));
        }
        let to = self.memory.bytes_mut(registers.get(3)?, length)?;
        let header = self.context.link_header.iter();
        let bytes: Vec<u8> = header.chain(self.context.packet).copied().collect();
        match bytes.get(start..start.saturating_add(length)) {
            Some(bytes) if !self.context.link_header.is_empty() => {
                to.copy_from_slice(bytes);
                Ok(0)
            }
            _ => {
                to.fill(0);
                Ok(EFAULT.cast_unsigned())
            }
        }
    }

    /// R1: map, R2: address of the key.
    fn map_delete(&mut self, registers: &Registers) -> Result<u64, Cause> {
        let (id, key) = self.map_key(registers)?;
        let map = self.memory.map_mut(id).ok_or(Cause::Argument(1))?;
        Ok(map.delete(&key).cast_unsigned())
    }

    /// The map in R1 and the key behind R2.
    fn map_key(&self, registers: &Registers) -> Result<(MapId, Vec<u8>), Cause> {
        let Some((Region::Map(id), 0)) = Region::of(registers.get(1)?) else {
            return Err(Cause::Argument(1));
        };
        let map = self.memory.map(id).ok_or(Cause::Argument(1))?;
        let key = self.memory.bytes(registers.get(2)?, map.key_size())?;
        Ok((id, key.to_vec()))
    }

    /// R1: the lock at the start of a map's value. One run after the other needs none.
    fn lock(&self, registers: &Registers) -> Result<u64, Cause> {
        match Region::of(registers.get(1)?) {
            Some((Region::Values(_), _)) => Ok(0),
            _ => Err(Cause::Argument(1)),
        }
    }

    /// R1: context, R2: offset in the packet, R3: destination, R4: length. Zero, or an error with the
    /// destination cleared.
    fn skb_load_bytes(&mut self, registers: &Registers) -> Result<u64, Cause> {
        check_context(registers)?;
        let offset = registers.get(2)? as u32;
        let to = registers.get(3)?;
        let length = registers.get(4)? as u32 as usize;
        if length == 0 {
            return Err(Cause::Argument(4));
        }
        let to = self.memory.bytes_mut(to, length)?;
        // The kernel refuses offsets that are negative as an int.
        let start = i32::try_from(offset)
            .ok()
            .and_then(|it| usize::try_from(it).ok());
        let bytes = start.and_then(|start| self.context.packet.get(start..)?.get(..length));
        match bytes {
            Some(bytes) => {
                to.copy_from_slice(bytes);
                Ok(0)
            }
            None => {
                to.fill(0);
                Ok(EFAULT.cast_unsigned())
            }
        }
    }

    /// R1: context, R2: how many groups are above the one that is asked for. Its id, or 0.
    fn skb_ancestor_cgroup_id(&self, registers: &Registers) -> Result<u64, Cause> {
        check_context(registers)?;
        let level = usize::try_from(registers.get(2)? as i32).ok();
        let group = level.and_then(|level| self.context.groups.get(level));
        Ok(group.copied().unwrap_or(0))
    }

    /// R1: context, R2: `struct bpf_sock_tuple`, R3: its size, R4: network namespace, R5: flags. The socket, if
    /// there is one that is asked for.
    fn sk_lookup(
        &mut self,
        registers: &Registers,
        protocol: u8,
        asked: impl Fn(&HostSocket) -> bool,
    ) -> Result<u64, Cause> {
        check_context(registers)?;
        let size = registers.get(3)? as u32 as usize;
        if (registers.get(4)?, registers.get(5)?) != (u64::MAX, 0) {
            return Err(Cause::Argument(4));
        }
        let ends = ends(self.memory.bytes(registers.get(2)?, size)?).ok_or(Cause::Argument(3))?;
        let found = HostSocket::find(self.context.sockets, protocol, ends);
        match found.filter(|it| asked(it)) {
            Some(socket) => self.memory.hold(socket).ok_or(Cause::Argument(1)),
            None => Ok(0),
        }
    }

    /// R1: a socket that was looked up.
    fn sk_release(&mut self, registers: &Registers) -> Result<u64, Cause> {
        let released = self.memory.release(registers.get(1)?);
        released.map(|()| 0).ok_or(Cause::Argument(1))
    }

    /// R1: context, R2: `struct bpf_fib_lookup`, R3: its size, R4: flags.
    fn fib_lookup(&mut self, registers: &Registers) -> Result<u64, Cause> {
        check_context(registers)?;
        let parameters = registers.get(2)?;
        let size = registers.get(3)? as u32 as usize;
        let flags = registers.get(4)?;
        self.memory.bytes(parameters, size)?;
        if size < FIB_SIZE {
            return Ok(EINVAL.cast_unsigned());
        }
        let answer = self.context.fib;
        let ifindex = parameters.wrapping_add(FIB_IFINDEX);
        self.memory.store(ifindex, 4, u64::from(answer.ifindex))?;
        if flags & FIB_SOURCE != 0 {
            let source = match self.memory.load(parameters, 1)? {
                AF_INET => &answer.source[..4],
                _ => &answer.source,
            };
            let to = parameters.wrapping_add(FIB_SOURCE_ADDRESS);
            let to = self.memory.bytes_mut(to, source.len())?;
            to.copy_from_slice(source);
        }
        // What is longer than the route lets through is told first.
        let length = parameters.wrapping_add(FIB_LENGTH);
        let asked = self.memory.load(length, 2)?;
        if answer.code == 0 && answer.mtu != 0 {
            self.memory.store(length, 2, answer.mtu.into())?;
            if asked > answer.mtu.into() {
                return Ok(FIB_TOO_LONG);
            }
        }
        Ok(answer.code.cast_unsigned())
    }

    /// R1: map, R2: callback, R3: what it shares with the caller, R4: flags, zero. Gives the map, the index
    /// of the callback and R3.
    pub(super) fn for_each_call(
        &self,
        registers: &Registers,
    ) -> Result<(MapId, usize, u64), Cause> {
        let Some((Region::Map(map), 0)) = Region::of(registers.get(1)?) else {
            return Err(Cause::Argument(1));
        };
        let Some((Region::Function(callback), 0)) = Region::of(registers.get(2)?) else {
            return Err(Cause::Argument(2));
        };
        let shared = registers.get(3)?;
        if registers.get(4)? != 0 {
            return Err(Cause::Argument(4));
        }
        Ok((map, usize::from(callback.0), shared))
    }

    /// R1: bytes to take out, R2: how many, R3: bytes to put in, R4: how many, R5: the sum before. Gives
    /// the sum of 16-bit words, folded to 32 bits. Nothing here takes bytes out.
    fn csum_diff(&mut self, registers: &Registers) -> Result<u64, Cause> {
        if registers.get(2)? != 0 {
            return Err(Cause::Argument(2));
        }
        registers.get(1)?;
        let size = registers.get(4)? as usize;
        if size > CSUM_MAX || !size.is_multiple_of(4) {
            return Ok(EINVAL.cast_unsigned());
        }
        let bytes = self.memory.bytes(registers.get(3)?, size)?;
        let (words, _) = bytes.as_chunks::<2>();
        let sum: u64 = words
            .iter()
            .map(|&it| u64::from(u16::from_le_bytes(it)))
            .sum();
        let sum = sum + u64::from(registers.get(5)? as u32);
        Ok((sum >> 32) + (sum & 0xffff_ffff))
    }

    /// R1: context, R2: how far the head moves, negative to make room. Zero, or a negative error number.
    fn adjust_head(&mut self, registers: &Registers) -> Result<u64, Cause> {
        check_context(registers)?;
        let by = registers.get(2)? as i32;
        let packet = &mut self.memory.packet;
        let head = packet.head.saturating_add(by);
        let shrinks = usize::try_from(by).unwrap_or(0);
        if head < -HEADROOM || packet.bytes.len() < shrinks.saturating_add(ETHERNET_HEADER) {
            return Ok(EINVAL.cast_unsigned());
        }
        packet.bytes.drain(..shrinks);
        let grows = by.min(0).unsigned_abs() as usize;
        packet.bytes.splice(..0, std::iter::repeat_n(0, grows));
        packet.head = head;
        Ok(0)
    }

    /// R1: context, R2: how far the tail moves. Zero, or a negative error number. New bytes are zero.
    fn adjust_tail(&mut self, registers: &Registers) -> Result<u64, Cause> {
        check_context(registers)?;
        let by = registers.get(2)? as i32;
        let bytes = &mut self.memory.packet.bytes;
        let grows = usize::try_from(by).unwrap_or(0);
        let cut = by.min(0).unsigned_abs() as usize;
        match bytes.len().checked_sub(cut) {
            Some(length) if length >= ETHERNET_HEADER && grows <= self.context.tailroom => {
                bytes.resize(length + grows, 0);
                self.context.tailroom -= grows;
                Ok(0)
            }
            _ => Ok(EINVAL.cast_unsigned()),
        }
    }

    /// R1: rounds, R2: callback, R3: what it shares with the caller, R4: flags, zero. Gives the rounds,
    /// the index of the callback and R3.
    pub(super) fn loop_call(&self, registers: &Registers) -> Result<(u32, usize, u64), Cause> {
        let rounds = registers.get(1)? as u32;
        let Some((Region::Function(id), 0)) = Region::of(registers.get(2)?) else {
            return Err(Cause::Argument(2));
        };
        let shared = registers.get(3)?;
        if registers.get(4)? != 0 {
            return Err(Cause::Argument(4));
        }
        Ok((rounds, usize::from(id.0), shared))
    }
}

fn check_context(registers: &Registers) -> Result<(), Cause> {
    match registers.get(1)? == Region::Context.address(0) {
        true => Ok(()),
        false => Err(Cause::Argument(1)),
    }
}

/// Source and destination of a `struct bpf_sock_tuple`; none of another size.
fn ends(tuple: &[u8]) -> Option<[SocketAddr; 2]> {
    let length = (tuple.len().checked_sub(4)?) / 2;
    let end = |index: usize| {
        let bytes = &tuple[index * length..][..length];
        let address = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        let address = address.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
        let port = tuple[2 * length + 2 * index..].first_chunk()?;
        Some(SocketAddr::new(address.ok()?, u16::from_be_bytes(*port)))
    };
    Some([end(0)?, end(1)?])
}
