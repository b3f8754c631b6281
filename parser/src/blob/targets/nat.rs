//! `struct nf_nat_range` and its siblings (netfilter/nf_nat.h) of the targets that map addresses and
//! ports. IPv4 has `struct nf_nat_ipv4_multi_range_compat` for all but DNAT.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::big_endian::U16 as Port;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::layout::{InetAddress, read_address, write_address};
use crate::ruleset::{Family, Network};
use crate::targets::dnat::Dnat;
use crate::targets::masquerade::Masquerade;
use crate::targets::nat_range::{AddressRange, NatPorts, NatRange};
use crate::targets::netmap::Netmap;
use crate::targets::redirect::Redirect;
use crate::targets::snat::Snat;

/// `NF_NAT_RANGE_MAP_IPS`
const ADDRESSES: u32 = 1 << 0;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`
const PORTS: u32 = 1 << 1;
/// `NF_NAT_RANGE_PROTO_RANDOM`
const RANDOM: u32 = 1 << 2;
/// `NF_NAT_RANGE_PERSISTENT`
const PERSISTENT: u32 = 1 << 3;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`
const RANDOM_FULLY: u32 = 1 << 4;
/// `NF_NAT_RANGE_PROTO_OFFSET`
const OFFSET: u32 = 1 << 5;

/// What all of the structs hold.
#[derive(Clone, Copy, Default)]
struct Range {
    flags: u32,
    addresses: Option<AddressRange>,
    ports: Option<NatPorts>,
}

impl Range {
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// The same with the flags of its parts.
    fn flagged(mut self) -> Self {
        let has_base = self.ports.is_some_and(|ports| ports.base.is_some());
        self.flags |= flag(self.addresses.is_some(), ADDRESSES)
            | flag(self.ports.is_some(), PORTS)
            | flag(has_base, OFFSET);
        self
    }
}

/// A struct that holds a range.
trait WireRange: Sized {
    /// The range, if it is the only one.
    fn read_range(&self, context: &Context<'_>) -> Result<Range, Refused>;

    fn write_range(range: Range) -> Option<Self>;
}

/// `struct nf_nat_ipv4_multi_range_compat`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Range4 {
    count: U32,
    flags: U32,
    addresses: [[u8; 4]; 2],
    ports: [Port; 2],
}

/// `struct nf_nat_range`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Range6 {
    flags: U32,
    addresses: [InetAddress; 2],
    ports: [Port; 2],
}

/// `struct nf_nat_range2`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Range2 {
    range: Range6,
    base: Port,
    padding: [u8; 2],
}

fn read_parts(flags: u32, addresses: [IpAddr; 2], ports: [Port; 2], base: Port) -> Range {
    let [first, last] = addresses;
    let [low, high] = ports.map(|port| port.get());
    Range {
        flags,
        addresses: (flags & ADDRESSES != 0).then_some(AddressRange { first, last }),
        ports: (flags & PORTS != 0).then(|| NatPorts {
            first: low,
            last: high,
            base: (flags & OFFSET != 0).then(|| base.get()),
        }),
    }
}

fn write_ports(ports: Option<NatPorts>) -> [Port; 2] {
    let ports = ports.map_or([0, 0], |ports| [ports.first, ports.last]);
    ports.map(Port::new)
}

impl WireRange for Range4 {
    fn read_range(&self, _: &Context<'_>) -> Result<Range, Refused> {
        if self.count != 1 {
            return Err(Refused("not just one range"));
        }
        let addresses = self.addresses.map(IpAddr::from);
        Ok(read_parts(
            self.flags.get(),
            addresses,
            self.ports,
            Port::new(0),
        ))
    }

    fn write_range(range: Range) -> Option<Self> {
        let addresses = match range.addresses.map(|it| (it.first, it.last)) {
            None => [Ipv4Addr::UNSPECIFIED; 2],
            Some((IpAddr::V4(first), IpAddr::V4(last))) => [first, last],
            Some(_) => return None,
        };
        Some(Self {
            count: 1.into(),
            flags: range.flags.into(),
            addresses: addresses.map(|address| address.octets()),
            ports: write_ports(range.ports),
        })
    }
}

impl WireRange for Range6 {
    fn read_range(&self, context: &Context<'_>) -> Result<Range, Refused> {
        let family = context.family;
        let addresses = self.addresses.map(|address| read_address(family, &address));
        Ok(read_parts(
            self.flags.get(),
            addresses,
            self.ports,
            Port::new(0),
        ))
    }

    fn write_range(range: Range) -> Option<Self> {
        let addresses = range.addresses.map_or([[0; 16]; 2], |it| {
            [write_address(it.first), write_address(it.last)]
        });
        Some(Self {
            flags: range.flags.into(),
            addresses,
            ports: write_ports(range.ports),
        })
    }
}

impl WireRange for Range2 {
    fn read_range(&self, context: &Context<'_>) -> Result<Range, Refused> {
        let mut range = self.range.read_range(context)?;
        if let Some(ports) = range.ports.as_mut().filter(|ports| ports.base.is_some()) {
            ports.base = Some(self.base.get());
        }
        Ok(range)
    }

