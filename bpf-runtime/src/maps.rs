//! Reading and writing the maps of an object: counters and the text of the rules.

use std::collections::BTreeMap;

use aya_obj::generated::bpf_map_type;
use ipt2bpf_codegen::module::{COUNTERS_MAP, REUSED_MAPS, RULES_MAP};

use crate::error::{Error, Step};
use crate::sys::{self, Map};

/// The size of `struct counter` in bytes: two u64 in the byte order of the machine.
const COUNTER_SIZE: usize = 16;

/// The maps of one object, however they were come by: [`Loaded::maps`](crate::Loaded::maps),
/// [`Maps::open`] for pins, [`Attachment::maps`](crate::Attachment::maps) for what is attached.
#[derive(Debug)]
pub struct Maps {
    by_name: BTreeMap<String, Map>,
}

/// What a rule or a policy has seen, as iptables counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Their bytes from the IP header on.
    pub bytes: u64,
}

impl Maps {
    pub(crate) fn new(maps: Vec<Map>) -> Maps {
        Maps {
            by_name: maps
                .into_iter()
                .map(|map| (map.name.clone(), map))
                .collect(),
        }
    }

    /// The maps that a program holds.
    pub(crate) fn of_program(program: &sys::Program) -> Result<Maps, Error> {
        let maps = program
            .map_ids
            .iter()
            .map(|&id| Map::from_id(id))
            .collect::<Result<Vec<Map>, _>>()
            .map_err(Error::refused(Step::Inspect))?;
        Ok(Maps::new(maps))
    }

    pub(crate) fn get(&self, name: &'static str) -> Result<&Map, Error> {
        self.by_name.get(name).ok_or(Error::NoMap { name })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Map> {
        self.by_name.values()
    }

    /// Whether these are the same maps in the kernel, not just equal ones. Programs of one object share
    /// their maps, so this tells apart what would be counted twice.
    pub fn same_as(&self, other: &Maps) -> bool {
        let ids = |maps: &Maps| -> Vec<u32> { maps.iter().map(|map| map.id).collect() };
        ids(self) == ids(other)
    }

    /// How many bytes of the kernel's memory the maps take together.
    ///
    /// # Errors
    /// [`Error::Refused`] where /proc cannot be read.
    pub fn memory(&self) -> Result<u64, Error> {
        let bytes = self.iter().map(Map::memory);
        bytes
            .sum::<std::io::Result<u64>>()
            .map_err(Error::refused(Step::Inspect))
    }

    fn counters_map(&self) -> Result<&Map, Error> {
        let map = self.get(COUNTERS_MAP)?;
        let right = map.is_kind(bpf_map_type::BPF_MAP_TYPE_PERCPU_ARRAY)
            && map.key_size == 4
            && map.value_size == COUNTER_SIZE;
        right
            .then_some(map)
            .ok_or(Error::NoMap { name: COUNTERS_MAP })
    }

    /// All counters, each summed over the CPUs. Each is exact for some moment during the call.
    ///
    /// # Errors
    /// [`Error::NoMap`], [`Error::Refused`].
    pub fn counters(&self) -> Result<Vec<Counter>, Error> {
        let map = self.counters_map()?;
        let refused = || Error::refused(Step::ReadMap(COUNTERS_MAP.to_owned()));
        let values = map.values().map_err(refused())?;
        let sum = |values: &[u8]| {
            let each = values.as_chunks::<COUNTER_SIZE>().0.iter();
            each.map(Counter::from_bytes)
                .fold(Counter::default(), Counter::plus)
        };
        let size = map.value_buffer().len();
        Ok(values.chunks_exact(size).map(sum).collect())
    }

    /// How many counters there is room for.
    ///
    /// # Errors
    /// [`Error::NoMap`].
    pub fn room(&self) -> Result<u32, Error> {
        Ok(self.counters_map()?.max_entries)
    }

    /// Whether both count in the same map.
    pub fn count_with(&self, other: &Maps) -> bool {
        let id = |maps: &Maps| maps.counters_map().map(|map| map.id).ok();
        id(self).is_some_and(|own| id(other) == Some(own))
    }

    /// The contents of the constant maps that an object goes on from
    /// ([`Before::constants`](ipt2bpf_codegen::before::Before::constants)).
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn reusable(&self) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let wanted = |map: &&Map| REUSED_MAPS.iter().any(|name| map.name.starts_with(name));
        let maps = self.iter().filter(wanted);
        maps.map(|map| {
            let values = map.values();
            let values = values.map_err(Error::refused(Step::ReadMap(map.name.clone())))?;
            Ok((map.name.clone(), values))
        })
        .collect()
    }

    /// Sets states of matches to what they are before the first packet: by map and index.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn clear_states<'a>(
        &self,
        states: impl Iterator<Item = (&'a str, u32)>,
    ) -> Result<(), Error> {
        for (name, index) in states {
            if let Some(map) = self.by_name.get(name) {
                map.update(&index.to_ne_bytes(), &map.value_buffer())
                    .map_err(Error::refused(Step::WriteMap(name.to_owned())))?;
            }
        }
        Ok(())
    }

