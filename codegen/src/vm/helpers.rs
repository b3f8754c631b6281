//! The helper functions, as `include/uapi/linux/bpf.h` describes them.

use super::fault::Cause;
use super::memory::Region;
use super::{Registers, Run};
use crate::asm::{Helper, MapId};
use crate::module::Hook;

/// The number of `bpf_loop`, which calls back.
pub(super) const LOOP: i32 = Helper::Loop as i32;
/// The number of `bpf_for_each_map_elem`, which calls back.
pub(super) const FOR_EACH_MAP_ELEM: i32 = Helper::ForEachMapElem as i32;
const MAP_LOOKUP_ELEM: i32 = Helper::MapLookupElem as i32;
const MAP_UPDATE_ELEM: i32 = Helper::MapUpdateElem as i32;
const MAP_DELETE_ELEM: i32 = Helper::MapDeleteElem as i32;
const GET_PRANDOM_U32: i32 = Helper::GetPrandomU32 as i32;
const GET_SMP_PROCESSOR_ID: i32 = Helper::GetSmpProcessorId as i32;
const SPIN_LOCK: i32 = Helper::SpinLock as i32;
const SPIN_UNLOCK: i32 = Helper::SpinUnlock as i32;
const RINGBUF_OUTPUT: i32 = Helper::RingbufOutput as i32;
const JIFFIES64: i32 = Helper::Jiffies64 as i32;
const KTIME_GET_BOOT_NS: i32 = Helper::KtimeGetBootNs as i32;
const KTIME_GET_TAI_NS: i32 = Helper::KtimeGetTaiNs as i32;
const SKB_LOAD_BYTES: i32 = Helper::SkbLoadBytes as i32;
const FIB_LOOKUP: i32 = Helper::FibLookup as i32;

/// What `bpf_loop` gives for more rounds.
pub(super) const E2BIG: i64 = -7;
const EFAULT: i64 = -14;
const EINVAL: i64 = -22;

/// `BPF_MAX_LOOPS` of `include/linux/bpf.h`.
pub(super) const MAX_LOOPS: u32 = 8 << 20;

/// Size of `struct bpf_fib_lookup`, and where its `ifindex` is.
const FIB_SIZE: usize = 64;
const FIB_IFINDEX: u64 = 8;

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
            (JIFFIES64, _) => Ok(self.context.jiffies),
            (KTIME_GET_BOOT_NS, _) => Ok(self.context.boot_time),
            (KTIME_GET_TAI_NS, _) => Ok(self.context.atomic_time),
            (FIB_LOOKUP, Hook::Xdp) => self.fib_lookup(registers),
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

    /// R1: context, R2: `struct bpf_fib_lookup`, R3: its size, R4: flags.
    fn fib_lookup(&mut self, registers: &Registers) -> Result<u64, Cause> {
        check_context(registers)?;
        let parameters = registers.get(2)?;
        let size = registers.get(3)? as u32 as usize;
        registers.get(4)?;
        self.memory.bytes(parameters, size)?;
        if size < FIB_SIZE {
            return Ok(EINVAL.cast_unsigned());
        }
        let answer = self.context.fib;
        let ifindex = parameters.wrapping_add(FIB_IFINDEX);
        self.memory.store(ifindex, 4, u64::from(answer.ifindex))?;
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
