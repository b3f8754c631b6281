//! Names that a system has beside the built-in ones: protocols(5), services(5), passwd(5), group(5).

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use crate::names;

/// Names of protocols, services, users and groups, which stand for numbers. A name that is not among
/// these may still be a built-in one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    protocols: HashMap<BString, u8>,
    /// Ports by name and protocol.
    services: HashMap<(BString, u8), u16>,
    users: HashMap<BString, u32>,
    groups: HashMap<BString, u32>,
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

    /// The number of a user.
    pub(crate) fn user(&self, name: &[u8]) -> Option<u32> {
        account(&self.users, name)
    }

    /// The number of a group.
    pub(crate) fn group(&self, name: &[u8]) -> Option<u32> {
        account(&self.groups, name)
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
fn add_accounts(accounts: &mut HashMap<BString, u32>, text: &[u8]) {
    for line in text.lines() {
        let fields: Vec<&[u8]> = line.splitn_str(4, ":").collect();
        let [name, _, number, _] = fields.as_slice() else {
            continue;
        };
        let number = number.to_str().ok().and_then(|it| it.parse().ok());
        let is_name = !name.is_empty() && !name.starts_with(b"#");
        if let Some(number) = number.filter(|&number| is_name && number != u32::MAX) {
            accounts.entry(BString::from(*name)).or_insert(number);
        }
    }
}

fn account(accounts: &HashMap<BString, u32>, name: &[u8]) -> Option<u32> {
    let own = accounts.get(name.as_bstr()).copied();
    own.or_else(|| (name == b"root").then_some(ROOT))
}

/// The fields of a line, without its comment.
fn fields(line: &[u8]) -> Vec<&[u8]> {
    let text = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    text.fields_with(|c| c.is_ascii_whitespace()).collect()
}
