//! The connections that programs track: reading, writing and forgetting them.

use std::collections::HashSet;

use aya_obj::generated::bpf_map_type;
use ipt2bpf_codegen::track::tcp::GONE;
use ipt2bpf_codegen::track::value::SIZE;
use ipt2bpf_codegen::track::{FLOWS_MAP, Flow, Key, STATISTICS_MAP, statistics};

use crate::error::{Error, Step};
use crate::kernel;
use crate::maps::Maps;
use crate::sys::Map;

/// A connection of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackedConnection {
    /// What it is found by.
    pub key: Key,
    /// What is known of it.
    pub flow: Flow,
    /// Seconds until it is forgotten if nothing happens.
    pub seconds_left: u32,
}

/// What has become of connections since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStatistics {
    /// How many connections the table has room for.
    pub room: u32,
    /// Connections that programs have entered.
    pub inserted: u64,
    /// Connections that they could not enter; their next packets begin them again.
    pub insert_failed: u64,
    /// Connections that had expired or ended, and left when a new one came.
    pub expired: u64,
    /// Connections that were not assured, and made way for a new one in a flood.
    pub early_dropped: u64,
}

impl Maps {
    /// Whether rules ask for connections.
    pub fn tracks_connections(&self) -> bool {
        self.get(FLOWS_MAP).is_ok()
    }

    fn flows(&self) -> Result<&Map, Error> {
        let map = self.get(FLOWS_MAP)?;
        let right = map.is_kind(bpf_map_type::BPF_MAP_TYPE_LRU_HASH)
            && map.key_size == Key::SIZE
            && map.value_size == SIZE;
        right.then_some(map).ok_or(Error::NoMap { name: FLOWS_MAP })
    }

    /// The connections that live, in no order. What begins or ends during the call may be missed.
    ///
    /// # Errors
    /// [`Error::NoMap`] when nothing is tracked, [`Error::Refused`].
    pub fn connections(&self) -> Result<Vec<TrackedConnection>, Error> {
        let map = self.flows()?;
        let refused = || Error::refused(Step::ReadMap(FLOWS_MAP.to_owned()));
        let (now, rate) = (kernel::jiffies(), kernel::tick_rate().max(1));
        let mut found = Vec::new();
        let mut seen = HashSet::new();
        let mut last: Option<Vec<u8>> = None;
        // Behind a key that is gone the kernel begins anew.
        while seen.len() < map.max_entries as usize {
            let next = map.next_key(last.as_deref()).map_err(refused())?;
            let Some(bytes) = next else { break };
            let key = bytes.first_chunk().copied().map(Key);
            let Some(key) = key.filter(|&key| seen.insert(key)) else {
                break;
            };
            let mut value = [0; SIZE];
            if map.lookup(&bytes, &mut value).map_err(refused())? {
                let flow = Flow::from_bytes(value);
                let left = flow.expires.wrapping_sub(now) as i32;
                if left > 0 && flow.tcp.state != GONE {
                    found.push(TrackedConnection {
                        key,
                        flow,
                        seconds_left: left as u32 / rate,
                    });
                }
            }
            last = Some(bytes);
        }
        Ok(found)
    }

    /// What has become of connections. The parts may be of moments that differ a little.
    ///
    /// # Errors
    /// [`Error::NoMap`] when nothing is tracked, [`Error::Refused`].
    pub fn table_statistics(&self) -> Result<TableStatistics, Error> {
        let map = self.get(STATISTICS_MAP)?;
        let mut value = map.value_buffer();
        map.lookup(&0u32.to_ne_bytes(), &mut value)
            .map_err(Error::refused(Step::ReadMap(STATISTICS_MAP.to_owned())))?;
        let number = |at: i16| {
            let bytes = value.get(at as usize..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
        };
        Ok(TableStatistics {
            room: self.flows()?.max_entries,
            inserted: number(statistics::INSERTED),
            insert_failed: number(statistics::INSERT_FAILED),
            expired: number(statistics::EXPIRED),
            early_dropped: number(statistics::EARLY_DROPPED),
        })
    }

    /// Enters a connection, in the place of one that is there.
    ///
    /// # Errors
    /// [`Error::NoMap`], [`Error::Refused`].
    pub fn remember_connection(&self, key: &Key, flow: &Flow) -> Result<(), Error> {
        let map = self.flows()?;
        map.update(&key.0, &flow.to_bytes())
            .map_err(Error::refused(Step::WriteMap(FLOWS_MAP.to_owned())))
    }

    /// Forgets a connection; its next packet begins a new one, if it may.
    ///
    /// # Errors
    /// [`Error::NoMap`], [`Error::Refused`] also when it was forgotten meanwhile.
    pub fn forget_connection(&self, key: &Key) -> Result<(), Error> {
        let map = self.flows()?;
        map.delete(&key.0)
            .map_err(Error::refused(Step::WriteMap(FLOWS_MAP.to_owned())))
    }
}
