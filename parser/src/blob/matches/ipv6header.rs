//! `struct ip6t_ipv6header_info` (netfilter_ipv6/ip6t_ipv6header.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, test};
use crate::matches::ipv6header::{Headers, Ipv6Header};
use crate::ruleset::Family;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ipv6Header0 {
    headers: u8,
    inverted: u8,
    soft: u8,
}

/// `MASK_HOPOPTS`
const HOP_BY_HOP: u8 = 128;
/// `MASK_DSTOPTS`
const DESTINATION_OPTIONS: u8 = 64;
/// `MASK_ROUTING`
const ROUTING: u8 = 32;
/// `MASK_FRAGMENT`
const FRAGMENT: u8 = 16;
/// `MASK_AH`
const AUTHENTICATION: u8 = 8;
/// `MASK_ESP`
const ESP: u8 = 4;
/// `MASK_NONE`
const NONE: u8 = 2;
/// `MASK_PROTO`
const PROTOCOL: u8 = 1;
/// What libip6t_ipv6header writes for yes.
const YES: u8 = 0xff;

impl Wire for Ipv6Header0 {
    type Value = Ipv6Header;
    const NAME: &'static str = "ipv6header";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Ipv6Header>, Refused> {
        if !matches!(self.inverted, 0 | YES) {
            return Err(Refused("an unknown inversion"));
        }
        let has = |flag| self.headers & flag != 0;
        let headers = Headers {
            hop_by_hop: has(HOP_BY_HOP),
            destination_options: has(DESTINATION_OPTIONS),
            routing: has(ROUTING),
            fragment: has(FRAGMENT),
            authentication: has(AUTHENTICATION),
            esp: has(ESP),
            none: has(NONE),
            protocol: has(PROTOCOL),
        };
        Ok((self.headers != 0).then(|| Ipv6Header {
            headers: test(self.inverted != 0, headers),
            soft: self.soft != 0,
        }))
    }

    fn write(value: &Ipv6Header, _: &Context<'_>) -> Option<Self> {
        let headers = value.headers.value.value;
        Some(Self {
            headers: flag(headers.hop_by_hop, HOP_BY_HOP)
                | flag(headers.destination_options, DESTINATION_OPTIONS)
                | flag(headers.routing, ROUTING)
                | flag(headers.fragment, FRAGMENT)
                | flag(headers.authentication, AUTHENTICATION)
                | flag(headers.esp, ESP)
                | flag(headers.none, NONE)
                | flag(headers.protocol, PROTOCOL),
            inverted: flag(value.headers.negated, YES),
            soft: flag(value.soft, YES),
        })
    }
}
