//! `struct xt_conntrack_mtinfo3` (netfilter/xt_conntrack.h), which holds `-m state`, too.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::blob::layout::{InetAddress, read_network, tidy_network, write_network};
use crate::matches::PortRange;
use crate::matches::conntrack::{Conntrack, Direction, State, States, Statuses, Tuple};
use crate::range::Range;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Conntrack3 {
    /// Original source and destination, reply source and destination: each with its mask.
    addresses: [[InetAddress; 2]; 4],
    expires: [U32; 2],
    protocol: U16,
    /// The least ports, in the order of the addresses.
    ports_low: [U16; 4],
    tests: U16,
    inverted: U16,
    states: U16,
    statuses: U16,
    ports_high: [U16; 4],
    padding: [u8; 2],
}

/// The same struct as `-m state` fills it.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct State3(Conntrack3);

/// `XT_CONNTRACK_STATE`
const STATE: u16 = 1 << 0;
/// `XT_CONNTRACK_PROTO`
const PROTOCOL: u16 = 1 << 1;
/// `XT_CONNTRACK_ORIGSRC`, of which those of the other addresses are neighbours.
const ADDRESSES: [u16; 4] = [1 << 2, 1 << 3, 1 << 4, 1 << 5];
/// `XT_CONNTRACK_STATUS`
const STATUS: u16 = 1 << 6;
/// `XT_CONNTRACK_EXPIRES`
const EXPIRES: u16 = 1 << 7;
/// `XT_CONNTRACK_ORIGSRC_PORT`, of which those of the other ports are neighbours.
const PORTS: [u16; 4] = [1 << 8, 1 << 9, 1 << 10, 1 << 11];
/// `XT_CONNTRACK_DIRECTION`; inverted for the reply.
const DIRECTION: u16 = 1 << 12;
/// `XT_CONNTRACK_STATE_ALIAS`: written as `-m state`.
const STATE_ALIAS: u16 = 1 << 13;

impl Wire for Conntrack3 {
    type Value = Conntrack;
    const NAME: &'static str = "conntrack";
    const REVISION: u8 = 3;

    fn read(&self, context: &Context<'_>) -> Result<Option<Conntrack>, Refused> {
        let has = |bit| self.tests.get() & bit != 0;
        let is_inverted = |bit| self.inverted.get() & bit != 0;
        let protocol = u8::try_from(self.protocol.get()).ok();
        let (Some(states), Some(statuses), Some(protocol), Some(original), Some(reply)) = (
            read_states(self.states.get()),
            read_statuses(self.statuses.get()),
            protocol,
            self.read_tuple(0, context),
            self.read_tuple(2, context),
        ) else {
            return Ok(None);
        };
        let [low, high] = self.expires.map(|it| it.get());
        Ok(Some(Conntrack {
            states: has(STATE).then(|| test(is_inverted(STATE), states)),
            protocol: has(PROTOCOL).then(|| test(is_inverted(PROTOCOL), protocol)),
            original: Box::new(original),
            reply: Box::new(reply),
            statuses: has(STATUS).then(|| test(is_inverted(STATUS), statuses)),
            expiry: has(EXPIRES).then(|| test(is_inverted(EXPIRES), Range { low, high })),
            direction: has(DIRECTION).then_some(match is_inverted(DIRECTION) {
                false => Direction::Original,
                true => Direction::Reply,
            }),
        }))
    }

