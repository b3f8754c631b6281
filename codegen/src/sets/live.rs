//! Sets that can be changed while programs ask them: for each a map of the kernel, in which whoever holds it
//! adds and deletes elements.
//!
//! A set of addresses, ports and marks is a hash, and a set with one network in each element is a trie, of
//! which a look-up finds the longest prefix. The kernel tries masks one after the other, the longest first,
//! which is the same (`mtype_test_cidrs`, net/netfilter/ipset/ip_set_hash_gen.h). Other sets stay as they
//! were when the program was made: those with two networks or interfaces in their elements, lists, Ethernet
//! addresses that the first packet gives, and networks that stay for a time only, because a trie finds none
//! but the longest.
//!
//! | bytes of a key | |
//! |---|---|
//! | 4 | in a trie: the length of the prefix in bits, in host byte order |
//! | the others | the parts of an element as in [`key`](super::key), a network behind the others |
//!
//! | bytes of a value | |
//! |---|---|
//! | 8 | when the element goes: nanoseconds of `CLOCK_MONOTONIC`, 0 for never |
//! | 4 | the answer, [`Answer::number`] |
//! | 4 | in a trie: the length of the prefix once more, by which a look-up knows which one it has found |
//!
//! The section [`SETS_MAP`] tells which map is which set, a line for each: the number of its map and the
//! line that creates it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::ipset::{Entry, Options, Part, Range, Set, SetType, SkbInfo};
use ipt2bpf_parser::ruleset::{Counters, Family};

use super::key::{Dimension, Key, mask_of, of_parts, under};
use super::table::Answer;
use crate::module::{HashShape, MapKind};

/// The section that tells which map is which set.
pub const SETS_MAP: &str = ".rodata.live";
/// Bytes of a value.
pub const VALUE: usize = 16;
/// Where the answer lies in a value.
pub const ANSWER: i16 = 8;
/// Where the length of the prefix lies in a value.
pub const LENGTH: usize = 12;
/// Bytes in front of a key of a trie.
const PREFIX: usize = 4;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;

/// How the elements of a set lie in its map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveShape {
    /// The parts of a key in their order, each with its place in the element.
    pub parts: Vec<(Dimension, usize)>,
    /// Whether the last part is a network, and the map a trie.
    pub is_trie: bool,
    /// The bits of a key that count, under the masks of the set; those of a network all do.
    pub mask: Key,
    /// How many elements there may be.
    pub entries: u32,
    options: Options,
}

/// The name of the map of a set by its number.
pub fn map_name(number: u32) -> String {
    format!("set{number}")
}

/// What [`SETS_MAP`] says of a set: the number of its map, and its `create` line.
pub fn description(number: u32, create: &[u8]) -> Vec<u8> {
    let mut line = format!("{number} ").into_bytes();
    line.extend(create);
    line
}

/// Reads what [`description`] wrote: numbers and `create` lines, without their newlines.
pub fn descriptions(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let lines = bytes.split(|&byte| byte == b'\n' || byte == 0);
    lines.filter_map(|line| {
        let space = line.iter().position(|&byte| byte == b' ')?;
        let number = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
        Some((number, &line[space + 1..]))
    })
}

impl LiveShape {
    /// None for a set that cannot be changed.
    pub fn of(set: &Set) -> Option<LiveShape> {
        let family = set.options.family.unwrap_or(Family::V4);
        let network = match set.kind {
            SetType::BitmapIp
            | SetType::BitmapPort
            | SetType::HashIp
            | SetType::HashMac
            | SetType::HashIpMac
            | SetType::HashIpMark
            | SetType::HashIpPort
            | SetType::HashIpPortIp => None,
            SetType::HashNet | SetType::HashNetPort => Some(0),
            SetType::HashIpPortNet => Some(2),
            SetType::BitmapIpMac
            | SetType::HashNetNet
            | SetType::HashNetPortNet
            | SetType::HashNetIface
            | SetType::ListSet => return None,
        };
        if network.is_some() && set.options.timeout.is_some() {
            return None;
        }
        let mut parts: Vec<(Dimension, usize)> = Dimension::of(set.kind, family)
            .into_iter()
            .zip(0..)
            .collect();
        // The order of the others does not change.
        parts.sort_by_key(|&(_, place)| Some(place) == network);
        let sample: Vec<Part> = parts.iter().map(|&(it, _)| sample(it)).collect();
        let entries = match set.kind {
            SetType::BitmapIp | SetType::BitmapPort => 1 << 16,
            _ => set.options.max_entries(),
        };
        Some(LiveShape {
            is_trie: network.is_some(),
            mask: mask_of(&sample, &set.options),
            entries: entries.max(set.entries.len() as u32).max(1),
            options: set.options.clone(),
            parts,
        })
    }

    /// Bytes of a key, without those in front of it in a trie.
    pub fn key_size(&self) -> usize {
        self.parts.iter().map(|(it, _)| it.size()).sum()
    }

