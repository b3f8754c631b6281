//! `struct xt_ecn_info` (netfilter/xt_ecn.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::matches::ecn::Ecn;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ecn0 {
    tests: u8,
    inverted: u8,
    ect: u8,
    padding: u8,
}

/// `XT_ECN_OP_MATCH_IP`
const ECT: u8 = 0x01;
/// `XT_ECN_OP_MATCH_ECE`
const ECE: u8 = 0x10;
/// `XT_ECN_OP_MATCH_CWR`
const CWR: u8 = 0x20;
const PROTOCOL_TCP: u8 = 6;

impl Wire for Ecn0 {
    type Value = Ecn;
    const NAME: &'static str = "ecn";

    fn read(&self, context: &Context<'_>) -> Result<Option<Ecn>, Refused> {
        if (self.tests | self.inverted) & !(ECT | ECE | CWR) != 0 {
            return Err(Refused("an unknown test"));
        }
        let tests_tcp = self.tests & (ECE | CWR) != 0;
        if tests_tcp && context.protocol() != Some(PROTOCOL_TCP) {
            return Err(Refused("a test of TCP without -p tcp"));
        }
        let has = |bit| self.tests & bit != 0;
        let is_inverted = |bit| self.inverted & bit != 0;
        Ok(Some(Ecn {
            tcp_ece: has(ECE).then(|| test(is_inverted(ECE), ())),
            tcp_cwr: has(CWR).then(|| test(is_inverted(CWR), ())),
            ip_ect: has(ECT).then(|| test(is_inverted(ECT), self.ect)),
        }))
    }

    fn write(value: &Ecn, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            tests: flag(value.tcp_ece.is_some(), ECE)
                | flag(value.tcp_cwr.is_some(), CWR)
                | flag(value.ip_ect.is_some(), ECT),
            inverted: inversion(&value.tcp_ece, ECE)
                | inversion(&value.tcp_cwr, CWR)
                | inversion(&value.ip_ect, ECT),
            ect: value.ip_ect.as_ref().map_or(0, |it| it.value.value),
            padding: 0,
        })
    }
}