    fn write(value: &Conntrack, _: &Context<'_>) -> Option<Self> {
        let (original, reply) = (&value.original, &value.reply);
        let addresses = [
            &original.source,
            &original.destination,
            &reply.source,
            &reply.destination,
        ];
        let ports = [
            &original.source_ports,
            &original.destination_ports,
            &reply.source_ports,
            &reply.destination_ports,
        ];
        let address_bits = addresses.iter().zip(ADDRESSES);
        let port_bits = ports.iter().zip(PORTS);
        let tests = flag(value.states.is_some(), STATE)
            | flag(value.protocol.is_some(), PROTOCOL)
            | flag(value.statuses.is_some(), STATUS)
            | flag(value.expiry.is_some(), EXPIRES)
            | flag(value.direction.is_some(), DIRECTION)
            | address_bits
                .clone()
                .map(|(test, bit)| flag(test.is_some(), bit))
                .sum::<u16>()
            | port_bits
                .clone()
                .map(|(test, bit)| flag(test.is_some(), bit))
                .sum::<u16>();
        let inverted = inversion(&value.states, STATE)
            | inversion(&value.protocol, PROTOCOL)
            | inversion(&value.statuses, STATUS)
            | inversion(&value.expiry, EXPIRES)
            | flag(value.direction == Some(Direction::Reply), DIRECTION)
            | address_bits
                .map(|(test, bit)| inversion(test, bit))
                .sum::<u16>()
            | port_bits
                .map(|(test, bit)| inversion(test, bit))
                .sum::<u16>();
        let expiry = value.expiry.as_ref().map(|it| it.value.value);
        let ports = ports.map(|it| it.as_ref().map(|it| it.value.value));
        Some(Self {
            addresses: addresses.map(|it| match it {
                None => Default::default(),
                Some(network) => write_network(network.value.value),
            }),
            expires: expiry.map_or([0.into(); 2], |it| [it.low.into(), it.high.into()]),
            protocol: u16::from(value.protocol.as_ref().map_or(0, |it| it.value.value)).into(),
            ports_low: ports.map(|it| it.map_or(0, |it| it.low).into()),
            tests: tests.into(),
            inverted: inverted.into(),
            states: value
                .states
                .as_ref()
                .map_or(0, |it| write_states(it.value.value))
                .into(),
            statuses: value
                .statuses
                .as_ref()
                .map_or(0, |it| write_statuses(it.value.value))
                .into(),
            ports_high: ports.map(|it| it.map_or(0, |it| it.high).into()),
            padding: [0; 2],
        })
    }

    fn tidied(mut self, context: &Context<'_>) -> Self {
        for network in &mut self.addresses {
            tidy_network(context.family, network);
        }
        self
    }
}

impl Conntrack3 {
    /// The tests of the addresses and ports from this one on.
    fn read_tuple(&self, first: usize, context: &Context<'_>) -> Option<Tuple> {
        let has = |bit| self.tests.get() & bit != 0;
        let is_inverted = |bit| self.inverted.get() & bit != 0;
        let family = context.family;
        let address = |at: usize| {
            let bit = *ADDRESSES.get(at)?;
            if !has(bit) {
                return Some(None);
            }
            let prefix = read_network(family, self.addresses.get(at)?)?;
            Some(Some(test(is_inverted(bit), prefix)))
        };
        let ports = |at: usize| {
            let bit = *PORTS.get(at)?;
            let ports = PortRange {
                low: self.ports_low.get(at)?.get(),
                high: self.ports_high.get(at)?.get(),
            };
            Some(has(bit).then(|| test(is_inverted(bit), ports)))
        };
        Some(Tuple {
            source: address(first)?,
            destination: address(first + 1)?,
            source_ports: ports(first)?,
            destination_ports: ports(first + 1)?,
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
            inverted: flag(value.states.negated, STATE).into(),
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
    flag(states.invalid, 1 << 0)
        | flag(states.established, 1 << 1)
        | flag(states.related, 1 << 2)
        | flag(states.new, 1 << 3)
        | flag(states.snat, 1 << 6)
        | flag(states.dnat, 1 << 7)
        | flag(states.untracked, 1 << 8)
}

/// The statuses of a mask (`IPS_EXPECTED` and so on), none if it has other bits.
fn read_statuses(mask: u16) -> Option<Statuses> {
    let has = |bit: u16| mask & bit != 0;
    let statuses = Statuses {
        expected: has(1 << 0),
        seen_reply: has(1 << 1),
        assured: has(1 << 2),
        confirmed: has(1 << 3),
    };
    (write_statuses(statuses) == mask).then_some(statuses)
}

fn write_statuses(statuses: Statuses) -> u16 {
    flag(statuses.expected, 1 << 0)
        | flag(statuses.seen_reply, 1 << 1)
        | flag(statuses.assured, 1 << 2)
        | flag(statuses.confirmed, 1 << 3)
}
