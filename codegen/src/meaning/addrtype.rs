//! `addrtype_mt_v1` of net/netfilter/xt_addrtype.c: what the kernel's routing says of an address.
//!
//! Types are looked up in a map that a loader fills from the routing tables ([`addresses`](crate::addresses)).
//! Until then a rule that has to look drops.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::matches::addrtype::{AddressType, Addrtype, Device};
use ipt2bpf_parser::ruleset::{Family, Negatable};

use super::{Context, MatchMeaning, Refusal, constant};
use crate::addresses::{KEY, VALUE, family_number, find, route_type};
use crate::asm::{Alu, Cond, Helper, Imm64, Reg, Size};
use crate::emit::link::{Body, Call, Linker, PACKET};
use crate::field::Field;
use crate::module::{ADDRESSES_MAP, Hook, MapKind};
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};

/// Prefixes that the map has room for.
const MAX_PREFIXES: u32 = 65_536;

/// What a search answers.
const NO: u32 = 0;
const YES: u32 = 1;
/// Nobody has filled the map.
const UNKNOWN: u32 = 2;

impl MatchMeaning for Addrtype {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        let limited = self.device.is_some();
        if context.hook == Hook::Xdp && self.device == Some(Device::Out) {
            return Err(Refusal {
                code: "unseen",
                reason:
                    "asks for addresses of the interface that the packet leaves by, which is not \
                         decided yet"
                        .into(),
                help: "name the addresses with `-s` or `-d`, or leave --limit-iface-out away"
                    .into(),
            });
        }
        let mut steps = Vec::new();
        for (side, types) in [
            (Side::Source, &self.source),
            (Side::Destination, &self.destination),
        ] {
            let Some(types) = types else { continue };
            steps.extend(match context.family {
                Family::V4 => steps4(types, side, limited),
                Family::V6 => steps6(types, side, limited)?,
            });
        }
        Ok(steps)
    }
}

/// `match_type`: one of the types is that of the address. A lookup in the local table never gives the
/// types left out: routes that refuse are errors there (`fib_props`, net/ipv4/fib_semantics.c), and an
/// error counts as unicast (`__inet_dev_addr_type`, net/ipv4/fib_frontend.c).
fn steps4(types: &Negatable<Vec<AddressType>>, side: Side, limited: bool) -> Vec<Step> {
    let possible = [
        AddressType::Unicast,
        AddressType::Local,
        AddressType::Broadcast,
        AddressType::Anycast,
        AddressType::Multicast,
    ];
    let wanted = bits(types, &possible);
    if wanted == 0 {
        return vec![Step::require(constant(false).negated_if(types.negated))];
    }
    let find = FindAddressType {
        family: Family::V4,
        side,
        limited,
        types: wanted,
    };
    vec![
        Step::Ask(find.into()),
        Step::demand(Test::between(Field::Answer, NO, YES)),
        Step::require(Test::equal(Field::Answer, YES).negated_if(types.negated)),
    ]
}

/// `match_type6`: the address has all of the wanted types that its own bits tell, and one of those that
/// routing tells.
fn steps6(
    types: &Negatable<Vec<AddressType>>,
    side: Side,
    limited: bool,
) -> Result<Vec<Step>, Refusal> {
    let given = &types.value.value;
    if given.contains(&AddressType::Unreachable) {
        return Err(Refusal {
            code: "unseen",
            reason: "asks whether an IPv6 address is unreachable, which takes a route lookup"
                .into(),
            help: "leave UNREACHABLE away, or keep this rule in ip6tables".into(),
        });
    }
    let field = side.field(Family::V6);
    let mut by_bits = Vec::new();
    for kind in given {
        by_bits.extend(match kind {
            AddressType::Unspec => Some(is_unspecified(field)),
            AddressType::Unicast => Some(is_unicast(field)),
            AddressType::Multicast => Some(is_multicast(field)),
            _ => None,
        });
    }
    let by_bits = Test::All(by_bits);
    let wanted = bits(types, &[AddressType::Local, AddressType::Anycast]);
    if wanted == 0 {
        return Ok(vec![Step::require(by_bits.negated_if(types.negated))]);
    }
    let find = FindAddressType {
        family: Family::V6,
        side,
        limited,
        types: wanted | 1 << route_type::LOCAL_ANYCAST,
    };
    // Where the bits decide, nothing is looked up.
    let decided = Test::Not(Box::new(by_bits.clone()));
    let known = Test::between(Field::Answer, NO, YES);
    let holds = Test::All(vec![by_bits, Test::equal(Field::Answer, YES)]);
    Ok(vec![
        Step::Ask(find.into()),
        Step::demand(Test::Any(vec![decided, known])),
        Step::require(holds.negated_if(types.negated)),
    ])
}

