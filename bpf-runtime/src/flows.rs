//! The connections that programs track: reading, writing and forgetting them.

use std::collections::HashSet;

use aya_obj::generated::bpf_map_type;
use ipt2bpf_codegen::track::tcp::GONE;
use ipt2bpf_codegen::track::value::SIZE;
use ipt2bpf_codegen::track::{FLOWS_MAP, Flow, Key};

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
