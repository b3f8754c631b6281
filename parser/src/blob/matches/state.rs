//! `struct xt_state_info` (netfilter/xt_state.h) of old tools. Those of today write `-m state` as
//! `conntrack` with a flag.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::conntrack::{read_states, write_states};
use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::conntrack::State;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct State0(U32);

impl Wire for State0 {
    type Value = State;
    const NAME: &'static str = "state";

    fn read(&self, _: &Context<'_>) -> Result<Option<State>, Refused> {
        let states = u16::try_from(self.0.get()).ok().and_then(read_states);
        Ok(states.map(|states| State {
            states: test(false, states),
        }))
    }

    fn write(value: &State, _: &Context<'_>) -> Option<Self> {
        // It knows no inversion: the tool wrote the other states instead.
        (!value.states.negated)
            .then(|| Self(u32::from(write_states(value.states.value.value)).into()))
    }
}
