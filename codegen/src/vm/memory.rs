//! The address space of the interpreter.
//!
//! The high 32 bits of an address name a region, the low ones a byte in it. A region begins in the
//! middle of its 4 GiB, so that a pointer that runs out at either end still points at nothing else.
//! Null and small numbers are in no region.

use std::net::IpAddr;
use std::ops::Range;

use super::fault::Cause;
use crate::asm::{FunctionId, MapId};
use crate::meaning::socket::HostSocket;
use crate::module::{HashShape, Map, MapKind};

/// `MAX_BPF_STACK` of `include/linux/filter.h`.
const STACK_SIZE: usize = 512;
/// `MAX_CALL_FRAMES` of `include/linux/bpf_verifier.h`.
const MAX_FRAMES: usize = 8;
/// Length of an interface name with its NUL (`IFNAMSIZ`).
const IFNAMSIZ: usize = 16;
/// Bytes of `struct counter`.
const COUNTER_SIZE: usize = 16;

/// Where a region begins in its 4 GiB.
const START: u32 = 1 << 31;

/// What an address points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    /// The argument of a program.
    Context,
    /// The linear part of the packet.
    Packet,
    /// The stack of a frame; the program's is number 0.
    Stack(u16),
    /// A map itself, which only helpers look at.
    Map(MapId),
    /// The values of a map.
    Values(MapId),
    /// A function, which only helpers call.
    Function(FunctionId),
    /// What was reserved of a ring, by the order of the reservations.
    Reserved(u16),
    /// The kernel's structures.
    Kernel,
    /// A socket that a helper has given, by the order of the lookups.
    Socket(u16),
}

impl Region {
    /// The address of a byte of the region.
    pub(super) fn address(self, offset: u32) -> u64 {
        let (kind, number) = match self {
            Region::Context => (1, 0),
            Region::Packet => (2, 0),
            Region::Stack(number) => (3, number),
            Region::Map(MapId(number)) => (4, number),
            Region::Values(MapId(number)) => (5, number),
            Region::Function(FunctionId(number)) => (6, number),
            Region::Reserved(number) => (7, number),
            Region::Kernel => (8, 0),
            Region::Socket(number) => (9, number),
        };
        u64::from(kind << 16 | u32::from(number)) << 32 | u64::from(START.wrapping_add(offset))
    }

    /// The region behind an address, and how far from its start; negative in front of it.
    pub(super) fn of(address: u64) -> Option<(Self, i64)> {
        let number = (address >> 32) as u16;
        let region = match address >> 48 {
            1 => Region::Context,
            2 => Region::Packet,
            3 => Region::Stack(number),
            4 => Region::Map(MapId(number)),
            5 => Region::Values(MapId(number)),
            6 => Region::Function(FunctionId(number)),
            7 => Region::Reserved(number),
            8 => Region::Kernel,
            9 => Region::Socket(number),
            _ => return None,
        };
        Some((region, i64::from(address as u32) - i64::from(START)))
    }
}

/// Size of `struct bpf_sock` of include/uapi/linux/bpf.h.
const SOCKET_SIZE: usize = 80;

/// A socket as programs see it, as far as they may ask.
fn bpf_sock(socket: &HostSocket) -> [u8; SOCKET_SIZE] {
    let mut bytes = [0; SOCKET_SIZE];
    bytes[16..20].copy_from_slice(&socket.mark.to_le_bytes());
    match socket.local.ip() {
        IpAddr::V4(address) => bytes[24..28].copy_from_slice(&address.octets()),
        IpAddr::V6(address) => bytes[28..44].copy_from_slice(&address.octets()),
    }
    bytes[72] = socket.state;
    bytes
}

/// The stack of one frame.
pub(super) struct Frame {
    bytes: [u8; STACK_SIZE],
    /// Which bytes were written.
    known: [bool; STACK_SIZE],
}

/// What a map holds.
pub(super) enum Values<'m> {
    Counters(Vec<u8>),
    Devices {
        keys: Vec<u32>,
        names: Vec<u8>,
    },
    Constant(&'m [u8]),
    /// An array of values of this size.
    Array {
        size: usize,
        bytes: Vec<u8>,
    },
    /// A hash: the value of the key at an index lies at that index. Keys of deleted entries are none.
    Hash {
        shape: HashShape,
        keys: Vec<Option<Vec<u8>>>,
        bytes: Vec<u8>,
    },
    /// A trie: the value of the key at an index lies at that index. Keys begin with their length in bits.
    Prefixes {
        key: usize,
        size: usize,
        keys: Vec<Vec<u8>>,
        bytes: Vec<u8>,
    },
    /// What was written to a ring, record by record.
    Ring(Vec<Vec<u8>>),
}