    /// Sets the first counters to these values. Packets counted during the call may be lost.
    ///
    /// # Errors
    /// [`Error::MapTooSmall`], [`Error::NoMap`], [`Error::Refused`].
    pub fn seed_counters(&self, counters: &[Counter]) -> Result<(), Error> {
        let map = self.counters_map()?;
        if counters.len() > map.max_entries as usize {
            return Err(Error::MapTooSmall {
                name: COUNTERS_MAP,
                wanted: counters.len(),
                room: map.max_entries,
            });
        }
        let refused = || Error::refused(Step::WriteMap(COUNTERS_MAP.to_owned()));
        // The first CPU gets the whole value, the others zero: one update writes all of them.
        let mut values = map.value_buffer();
        for (index, counter) in (0u32..).zip(counters) {
            values[..COUNTER_SIZE].copy_from_slice(&counter.to_bytes());
            map.update(&index.to_ne_bytes(), &values)
                .map_err(refused())?;
        }
        Ok(())
    }

    /// Sets some counters, by their numbers. Packets counted during the call may be lost.
    ///
    /// # Errors
    /// [`Error::NoMap`], [`Error::Refused`].
    pub fn set_counters(&self, counters: &[(u32, Counter)]) -> Result<(), Error> {
        let map = self.counters_map()?;
        let mut values = map.value_buffer();
        for (index, counter) in counters {
            values[..COUNTER_SIZE].copy_from_slice(&counter.to_bytes());
            map.update(&index.to_ne_bytes(), &values)
                .map_err(Error::refused(Step::WriteMap(COUNTERS_MAP.to_owned())))?;
        }
        Ok(())
    }

    /// Adds to some counters, by their number. What packets count on other CPUs between reading and writing a
    /// counter is lost.
    ///
    /// # Errors
    /// [`Error::NoMap`], [`Error::Refused`], also for a number that no counter has.
    pub fn add_to_counters(&self, more: &[(u32, Counter)]) -> Result<(), Error> {
        let map = self.counters_map()?;
        let refused = || Error::refused(Step::WriteMap(COUNTERS_MAP.to_owned()));
        let mut values = map.value_buffer();
        for (index, more) in more {
            let key = index.to_ne_bytes();
            map.lookup(&key, &mut values).map_err(refused())?;
            // The first CPU gets the whole of it.
            if let Some(first) = values.first_chunk_mut::<COUNTER_SIZE>() {
                *first = Counter::from_bytes(first).plus(*more).to_bytes();
            }
            map.update(&key, &values).map_err(refused())?;
        }
        Ok(())
    }

    /// Fills all that the programs want to know of this machine: interfaces, addresses, the time.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::MapTooSmall`], [`Error::Refused`].
    pub fn fill(&self) -> Result<(), Error> {
        self.fill_devices()?;
        self.fill_addresses()?;
        self.fill_clock()
    }

    /// Sets all counters to zero.
    ///
    /// # Errors
    /// As [`Maps::seed_counters`].
    pub fn zero_counters(&self) -> Result<(), Error> {
        let room = self.counters_map()?.max_entries as usize;
        self.seed_counters(&vec![Counter::default(); room])
    }

    /// The rulesets that were compiled, as `iptables-save -c` prints them: bytes, because comments may
    /// hold any.
    ///
    /// # Errors
    /// [`Error::NoMap`], [`Error::Refused`].
    pub fn rules_text(&self) -> Result<Vec<u8>, Error> {
        let map = self.get(RULES_MAP)?;
        let refused = || Error::refused(Step::ReadMap(RULES_MAP.to_owned()));
        let mut text = map.value_buffer();
        map.lookup(&0u32.to_ne_bytes(), &mut text)
            .map_err(refused())?;
        Ok(text)
    }
}

impl Counter {
    pub(crate) fn from_bytes(bytes: &[u8; COUNTER_SIZE]) -> Counter {
        let words = bytes.as_chunks::<8>().0;
        Counter {
            packets: u64::from_ne_bytes(words[0]),
            bytes: u64::from_ne_bytes(words[1]),
        }
    }

    fn to_bytes(self) -> [u8; COUNTER_SIZE] {
        let mut bytes = [0; COUNTER_SIZE];
        bytes[..8].copy_from_slice(&self.packets.to_ne_bytes());
        bytes[8..].copy_from_slice(&self.bytes.to_ne_bytes());
        bytes
    }

    /// Counters wrap as the kernel's do.
    fn plus(self, other: Counter) -> Counter {
        Counter {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    /// What has been counted since it was like this.
    pub fn since(self, earlier: Counter) -> Counter {
        Counter {
            packets: self.packets.wrapping_sub(earlier.packets),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
        }
    }
}
