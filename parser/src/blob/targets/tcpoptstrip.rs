//! `struct xt_tcpoptstrip_target_info` (netfilter/xt_TCPOPTSTRIP.h).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire};
use crate::targets::tcpoptstrip::Tcpoptstrip;

/// A bit for each kind of option.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Tcpoptstrip0([U32; 8]);

impl Wire for Tcpoptstrip0 {
    type Value = Tcpoptstrip;
    const NAME: &'static str = "TCPOPTSTRIP";
    const PROTOCOLS: &'static [u8] = &[6];

    fn read(&self, _: &Context<'_>) -> Result<Option<Tcpoptstrip>, Refused> {
        let has = |kind: &u8| {
            let word = self.0.get(usize::from(kind / 32)).map_or(0, |it| it.get());
            word >> (kind % 32) & 1 != 0
        };
        Ok(Some(Tcpoptstrip {
            options: (0..=u8::MAX).filter(has).collect(),
        }))
    }

    fn write(value: &Tcpoptstrip, _: &Context<'_>) -> Option<Self> {
        let mut words = [U32::new(0); 8];
        for kind in &value.options {
            let word = words.get_mut(usize::from(kind / 32))?;
            *word = (word.get() | 1 << (kind % 32)).into();
        }
        Some(Self(words))
    }
}
