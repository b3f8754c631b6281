//! `struct xt_tcpmss_match_info` (netfilter/xt_tcpmss.h).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::tcpmss::Tcpmss;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tcpmss0 {
    low: U16,
    high: U16,
    inverted: u8,
    padding: u8,
}

impl Wire for Tcpmss0 {
    type Value = Tcpmss;
    const NAME: &'static str = "tcpmss";
    const PROTOCOLS: &'static [u8] = &[6];

    fn read(&self, _: &Context<'_>) -> Result<Option<Tcpmss>, Refused> {
        let range = self.low.get()..=self.high.get();
        Ok((!range.is_empty()).then(|| Tcpmss {
            mss: test(self.inverted != 0, range),
        }))
    }

    fn write(value: &Tcpmss, _: &Context<'_>) -> Option<Self> {
        let range = &value.mss.value.value;
        Some(Self {
            low: (*range.start()).into(),
            high: (*range.end()).into(),
            inverted: value.mss.negated.into(),
            padding: 0,
        })
    }
}