/// Bytes that a lock takes at the start of a value.
const LOCK_SIZE: usize = 8;

/// The bits that count of a trie's key.
fn prefix_length(key: &[u8]) -> u32 {
    key.first_chunk().map_or(0, |it| u32::from_le_bytes(*it))
}

/// Whether the bits of a trie's key begin with those of a prefix.
fn begins_with(key: &[u8], prefix: &[u8]) -> bool {
    let length = prefix_length(prefix);
    let bit = |key: &[u8], at: u32| {
        let byte = key.get(4 + at as usize / 8);
        byte.map(|byte| byte >> (7 - at % 8) & 1)
    };
    length <= prefix_length(key) && (0..length).all(|at| bit(key, at) == bit(prefix, at))
}

/// Bytes of a value of a hash.
fn hash_value_size(shape: &HashShape) -> usize {
    shape.bytes as usize + if shape.locked { LOCK_SIZE } else { 0 }
}

impl<'m> Values<'m> {
    /// The initial contents of a map.
    pub(super) fn of(map: &'m Map) -> Self {
        match &map.kind {
            MapKind::Counters { entries } => {
                Values::Counters(vec![0; *entries as usize * COUNTER_SIZE])
            }
            MapKind::Devices { .. } => Values::Devices {
                keys: Vec::new(),
                names: Vec::new(),
            },
            MapKind::Constant { bytes } => Values::Constant(bytes),
            MapKind::State { entries, bytes } => {
                let size = LOCK_SIZE + *bytes as usize;
                Values::Array {
                    size,
                    bytes: vec![0; size * *entries as usize],
                }
            }
            MapKind::Hash(shape) => Values::Hash {
                shape: *shape,
                keys: Vec::new(),
                bytes: Vec::new(),
            },
            MapKind::Prefixes { key, bytes, .. } => Values::Prefixes {
                key: 4 + *key as usize,
                size: *bytes as usize,
                keys: Vec::new(),
                bytes: Vec::new(),
            },
            MapKind::Ring { .. } => Values::Ring(Vec::new()),
        }
    }

    /// Bytes of a key.
    pub(super) fn key_size(&self) -> usize {
        match self {
            Values::Hash { shape, .. } => shape.key as usize,
            Values::Prefixes { key, .. } => *key,
            _ => size_of::<u32>(),
        }
    }

    /// Where the value for a key begins.
    pub(super) fn lookup(&self, key: &[u8]) -> Option<u32> {
        let number = key.iter().rfold(0, |key, &byte| key << 8 | u32::from(byte));
        self.lookup_number(number, key)
    }

    fn lookup_number(&self, key: u32, bytes_of_key: &[u8]) -> Option<u32> {
        let (index, size, length) = match self {
            Values::Array { size, bytes } => (key as usize, *size, bytes.len()),
            Values::Hash { shape, keys, bytes } => {
                let same = |it: &Option<Vec<u8>>| it.as_deref() == Some(bytes_of_key);
                let index = keys.iter().position(same)?;
                (index, hash_value_size(shape), bytes.len())
            }
            Values::Prefixes {
                size, keys, bytes, ..
            } => {
                let fitting = (0..keys.len()).filter(|&at| begins_with(bytes_of_key, &keys[at]));
                let index = fitting.max_by_key(|&at| prefix_length(&keys[at]))?;
                (index, *size, bytes.len())
            }
            Values::Ring(_) => return None,
            Values::Counters(bytes) => (key as usize, COUNTER_SIZE, bytes.len()),
            Values::Devices { keys, names } => {
                let index = keys.iter().position(|&other| other == key)?;
                (index, IFNAMSIZ, names.len())
            }
            Values::Constant(bytes) => (key as usize, bytes.len(), bytes.len()),
        };
        let offset = index.checked_mul(size).filter(|&at| at < length)?;
        u32::try_from(offset).ok()
    }

