//! Packets held against the elements of a set.

use std::fmt;

use ipt2bpf_parser::matches::set::Side;
use ipt2bpf_parser::ruleset::Family;

use super::{change, code, live, ports};
use crate::emit::link::{Call, Constant, Linker};
use crate::field::{Field, link};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::sets::key::{Dimension, Key, MAX_KEY};
use crate::sets::live::LiveShape;
use crate::sets::table::{Answer, Table};
use crate::sets::{Contents, Known};

/// Asks a set that is no list for a packet; the answer is that of [`Answer::number`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TestElements {
    /// The set.
    pub set: Known,
    /// Where each part of the key is taken from; there are enough.
    pub sides: Vec<Side>,
    /// Whether the elements are kept where they can be changed.
    pub live: bool,
}

/// When the program first asked a set with timeouts: elements count their seconds from then on.
#[derive(Default)]
pub struct Clock(Option<u64>);

impl Clock {
    /// How many ticks have passed.
    pub fn elapsed(world: &mut World) -> u64 {
        let now = world.jiffies;
        let clock: &mut Clock = world.named("sets");
        now.wrapping_sub(*clock.0.get_or_insert(now))
    }
}

/// The set that an element lives in is asked later than its seconds last, in ticks
/// (`ip_set_timeout_expired`, include/linux/netfilter/ipset/ip_set.h).
pub fn is_gone(timeout: u32, elapsed: u64, tick_rate: u32) -> bool {
    timeout != 0 && elapsed > u64::from(timeout) * u64::from(tick_rate)
}

impl TestElements {
    fn table(&self) -> Option<&Table> {
        match &self.set.contents {
            Contents::Elements(table) => Some(table),
            Contents::Members(_) => None,
        }
    }

    /// How the elements lie in a map that rules may change.
    fn changeable(&self) -> Option<&LiveShape> {
        let shape = self.set.live.as_ref().filter(|_| self.live);
        shape.filter(|shape| !shape.is_trie)
    }
}

impl Perform for TestElements {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let Some(table) = self.table() else {
            return Answer::No.number();
        };
        let Some((key, interface)) = key_of(packet, &table.dimensions, &self.sides) else {
            return Answer::No.number();
        };
        if let Some(shape) = self.changeable() {
            return match change::has(world, &self.set, shape, &key) {
                true => Answer::Yes.number(),
                false => Answer::No.number(),
            };
        }
        let elapsed = match table.timed {
            true => Clock::elapsed(world),
            false => 0,
        };
        let rate = world.tick_rate;
        let answer = table.answer(&key, interface, |timeout| is_gone(timeout, elapsed, rate));
        answer.number()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = code::function(linker, self);
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn constants(&self) -> Vec<Constant> {
        if self.live {
            return vec![live::constant(&self.set)];
        }
        let image = self.table().and_then(Table::image);
        image.map(code::constant).into_iter().collect()
    }

    fn reads(&self) -> Vec<Field> {
        let table = self.table();
        let dimensions = table.map_or(&[][..], |table| &table.dimensions);
        reads(dimensions, &self.sides)
    }
}

/// The fields that keys of these parts are made of.
pub fn reads(dimensions: &[Dimension], sides: &[Side]) -> Vec<Field> {
    let mut fields = Vec::new();
    for (dimension, side) in dimensions.iter().zip(sides) {
        match dimension {
            Dimension::Address(_) => {}
            Dimension::ProtocolPort | Dimension::Port => fields.extend(ports::FIELDS),
            Dimension::Mac => fields.extend([Field::Link, Field::SourceMac]),
            Dimension::Mark => fields.push(Field::Mark),
            Dimension::Interface => fields.push(interface_field(*side)),
        }
    }
    fields
}

/// The field with an address.
pub fn address_field(family: Family, side: Side) -> Field {
    match (family, side) {
        (Family::V4, Side::Source) => Field::Source4,
        (Family::V4, Side::Destination) => Field::Destination4,
        (Family::V6, Side::Source) => Field::Source6,
        (Family::V6, Side::Destination) => Field::Destination6,
    }
}

/// The field with an interface: `src` is the receiving one.
pub fn interface_field(side: Side) -> Field {
    match side {
        Side::Source => Field::InDevice,
        Side::Destination => Field::OutDevice,
    }
}

/// The key of a packet and the name of its interface; none when the packet lacks a part.
pub fn key_of(
    packet: &Packet<'_>,
    dimensions: &[Dimension],
    sides: &[Side],
) -> Option<(Key, u128)> {
    let mut bytes = Vec::with_capacity(MAX_KEY);
    let mut interface = 0;
    for (dimension, &side) in dimensions.iter().zip(sides) {
        match dimension {
            Dimension::Address(family) => {
                let address = packet.get(address_field(*family, side)).to_be_bytes();
                bytes.extend(&address[16 - dimension.size()..]);
            }
            Dimension::ProtocolPort => {
                bytes.extend(ports::of_packet(packet, side)?.to_le_bytes());
            }
            Dimension::Port => {
                let found = ports::of_packet(packet, side)?;
                let [low, high, protocol, _] = found.to_le_bytes();
                if !ports::has_plain_port(protocol) {
                    return None;
                }
                bytes.extend([low, high, 0, 0]);
            }
            Dimension::Mac => {
                let there = packet.get(Field::Link) as u8 & link::MAC_HEADER != 0;
                let mac = packet.get(Field::SourceMac);
                if !there || mac == 0 {
                    return None;
                }
                bytes.extend(&mac.to_be_bytes()[10..]);
                bytes.extend([0; 2]);
            }
            Dimension::Mark => bytes.extend((packet.get(Field::Mark) as u32).to_le_bytes()),
            Dimension::Interface => {
                interface = packet.get(interface_field(side));
                if interface == 0 {
                    return None;
                }
            }
        }
    }
    let mut key = [0; MAX_KEY];
    key[..bytes.len()].copy_from_slice(&bytes);
    Some((key, interface))
}

impl fmt::Display for TestElements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "set {}", self.set.name)?;
        write_sides(f, &self.sides)
    }
}

/// The sides as a rule names them.
pub fn write_sides(f: &mut fmt::Formatter<'_>, sides: &[Side]) -> fmt::Result {
    for (number, side) in sides.iter().enumerate() {
        let before = if number == 0 { ' ' } else { ',' };
        let side = match side {
            Side::Source => "src",
            Side::Destination => "dst",
        };
        write!(f, "{before}{side}")?;
    }
    Ok(())
}
