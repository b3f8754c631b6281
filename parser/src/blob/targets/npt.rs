//! `struct ip6t_npt_tginfo` (netfilter_ipv6/ip6t_NPT.h) of `SNPT` and `DNPT`. The kernel's adjustment
//! of checksums is zero on the wire.

use std::net::Ipv6Addr;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::blob::layout::InetAddress;
use crate::ruleset::Family;
use crate::targets::dnpt::Dnpt;
use crate::targets::npt::{LONGEST, Prefix, Prefixes};
use crate::targets::snpt::Snpt;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Dnpt0 {
    from: InetAddress,
    to: InetAddress,
    from_length: u8,
    to_length: u8,
    adjustment: [u8; 2],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Snpt0(Dnpt0);

impl Dnpt0 {
    fn read_prefixes(&self) -> Result<Prefixes, Refused> {
        Ok(Prefixes {
            from: read_prefix(&self.from, self.from_length)?,
            to: read_prefix(&self.to, self.to_length)?,
        })
    }

    fn write_prefixes(prefixes: Prefixes) -> Self {
        Self {
            from: prefixes.from.address.octets(),
            to: prefixes.to.address.octets(),
            from_length: prefixes.from.length,
            to_length: prefixes.to.length,
            adjustment: [0; 2],
        }
    }
}

fn read_prefix(address: &InetAddress, length: u8) -> Result<Prefix, Refused> {
    let address = Ipv6Addr::from(*address);
    if length > LONGEST {
        return Err(Refused("a prefix that is too long"));
    }
    let prefix = Prefix { address, length };
    match prefix.has_host_bits() {
        true => Err(Refused("bits behind the prefix")),
        false => Ok(prefix),
    }
}

impl Wire for Dnpt0 {
    type Value = Dnpt;
    const NAME: &'static str = "DNPT";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Dnpt>, Refused> {
        let prefixes = self.read_prefixes()?;
        Ok(Some(Dnpt { prefixes }))
    }

    fn write(value: &Dnpt, _: &Context<'_>) -> Option<Self> {
        Some(Self::write_prefixes(value.prefixes))
    }
}

impl Wire for Snpt0 {
    type Value = Snpt;
    const NAME: &'static str = "SNPT";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Snpt>, Refused> {
        let prefixes = self.0.read_prefixes()?;
        Ok(Some(Snpt { prefixes }))
    }

    fn write(value: &Snpt, _: &Context<'_>) -> Option<Self> {
        Some(Self(Dnpt0::write_prefixes(value.prefixes)))
    }
}
