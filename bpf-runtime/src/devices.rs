//! The interfaces of a network namespace, for programs that know them by name.

use std::fs;
use std::os::fd::AsFd;

use ipt2bpf_codegen::module::DEVICES_MAP;
use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice};

use crate::error::{Error, Step};
use crate::maps::Maps;
use crate::sys::hardware_kind;

/// The interfaces of the calling thread's network namespace. `/sys/class/net` would show those of the
/// namespace that sysfs was mounted in.
const INTERFACE_LIST: &str = "/proc/thread-self/net/dev";

/// The size of a name with its NUL (`IFNAMSIZ`).
const NAME_SIZE: usize = 16;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index, unique in its network namespace.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// All interfaces of the network namespace of the calling thread.
///
/// # Errors
/// [`Error::Io`] when `/proc` is not there.
pub fn interfaces() -> Result<Vec<Interface>, Error> {
    let text = fs::read(INTERFACE_LIST).map_err(Error::io(INTERFACE_LIST))?;
    let text = String::from_utf8_lossy(&text);
    // Two lines of headings, then `NAME: numbers`; a name holds neither a colon nor space
    // (net/core/dev.c, `dev_valid_name`). Interfaces that vanish in between are left out.
    Ok(text
        .lines()
        .skip(2)
        .filter_map(|line| line.split_once(':'))
        .filter_map(|(name, _)| index_of(name.trim()))
        .collect())
}

/// The interface of a name in the network namespace of the calling thread.
///
/// # Errors
/// [`Error::NoInterface`] when there is none.
pub(crate) fn interface(name: &str) -> Result<Interface, Error> {
    index_of(name).ok_or_else(|| Error::NoInterface {
        name: name.to_owned(),
    })
}

/// The name of an interface in the network namespace of the calling thread.
pub(crate) fn name_of(index: u32) -> Option<String> {
    netdevice::index_to_name(control_socket()?, index).ok()
}

fn index_of(name: &str) -> Option<Interface> {
    let index = netdevice::name_to_index(control_socket()?, name).ok()?;
    Some(Interface {
        index,
        name: name.to_owned(),
    })
}

/// What lies in front of an interface's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLayer {
    /// It is an Ethernet interface.
    Ethernet,
    /// It is a loopback interface, whose packets have an Ethernet header, too.
    Loopback,
    /// It is none of these.
    Other,
}

/// The link layer of an interface of the calling thread's network namespace; none when there is no such
/// interface.
pub fn link_layer(name: &str) -> Option<LinkLayer> {
    const ARPHRD_ETHER: u16 = 1;
    const ARPHRD_LOOPBACK: u16 = 772;
    Some(match hardware_kind(control_socket()?.as_fd(), name)? {
        ARPHRD_ETHER => LinkLayer::Ethernet,
        ARPHRD_LOOPBACK => LinkLayer::Loopback,
        _ => LinkLayer::Other,
    })
}

/// A socket to ask about interfaces.
fn control_socket() -> Option<rustix::fd::OwnedFd> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .ok()
}

impl Maps {
    /// Whether the programs want to be told the names of interfaces.
    pub fn wants_devices(&self) -> bool {
        self.get(DEVICES_MAP).is_ok()
    }

    /// Tells the programs the interfaces of the calling thread's network namespace. Does nothing where
    /// they do not ask ([`Maps::wants_devices`]).
    ///
    /// # Errors
    /// As [`Maps::set_devices`].
    pub fn fill_devices(&self) -> Result<(), Error> {
        if !self.wants_devices() {
            return Ok(());
        }
        self.set_devices(&interfaces()?)
    }

    /// Makes the programs know exactly these interfaces.
    ///
    /// # Errors
    /// [`Error::NoMap`] where the programs do not ask for interfaces, [`Error::MapTooSmall`] when there
    /// are too many, [`Error::Refused`].
    pub fn set_devices(&self, interfaces: &[Interface]) -> Result<(), Error> {
        let map = self.get(DEVICES_MAP)?;
        if map.key_size != 4 || map.value_size != NAME_SIZE {
            return Err(Error::NoMap { name: DEVICES_MAP });
        }
        if interfaces.len() > map.max_entries as usize {
            return Err(Error::MapTooSmall {
                name: DEVICES_MAP,
                wanted: interfaces.len(),
                room: map.max_entries,
            });
        }
        let refused = || Error::refused(Step::WriteMap(DEVICES_MAP.to_owned()));
        // Those that are gone make room first; those that stay are never missing.
        for key in map_keys(map)? {
            if !interfaces.iter().any(|i| i.index.to_ne_bytes()[..] == key) {
                map.delete(&key).map_err(refused())?;
            }
        }
        for interface in interfaces {
            let mut name = [0; NAME_SIZE];
            for (to, from) in name
                .iter_mut()
                .zip(interface.name.bytes().take(NAME_SIZE - 1))
            {
                *to = from;
            }
            map.update(&interface.index.to_ne_bytes(), &name)
                .map_err(refused())?;
        }
        Ok(())
    }
}

pub(crate) fn map_keys(map: &crate::sys::Map) -> Result<Vec<Vec<u8>>, Error> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    while let Some(key) = map
        .next_key(keys.last().map(Vec::as_slice))
        .map_err(Error::refused(Step::ReadMap(map.name.clone())))?
    {
        keys.push(key);
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_the_first_of_every_namespace() {
        let loopback = Interface {
            index: 1,
            name: "lo".to_owned(),
        };
        assert!(interfaces().unwrap().contains(&loopback));
        assert_eq!(interface("lo").unwrap(), loopback);
        assert_eq!(name_of(1).as_deref(), Some("lo"));
        assert_eq!(link_layer("lo"), Some(LinkLayer::Loopback));
        assert_eq!(link_layer("no-such-if"), None);
    }

    #[test]
    fn unknown_names_are_told() {
        let error = interface("no-such-if").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no network interface no-such-if"
        );
    }
}
