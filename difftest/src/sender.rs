//! Raw sockets: the packets that the host itself sends, header and all.

use std::collections::HashMap;
use std::ffi::OsString;
use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use ipt2bpf_parser::ruleset::Family;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, bind,
    sendto, setsockopt, socket, sockopt,
};

use crate::frame::{Frame, HOST_SOURCE};

/// The mark (`SO_MARK`) of the packets sent here, by which they differ from those that the kernel sends
/// by itself.
pub const MARK: u32 = 1;

/// The address of the IPv6 sockets: without one, routing refuses destinations that it knows no source
/// for. It stands in no packet.
const SOURCE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// What the kernel does with a frame that is given to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It took it; what became of it, the taps tell.
    Taken,
    /// It gave the sender an error before any table: for a broken header, for a broadcast, for want of a
    /// route.
    Refused,
}

/// A socket for each family and interface. `IPPROTO_RAW` implies that headers come with the packets
/// (raw(7)).
pub struct Senders(HashMap<(Family, String), OwnedFd>);

impl Senders {
    /// Opens the sockets.
    ///
    /// # Errors
    /// When an interface does not exist, or the process may not.
    pub fn new(interfaces: &[String]) -> Result<Senders> {
        let mut sockets = HashMap::new();
        for family in [Family::V4, Family::V6] {
            for interface in interfaces {
                let socket = open(family, interface)
                    .with_context(|| format!("cannot open a raw socket on {interface}"))?;
                sockets.insert((family, interface.clone()), socket);
            }
        }
        Ok(Senders(sockets))
    }

    /// Sends a frame's packet to the destination in its header.
    ///
    /// # Errors
    /// When the host has no such interface.
    pub fn send(&self, frame: &Frame) -> Result<Fate> {
        let socket = self
            .0
            .get(&(frame.family, frame.interface.clone()))
            .with_context(|| format!("the host has no interface {}", frame.interface))?
            .as_raw_fd();
        let packet = frame.packet();
        let none = MsgFlags::empty();
        // A packet without a destination is too short in any case.
        let sent = match frame.family {
            Family::V4 => {
                let address = bytes::<4>(packet, 16).into();
                let to = SockaddrIn::from(SocketAddrV4::new(address, 0));
                sendto(socket, packet, &to, none)
            }
            Family::V6 => {
                let address = bytes::<16>(packet, 24).into();
                let to = SockaddrIn6::from(SocketAddrV6::new(address, 0, 0, 0));
                sendto(socket, packet, &to, none)
            }
        };
        Ok(match sent {
            // A drop in a table is EPERM (nf_hook_slow, net/netfilter/core.c).
            Ok(_) | Err(Errno::EPERM) => Fate::Taken,
            Err(_) => Fate::Refused,
        })
    }
}

/// The bytes at an offset; zero where there are none.
fn bytes<const N: usize>(packet: &[u8], offset: usize) -> [u8; N] {
    let found = packet.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

fn open(family: Family, interface: &str) -> nix::Result<OwnedFd> {
    let domain = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let socket = socket(
        domain,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::Raw,
    )?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(interface))?;
    setsockopt(&socket, sockopt::Mark, &MARK)?;
    match family {
        Family::V4 => {
            // Else POSTROUTING sees, and counts, a copy for this host as well (ip_mc_output).
            setsockopt(&socket, sockopt::IpMulticastLoop, &false)?;
            let source = SockaddrIn::from(SocketAddrV4::new(HOST_SOURCE, 0));
            bind(socket.as_raw_fd(), &source)?;
        }
        Family::V6 => {
            let source = SockaddrIn6::from(SocketAddrV6::new(SOURCE6, 0, 0, 0));
            bind(socket.as_raw_fd(), &source)?;
        }
    }
    Ok(socket)
}
