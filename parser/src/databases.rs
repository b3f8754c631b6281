//! Names that a system has beside the built-in ones: protocols(5) and services(5).

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use crate::names;

/// Names of protocols and services, which stand for numbers. A name that is not among these may
/// still be a built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    protocols: HashMap<BString, u8>,
    /// Ports by name and protocol.
    services: HashMap<(BString, u8), u16>,
}

impl Names {
    /// Takes the names from a text in the form of /etc/protocols. The first use of a name counts.
    /// Lines of another form, and numbers above 255, are left out.
    pub fn add_protocols(&mut self, text: &[u8]) {
        for fields in text.lines().map(fields) {
            let [name, number, aliases @ ..] = fields.as_slice() else {
                continue;
            };
            let Some(number) = number.to_str().ok().and_then(|it| it.parse().ok()) else {
                continue;
            };
            for name in [name].into_iter().chain(aliases) {
                self.protocols.entry(BString::from(*name)).or_insert(number);
            }
        }
    }

    /// Takes the names from a text in the form of /etc/services. The first use of a name with a
    /// protocol counts. Lines of another form, and protocols without a name here, are left out.
    pub fn add_services(&mut self, text: &[u8]) {
        for fields in text.lines().map(fields) {
            let [name, port, aliases @ ..] = fields.as_slice() else {
                continue;
            };
            let Some((port, protocol)) = port.split_once_str("/") else {
                continue;
            };
            let port = port.to_str().ok().and_then(|it| it.parse().ok());
            let (Some(port), Some(protocol)) = (port, self.protocol(protocol)) else {
                continue;
            };
            for name in [name].into_iter().chain(aliases) {
                self.services
                    .entry((BString::from(*name), protocol))
                    .or_insert(port);
            }
        }
    }

    /// The number of a protocol.
    pub(crate) fn protocol(&self, name: &[u8]) -> Option<u8> {
        let own = self.protocols.get(name.as_bstr()).copied();
        own.or_else(|| names::protocol_number(name))
    }

    /// The port of a service that runs over a protocol.
    pub(crate) fn service_of(&self, name: &[u8], protocol: u8) -> Option<u16> {
        self.own_service(name, protocol)
            .or_else(|| names::service_of(name, protocol))
    }

    /// The port of a service over whichever protocol, as the resolver finds it.
    pub(crate) fn service(&self, name: &[u8]) -> Option<u16> {
        names::RESOLVED
            .iter()
            .find_map(|&protocol| self.own_service(name, protocol))
            .or_else(|| names::service(name))
    }

    fn own_service(&self, name: &[u8], protocol: u8) -> Option<u16> {
        let key = (BString::from(name), protocol);
        self.services.get(&key).copied()
    }
}

/// The fields of a line, without its comment.
fn fields(line: &[u8]) -> Vec<&[u8]> {
    let text = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    text.fields_with(|c| c.is_ascii_whitespace()).collect()
}