    /// Bytes of a key as the map has it.
    pub fn whole_key_size(&self) -> usize {
        self.key_size() + if self.is_trie { PREFIX } else { 0 }
    }

    /// The map.
    pub fn map(&self) -> MapKind {
        let (key, bytes, entries) = (self.key_size() as u32, VALUE as u32, self.entries);
        match self.is_trie {
            true => MapKind::Prefixes {
                key,
                bytes,
                entries,
            },
            false => MapKind::Hash(HashShape {
                key,
                bytes,
                entries,
                evicts: false,
                locked: false,
            }),
        }
    }

    /// What a bitmap can hold.
    pub fn range(&self) -> Option<Range> {
        self.options.range
    }

    /// Whether a full set makes room for a new element at the cost of another.
    pub fn evicts(&self) -> bool {
        self.options.forceadd
    }

    /// Whether elements may go after a time.
    pub fn is_timed(&self) -> bool {
        self.options.timeout.is_some()
    }

    /// The key of an element; none for one that lacks a part.
    pub fn key(&self, entry: &Entry) -> Option<Vec<u8>> {
        let parts: Option<Vec<Part>> = self
            .parts
            .iter()
            .map(|&(_, place)| entry.parts.get(place).cloned())
            .collect();
        let parts = parts?;
        let size = self.key_size();
        let key = under(&of_parts(&parts), &mask_of(&parts, &self.options));
        let mut bytes = Vec::with_capacity(self.whole_key_size());
        if let Some(bits) = self.prefix_bits(entry) {
            bytes.extend(bits.to_ne_bytes());
        }
        bytes.extend(&key[..size]);
        Some(bytes)
    }

    /// The value of an element that is added at a time of `CLOCK_MONOTONIC`, in nanoseconds.
    pub fn value(&self, entry: &Entry, now: u64) -> [u8; VALUE] {
        let answer = match entry.nomatch {
            true => Answer::NoMatch,
            false => Answer::Yes,
        };
        let ends = match entry.timeout {
            None | Some(0) => 0,
            Some(seconds) => now + u64::from(seconds) * SECOND,
        };
        let mut value = [0; VALUE];
        value[..8].copy_from_slice(&ends.to_ne_bytes());
        value[ANSWER as usize..][..4].copy_from_slice(&answer.number().to_ne_bytes());
        let bits = self.prefix_bits(entry).unwrap_or(0);
        value[LENGTH..].copy_from_slice(&bits.to_ne_bytes());
        value
    }

    /// Whether a value that was found with a key is that of the key, and in a trie not of a shorter one.
    pub fn is_of(&self, key: &[u8], value: &[u8]) -> bool {
        !self.is_trie || value.get(LENGTH..VALUE) == key.get(..PREFIX)
    }

    /// The length of the prefix of an element in a trie.
    fn prefix_bits(&self, entry: &Entry) -> Option<u32> {
        let &(last, place) = self.parts.last().filter(|_| self.is_trie)?;
        let length = match entry.parts.get(place)? {
            Part::Network { length, .. } => u32::from(*length),
            _ => 8 * last.size() as u32,
        };
        Some(8 * (self.key_size() - last.size()) as u32 + length)
    }

    /// The element of a key and its value at a time of `CLOCK_MONOTONIC`; none when it has gone, or for bytes
    /// of another size.
    pub fn entry(&self, key: &[u8], value: &[u8], now: u64) -> Option<Entry> {
        let ends = u64::from_ne_bytes(*value.first_chunk()?);
        let answer = value.get(ANSWER as usize..)?.first_chunk()?;
        let nomatch = u32::from_ne_bytes(*answer) == Answer::NoMatch.number();
        let seconds = match ends {
            0 => 0,
            _ => u32::try_from(ends.checked_sub(now)?.div_ceil(SECOND).max(1)).ok()?,
        };
        let (bits, mut rest) = match self.is_trie {
            true => {
                let (bits, rest) = key.split_first_chunk()?;
                (u32::from_ne_bytes(*bits), rest)
            }
            false => (0, key),
        };
        let mut parts = Vec::new();
        let mut before = 0;
        for &(dimension, place) in &self.parts {
            let (bytes, behind) = rest.split_at_checked(dimension.size())?;
            let is_network = self.is_trie && behind.is_empty();
            let length = is_network.then(|| bits.checked_sub(before));
            let length = match length {
                Some(length) => Some(u8::try_from(length?).ok()?),
                None => None,
            };
            parts.push((place, part(dimension, bytes, length)?));
            before += 8 * dimension.size() as u32;
            rest = behind;
        }
        parts.sort_by_key(|(place, _)| *place);
        Some(Entry {
            parts: parts.into_iter().map(|(_, part)| part).collect(),
            nomatch,
            timeout: self.options.timeout.map(|_| seconds),
            counters: self.options.counters.then(Counters::default),
            comment: None,
            skbinfo: SkbInfo::default(),
        })
    }
}

