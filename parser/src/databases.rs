//! Names that a system has beside the built-in ones: protocols(5), services(5), passwd(5), group(5),
//! networks(5).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use bstr::{BString, ByteSlice};

use crate::names;
use crate::value;

/// Names of protocols, services, users, groups and networks, which stand for numbers. A name that is not among
/// these may still be a built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    protocols: HashMap<BString, u8>,
    /// Ports by name and protocol.
    services: HashMap<(BString, u8), u16>,
    /// The first name of each port and protocol.
    ports: HashMap<(u16, u8), BString>,
    networks: HashMap<Ipv4Addr, BString>,
    users: Accounts,
    groups: Accounts,
}

/// Users or groups by name, and the first name of each number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Accounts {
    numbers: HashMap<BString, u32>,
    names: HashMap<u32, BString>,
}

/// The user and the group that every system calls `root`.
const ROOT: u32 = 0;

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
            self.ports
                .entry((port, protocol))
                .or_insert_with(|| BString::from(*name));
            for name in [name].into_iter().chain(aliases) {
                self.services
                    .entry((BString::from(*name), protocol))
                    .or_insert(port);
            }
        }
    }

    /// Takes the names from a text in the form of /etc/passwd. The first use of a name counts. Lines of
    /// another form are left out.
    pub fn add_users(&mut self, text: &[u8]) {
        add_accounts(&mut self.users, text);
    }

    /// Takes the names from a text in the form of /etc/group, as [`Names::add_users`] does.
    pub fn add_groups(&mut self, text: &[u8]) {
        add_accounts(&mut self.groups, text);
    }

    /// Takes the names from a text in the form of /etc/networks. The first name of a network counts. Lines
    /// of another form are left out.
    pub fn add_networks(&mut self, text: &[u8]) {
        for fields in text.lines().map(fields) {
            let [name, network, ..] = fields.as_slice() else {
                continue;
            };
            if let Ok(network) = value::numeric_v4(network) {
                self.networks
                    .entry(network)
                    .or_insert_with(|| BString::from(*name));
            }
        }
    }

    /// The name of a network of IPv4.
    pub(crate) fn network(&self, address: IpAddr) -> Option<String> {
        match address {
            IpAddr::V4(address) => self.networks.get(&address).map(BString::to_string),
            IpAddr::V6(_) => None,
        }
    }

    /// The name of the service at a port: the system's, or a built-in one where the system names none at all.
    pub(crate) fn service_at(&self, port: u16, protocol: u8) -> Option<String> {
        match self.ports.is_empty() {
            true => names::service_at(port, protocol).map(str::to_owned),
            false => self.ports.get(&(port, protocol)).map(BString::to_string),
        }
    }

    /// The number of a user.
    pub(crate) fn user(&self, name: &[u8]) -> Option<u32> {
        account(&self.users, name)
    }

    /// The number of a group.
    pub(crate) fn group(&self, name: &[u8]) -> Option<u32> {
        account(&self.groups, name)
    }

    /// The name of a user.
    pub(crate) fn user_name(&self, number: u32) -> Option<String> {
        self.users.names.get(&number).map(BString::to_string)
    }

    /// The name of a group.
    pub(crate) fn group_name(&self, number: u32) -> Option<String> {
        self.groups.names.get(&number).map(BString::to_string)
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

/// The names and numbers in lines of the form `name:password:number:...`. The greatest number of 32
/// bits stands for nobody, and the kernel refuses it.
fn add_accounts(accounts: &mut Accounts, text: &[u8]) {
    for line in text.lines() {
        let fields: Vec<&[u8]> = line.splitn_str(4, ":").collect();
        let [name, _, number, _] = fields.as_slice() else {
            continue;
        };
        let number = number.to_str().ok().and_then(|it| it.parse().ok());
        let is_name = !name.is_empty() && !name.starts_with(b"#");
        if let Some(number) = number.filter(|&number| is_name && number != u32::MAX) {
            let name = BString::from(*name);
            accounts.names.entry(number).or_insert_with(|| name.clone());
            accounts.numbers.entry(name).or_insert(number);
        }
    }
}

fn account(accounts: &Accounts, name: &[u8]) -> Option<u32> {
    let own = accounts.numbers.get(name.as_bstr()).copied();
    own.or_else(|| (name == b"root").then_some(ROOT))
}

/// The fields of a line, without its comment.
fn fields(line: &[u8]) -> Vec<&[u8]> {
    let text = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    text.fields_with(|c| c.is_ascii_whitespace()).collect()
}