    /// Sets the value for a key as `bpf_map_update_elem` does; zero, or a negative error number.
    pub(super) fn update(&mut self, key: &[u8], value: &[u8], flags: u64) -> i64 {
        const NO_EXIST: u64 = 1;
        const EXIST: u64 = 2;
        let known = self.lookup(key);
        let lock = match self {
            Values::Hash { shape, .. } if !shape.locked => 0,
            _ => LOCK_SIZE,
        };
        match (flags, known) {
            (NO_EXIST, Some(_)) => return -17,
            (EXIST, None) => return -2,
            _ => {}
        }
        match (self, known) {
            (Values::Array { bytes, .. } | Values::Hash { bytes, .. }, Some(at)) => {
                let place = &mut bytes[at as usize..][..value.len()];
                // The lock is no part of what is copied.
                place[lock..].copy_from_slice(&value[lock..]);
                0
            }
            (Values::Hash { shape, keys, bytes }, None) => {
                let free = keys.iter().position(Option::is_none);
                let index = match free {
                    Some(index) => index,
                    None if keys.len() < shape.entries as usize => {
                        keys.push(None);
                        bytes.extend(std::iter::repeat_n(0, value.len()));
                        keys.len() - 1
                    }
                    None => return -7,
                };
                keys[index] = Some(key.to_vec());
                bytes[index * value.len()..][..value.len()].copy_from_slice(value);
                0
            }
            _ => -7,
        }
    }

    /// Takes the entry of a key out of a hash; zero, or a negative error number.
    pub(super) fn delete(&mut self, key: &[u8]) -> i64 {
        let Values::Hash { keys, .. } = self else {
            return -22;
        };
        match keys.iter_mut().find(|it| it.as_deref() == Some(key)) {
            Some(found) => {
                *found = None;
                0
            }
            None => -2,
        }
    }

    /// The keys of a hash; none of other maps.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        match self {
            Values::Hash { keys, .. } => keys.iter().flatten().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Writes what lies behind the lock of an array's first value. Nothing for other maps.
    pub(super) fn set_only_value(&mut self, contents: &[u8]) {
        if let Values::Array { size, bytes } = self
            && LOCK_SIZE + contents.len() <= *size
            && let Some(value) = bytes.get_mut(LOCK_SIZE..LOCK_SIZE + contents.len())
        {
            value.copy_from_slice(contents);
        }
    }

    /// Writes a record to a ring; zero, or a negative error number.
    pub(super) fn output(&mut self, record: &[u8]) -> Option<i64> {
        let Values::Ring(records) = self else {
            return None;
        };
        records.push(record.to_vec());
        Some(0)
    }

    /// The records of a ring; nothing for other maps.
    pub(super) fn records(&self) -> &[Vec<u8>] {
        match self {
            Values::Ring(records) => records,
            _ => &[],
        }
    }

    /// Bytes of a value, where values can be set.
    pub(super) fn value_size(&self) -> Option<usize> {
        match self {
            Values::Array { size, .. } => Some(*size),
            Values::Hash { shape, .. } => Some(hash_value_size(shape)),
            _ => None,
        }
    }

    /// Packets and bytes of every counter; nothing for other maps.
    pub(super) fn counters(&self) -> Vec<(u64, u64)> {
        let Values::Counters(bytes) = self else {
            return Vec::new();
        };
        let (words, _) = bytes.as_chunks::<8>();
        let (pairs, _) = words.as_chunks::<2>();
        let pair = |&[packets, bytes]: &[[u8; 8]; 2]| {
            (u64::from_le_bytes(packets), u64::from_le_bytes(bytes))
        };
        pairs.iter().map(pair).collect()
    }

    /// Sets the value of a prefix; false for other maps and other sizes.
    pub(super) fn set_prefix(&mut self, prefix: &[u8], value: &[u8]) -> bool {
        let Values::Prefixes {
            key,
            size,
            keys,
            bytes,
        } = self
        else {
            return false;
        };
        if (prefix.len(), value.len()) != (*key, *size) {
            return false;
        }
        match keys.iter().position(|it| it == prefix) {
            Some(index) => bytes[index * *size..][..*size].copy_from_slice(value),
            None => {
                keys.push(prefix.to_vec());
                bytes.extend(value);
            }
        }
        true
    }

    /// Adds or renames an interface; a name is cut to 15 bytes. Nothing for other maps.
    pub(super) fn set_device(&mut self, ifindex: u32, name: &str) {
        let Values::Devices { keys, names } = self else {
            return;
        };
        let mut value = [0; IFNAMSIZ];
        let length = name.len().min(IFNAMSIZ - 1);
        value[..length].copy_from_slice(&name.as_bytes()[..length]);
        match keys.iter().position(|&key| key == ifindex) {
            Some(index) => names[index * IFNAMSIZ..][..IFNAMSIZ].copy_from_slice(&value),
            None => {
                keys.push(ifindex);
                names.extend(value);
            }
        }
    }
}

