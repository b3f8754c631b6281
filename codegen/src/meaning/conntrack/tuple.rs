//! The options of `-m conntrack` that ask what a connection looks like: protocol, addresses, ports,
//! expiry.

use std::fmt;
use std::net::IpAddr;

use ipt2bpf_parser::matches::PortRange;
use ipt2bpf_parser::matches::conntrack::{Conntrack, Tuple as TupleOptions};
use ipt2bpf_parser::prefix::Prefix;
use ipt2bpf_parser::range::Range;
use ipt2bpf_parser::ruleset::{Family, Negatable};

use super::entry;
use crate::asm::{Alu, Cond, Helper, Label, Reg, Size};
use crate::emit::link::{Body, Call, Linker, PACKET};
use crate::emit::words::{Compare, Place, Script};
use crate::field::{Field, layout as packet_layout};
use crate::meaning::Context;
use crate::module::Hook;
use crate::options::ConnectionTable;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::track::code::ask;
use crate::track::code::question;
use crate::track::resolve::resolve;
use crate::track::tuple::{Tuple, icmp_of, queries_of};
use crate::track::{Key, NO_CONNECTION, layout};

/// Asks whether the packet's connection looks as wanted: 1 or 0, and 0 without a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LooksLike {
    wanted: Vec<Wanted>,
    /// Whether the packet comes from outside.
    arrives: bool,
    /// Ticks of the clock in a second.
    tick_rate: u32,
    /// Whose connections they are.
    table: ConnectionTable,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    attribute: Attribute,
    negated: bool,
}

/// What an option looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Attribute {
    Protocol(u8),
    Address(Side, Prefix),
    Port(Side, PortRange),
    /// Seconds until the connection is forgotten; 0 for one that is not confirmed.
    Expiry(Range<u32>),
}

/// A place in the tuples of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    OriginalSource,
    OriginalDestination,
    ReplySource,
    ReplyDestination,
}

impl LooksLike {
    /// What a match asks; none when it asks nothing of the kind.
    pub fn of(options: &Conntrack, context: Context<'_>) -> Option<Self> {
        let mut wanted = Vec::new();
        let mut want =
            |attribute: Attribute, negated: bool| wanted.push(Wanted { attribute, negated });
        if let Some(Negatable { value, negated }) = &options.protocol {
            want(Attribute::Protocol(value.value), *negated);
        }
        let original = [Side::OriginalSource, Side::OriginalDestination];
        let reply = [Side::ReplySource, Side::ReplyDestination];
        for (tuple, sides) in [(&options.original, original), (&options.reply, reply)] {
            let TupleOptions {
                source,
                destination,
                source_ports,
                destination_ports,
            } = &**tuple;
            for (side, prefix) in sides.into_iter().zip([source, destination]) {
                if let Some(prefix) = prefix {
                    want(Attribute::Address(side, prefix.value.value), prefix.negated);
                }
            }
            for (side, ports) in sides.into_iter().zip([source_ports, destination_ports]) {
                if let Some(ports) = ports {
                    want(Attribute::Port(side, ports.value.value), ports.negated);
                }
            }
        }
        if let Some(Negatable { value, negated }) = &options.expiry {
            want(Attribute::Expiry(value.value), *negated);
        }
        (!wanted.is_empty()).then_some(LooksLike {
            wanted,
            arrives: context.hook != Hook::CgroupEgress,
            tick_rate: context.options.tick_rate,
            table: context.options.conntrack,
        })
    }
}

impl Side {
    /// Whether it is that of the end that opened the connection.
    fn is_opener(self) -> bool {
        matches!(self, Side::OriginalSource | Side::ReplyDestination)
    }

    fn address(self, [original, reply]: &[Tuple; 2]) -> [u8; 16] {
        match self {
            Side::OriginalSource => original.source,
            Side::OriginalDestination => original.destination,
            Side::ReplySource => reply.source,
            Side::ReplyDestination => reply.destination,
        }
    }

