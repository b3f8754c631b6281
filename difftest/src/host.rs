//! A host under test: TAP interfaces, routes and sysctls in the current network namespace, and raw
//! sockets for what it sends itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use tappers::{Interface, Tap};

use crate::constants::{LOOPBACK, Route};
use crate::frame::{Direction, Frame, HOST_MAC};
use crate::sender::{Fate, Senders};
use crate::tool;

/// Which destinations belong to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Every unicast address: whatever the destination of a packet that arrives is, INPUT judges it. What
    /// the host sends leaves by the interface that it is sent by.
    AllLocal,
    /// Only some; packets to all others are forwarded.
    Router {
        /// The host's own unicast addresses.
        local: Vec<IpAddr>,
        /// The ways to some networks.
        routes: Vec<Route>,
    },
    /// None by its address: a packet leaves by the interface that it is sent by, whatever its
    /// destination is.
    OnLink,
}

/// The interfaces of the current namespace. They vanish with this value.
pub struct Host {
    taps: BTreeMap<String, Tap>,
    senders: Senders,
}

/// Settings under `/proc/sys/net` that make a host take every packet that can be taken, and say
/// nothing by itself (`Documentation/networking/ip-sysctl.rst`). They are set before the interfaces
/// are made, which copy the defaults.
const SYSCTLS: [(&str, &str); 16] = [
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/*/rp_filter", "0"),
    ("ipv4/conf/*/accept_local", "1"),
    ("ipv4/conf/*/route_localnet", "1"),
    ("ipv4/conf/*/accept_source_route", "0"),
    ("ipv4/conf/*/accept_redirects", "0"),
    ("ipv4/conf/*/send_redirects", "0"),
    ("ipv4/conf/*/log_martians", "0"),
    ("ipv6/conf/*/forwarding", "1"),
    ("ipv6/conf/*/accept_ra", "0"),
    ("ipv6/conf/*/accept_redirects", "0"),
    ("ipv6/conf/*/accept_dad", "0"),
    ("ipv6/conf/*/router_solicitations", "0"),
    // 1: no link-local address of its own, so no multicast listener reports for it either.
    ("ipv6/conf/*/addr_gen_mode", "1"),
    // Sockets may have an address that the host has not.
    ("ipv4/ip_nonlocal_bind", "1"),
    ("ipv6/ip_nonlocal_bind", "1"),
];

impl Routing {
    /// A router that owns no address and has no routes of its own.
    pub fn transit() -> Routing {
        Routing::Router {
            local: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// A socket that is bound to an interface finds no other route than that interface's. Where IPv4 finds none,
/// it takes the destination to be on the link (ip_route_output_key_hash_rcu, net/ipv4/route.c); IPv6 wants a
/// route.
fn on_link<'a>(
    setup: &mut String,
    interfaces: impl Iterator<Item = &'a String>,
) -> std::fmt::Result {
    *setup += "route add local ::/0 dev lo\n";
    for (metric, name) in (1..).zip(interfaces) {
        writeln!(setup, "route add ::/0 dev {name} metric {metric}")?;
    }
    Ok(())
}

impl Host {
    /// Makes a host of the calling thread's namespace, which must be a fresh one. Every namespace has a
    /// loopback interface, which may be named as well.
    ///
    /// Of a router's destinations without a route of their own, those with the top three bits k
    /// leave by the k-th interface (modulo their number).
    ///
    /// # Errors
    /// When there is no interface, the kernel refuses a name, or a setting cannot be made.
    pub fn new(interfaces: &[String], routing: &Routing) -> Result<Host> {
        ensure!(!interfaces.is_empty(), "a host needs an interface");
        for (path, value) in SYSCTLS {
            for scope in ["all", "default"] {
                let path = format!("/proc/sys/net/{}", path.replace('*', scope));
                std::fs::write(&path, value).with_context(|| format!("cannot set {path}"))?;
            }
        }
        let mut taps = BTreeMap::new();
        let mut setup = String::from("link set lo up\n");
        let mac = HOST_MAC.map(|byte| format!("{byte:02x}")).join(":");
        for name in interfaces.iter().filter(|name| *name != LOOPBACK) {
            let mut tap = Interface::new(name)
                .and_then(Tap::new_named)
                .with_context(|| format!("cannot make the interface {name}"))?;
            tap.set_nonblocking(true)?;
            taps.insert(name.clone(), tap);
            writeln!(setup, "link set dev {name} address {mac} up")?;
        }
        match routing {
            Routing::AllLocal => {
                setup += "route add local 0.0.0.0/0 dev lo\n";
                on_link(&mut setup, taps.keys())?;
            }
            Routing::Router { local, routes } => {
                for part in 0..8u8 {
                    let via = &interfaces[usize::from(part) % interfaces.len()];
                    writeln!(setup, "route add {}.0.0.0/3 dev {via}", part << 5)?;
                    writeln!(setup, "route add {:x}::/3 dev {via}", u16::from(part) << 13)?;
                }
                for route in routes {
                    let Route {
                        address,
                        length,
                        interface,
                    } = route;
                    writeln!(setup, "route replace {address}/{length} dev {interface}")?;
                }
                for address in local {
                    writeln!(setup, "route replace local {address} dev lo")?;
                }
            }
            Routing::OnLink => on_link(&mut setup, taps.keys())?,
        }
        tool::run("ip", &["-batch", "-"], &setup)?;
        let senders = Senders::new(interfaces)?;
        Ok(Host { taps, senders })
    }

    /// Lets a frame arrive, or sends it. When this returns, all hooks have run: the write to a TAP device
    /// without NAPI processes the packet to its end (`tun_rx_batched` in drivers/net/tun.c), and so does
    /// a raw socket.
    ///
    /// # Errors
    /// When the frame's interface is not the host's, or the kernel refuses a frame that arrives.
    pub fn inject(&self, frame: &Frame) -> Result<Fate> {
        if frame.direction == Direction::Sent {
            return self.senders.send(frame);
        }
        let tap = self
            .taps
            .get(&frame.interface)
            .with_context(|| format!("the host has no interface {}", frame.interface))?;
        tap.send(&frame.bytes)
            .with_context(|| format!("cannot inject a frame on {}", frame.interface))?;
        Ok(Fate::Taken)
    }

    /// The frames that the host has sent by an interface since the last call, or since it was made; a
    /// TAP device keeps the first 500.
    ///
    /// # Errors
    /// When the host has no such interface, or it cannot be read.
    pub fn sent(&self, interface: &str) -> Result<Vec<Vec<u8>>> {
        let tap = self
            .taps
            .get(interface)
            .with_context(|| format!("the host has no interface {interface}"))?;
        let mut frames = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match tap.recv(&mut buffer) {
                Ok(length) => frames.push(buffer[..length].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(frames),
                Err(error) => return Err(error).context("cannot read what was sent"),
            }
        }
    }
}
