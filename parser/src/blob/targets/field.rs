//! Targets whose data is a number or two: `struct xt_DSCP_info`, `struct xt_tos_target_info`
//! (netfilter/xt_DSCP.h), `struct ipt_TTL_info` (netfilter_ipv4/ipt_TTL.h), `struct ip6t_HL_info`
//! (netfilter_ipv6/ip6t_HL.h), `struct xt_tcpmss_info` (netfilter/xt_TCPMSS.h),
//! `struct xt_classify_target_info` (netfilter/xt_CLASSIFY.h), `struct xt_CHECKSUM_info`
//! (netfilter/xt_CHECKSUM.h). `TRACE` has none.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::ruleset::Family;
use crate::targets::checksum::Checksum;
use crate::targets::classify::Classify;
use crate::targets::dscp::Dscp;
use crate::targets::hl::Hl;
use crate::targets::hop_limit::HopLimit;
use crate::targets::tcpmss::Tcpmss;
use crate::targets::tos::Tos;
use crate::targets::trace::Trace;
use crate::targets::ttl::Ttl;
use crate::tos::TosMask;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Checksum0(u8);

/// `XT_CHECKSUM_OP_FILL`
const FILL: u8 = 0x01;

impl Wire for Checksum0 {
    type Value = Checksum;
    const NAME: &'static str = "CHECKSUM";

    fn read(&self, _: &Context<'_>) -> Result<Option<Checksum>, Refused> {
        match self.0 {
            FILL => Ok(Some(Checksum)),
            _ => Err(Refused("an unknown operation")),
        }
    }

    fn write(_: &Checksum, _: &Context<'_>) -> Option<Self> {
        Some(Self(FILL))
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Classify0 {
    minor: U16,
    major: U16,
}

impl Wire for Classify0 {
    type Value = Classify;
    const NAME: &'static str = "CLASSIFY";

    fn read(&self, _: &Context<'_>) -> Result<Option<Classify>, Refused> {
        Ok(Some(Classify {
            major: self.major.get(),
            minor: self.minor.get(),
        }))
    }

    fn write(value: &Classify, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            minor: value.minor.into(),
            major: value.major.into(),
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Dscp0(u8);

impl Wire for Dscp0 {
    type Value = Dscp;
    const NAME: &'static str = "DSCP";

    fn read(&self, _: &Context<'_>) -> Result<Option<Dscp>, Refused> {
        match self.0 {
            codepoint @ 0..=63 => Ok(Some(Dscp { codepoint })),
            _ => Err(Refused("a codepoint above 63")),
        }
    }

    fn write(value: &Dscp, _: &Context<'_>) -> Option<Self> {
        Some(Self(value.codepoint))
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tcpmss0(U16);

/// `XT_TCPMSS_CLAMP_PMTU`
const CLAMP: u16 = 0xffff;

impl Wire for Tcpmss0 {
    type Value = Tcpmss;
    const NAME: &'static str = "TCPMSS";
    const PROTOCOLS: &'static [u8] = &[6];

    fn read(&self, _: &Context<'_>) -> Result<Option<Tcpmss>, Refused> {
        Ok(Some(match self.0.get() {
            CLAMP => Tcpmss::ClampToPmtu,
            mss => Tcpmss::Set(mss),
        }))
    }

    fn write(value: &Tcpmss, _: &Context<'_>) -> Option<Self> {
        let mss = match value {
            Tcpmss::ClampToPmtu => CLAMP,
            Tcpmss::Set(mss) => *mss,
        };
        Some(Self(mss.into()))
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tos1 {
    value: u8,
    mask: u8,
}

impl Wire for Tos1 {
    type Value = Tos;
    const NAME: &'static str = "TOS";
    const REVISION: u8 = 1;

    fn read(&self, _: &Context<'_>) -> Result<Option<Tos>, Refused> {
        let change = TosMask {
            value: self.value,
            mask: self.mask,
        };
        Ok(Some(Tos { change }))
    }

    fn write(value: &Tos, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            value: value.change.value,
            mask: value.change.mask,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Trace0([u8; 0]);

impl Wire for Trace0 {
    type Value = Trace;
    const NAME: &'static str = "TRACE";

    fn read(&self, _: &Context<'_>) -> Result<Option<Trace>, Refused> {
        Ok(Some(Trace))
    }

    fn write(_: &Trace, _: &Context<'_>) -> Option<Self> {
        Some(Self([]))
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ttl0 {
    mode: u8,
    limit: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Hl0(Ttl0);

/// `IPT_TTL_SET`, `IP6T_HL_SET`
const SET: u8 = 0;
/// `IPT_TTL_INC`, `IP6T_HL_INC`
const INCREMENT: u8 = 1;
/// `IPT_TTL_DEC`, `IP6T_HL_DEC`
const DECREMENT: u8 = 2;

impl Ttl0 {
    fn read_change(&self) -> Result<HopLimit, Refused> {
        match (self.mode, self.limit) {
            (SET, limit) => Ok(HopLimit::Set(limit)),
            (INCREMENT | DECREMENT, 0) => Err(Refused("a change by nothing")),
            (INCREMENT, limit) => Ok(HopLimit::Increment(limit)),
            (DECREMENT, limit) => Ok(HopLimit::Decrement(limit)),
            _ => Err(Refused("an unknown mode")),
        }
    }

    fn write_change(change: HopLimit) -> Self {
        let (mode, limit) = match change {
            HopLimit::Set(limit) => (SET, limit),
            HopLimit::Increment(limit) => (INCREMENT, limit),
            HopLimit::Decrement(limit) => (DECREMENT, limit),
        };
        Self { mode, limit }
    }
}

impl Wire for Ttl0 {
    type Value = Ttl;
    const NAME: &'static str = "TTL";
    const FAMILY: Option<Family> = Some(Family::V4);

    fn read(&self, _: &Context<'_>) -> Result<Option<Ttl>, Refused> {
        self.read_change().map(|change| Some(Ttl { change }))
    }

    fn write(value: &Ttl, _: &Context<'_>) -> Option<Self> {
        Some(Self::write_change(value.change))
    }
}

impl Wire for Hl0 {
    type Value = Hl;
    const NAME: &'static str = "HL";
    const FAMILY: Option<Family> = Some(Family::V6);

    fn read(&self, _: &Context<'_>) -> Result<Option<Hl>, Refused> {
        self.0.read_change().map(|change| Some(Hl { change }))
    }

    fn write(value: &Hl, _: &Context<'_>) -> Option<Self> {
        Some(Self(Ttl0::write_change(value.change)))
    }
}
