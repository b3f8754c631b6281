//! `struct xt_conntrack_mtinfo3` (netfilter/xt_conntrack.h), which holds `-m state`, too.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, test};
use crate::matches::conntrack::{Conntrack, State, States};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Conntrack3 {
    /// Original source and destination, reply source and destination: each with its mask.
    addresses: [[[u8; 16]; 2]; 4],
    expires: [U32; 2],
    protocol: U16,
    /// The least ports, in the order of the addresses.
    ports_low: [U16; 4],
    tests: U16,
    inverted: U16,
    states: U16,
    status: U16,
    ports_high: [U16; 4],
    padding: [u8; 2],
}

/// The same struct as `-m state` fills it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct State3(Conntrack3);

/// `XT_CONNTRACK_STATE`
const STATE: u16 = 1 << 0;
/// `XT_CONNTRACK_STATE_ALIAS`: written as `-m state`.
const STATE_ALIAS: u16 = 1 << 13;

impl Wire for Conntrack3 {
    type Value = Conntrack;
    const NAME: &'static str = "conntrack";
    const REVISION: u8 = 3;

    fn read(&self, _: &Context<'_>) -> Result<Option<Conntrack>, Refused> {
        let is_inverted = self.inverted.get() & STATE != 0;
        let states = read_states(self.states.get());
        Ok(states.map(|states| Conntrack {
            states: test(is_inverted, states),
        }))
    }

    fn write(value: &Conntrack, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            tests: STATE.into(),
            inverted: if value.states.negated { STATE } else { 0 }.into(),
            states: write_states(value.states.value.value).into(),
            ..Self::new_zeroed()
        })
    }
}

impl Wire for State3 {
    type Value = State;
    const NAME: &'static str = "conntrack";
    const REVISION: u8 = 3;

    fn read(&self, _: &Context<'_>) -> Result<Option<State>, Refused> {
        let is_inverted = self.0.inverted.get() & STATE != 0;
        let states = read_states(self.0.states.get());
        Ok(states.map(|states| State {
            states: test(is_inverted, states),
        }))
    }

    fn write(value: &State, _: &Context<'_>) -> Option<Self> {
        Some(Self(Conntrack3 {
            tests: (STATE | STATE_ALIAS).into(),
            inverted: if value.states.negated { STATE } else { 0 }.into(),
            states: write_states(value.states.value.value).into(),
            ..Conntrack3::new_zeroed()
        }))
    }
}

/// The states of a mask (`XT_CONNTRACK_STATE_BIT`), none if it has other bits.
pub(super) fn read_states(mask: u16) -> Option<States> {
    let has = |bit: u16| mask & bit != 0;
    let states = States {
        invalid: has(1 << 0),
        established: has(1 << 1),
        related: has(1 << 2),
        new: has(1 << 3),
        snat: has(1 << 6),
        dnat: has(1 << 7),
        untracked: has(1 << 8),
    };
    (write_states(states) == mask).then_some(states)
}

/// The mask of states.
pub(super) fn write_states(states: States) -> u16 {
    u16::from(states.invalid)
        | u16::from(states.established) << 1
        | u16::from(states.related) << 2
        | u16::from(states.new) << 3
        | u16::from(states.snat) << 6
        | u16::from(states.dnat) << 7
        | u16::from(states.untracked) << 8
}