    fn port(self, [original, reply]: &[Tuple; 2]) -> u16 {
        match self {
            Side::OriginalSource => original.source_port,
            Side::OriginalDestination => original.destination_port,
            Side::ReplySource => reply.source_port,
            Side::ReplyDestination => reply.destination_port,
        }
    }
}

/// A prefix in words of four bytes, each with its mask; IPv4 has one.
fn words(prefix: &Prefix) -> Vec<(u32, u32)> {
    let bytes = match prefix.address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (words, _) = bytes.as_chunks::<4>();
    let masked = words.iter().zip((0u32..).step_by(32)).map(|(word, from)| {
        let bits = u32::from(prefix.length).saturating_sub(from).min(32);
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        (u32::from_be_bytes(*word) & mask, mask)
    });
    masked.collect()
}

fn fits(address: &[u8; 16], prefix: &Prefix) -> bool {
    let (seen, _) = address.as_chunks::<4>();
    let mut words = seen.iter().zip(words(prefix));
    words.all(|(seen, (value, mask))| u32::from_be_bytes(*seen) & mask == value)
}

impl Perform for LooksLike {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let connection = packet.connection();
        if connection.state & NO_CONNECTION != 0 {
            return 0;
        }
        let question = resolve(packet, self.arrives);
        let tuples = question.tuples(connection.direction);
        let flow = world.flows.get(&question.key);
        let flow = flow.filter(|_| !connection.is_unconfirmed);
        let left = flow.map_or(0, |it| it.expires.wrapping_sub(world.jiffies as u32) as i32);
        let seconds = left.max(0) as u32 / self.tick_rate.max(1);
        let holds = |wanted: &Wanted| match &wanted.attribute {
            Attribute::Protocol(number) => question.key.0[Key::PROTOCOL] == *number,
            Attribute::Address(side, prefix) => fits(&side.address(&tuples), prefix),
            Attribute::Port(side, ports) => (ports.low..=ports.high).contains(&side.port(&tuples)),
            Attribute::Expiry(range) => (range.low..=range.high).contains(&seconds),
        };
        let mut wanted = self.wanted.iter();
        wanted.all(|it| holds(it) != it.negated).into()
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        if self.table == ConnectionTable::Kernel {
            return entry::link(self, linker);
        }
        let (resolve, flows, family) = (linker.resolve(), linker.flows(), linker.family);
        let function = linker.function("looks_like", 0, |body| {
            let no = body.code.label();
            ask::connected(body, no);
            ask::question(body, resolve);
            let has = |asks: fn(&Attribute) -> bool| self.asks(asks);
            if has(|it| matches!(it, Attribute::Address(..) | Attribute::Port(..))) {
                ends(body);
            }
            if has(|it| matches!(it, Attribute::Port(..))) {
                ports(body, family);
            }
            if has(|it| matches!(it, Attribute::Expiry(_))) {
                let missing = body.code.label();
                body.code
                    .load(Size::B, Reg::R1, PACKET, packet_layout::UNCONFIRMED);
                body.code.mov(Reg::R2, 0);
                body.code.branch(Cond::Ne, Reg::R1, 0, missing);
                body.code.call(Helper::Jiffies64);
                body.code.store(Size::W, Reg::R10, stack::SECONDS, Reg::R0);
                let gone = body.code.label();
                ask::flow(body, flows, gone);
                let code = &mut body.code;
                code.load(Size::W, Reg::R2, Reg::R0, layout::EXPIRES);
                code.load(Size::W, Reg::R1, Reg::R10, stack::SECONDS);
                code.alu32(Alu::Sub, Reg::R2, Reg::R1);
                let left = code.label();
                code.branch32(Cond::Sge, Reg::R2, 0, left);
                code.bind(gone);
                code.mov(Reg::R2, 0);
                code.bind(left);
                code.alu32(Alu::Div, Reg::R2, self.tick_rate.max(1) as i32);
                code.bind(missing);
                code.store(Size::W, Reg::R10, stack::SECONDS, Reg::R2);
            }
            self.compare(body, &PLACES, no);
        });
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        vec![Field::CtState, Field::CtDirection]
    }
}

