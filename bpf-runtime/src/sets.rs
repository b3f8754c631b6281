//! Sets of running programs: reading and changing their elements, which takes effect with the next packet.

use std::collections::{BTreeMap, HashSet};

use ipt2bpf_codegen::sets::live::{LiveShape, SETS_MAP, descriptions, map_name};
use ipt2bpf_parser::Names;
use ipt2bpf_parser::ipset::{self, Entry, Set};
use ipt2bpf_parser::span::{Sources, Span, Spanned};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::error::{Error, Step};
use crate::maps::Maps;
use crate::sys::Map;

/// A set that programs ask and that can be changed.
#[derive(Debug)]
pub struct LiveSet<'a> {
    /// Its name, type and options, without elements.
    pub set: Set,
    map: &'a Map,
    shape: LiveShape,
}

/// What became of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was changed as wanted.
    Done,
    /// An element to add was there already, and has the new options; one to delete was not there.
    Already,
    /// There is no room for more.
    Full,
    /// It lacks a part that the first packet would give.
    Incomplete,
}

impl Maps {
    /// The sets that can be changed, in the order of their numbers. Sets of which programs have a copy that
    /// stays as it is are not among them.
    ///
    /// # Errors
    /// [`Error::NoMap`] where a map is none of ours, [`Error::Refused`].
    pub fn live_sets(&self) -> Result<Vec<LiveSet<'_>>, Error> {
        let Ok(map) = self.get(SETS_MAP) else {
            return Ok(Vec::new());
        };
        let mut text = map.value_buffer();
        map.lookup(&0u32.to_ne_bytes(), &mut text)
            .map_err(Error::refused(Step::ReadMap(SETS_MAP.to_owned())))?;
        let mut described: Vec<(u32, &[u8])> = descriptions(&text).collect();
        described.sort_unstable();
        let mut sets = Vec::new();
        for (number, create) in described {
            let mut sources = Sources::default();
            let id = sources.add("sets", create.to_vec());
            let parsed = ipset::parse(&sources, &[id], &Names::default());
            let set = parsed.sets.into_iter().next();
            let name = map_name(number);
            let map = self.iter().find(|map| map.name == name);
            let shape = set.as_ref().and_then(LiveShape::of);
            let (Some(set), Some(map), Some(shape)) = (set, map, shape) else {
                return Err(Error::NoMap { name: SETS_MAP });
            };
            if map.key_size != shape.whole_key_size() {
                return Err(Error::NoMap { name: SETS_MAP });
            }
            sets.push(LiveSet { set, map, shape });
        }
        Ok(sets)
    }
}

