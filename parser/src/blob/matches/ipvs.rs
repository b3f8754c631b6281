//! `struct xt_ipvs_mtinfo` (netfilter/xt_ipvs.h).

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag, inversion, test};
use crate::blob::layout::{InetAddress, read_network, tidy_network, write_network};
use crate::matches::ipvs::{Direction, Ipvs, Method, Service};

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Ipvs0 {
    /// The virtual address and its mask.
    address: [InetAddress; 2],
    port: U16,
    protocol: u8,
    method: u8,
    control_port: U16,
    inverted: u8,
    tests: u8,
}

/// `XT_IPVS_IPVS_PROPERTY`, which all the others bring along.
const PROPERTY: u8 = 1 << 0;
/// `XT_IPVS_PROTO`
const PROTOCOL: u8 = 1 << 1;
/// `XT_IPVS_VADDR`
const ADDRESS: u8 = 1 << 2;
/// `XT_IPVS_VPORT`
const PORT: u8 = 1 << 3;
/// `XT_IPVS_DIR`; inverted for the way back.
const DIRECTION: u8 = 1 << 4;
/// `XT_IPVS_METHOD`
const METHOD: u8 = 1 << 5;
/// `XT_IPVS_VPORTCTL`
const CONTROL_PORT: u8 = 1 << 6;

impl Wire for Ipvs0 {
    type Value = Ipvs;
    const NAME: &'static str = "ipvs";
    const REVISION: u8 = 0;

    fn read(&self, context: &Context<'_>) -> Result<Option<Ipvs>, Refused> {
        let has = |bit| self.tests & bit != 0;
        let is_inverted = |bit| self.inverted & bit != 0;
        if self.tests == PROPERTY {
            return Ok(Some(Ipvs::Any(test(is_inverted(PROPERTY), ()))));
        }
        let address = match has(ADDRESS) {
            false => None,
            true => match read_network(context.family, &self.address) {
                None => return Ok(None),
                Some(address) => Some(test(is_inverted(ADDRESS), address)),
            },
        };
        let method = match (has(METHOD), read_method(self.method)) {
            (false, _) => None,
            (true, None) => return Ok(None),
            (true, Some(method)) => Some(test(is_inverted(METHOD), method)),
        };
        Ok(Some(Ipvs::Service(Box::new(Service {
            protocol: has(PROTOCOL).then(|| test(is_inverted(PROTOCOL), self.protocol)),
            address,
            port: has(PORT).then(|| test(is_inverted(PORT), self.port.get())),
            direction: has(DIRECTION).then_some(match is_inverted(DIRECTION) {
                false => Direction::Original,
                true => Direction::Reply,
            }),
            method,
            control_port: has(CONTROL_PORT)
                .then(|| test(is_inverted(CONTROL_PORT), self.control_port.get())),
        }))))
    }

    fn write(value: &Ipvs, _: &Context<'_>) -> Option<Self> {
        let service = match value {
            Ipvs::Service(service) => service,
            Ipvs::Any(any) => {
                return Some(Self {
                    address: Default::default(),
                    port: 0.into(),
                    protocol: 0,
                    method: 0,
                    control_port: 0.into(),
                    inverted: flag(any.negated, PROPERTY),
                    tests: PROPERTY,
                });
            }
        };
        let Service {
            protocol,
            address,
            port,
            direction,
            method,
            control_port,
        } = service.as_ref();
        let tests = flag(protocol.is_some(), PROTOCOL)
            | flag(address.is_some(), ADDRESS)
            | flag(port.is_some(), PORT)
            | flag(direction.is_some(), DIRECTION)
            | flag(method.is_some(), METHOD)
            | flag(control_port.is_some(), CONTROL_PORT);
        // Without a test there is no such rule.
        (tests != 0).then(|| Self {
            address: address
                .as_ref()
                .map_or_else(Default::default, |it| write_network(it.value.value)),
            port: port.as_ref().map_or(0, |it| it.value.value).into(),
            protocol: protocol.as_ref().map_or(0, |it| it.value.value),
            method: method.as_ref().map_or(0, |it| write_method(it.value.value)),
            control_port: control_port.as_ref().map_or(0, |it| it.value.value).into(),
            inverted: inversion(protocol, PROTOCOL)
                | inversion(address, ADDRESS)
                | inversion(port, PORT)
                | flag(*direction == Some(Direction::Reply), DIRECTION)
                | inversion(method, METHOD)
                | inversion(control_port, CONTROL_PORT),
            tests: tests | PROPERTY,
        })
    }

    fn tidied(mut self, context: &Context<'_>) -> Self {
        tidy_network(context.family, &mut self.address);
        self
    }
}

/// `IP_VS_CONN_F_MASQ`, `IP_VS_CONN_F_TUNNEL`, `IP_VS_CONN_F_DROUTE` (linux/ip_vs.h).
fn read_method(method: u8) -> Option<Method> {
    Some(match method {
        0 => Method::Masq,
        2 => Method::Ipip,
        3 => Method::Gate,
        _ => return None,
    })
}

fn write_method(method: Method) -> u8 {
    match method {
        Method::Masq => 0,
        Method::Ipip => 2,
        Method::Gate => 3,
    }
}