/// Bit n for type number n, of those types that are among `possible`.
fn bits(types: &Negatable<Vec<AddressType>>, possible: &[AddressType]) -> u16 {
    let given = types.value.value.iter();
    let given = given.filter(|kind| possible.contains(kind));
    given.fold(0, |bits, &kind| bits | 1 << number(kind))
}

/// `RTN_*` of include/uapi/linux/rtnetlink.h.
fn number(kind: AddressType) -> u8 {
    match kind {
        AddressType::Unspec => 0,
        AddressType::Unicast => route_type::UNICAST,
        AddressType::Local => route_type::LOCAL,
        AddressType::Broadcast => route_type::BROADCAST,
        AddressType::Anycast => route_type::ANYCAST,
        AddressType::Multicast => route_type::MULTICAST,
        AddressType::Blackhole => 6,
        AddressType::Unreachable => 7,
        AddressType::Prohibit => 8,
        AddressType::Throw => 9,
        AddressType::Nat => 10,
        AddressType::Xresolve => 11,
    }
}

/// `::`
fn is_unspecified(field: Field) -> Test {
    Test::Masked {
        field,
        mask: u128::MAX,
        value: 0,
    }
}

/// `ff00::/8`
fn is_multicast(field: Field) -> Test {
    Test::Masked {
        field,
        mask: 0xff << 120,
        value: 0xff << 120,
    }
}

/// `IPV6_ADDR_UNICAST` of `__ipv6_addr_type` (net/ipv6/addrconf_core.c): all but multicast addresses, `::`
/// and mapped IPv4 addresses.
fn is_unicast(field: Field) -> Test {
    let is_mapped = Test::Masked {
        field,
        mask: u128::MAX << 32,
        value: 0xffff << 32,
    };
    let others = [is_multicast(field), is_unspecified(field), is_mapped];
    Test::All(others.map(|it| Test::Not(Box::new(it))).into())
}

/// One of the two addresses of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Side {
    Source,
    Destination,
}

impl Side {
    fn field(self, family: Family) -> Field {
        match (self, family) {
            (Side::Source, Family::V4) => Field::Source4,
            (Side::Source, Family::V6) => Field::Source6,
            (Side::Destination, Family::V4) => Field::Destination4,
            (Side::Destination, Family::V6) => Field::Destination6,
        }
    }
}

/// Finds the type of an address; answers 1 when it is a wanted one, 2 when the map is not filled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindAddressType {
    family: Family,
    side: Side,
    /// Whether only addresses of the packet's interface count.
    limited: bool,
    /// Bit n for type number n.
    types: u16,
}

/// Where the key and its parts lie on the stack.
mod key {
    pub const LENGTH: i16 = -32;
    pub const FAMILY: i16 = -28;
    pub const INTERFACE: i16 = -24;
    pub const ADDRESS: i16 = -20;
    /// Bits of a whole key.
    pub const BITS: i32 = 64 + 128;
}

/// Where the parts of a value lie.
mod value {
    pub const TYPE: i16 = 0;
    pub const INTERFACE: i16 = 4;
}

impl FindAddressType {
    fn route_type(&self, packet: &Packet<'_>, world: &World) -> Option<u8> {
        let address = packet.get(self.side.field(self.family));
        let interface = packet.get(Field::Interface) as u32;
        match self.family {
            Family::V4 => {
                let address = Ipv4Addr::from_bits(address as u32);
                if address.is_unspecified() || address.is_broadcast() {
                    return Some(route_type::BROADCAST);
                }
                if address.is_multicast() {
                    return Some(route_type::MULTICAST);
                }
                let found = find(&world.addresses, IpAddr::V4(address), 0)?;
                match self.limited && found.interface != interface {
                    true => Some(route_type::UNICAST),
                    false => Some(found.route_type),
                }
            }
            Family::V6 => {
                let address = IpAddr::V6(Ipv6Addr::from_bits(address));
                let scope = if self.limited { interface } else { 0 };
                find(&world.addresses, address, scope).map(|found| found.route_type)
            }
        }
    }