impl LiveSet<'_> {
    /// The name.
    pub fn name(&self) -> &str {
        &self.set.name.value
    }

    /// The elements that are there, in the order of their keys. What comes or goes during the call may be missed.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let now = monotonic();
        let mut entries = BTreeMap::new();
        let mut value = self.map.value_buffer();
        self.for_each_key(|key| {
            let found = self
                .map
                .lookup(key, &mut value)
                .map_err(self.unreadable())?;
            if found && let Some(entry) = self.shape.entry(key, &value, now) {
                entries.insert(key.to_vec(), entry);
            }
            Ok(())
        })?;
        Ok(entries.into_values().collect())
    }

    /// The set with its elements.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn with_entries(&self) -> Result<Set, Error> {
        let entries = self.entries()?;
        Ok(Set {
            entries: entries
                .into_iter()
                .map(|value| Spanned {
                    value,
                    span: Span::default(),
                })
                .collect(),
            ..self.set.clone()
        })
    }

    /// Whether an element is there.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn has(&self, entry: &Entry) -> Result<bool, Error> {
        let Some(key) = self.shape.key(entry) else {
            return Ok(false);
        };
        self.find(&key).map(|found| found.is_some())
    }

    /// Adds an element, or gives one that is there other options.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn add(&self, entry: &Entry) -> Result<Changed, Error> {
        let Some(key) = self.shape.key(entry) else {
            return Ok(Changed::Incomplete);
        };
        let known = self.find(&key)?;
        match self.put(&key, entry)? {
            Changed::Done if known.is_some() => Ok(Changed::Already),
            Changed::Full if self.remove_expired()? > 0 => self.put(&key, entry),
            other => Ok(other),
        }
    }

    /// Deletes an element.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn delete(&self, entry: &Entry) -> Result<Changed, Error> {
        let Some(key) = self.shape.key(entry) else {
            return Ok(Changed::Incomplete);
        };
        let known = self.find(&key)?;
        match (known, self.remove(&key)?) {
            (Some(_), true) => Ok(Changed::Done),
            _ => Ok(Changed::Already),
        }
    }

    /// Deletes all elements, one after the other.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn flush(&self) -> Result<(), Error> {
        while let Some(key) = self.map.next_key(None).map_err(self.unreadable())? {
            self.remove(&key)?;
        }
        Ok(())
    }

    /// Adds elements to a set that is new.
    ///
    /// # Errors
    /// [`Error::SetFull`], [`Error::Refused`].
    pub fn fill(&self, entries: &[Spanned<Entry>]) -> Result<(), Error> {
        for entry in entries {
            let Some(key) = self.shape.key(&entry.value) else {
                continue;
            };
            if self.put(&key, &entry.value)? == Changed::Full {
                return Err(Error::SetFull {
                    name: self.name().to_owned(),
                    room: self.map.max_entries,
                });
            }
        }
        Ok(())
    }

    /// How many elements there may be.
    pub fn room(&self) -> u32 {
        self.map.max_entries
    }

    /// The element of a key.
    fn find(&self, key: &[u8]) -> Result<Option<Entry>, Error> {
        let mut value = self.map.value_buffer();
        let found = self
            .map
            .lookup(key, &mut value)
            .map_err(self.unreadable())?;
        let is_it = found && self.shape.is_of(key, &value);
        Ok(is_it
            .then(|| self.shape.entry(key, &value, monotonic()))
            .flatten())
    }

    fn put(&self, key: &[u8], entry: &Entry) -> Result<Changed, Error> {
        let value = self.shape.value(entry, monotonic());
        match self.map.update(key, &value) {
            Ok(()) => Ok(Changed::Done),
            // A hash and a trie say it differently (kernel/bpf/hashtab.c, kernel/bpf/lpm_trie.c).
            Err(error)
                if [Errno::TOOBIG, Errno::NOSPC]
                    .iter()
                    .any(|full| error.raw_os_error() == Some(full.raw_os_error())) =>
            {
                Ok(Changed::Full)
            }
            Err(error) => Err(self.unwritable()(error)),
        }
    }

    /// Whether there was something to remove.
    fn remove(&self, key: &[u8]) -> Result<bool, Error> {
        match self.map.delete(key) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(false),
            Err(error) => Err(self.unwritable()(error)),
        }
    }

    /// Makes room; says how much.
    fn remove_expired(&self) -> Result<usize, Error> {
        let now = monotonic();
        let mut expired = Vec::new();
        let mut value = self.map.value_buffer();
        self.for_each_key(|key| {
            let there = self
                .map
                .lookup(key, &mut value)
                .map_err(self.unreadable())?;
            if there && self.shape.entry(key, &value, now).is_none() {
                expired.push(key.to_vec());
            }
            Ok(())
        })?;
        for key in &expired {
            self.remove(key)?;
        }
        Ok(expired.len())
    }

    fn for_each_key(&self, mut visit: impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let mut last: Option<Vec<u8>> = None;
        // Behind a key that is gone the kernel begins anew.
        while let Some(key) = self
            .map
            .next_key(last.as_deref())
            .map_err(self.unreadable())?
        {
            if seen.insert(key.clone()) {
                visit(&key)?;
            } else if seen.len() >= self.map.max_entries as usize {
                break;
            }
            last = Some(key);
        }
        Ok(())
    }

    fn unreadable(&self) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::refused(Step::ReadMap(self.map.name.clone()))
    }

    fn unwritable(&self) -> impl FnOnce(std::io::Error) -> Error + use<> {
        Error::refused(Step::WriteMap(self.map.name.clone()))
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, which programs read as `bpf_ktime_get_ns`.
fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = now.tv_sec.cast_unsigned();
    seconds * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
