//! `struct ipt_ECN_info` (netfilter_ipv4/ipt_ECN.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::ruleset::Family;
use crate::targets::ecn::Ecn;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ecn0 {
    operation: u8,
    ect: u8,
    /// The values of the two bits of TCP.
    tcp: u8,
}

/// `IPT_ECN_OP_SET_IP`
const SET_ECT: u8 = 0x01;
/// `IPT_ECN_OP_SET_ECE`
const SET_ECE: u8 = 0x10;
/// `IPT_ECN_OP_SET_CWR`
const SET_CWR: u8 = 0x20;
/// The bits of `proto.tcp`, from the least.
const ECE: u8 = 1 << 0;
const CWR: u8 = 1 << 1;
/// The rule must have it, not inverted, for the bits of TCP.
const PROTOCOL_TCP: u8 = 6;

impl Wire for Ecn0 {
    type Value = Ecn;
    const NAME: &'static str = "ECN";
    const FAMILY: Option<Family> = Some(Family::V4);

    fn read(&self, context: &Context<'_>) -> Result<Option<Ecn>, Refused> {
        let has = |operation| self.operation & operation != 0;
        if has(!(SET_ECT | SET_ECE | SET_CWR)) {
            return Err(Refused("an unknown operation"));
        }
        if self.ect > 3 {
            return Err(Refused("a codepoint above 3"));
        }
        if has(SET_ECE | SET_CWR) && context.protocol() != Some(PROTOCOL_TCP) {
            return Err(Refused("bits of TCP without the protocol"));
        }
        Ok((self.operation != 0).then(|| Ecn {
            ece: has(SET_ECE).then_some(self.tcp & ECE != 0),
            cwr: has(SET_CWR).then_some(self.tcp & CWR != 0),
            ect: has(SET_ECT).then_some(self.ect),
        }))
    }

    fn write(value: &Ecn, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            operation: flag(value.ect.is_some(), SET_ECT)
                | flag(value.ece.is_some(), SET_ECE)
                | flag(value.cwr.is_some(), SET_CWR),
            ect: value.ect.unwrap_or_default(),
            tcp: flag(value.ece == Some(true), ECE) | flag(value.cwr == Some(true), CWR),
        })
    }
}