    /// `__inet_dev_addr_type` (net/ipv4/fib_frontend.c), where of 0.0.0.0/8 only the first is a network of
    /// its own since 5.3 (`ipv4_is_zeronet`); the type goes to R9, with R8 kept.
    fn write4(&self, body: &mut Body, lookup: impl FnOnce(&mut Body)) {
        let place = self.side.field(self.family).place().offset;
        let found = Reg::R9;
        let code = &mut body.code;
        let done = code.label();
        code.load(Size::W, Reg::R2, PACKET, place);
        code.mov(found, i32::from(route_type::BROADCAST));
        code.branch32(Cond::Eq, Reg::R2, 0, done);
        code.branch32(Cond::Eq, Reg::R2, -1, done);
        code.load(Size::B, Reg::R1, PACKET, place);
        code.mov(found, i32::from(route_type::MULTICAST));
        code.alu(Alu::And, Reg::R1, 0xf0);
        code.branch(Cond::Eq, Reg::R1, 0xe0, done);
        code.store(Size::W, Reg::R10, key::INTERFACE, 0);
        code.store(Size::W, Reg::R10, key::ADDRESS, Reg::R2);
        for word in [4, 8, 12] {
            code.store(Size::W, Reg::R10, key::ADDRESS + word, 0);
        }
        lookup(body);
        let code = &mut body.code;
        code.load(Size::W, found, Reg::R0, value::TYPE);
        if self.limited {
            code.load(Size::W, Reg::R1, Reg::R0, value::INTERFACE);
            code.load(Size::W, Reg::R2, PACKET, Field::Interface.place().offset);
            code.branch32(Cond::Eq, Reg::R1, Reg::R2, done);
            code.mov(found, i32::from(route_type::UNICAST));
        }
        code.bind(done);
    }

    fn write6(&self, body: &mut Body, lookup: impl FnOnce(&mut Body)) {
        let place = self.side.field(self.family).place().offset;
        let code = &mut body.code;
        for word in [0, 4, 8, 12] {
            code.load(Size::W, Reg::R1, PACKET, place + word);
            code.store(Size::W, Reg::R10, key::ADDRESS + word, Reg::R1);
        }
        match self.limited {
            true => {
                code.load(Size::W, Reg::R1, PACKET, Field::Interface.place().offset);
                code.store(Size::W, Reg::R10, key::INTERFACE, Reg::R1);
            }
            false => code.store(Size::W, Reg::R10, key::INTERFACE, 0),
        }
        lookup(body);
        body.code.load(Size::W, Reg::R9, Reg::R0, value::TYPE);
    }
}

impl Perform for FindAddressType {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        match self.route_type(packet, world) {
            Some(found) => u32::from(self.types >> found & 1),
            None => UNKNOWN,
        }
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let map = linker.map(
            ADDRESSES_MAP,
            MapKind::Prefixes {
                key: KEY,
                bytes: VALUE,
                entries: MAX_PREFIXES,
            },
        );
        let function = linker.function("address_type", 1, |body| {
            let types = Reg::R8;
            body.code.mov(types, Reg::R3);
            let empty = body.code.label();
            let family = family_number(self.family).to_be() as i32;
            let lookup = |body: &mut Body| {
                let code = &mut body.code;
                code.store(Size::W, Reg::R10, key::LENGTH, key::BITS);
                code.store(Size::W, Reg::R10, key::FAMILY, family);
                code.load_imm64(Reg::R1, Imm64::Map(map));
                body.stack(Reg::R2, key::LENGTH);
                body.code.call(Helper::MapLookupElem);
                body.code.branch(Cond::Eq, Reg::R0, 0, empty);
            };
            match self.family {
                Family::V4 => self.write4(body, lookup),
                Family::V6 => self.write6(body, lookup),
            }
            let code = &mut body.code;
            code.alu(Alu::And, Reg::R9, 15);
            code.alu(Alu::Rsh, types, Reg::R9);
            code.alu(Alu::And, types, 1);
            body.answer(types);
            body.code.bind(empty);
            body.answer(UNKNOWN as i32);
        });
        Call {
            function,
            arguments: vec![self.types.into()],
        }
    }

    fn reads(&self) -> Vec<Field> {
        match self.limited {
            true => vec![Field::Interface],
            false => Vec::new(),
        }
    }
}

impl fmt::Display for FindAddressType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.side.field(self.family);
        write!(f, "whether the type of the {side} is in {:#x}", self.types)?;
        match self.limited {
            true => f.write_str(" on the interface"),
            false => Ok(()),
        }
    }
}
