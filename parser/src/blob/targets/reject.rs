//! `struct ipt_reject_info` (netfilter_ipv4/ipt_REJECT.h) and `struct ip6t_reject_info`
//! (netfilter_ipv6/ip6t_REJECT.h): one number, with its own meanings in each family.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::ruleset::Family;
use crate::targets::reject::{Reject, RejectWith};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Reject4(U32);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Reject6(U32);

/// `enum ipt_reject_with`
const V4: [(u32, RejectWith); 8] = [
    (0, RejectWith::IcmpNetUnreachable),
    (1, RejectWith::IcmpHostUnreachable),
    (2, RejectWith::IcmpProtoUnreachable),
    (3, RejectWith::IcmpPortUnreachable),
    (5, RejectWith::IcmpNetProhibited),
    (6, RejectWith::IcmpHostProhibited),
    (7, RejectWith::TcpReset),
    (8, RejectWith::IcmpAdminProhibited),
];
/// `IPT_ICMP_ECHOREPLY`, which the kernel has given up.
const ECHO_REPLY_4: u32 = 4;

/// `enum ip6t_reject_with`
const V6: [(u32, RejectWith); 7] = [
    (0, RejectWith::Icmp6NoRoute),
    (1, RejectWith::Icmp6AdmProhibited),
    (3, RejectWith::Icmp6AddrUnreachable),
    (4, RejectWith::Icmp6PortUnreachable),
    (6, RejectWith::TcpReset),
    (7, RejectWith::Icmp6PolicyFail),
    (8, RejectWith::Icmp6RejectRoute),
];
/// `IP6T_ICMP6_ECHOREPLY`, which the kernel has given up.
const ECHO_REPLY_6: u32 = 5;

fn read(
    number: u32,
    table: &[(u32, RejectWith)],
    echo_reply: u32,
    context: &Context<'_>,
) -> Result<Option<Reject>, Refused> {
    if number == echo_reply {
        return Err(Refused("echo-reply is no longer there"));
    }
    let with = table.iter().find(|row| row.0 == number).map(|row| row.1);
    if with == Some(RejectWith::TcpReset) && context.protocol() != Some(6) {
        return Err(Refused("tcp-reset without -p tcp"));
    }
    Ok(with.map(|with| Reject { with }))
}

fn write(value: &Reject, table: &[(u32, RejectWith)]) -> Option<U32> {
    let row = table.iter().find(|row| row.1 == value.with)?;
    Some(row.0.into())
}

impl Wire for Reject4 {
    type Value = Reject;
    const NAME: &'static str = "REJECT";
    const FAMILY: Option<Family> = Some(Family::V4);

    fn read(&self, context: &Context<'_>) -> Result<Option<Reject>, Refused> {
        read(self.0.get(), &V4, ECHO_REPLY_4, context)
    }

    fn write(value: &Reject, _: &Context<'_>) -> Option<Self> {
        write(value, &V4).map(Self)
    }
}

impl Wire for Reject6 {
    type Value = Reject;
    const NAME: &'static str = "REJECT";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, context: &Context<'_>) -> Result<Option<Reject>, Refused> {
        read(self.0.get(), &V6, ECHO_REPLY_6, context)
    }

    fn write(value: &Reject, _: &Context<'_>) -> Option<Self> {
        write(value, &V6).map(Self)
    }
}