    fn write_range(range: Range) -> Option<Self> {
        let base = range.ports.and_then(|ports| ports.base);
        Some(Self {
            range: Range6::write_range(range)?,
            base: base.unwrap_or_default().into(),
            padding: [0; 2],
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Dnat2(Range2);

impl Wire for Dnat2 {
    type Value = Dnat;
    const NAME: &'static str = "DNAT";
    const REVISION: u8 = 2;

    fn read(&self, context: &Context<'_>) -> Result<Option<Dnat>, Refused> {
        let range = self.0.read_range(context)?;
        Ok(Some(Dnat {
            to: NatRange {
                addresses: range.addresses,
                ports: range.ports,
            },
            random: range.has(RANDOM),
            persistent: range.has(PERSISTENT),
        }))
    }

    fn write(value: &Dnat, _: &Context<'_>) -> Option<Self> {
        let range = Range {
            flags: flag(value.random, RANDOM) | flag(value.persistent, PERSISTENT),
            addresses: value.to.addresses,
            ports: value.to.ports,
        };
        Range2::write_range(range.flagged()).map(Self)
    }
}

fn read_snat(range: Range) -> Snat {
    Snat {
        to: NatRange {
            addresses: range.addresses,
            ports: range.ports,
        },
        random: range.has(RANDOM),
        random_fully: range.has(RANDOM_FULLY),
        persistent: range.has(PERSISTENT),
    }
}

fn write_snat(value: &Snat) -> Range {
    let range = Range {
        flags: flag(value.random, RANDOM)
            | flag(value.random_fully, RANDOM_FULLY)
            | flag(value.persistent, PERSISTENT),
        addresses: value.to.addresses,
        ports: value.to.ports,
    };
    range.flagged()
}

fn read_masquerade(range: Range) -> Result<Option<Masquerade>, Refused> {
    if range.addresses.is_some() {
        return Err(Refused("an address"));
    }
    Ok(Some(Masquerade {
        ports: range.ports,
        random: range.has(RANDOM),
        random_fully: range.has(RANDOM_FULLY),
    }))
}

fn write_masquerade(value: &Masquerade) -> Range {
    let range = Range {
        flags: flag(value.random, RANDOM) | flag(value.random_fully, RANDOM_FULLY),
        addresses: None,
        ports: value.ports,
    };
    range.flagged()
}

fn read_redirect(range: Range) -> Result<Option<Redirect>, Refused> {
    if range.addresses.is_some() {
        return Err(Refused("an address"));
    }
    Ok(Some(Redirect {
        ports: range.ports,
        random: range.has(RANDOM),
    }))
}

fn write_redirect(value: &Redirect) -> Range {
    let range = Range {
        flags: flag(value.random, RANDOM),
        addresses: None,
        ports: value.ports,
    };
    range.flagged()
}

/// The network between the first and the last address.
fn read_netmap(range: Range) -> Result<Option<Netmap>, Refused> {
    let addresses = range.addresses.ok_or(Refused("no address"))?;
    let to = match (addresses.first, addresses.last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => Network::V4 {
            address: first,
            mask: Ipv4Addr::from_bits(!(first.to_bits() ^ last.to_bits())),
        },
        (IpAddr::V6(first), IpAddr::V6(last)) => Network::V6 {
            address: first,
            mask: Ipv6Addr::from_bits(!(first.to_bits() ^ last.to_bits())),
        },
        _ => return Ok(None),
    };
    Ok(Some(Netmap { to }))
}

fn write_netmap(value: &Netmap) -> Range {
    let (first, last): (IpAddr, IpAddr) = match value.to {
        Network::V4 { address, mask } => {
            let last = Ipv4Addr::from_bits(address.to_bits() | !mask.to_bits());
            (address.into(), last.into())
        }
        Network::V6 { address, mask } => {
            let last = Ipv6Addr::from_bits(address.to_bits() | !mask.to_bits());
            (address.into(), last.into())
        }
    };
    let range = Range {
        flags: 0,
        addresses: Some(AddressRange { first, last }),
        ports: None,
    };
    range.flagged()
}

/// The forms of a target that differ in nothing but the struct of their range.
macro_rules! forms {
    ($value:ty, $name:literal, $read:expr, $write:expr; $($wire:ident($range:ty), $revision:literal, $family:expr;)+) => {$(
        #[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub(super) struct $wire($range);

        impl Wire for $wire {
            type Value = $value;
            const NAME: &'static str = $name;
            const REVISION: u8 = $revision;
            const FAMILY: Option<Family> = Some($family);

            fn read(&self, context: &Context<'_>) -> Result<Option<$value>, Refused> {
                $read(self.0.read_range(context)?)
            }

            fn write(value: &$value, _: &Context<'_>) -> Option<Self> {
                <$range>::write_range($write(value)).map(Self)
            }
        }
    )+};
}

forms! { Snat, "SNAT", |range| Ok(Some(read_snat(range))), write_snat;
    Snat4(Range4), 0, Family::V4;
    Snat6(Range6), 1, Family::V6;
}
forms! { Masquerade, "MASQUERADE", read_masquerade, write_masquerade;
    Masquerade4(Range4), 0, Family::V4;
    Masquerade6(Range6), 0, Family::V6;
}
forms! { Redirect, "REDIRECT", read_redirect, write_redirect;
    Redirect4(Range4), 0, Family::V4;
    Redirect6(Range6), 0, Family::V6;
}
forms! { Netmap, "NETMAP", read_netmap, write_netmap;
    Netmap4(Range4), 0, Family::V4;
    Netmap6(Range6), 0, Family::V6;
}
