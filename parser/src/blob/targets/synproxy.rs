//! `struct nf_synproxy_info` (netfilter/nf_synproxy.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::targets::synproxy::Synproxy;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Synproxy0 {
    options: u8,
    window_scale: u8,
    mss: U16,
}

/// `NF_SYNPROXY_OPT_MSS`
const MSS: u8 = 0x01;
/// `NF_SYNPROXY_OPT_WSCALE`
const WINDOW_SCALE: u8 = 0x02;
/// `NF_SYNPROXY_OPT_SACK_PERM`
const SACK: u8 = 0x04;
/// `NF_SYNPROXY_OPT_TIMESTAMP`
const TIMESTAMP: u8 = 0x08;
/// `NF_SYNPROXY_OPT_ECN`
const ECN: u8 = 0x10;

impl Wire for Synproxy0 {
    type Value = Synproxy;
    const NAME: &'static str = "SYNPROXY";
    const PROTOCOLS: &'static [u8] = &[6];

    fn read(&self, _: &Context<'_>) -> Result<Option<Synproxy>, Refused> {
        let has = |option| self.options & option != 0;
        Ok(Some(Synproxy {
            sack: has(SACK),
            timestamp: has(TIMESTAMP),
            window_scale: has(WINDOW_SCALE).then_some(self.window_scale),
            mss: has(MSS).then_some(self.mss.get()),
            ecn: has(ECN),
        }))
    }

    fn write(value: &Synproxy, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            options: flag(value.sack, SACK)
                | flag(value.timestamp, TIMESTAMP)
                | flag(value.window_scale.is_some(), WINDOW_SCALE)
                | flag(value.mss.is_some(), MSS)
                | flag(value.ecn, ECN),
            window_scale: value.window_scale.unwrap_or_default(),
            mss: value.mss.unwrap_or_default().into(),
        })
    }
}
