//! `struct xt_policy_info` (netfilter/xt_policy.h).

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::blob::layout::{InetAddress, read_network, tidy_network, write_network};
use crate::matches::policy::{Direction, Element, Mode, Policy, PolicyKind, Protocol};
use crate::prefix::Prefix;
use crate::ruleset::Negatable;

/// `XT_POLICY_MAX_ELEM`
const SLOTS: usize = 4;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Policy0 {
    elements: [WireElement; SLOTS],
    flags: U16,
    count: U16,
}

/// `struct xt_policy_elem`
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
struct WireElement {
    source: [InetAddress; 2],
    destination: [InetAddress; 2],
    /// As the tool writes it: in host order, though the kernel compares it with the one of the
    /// transformation, which is in network order (xt_policy.c, `match_xfrm_state`).
    spi: U32,
    request_id: U32,
    protocol: u8,
    mode: u8,
    tests: u8,
    inverted: u8,
}

/// `XT_POLICY_MATCH_IN`
const IN: u16 = 0x1;
/// `XT_POLICY_MATCH_OUT`
const OUT: u16 = 0x2;
/// `XT_POLICY_MATCH_NONE`
const NONE: u16 = 0x4;
/// `XT_POLICY_MATCH_STRICT`
const STRICT: u16 = 0x8;

/// The bits of `struct xt_policy_spec`, from the least.
const SOURCE: u8 = 1 << 0;
const DESTINATION: u8 = 1 << 1;
const PROTOCOL: u8 = 1 << 2;
const MODE: u8 = 1 << 3;
const SPI: u8 = 1 << 4;
const REQUEST_ID: u8 = 1 << 5;

/// IANA protocol numbers.
const PROTOCOLS: [(u8, Protocol); 3] = [
    (50, Protocol::Esp),
    (51, Protocol::Ah),
    (108, Protocol::Ipcomp),
];
/// `XT_POLICY_MODE_TRANSPORT` and `XT_POLICY_MODE_TUNNEL`
const MODES: [(u8, Mode); 2] = [(0, Mode::Transport), (1, Mode::Tunnel)];

impl Wire for Policy0 {
    type Value = Policy;
    const NAME: &'static str = "policy";

    fn read(&self, context: &Context<'_>) -> Result<Option<Policy>, Refused> {
        let flags = self.flags.get();
        let direction = match flags & (IN | OUT) {
            0 => return Err(Refused("no direction")),
            IN => Direction::In,
            OUT => Direction::Out,
            _ => return Ok(None),
        };
        let elements = self.elements.get(..usize::from(self.count.get()));
        let elements = elements.ok_or(Refused("too many elements"))?;
        let elements = elements.iter().map(|it| it.read(context));
        let Some(mut elements) = elements.collect::<Option<Vec<Element>>>() else {
            return Ok(None);
        };
        let kind = match (flags & (NONE | STRICT), elements.len()) {
            (NONE, 0) => PolicyKind::None,
            (STRICT, 1..) => PolicyKind::Strict(elements),
            (0, 1) => match elements.pop() {
                Some(element) => PolicyKind::Ipsec(element),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        Ok(Some(Policy { direction, kind }))
    }

    fn write(value: &Policy, _: &Context<'_>) -> Option<Self> {
        let direction = match value.direction {
            Direction::In => IN,
            Direction::Out => OUT,
        };
        let (kind, elements) = match &value.kind {
            PolicyKind::None => (NONE, &[][..]),
            PolicyKind::Ipsec(element) => (0, std::slice::from_ref(element)),
            PolicyKind::Strict(elements) => (STRICT, elements.as_slice()),
        };
        let mut wire = Self {
            flags: (direction | kind).into(),
            count: u16::try_from(elements.len()).ok()?.into(),
            ..Self::new_zeroed()
        };
        for (at, element) in elements.iter().enumerate() {
            *wire.elements.get_mut(at)? = WireElement::write(element)?;
        }
        Some(wire)
    }

    fn tidied(mut self, context: &Context<'_>) -> Self {
        for element in &mut self.elements {
            tidy_network(context.family, &mut element.source);
            tidy_network(context.family, &mut element.destination);
        }
        self
    }
}

impl WireElement {
    fn read(&self, context: &Context<'_>) -> Option<Element> {
        let has = |bit| self.tests & bit != 0;
        let is_inverted = |bit| self.inverted & bit != 0;
        let endpoint = |network: &[InetAddress; 2], bit| match has(bit) {
            false => Some(None),
            true => Some(Some(test(
                is_inverted(bit),
                read_network(context.family, network)?,
            ))),
        };
        let protocol = PROTOCOLS.iter().find(|row| row.0 == self.protocol);
        let mode = MODES.iter().find(|row| row.0 == self.mode);
        Some(Element {
            request_id: has(REQUEST_ID)
                .then(|| test(is_inverted(REQUEST_ID), self.request_id.get())),
            spi: has(SPI).then(|| test(is_inverted(SPI), self.spi.get())),
            protocol: match has(PROTOCOL) {
                true => Some(test(is_inverted(PROTOCOL), protocol?.1)),
                false => None,
            },
            mode: match has(MODE) {
                true => Some(test(is_inverted(MODE), mode?.1)),
                false => None,
            },
            tunnel_destination: endpoint(&self.destination, DESTINATION)?,
            tunnel_source: endpoint(&self.source, SOURCE)?,
        })
    }

    fn write(element: &Element) -> Option<Self> {
        let endpoint = |endpoint: &Option<Negatable<Prefix>>| match endpoint {
            None => Default::default(),
            Some(endpoint) => write_network(endpoint.value.value),
        };
        let protocol = match &element.protocol {
            None => 0,
            Some(it) => PROTOCOLS.iter().find(|row| row.1 == it.value.value)?.0,
        };
        let mode = match &element.mode {
            None => 0,
            Some(it) => MODES.iter().find(|row| row.1 == it.value.value)?.0,
        };
        Some(Self {
            source: endpoint(&element.tunnel_source),
            destination: endpoint(&element.tunnel_destination),
            spi: element.spi.as_ref().map_or(0, |it| it.value.value).into(),
            request_id: element
                .request_id
                .as_ref()
                .map_or(0, |it| it.value.value)
                .into(),
            protocol,
            mode,
            tests: flag(element.tunnel_source.is_some(), SOURCE)
                | flag(element.tunnel_destination.is_some(), DESTINATION)
                | flag(element.protocol.is_some(), PROTOCOL)
                | flag(element.mode.is_some(), MODE)
                | flag(element.spi.is_some(), SPI)
                | flag(element.request_id.is_some(), REQUEST_ID),
            inverted: inversion(&element.tunnel_source, SOURCE)
                | inversion(&element.tunnel_destination, DESTINATION)
                | inversion(&element.protocol, PROTOCOL)
                | inversion(&element.mode, MODE)
                | inversion(&element.spi, SPI)
                | inversion(&element.request_id, REQUEST_ID),
        })
    }
}