/// The packet while a program runs: its bytes, and how far its head has moved from where it was.
pub(super) struct PacketBytes {
    pub(super) bytes: Vec<u8>,
    pub(super) head: i32,
    /// Whether programs may write to it.
    pub(super) writable: bool,
}

impl PacketBytes {
    /// The addresses of its first byte and of the first behind it.
    pub(super) fn range(&self) -> (u64, u64) {
        let start = self.head.cast_unsigned();
        let end = start.wrapping_add(self.bytes.len() as u32);
        (Region::Packet.address(start), Region::Packet.address(end))
    }
}

/// Everything a program can read or write but its context.
pub(super) struct Memory<'r, 'm> {
    pub(super) packet: PacketBytes,
    kernel: &'r [u8],
    frames: Vec<Frame>,
    /// What was reserved of rings; none once it is submitted.
    reserved: Vec<Option<(MapId, Vec<u8>)>>,
    /// `struct bpf_sock` of the sockets that were looked up; none once they are released.
    sockets: Vec<Option<[u8; SOCKET_SIZE]>>,
    maps: &'r mut [Values<'m>],
}

impl<'r, 'm> Memory<'r, 'm> {
    /// No frames yet; of the packet only the part that direct access may reach.
    pub(super) fn new(packet: PacketBytes, kernel: &'r [u8], maps: &'r mut [Values<'m>]) -> Self {
        Memory {
            packet,
            kernel,
            frames: Vec::new(),
            reserved: Vec::new(),
            sockets: Vec::new(),
            maps,
        }
    }

    /// A fresh frame; gives its frame pointer.
    pub(super) fn push_frame(&mut self) -> Result<u64, Cause> {
        if self.frames.len() == MAX_FRAMES {
            return Err(Cause::TooManyFrames);
        }
        let number = self.frames.len() as u16;
        self.frames.push(Frame {
            bytes: [0; STACK_SIZE],
            known: [false; STACK_SIZE],
        });
        Ok(Region::Stack(number).address(STACK_SIZE as u32))
    }

    /// The end of the newest frame.
    pub(super) fn pop_frame(&mut self) {
        self.frames.pop();
    }

    /// What a map holds.
    pub(super) fn map(&self, id: MapId) -> Option<&Values<'m>> {
        self.maps.get(usize::from(id.0))
    }

    /// Reserves room for a record of a ring and gives its address.
    pub(super) fn reserve(&mut self, ring: MapId, size: usize) -> Option<u64> {
        let Values::Ring(_) = self.map(ring)? else {
            return None;
        };
        let number = u16::try_from(self.reserved.len()).ok()?;
        self.reserved.push(Some((ring, vec![0; size])));
        Some(Region::Reserved(number).address(0))
    }

    /// Puts what was reserved into its ring.
    pub(super) fn submit(&mut self, address: u64) -> Option<()> {
        let (Region::Reserved(number), 0) = Region::of(address)? else {
            return None;
        };
        let (ring, record) = self.reserved.get_mut(usize::from(number))?.take()?;
        self.map_mut(ring)?.output(&record).map(|_| ())
    }

    /// Gives a socket to the program: the address of its `struct bpf_sock`.
    pub(super) fn hold(&mut self, socket: &HostSocket) -> Option<u64> {
        let number = u16::try_from(self.sockets.len()).ok()?;
        self.sockets.push(Some(bpf_sock(socket)));
        Some(Region::Socket(number).address(0))
    }

    /// Takes it back.
    pub(super) fn release(&mut self, address: u64) -> Option<()> {
        let (Region::Socket(number), 0) = Region::of(address)? else {
            return None;
        };
        let socket = self.sockets.get_mut(usize::from(number))?.take();
        socket.map(|_| ())
    }

    /// Whether the program has a socket still.
    pub(super) fn holds_socket(&self) -> bool {
        self.sockets.iter().any(Option::is_some)
    }

