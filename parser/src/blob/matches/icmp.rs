//! `struct ipt_icmp` (netfilter_ipv4/ip_tables.h) and `struct ip6t_icmp`
//! (netfilter_ipv6/ip6_tables.h), which are the same.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::icmp::{Icmp, Icmp6, TypeCode};
use crate::ruleset::{Family, Negatable};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Icmp0 {
    kind: u8,
    code_low: u8,
    code_high: u8,
    inverted: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Icmp60(Icmp0);

/// `IPT_ICMP_INV`, `IP6T_ICMP_INV`
const INVERTED: u8 = 0x01;

impl Icmp0 {
    fn read_type(&self) -> Result<Negatable<TypeCode>, Refused> {
        if self.inverted & !INVERTED != 0 {
            return Err(Refused("an unknown inversion"));
        }
        let value = TypeCode {
            kind: self.kind,
            code_low: self.code_low,
            code_high: self.code_high,
        };
        Ok(test(self.inverted != 0, value))
    }

    fn write_type(value: &Negatable<TypeCode>) -> Self {
        let TypeCode {
            kind,
            code_low,
            code_high,
        } = value.value.value;
        Self {
            kind,
            code_low,
            code_high,
            inverted: if value.negated { INVERTED } else { 0 },
        }
    }
}

impl Wire for Icmp0 {
    type Value = Icmp;
    const NAME: &'static str = "icmp";
    const FAMILY: Option<Family> = Some(Family::V4);
    const PROTOCOLS: &'static [u8] = &[1];

    fn read(&self, _: &Context<'_>) -> Result<Option<Icmp>, Refused> {
        self.read_type().map(|it| Some(Icmp(it)))
    }

    fn write(value: &Icmp, _: &Context<'_>) -> Option<Self> {
        Some(Self::write_type(&value.0))
    }
}

impl Wire for Icmp60 {
    type Value = Icmp6;
    const NAME: &'static str = "icmp6";
    const FAMILY: Option<Family> = Some(Family::V6);
    const PROTOCOLS: &'static [u8] = &[58];

    fn read(&self, _: &Context<'_>) -> Result<Option<Icmp6>, Refused> {
        self.0.read_type().map(|it| Some(Icmp6(it)))
    }

    fn write(value: &Icmp6, _: &Context<'_>) -> Option<Self> {
        Some(Self(Icmp0::write_type(&value.0)))
    }
}