impl LooksLike {
    /// Ticks of the clock in a second.
    pub(super) fn tick_rate(&self) -> u32 {
        self.tick_rate
    }

    /// Whether an option looks at something.
    pub(super) fn asks(&self, asks: fn(&Attribute) -> bool) -> bool {
        self.wanted.iter().any(|it| asks(&it.attribute))
    }

    /// Ends the function with the answer; `no` is where others go that know it.
    pub(super) fn compare(&self, body: &mut Body, places: &Places, no: Label) {
        for wanted in &self.wanted {
            let differs = match wanted.negated {
                true => body.code.label(),
                false => no,
            };
            wanted.attribute.branch(body, places, differs);
            if wanted.negated {
                body.code.jump(no);
                body.code.bind(differs);
            }
        }
        body.answer(1);
        body.code.bind(no);
        body.code.mov(Reg::R0, 0);
    }
}

/// Where a function has what is compared.
pub(super) struct Places {
    /// The protocol's number: one byte of the stack.
    pub protocol: i16,
    /// An address: where the register points to, and so many bytes behind that.
    pub address: fn(Side) -> (Reg, i16),
    /// A port: a word of the stack.
    pub port: fn(Side) -> i16,
    /// The seconds that are left: a word of the stack.
    pub seconds: i16,
}

/// Where they are behind [`ends`] and [`ports`].
const PLACES: Places = Places {
    protocol: in_key(Key::PROTOCOL),
    address: |side| match side.is_opener() {
        true => (OPENER, 0),
        false => (OTHER, 0),
    },
    port: |side| match side {
        Side::OriginalSource => stack::ORIGINAL[0],
        Side::OriginalDestination => stack::ORIGINAL[1],
        Side::ReplySource => stack::REPLY[0],
        Side::ReplyDestination => stack::REPLY[1],
    },
    seconds: stack::SECONDS,
};

/// The address of the end that opened the connection.
pub const OPENER: Reg = Reg::R8;
/// The address of the other end.
const OTHER: Reg = Reg::R9;

/// What lies on the stack.
mod stack {
    use crate::track::code::ask;

    /// Ports of the original direction: the source's and the destination's.
    pub const ORIGINAL: [i16; 2] = [ask::QUESTION - 4, ask::QUESTION - 8];
    /// Likewise of the reply.
    pub const REPLY: [i16; 2] = [ask::QUESTION - 12, ask::QUESTION - 16];
    pub const SECONDS: i16 = ask::QUESTION - 20;
    pub const VARIABLES: i16 = SECONDS;
}

const fn in_key(offset: usize) -> i16 {
    ask::QUESTION + question::KEY + offset as i16
}

/// Finds the two ends; R3 and R4 are their ports.
pub fn ends(body: &mut Body) {
    body.stack(OPENER, in_key(Key::FIRST));
    body.stack(OTHER, in_key(Key::SECOND));
    let code = &mut body.code;
    code.load(Size::H, Reg::R3, Reg::R10, in_key(Key::FIRST_PORT));
    code.load(Size::H, Reg::R4, Reg::R10, in_key(Key::SECOND_PORT));
    let from = ask::QUESTION + question::FORWARD;
    code.load(Size::B, Reg::R1, Reg::R10, from);
    let direction = Field::CtDirection.place().offset;
    code.load(Size::B, Reg::R2, PACKET, direction);
    let known = code.label();
    code.branch(Cond::Ne, Reg::R1, Reg::R2, known);
    for [one, other] in [[OPENER, OTHER], [Reg::R3, Reg::R4]] {
        code.mov(Reg::R5, one);
        code.mov(one, other);
        code.mov(other, Reg::R5);
    }
    code.bind(known);
    for port in [Reg::R3, Reg::R4] {
        code.to_big_endian(port, 16);
    }
}