    /// What a map holds, to be changed.
    pub(super) fn map_mut(&mut self, id: MapId) -> Option<&mut Values<'m>> {
        self.maps.get_mut(usize::from(id.0))
    }

    /// A little-endian number of `size` bytes.
    pub(super) fn load(&self, address: u64, size: usize) -> Result<u64, Cause> {
        check_alignment(address, size)?;
        let bytes = self.bytes(address, size)?;
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    /// Writes the low `size` bytes of a number.
    pub(super) fn store(&mut self, address: u64, size: usize, value: u64) -> Result<(), Cause> {
        check_alignment(address, size)?;
        let bytes = self.bytes_mut(address, size)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..size]);
        Ok(())
    }

    /// `size` bytes to read.
    pub(super) fn bytes(&self, address: u64, size: usize) -> Result<&[u8], Cause> {
        let out = Cause::OutOfBounds { address, size };
        let (region, offset) = Region::of(address).ok_or(Cause::NotAnAddress(address))?;
        let range = range(offset, size);
        let all: &[u8] = match region {
            Region::Packet => {
                let range = self::range(offset - i64::from(self.packet.head), size);
                return self.packet.bytes.get(range).ok_or(out);
            }
            Region::Stack(number) => {
                let frame = self.frames.get(usize::from(number)).ok_or(out.clone())?;
                let known = frame.known.get(range.clone()).ok_or(out.clone())?;
                if !known.iter().all(|&known| known) {
                    return Err(Cause::UninitialisedStack);
                }
                &frame.bytes
            }
            Region::Values(id) => match self.map(id).ok_or(out.clone())? {
                Values::Counters(bytes) => bytes,
                Values::Devices { names, .. } => names,
                Values::Constant(bytes) => bytes,
                Values::Array { bytes, .. }
                | Values::Hash { bytes, .. }
                | Values::Prefixes { bytes, .. } => bytes,
                Values::Ring(_) => return Err(Cause::NotAnAddress(address)),
            },
            Region::Reserved(number) => match self.reserved.get(usize::from(number)) {
                Some(Some((_, record))) => record,
                _ => return Err(out),
            },
            Region::Kernel => self.kernel,
            Region::Socket(number) => match self.sockets.get(usize::from(number)) {
                Some(Some(socket)) => socket,
                _ => return Err(out),
            },
            Region::Context | Region::Map(_) | Region::Function(_) => {
                return Err(Cause::NotAnAddress(address));
            }
        };
        all.get(range).ok_or(out)
    }

    /// `size` bytes to write; from now on they count as written.
    pub(super) fn bytes_mut(&mut self, address: u64, size: usize) -> Result<&mut [u8], Cause> {
        let out = Cause::OutOfBounds { address, size };
        let (region, offset) = Region::of(address).ok_or(Cause::NotAnAddress(address))?;
        let range = range(offset, size);
        match region {
            Region::Stack(number) => {
                let frame = self
                    .frames
                    .get_mut(usize::from(number))
                    .ok_or(out.clone())?;
                let known = frame.known.get_mut(range.clone()).ok_or(out.clone())?;
                known.fill(true);
                frame.bytes.get_mut(range).ok_or(out)
            }
            Region::Values(id) => match self.maps.get_mut(usize::from(id.0)) {
                Some(
                    Values::Counters(bytes)
                    | Values::Array { bytes, .. }
                    | Values::Hash { bytes, .. },
                ) => bytes.get_mut(range).ok_or(out),
                _ => Err(Cause::ReadOnly),
            },
            Region::Packet if self.packet.writable => {
                let range = self::range(offset - i64::from(self.packet.head), size);
                self.packet.bytes.get_mut(range).ok_or(out)
            }
            Region::Reserved(number) => match self.reserved.get_mut(usize::from(number)) {
                Some(Some((_, record))) => record.get_mut(range).ok_or(out),
                _ => Err(out),
            },
            Region::Context
            | Region::Packet
            | Region::Map(_)
            | Region::Function(_)
            | Region::Socket(_)
            | Region::Kernel => Err(Cause::ReadOnly),
        }
    }
}

fn range(offset: i64, size: usize) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    start..start.saturating_add(size)
}

/// The verifier wants accesses to the stack aligned, on every machine. Others may be unaligned on
/// machines whose memory allows it, which are those we know.
fn check_alignment(address: u64, size: usize) -> Result<(), Cause> {
    let aligned = address.is_multiple_of(size as u64);
    match Region::of(address) {
        Some((Region::Stack(_), _)) if !aligned => Err(Cause::Misaligned { address, size }),
        _ => Ok(()),
    }
}