/// Some part of a kind.
fn sample(dimension: Dimension) -> Part {
    match dimension {
        Dimension::Address(Family::V4) => Part::Address(Ipv4Addr::UNSPECIFIED.into()),
        Dimension::Address(Family::V6) => Part::Address(Ipv6Addr::UNSPECIFIED.into()),
        Dimension::ProtocolPort => Part::ProtocolPort {
            protocol: 0,
            port: 0,
        },
        Dimension::Port => Part::Port(0),
        Dimension::Mac => Part::Mac([0; 6]),
        Dimension::Mark => Part::Mark(0),
        Dimension::Interface => Part::Interface {
            name: String::new(),
            physdev: false,
            wildcard: false,
        },
    }
}

/// The part that some bytes of a key are; with the length of its prefix, if it is a network.
fn part(dimension: Dimension, bytes: &[u8], length: Option<u8>) -> Option<Part> {
    let number = || Some(u32::from_le_bytes(*bytes.first_chunk()?));
    Some(match dimension {
        Dimension::Address(family) => {
            let address: IpAddr = match family {
                Family::V4 => Ipv4Addr::from(*bytes.first_chunk::<4>()?).into(),
                Family::V6 => Ipv6Addr::from(*bytes.first_chunk::<16>()?).into(),
            };
            match length {
                Some(length) => Part::Network { address, length },
                None => Part::Address(address),
            }
        }
        Dimension::ProtocolPort => Part::ProtocolPort {
            protocol: (number()? >> 16) as u8,
            port: number()? as u16,
        },
        Dimension::Port => Part::Port(number()? as u16),
        Dimension::Mac => Part::Mac(*bytes.first_chunk()?),
        Dimension::Mark => Part::Mark(number()?),
        Dimension::Interface => return None,
    })
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::span::Sources;
    use ipt2bpf_parser::{Names, ipset};

    use super::*;

    fn parse(text: &str) -> Vec<Set> {
        let mut sources = Sources::default();
        let id = sources.add("sets", text);
        let parsed = ipset::parse(&sources, &[id], &Names::default());
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        parsed.sets
    }

    #[test]
    fn elements_come_back_from_their_keys() {
        let text = "create a hash:ip family inet hashsize 1024 maxelem 65536\n\
                    add a 10.0.0.1\n\
                    create b hash:net family inet hashsize 1024 maxelem 65536\n\
                    add b 10.0.0.0/8\nadd b 10.1.0.0/16 nomatch\n\
                    create c hash:ip,port,net family inet6 hashsize 1024 maxelem 65536\n\
                    add c 2001:db8::1,tcp:80,2001:db8::/32\n\
                    create d hash:net,port family inet hashsize 1024 maxelem 65536\n\
                    add d 10.0.0.0/24,udp:53\n\
                    create e hash:mac hashsize 1024 maxelem 65536\n\
                    add e 02:00:00:00:00:01\n\
                    create f hash:ip,mark family inet markmask 0x000000ff hashsize 1024 maxelem 65536 timeout 9\n\
                    add f 10.0.0.1,0x00000012 timeout 7\n\
                    create g bitmap:port range 0-1023\nadd g 22\n";
        for set in parse(text) {
            let shape = LiveShape::of(&set).expect("a shape");
            for entry in &set.entries {
                let key = shape.key(&entry.value).expect("a key");
                assert_eq!(key.len(), shape.whole_key_size());
                let value = shape.value(&entry.value, 1000);
                assert_eq!(shape.entry(&key, &value, 1000).as_ref(), Some(&entry.value));
            }
        }
    }

    #[test]
    fn what_has_gone_is_not_there() {
        let set = &parse("create a hash:ip timeout 9\nadd a 10.0.0.1 timeout 1\n")[0];
        let shape = LiveShape::of(set).expect("a shape");
        let entry = &set.entries[0].value;
        let (key, value) = (shape.key(entry).expect("a key"), shape.value(entry, 5));
        let left = |now| shape.entry(&key, &value, now).map(|it| it.timeout);
        assert_eq!(left(5 + SECOND), Some(Some(1)));
        assert_eq!(left(6 + SECOND), None);
    }

    #[test]
    fn sets_that_no_map_can_hold_stay_as_they_are() {
        for kind in [
            "hash:net,net",
            "hash:net,iface",
            "list:set",
            "hash:net timeout 9",
        ] {
            let set = &parse(&format!("create a {kind}\n"))[0];
            assert_eq!(LiveShape::of(set), None, "{kind}");
        }
    }

    #[test]
    fn descriptions_are_read_again() {
        let mut bytes = description(3, b"create a hash:ip\n");
        bytes.extend([0; 5]);
        bytes.extend(description(4, b"create b hash:mac\n"));
        let read: Vec<_> = descriptions(&bytes).collect();
        assert_eq!(
            read,
            [(3, &b"create a hash:ip"[..]), (4, b"create b hash:mac")]
        );
    }
}