/// Puts the ports of both tuples on the stack, from those of the ends in R3 and R4.
fn ports(body: &mut Body, family: Family) {
    let code = &mut body.code;
    let [original, reply] = [stack::ORIGINAL, stack::REPLY];
    for place in [original[0], reply[1]] {
        code.store(Size::W, Reg::R10, place, Reg::R3);
    }
    for place in [original[1], reply[0]] {
        code.store(Size::W, Reg::R10, place, Reg::R4);
    }
    let byte = |offset: usize| Place::byte(Reg::R10, in_key(offset));
    let word = |offset: i16| Place::word(Reg::R10, offset);
    let mut script = Script::new(code, stack::VARIABLES);
    let is_icmp = byte(Key::PROTOCOL).is(u32::from(icmp_of(family)));
    script.when(is_icmp, |script| {
        script.set(word(reply[0]), word(original[0]));
        for place in [original[1], reply[1]] {
            let query = byte(Key::ICMP_TYPE) << 8;
            script.set(word(place), query | byte(Key::ICMP_CODE));
        }
        for &(query, answer) in queries_of(family) {
            let is_query = byte(Key::ICMP_TYPE).is(u32::from(query));
            script.when(is_query, |script| {
                let kind = u32::from(answer) << 8;
                script.set(word(reply[1]), byte(Key::ICMP_CODE) | kind);
            });
        }
    });
}

impl Attribute {
    /// Goes on at `differs` when the connection is another.
    fn branch(&self, body: &mut Body, places: &Places, differs: Label) {
        let code = &mut body.code;
        match self {
            Attribute::Protocol(number) => {
                code.load(Size::B, Reg::R1, Reg::R10, places.protocol);
                code.branch(Cond::Ne, Reg::R1, i32::from(*number), differs);
            }
            Attribute::Address(side, prefix) => {
                let (base, from) = (places.address)(*side);
                for ((value, mask), offset) in words(prefix).into_iter().zip((from..).step_by(4)) {
                    if mask == 0 {
                        continue;
                    }
                    code.load(Size::W, Reg::R1, base, offset);
                    code.to_big_endian(Reg::R1, 32);
                    code.alu32(Alu::And, Reg::R1, mask as i32);
                    code.branch32(Cond::Ne, Reg::R1, value as i32, differs);
                }
            }
            Attribute::Port(side, ports) => {
                code.load(Size::W, Reg::R1, Reg::R10, (places.port)(*side));
                code.branch32(Cond::Lt, Reg::R1, i32::from(ports.low), differs);
                code.branch32(Cond::Gt, Reg::R1, i32::from(ports.high), differs);
            }
            Attribute::Expiry(range) => {
                code.load(Size::W, Reg::R1, Reg::R10, places.seconds);
                code.branch32(Cond::Lt, Reg::R1, range.low as i32, differs);
                code.branch32(Cond::Gt, Reg::R1, range.high as i32, differs);
            }
        }
    }
}

impl fmt::Display for LooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection with")?;
        for (index, wanted) in self.wanted.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let not = if wanted.negated { " not" } else { "" };
            write!(f, "{comma}{not} {}", wanted.attribute)?;
        }
        Ok(())
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Protocol(number) => write!(f, "protocol {number}"),
            Attribute::Address(side, prefix) => write!(f, "{side} {prefix}"),
            Attribute::Port(side, ports) => write!(f, "{side} port {}-{}", ports.low, ports.high),
            Attribute::Expiry(range) => write!(f, "{}-{} seconds left", range.low, range.high),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::OriginalSource => "original source",
            Side::OriginalDestination => "original destination",
            Side::ReplySource => "reply source",
            Side::ReplyDestination => "reply destination",
        })
    }
}
