//! Reading the ring that programs write records to (kernel/bpf/ringbuf.c).
//!
//! The kernel shows a ring as memory: a page with the reader's position, which the reader writes, a page
//! with the writers' position, and the data, twice in a row so that a record that runs over the end can
//! be read in one piece. A record is a header of 8 bytes, the first four of them its length with two
//! flags, and its bytes; the next begins at a multiple of 8.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use aya_obj::generated::bpf_map_type;
use ipt2bpf_codegen::log::record::{LOST, RING, Record};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::time::{ClockId, clock_gettime};

use crate::error::{Error, Step};
use crate::maps::Maps;
use crate::sys::Map;

/// A record is being written (`BPF_RINGBUF_BUSY_BIT`).
const BUSY: u32 = 1 << 31;
/// A record was given up (`BPF_RINGBUF_DISCARD_BIT`).
const DISCARDED: u32 = 1 << 30;
/// Bytes of a record's header (`BPF_RINGBUF_HDR_SZ`).
const HEADER: u64 = 8;

/// The reading end of the ring of an object. Each record is read once: two readers of one ring take
/// records from each other.
pub struct Ring {
    map: Map,
    /// The reader's position.
    consumer: Mapping,
    /// The writers' position, and the data.
    producer: Mapping,
    page: usize,
    size: u64,
}

impl Maps {
    /// Opens the ring of the programs' records.
    ///
    /// # Errors
    /// [`Error::NoMap`] where no rule tells anything, [`Error::Refused`].
    pub fn ring(&self) -> Result<Ring, Error> {
        let map = self.get(RING)?;
        if !map.is_kind(bpf_map_type::BPF_MAP_TYPE_RINGBUF) {
            return Err(Error::NoMap { name: RING });
        }
        let refused = || Error::refused(Step::ReadMap(RING.to_owned()));
        let map = Map::from_id(map.id).map_err(refused())?;
        Ring::new(map).map_err(refused())
    }

    /// How many records were lost because nobody made room in the ring.
    ///
    /// # Errors
    /// [`Error::NoMap`] where no rule tells anything, [`Error::Refused`].
    pub fn lost_records(&self) -> Result<u64, Error> {
        let map = self.get(LOST)?;
        let mut value = map.value_buffer();
        map.lookup(&0u32.to_ne_bytes(), &mut value)
            .map_err(Error::refused(Step::ReadMap(LOST.to_owned())))?;
        // Behind the lock.
        let lost = value.get(8..).and_then(|bytes| bytes.first_chunk());
        lost.map(|&bytes| u64::from_ne_bytes(bytes))
            .ok_or(Error::NoMap { name: LOST })
    }
}

impl Ring {
    fn new(map: Map) -> io::Result<Ring> {
        let page = rustix::param::page_size();
        let size = map.max_entries as usize;
        let writable = ProtFlags::READ | ProtFlags::WRITE;
        let consumer = Mapping::new(&map, page, writable, 0)?;
        let producer = Mapping::new(&map, page + 2 * size, ProtFlags::READ, page as u64)?;
        Ok(Ring {
            map,
            consumer,
            producer,
            page,
            size: size as u64,
        })
    }

    /// Takes the records that are there, in the order in which they were begun, until there is none or
    /// `take` says that it has enough.
    pub fn read(&mut self, mut take: impl FnMut(&[u8]) -> Enough) {
        let mut at = self.consumer.position().load(Ordering::Relaxed);
        while at < self.producer.position().load(Ordering::Acquire) {
            let Some((header, bytes)) = self.record(at) else {
                return;
            };
            let enough = match header & DISCARDED {
                0 => take(bytes),
                _ => Enough::No,
            };
            at += (HEADER + bytes.len() as u64).next_multiple_of(8);
            // The writers may use the room from here on.
            self.consumer.position().store(at, Ordering::Release);
            if enough == Enough::Yes {
                return;
            }
        }
    }

    /// The header and the bytes of the record at a position; none while it is being written.
    fn record(&self, at: u64) -> Option<(u32, &[u8])> {
        let offset = self.page + (at & (self.size - 1)) as usize;
        let header = self.producer.word(offset)?.load(Ordering::Acquire);
        let length = (header & !(BUSY | DISCARDED)) as usize;
        match header & BUSY {
            0 => Some((
                header,
                self.producer.bytes(offset + HEADER as usize, length)?,
            )),
            _ => None,
        }
    }

    /// Waits until one of some rings has a record to read, or so long. Also a signal ends it.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait<'r>(
        rings: impl IntoIterator<Item = &'r Ring>,
        longest: Duration,
    ) -> io::Result<()> {
        let longest = Timespec::try_from(longest).ok();
        let waiting = rings.into_iter();
        let mut waiting: Vec<PollFd<'_>> = waiting
            .map(|ring| PollFd::from_borrowed_fd(ring.map.as_fd(), PollFlags::IN))
            .collect();
        match poll(&mut waiting, longest.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The time of a record as the time since 1970, by how far the clocks are apart now.
pub fn since_epoch(record: &Record) -> Duration {
    let now = |clock| {
        let time = clock_gettime(clock);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
    };
    let apart = now(ClockId::Realtime).saturating_sub(now(ClockId::Monotonic));
    apart + Duration::from_nanos(record.time)
}

/// Whether a reader wants no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enough {
    /// It does not.
    Yes,
    /// It does.
    No,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("map", &self.map).finish()
    }
}

/// Memory of the ring in this process.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(map: &Map, length: usize, protection: ProtFlags, offset: u64) -> io::Result<Mapping> {
        // SAFETY: a new mapping at a place that the kernel chooses overlaps nothing.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                map.as_fd(),
                offset,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Mapping { start, length })
    }

    /// The position at the start of the mapping.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: the mapping is at least a page, aligned to pages, and lives as long as self. The
        // kernel reads and writes the position as a whole.
        unsafe { AtomicU64::from_ptr(self.start.as_ptr().cast()) }
    }

    /// The word at an offset that is a multiple of 4.
    fn word(&self, offset: usize) -> Option<&AtomicU32> {
        let fits = offset.is_multiple_of(4) && offset.checked_add(4)? <= self.length;
        // SAFETY: the word lies within the mapping, is aligned, and the kernel writes it as a whole.
        fits.then(|| unsafe { AtomicU32::from_ptr(self.start.as_ptr().add(offset).cast()) })
    }

    /// Bytes of a record that is no longer written; the kernel leaves them alone until the reader's
    /// position is behind them, for which the caller needs the ring as a whole.
    fn bytes(&self, offset: usize, length: usize) -> Option<&[u8]> {
        let fits = offset.checked_add(length)? <= self.length;
        // SAFETY: they lie within the mapping and do not change while they are borrowed.
        fits.then(|| unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(offset), length) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nothing borrows the mapping any more. It fails only for ranges that are none.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
