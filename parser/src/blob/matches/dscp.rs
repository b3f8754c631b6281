//! `struct xt_dscp_info` (netfilter/xt_dscp.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::dscp::Dscp;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Dscp0 {
    codepoint: u8,
    inverted: u8,
}

/// `XT_DSCP_MAX`
const LAST: u8 = 63;

impl Wire for Dscp0 {
    type Value = Dscp;
    const NAME: &'static str = "dscp";

    fn read(&self, _: &Context<'_>) -> Result<Option<Dscp>, Refused> {
        if self.codepoint > LAST {
            return Err(Refused("a codepoint above 63"));
        }
        Ok(Some(Dscp {
            codepoint: test(self.inverted != 0, self.codepoint),
        }))
    }

    fn write(value: &Dscp, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            codepoint: value.codepoint.value.value,
            inverted: value.codepoint.negated.into(),
        })
    }
}
