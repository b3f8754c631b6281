//! The types of addresses, for programs whose rules ask for them (`-m addrtype`).

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipt2bpf_codegen::addresses::{AddressEntry, AddressPrefix, KEY, VALUE, route_type};
use ipt2bpf_codegen::module::ADDRESSES_MAP;
use ipt2bpf_parser::ruleset::Family;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHopFlags, RouteProtocol,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::devices::map_keys;
use crate::error::{Error, Step};
use crate::maps::Maps;
use crate::netlink::dump;

/// The IPv4 routes as the kernel has them in memory.
const FIB_TRIE: &str = "/proc/thread-self/net/fib_trie";

/// `RT_TABLE_MAIN` and `RT_TABLE_LOCAL` of include/uapi/linux/rtnetlink.h.
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// A route of one of the two tables that every network namespace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Route {
    table: u32,
    prefix: AddressPrefix,
    route_type: u8,
    /// The interface of its first next hop; 0 for none.
    interface: u32,
    /// Whether its destinations are reached without a gateway.
    is_direct: bool,
}

/// The types of all addresses in the network namespace of the calling thread: IPv4's by the local routing
/// table, IPv6's by the local table and, where it says nothing, the main table, as the kernel's own rules
/// have it.
///
/// # Errors
/// [`Error::Io`] when the kernel does not tell.
pub fn addresses() -> Result<Vec<AddressEntry>, Error> {
    let told = |error: io::Error| Error::io("the routing tables")(error);
    let four = routes(AddressFamily::Inet).map_err(told)?;
    let six = routes(AddressFamily::Inet6).map_err(told)?;
    let own = own_addresses().map_err(told)?;
    let mut entries = entries4(&four, tables_are_merged());
    entries.extend(entries6(&six, &own));
    Ok(entries)
}

/// Until rules of policy routing are added, the kernel keeps both tables of IPv4 as one, and a search in
/// the local table finds routes of the main table, too (`fib_new_table` and `fib_unmerge`,
/// net/ipv4/fib_frontend.c). Then it lists the same for both.
fn tables_are_merged() -> bool {
    let Ok(text) = fs::read_to_string(FIB_TRIE) else {
        return false;
    };
    let parts: Option<[&str; 2]> = text.strip_prefix("Main:\n").and_then(|rest| {
        let (main, local) = rest.split_once("Local:\n")?;
        Some([main, local])
    });
    parts.is_some_and(|[main, local]| main == local)
}

/// `__inet_dev_addr_type` (net/ipv4/fib_frontend.c). An error of the search, as routes that refuse give it,
/// counts as unicast.
fn entries4(routes: &[Route], merged: bool) -> Vec<AddressEntry> {
    let local: Vec<Route> = of_table(routes, LOCAL).collect();
    // Others are unicast, as is what is in no table.
    let inside = |route: &Route| local.iter().any(|it| it.prefix.covers(&route.prefix));
    let main = of_table(routes, MAIN).filter(|route| merged && inside(route));
    let mut entries = vec![AddressEntry::rest(Family::V4)];
    for route in local.iter().copied().chain(main) {
        let route_type = match route.route_type {
            known @ route_type::UNICAST..=route_type::MULTICAST => known,
            _ => route_type::UNICAST,
        };
        add(
            &mut entries,
            Family::V4,
            Route {
                route_type,
                ..route
            },
        );
    }
    entries
}

/// `match_lookup_rt6` (net/netfilter/xt_addrtype.c). With an interface, an address is local when it is that
/// interface's own.
fn entries6(routes: &[Route], own: &[(u32, Ipv6Addr)]) -> Vec<AddressEntry> {
    let local: Vec<Route> = of_table(routes, LOCAL).collect();
    // What the local table knows, nothing else is asked for.
    let main: Vec<Route> = of_table(routes, MAIN)
        .filter(|route| !local.iter().any(|it| it.prefix.covers(&route.prefix)))
        .collect();
    let mut entries = vec![AddressEntry::rest(Family::V6)];
    for &(interface, address) in own {
        let prefix = AddressPrefix {
            address: address.into(),
            length: 128,
            scope: interface,
        };
        put(
            &mut entries,
            Family::V6,
            prefix,
            route_type::LOCAL,
            interface,
        );
    }
    // What is in none of these is unicast.
    let special: Vec<Route> = main.iter().copied().filter(is_special).collect();
    let inside = |route: &&Route| special.iter().any(|it| it.prefix.covers(&route.prefix));
    for route in local.iter().chain(main.iter().filter(inside)) {
        add(&mut entries, Family::V6, *route);
        if route.route_type == route_type::ANYCAST {
            add_with_scope(&mut entries, route.prefix, route.interface);
        }
    }
    for route in local.iter().chain(&main) {
        let first = AddressPrefix {
            length: 128,
            ..route.prefix
        };
        let found = longest(&local, &first).or_else(|| longest(&main, &first));
        if makes_anycast(route) && found == Some(route) {
            let both = match route.route_type {
                route_type::LOCAL => route_type::LOCAL_ANYCAST,
                _ => route_type::ANYCAST,
            };
            put(&mut entries, Family::V6, first, both, route.interface);
            add_with_scope(&mut entries, first, route.interface);
        }
    }
    entries
}

/// `ipv6_anycast_destination` (include/net/ip6_route.h): the first address of a network that is reached
/// without a gateway is that of all its routers. Routes that refuse are none.
fn makes_anycast(route: &Route) -> bool {
    route.is_direct && route.prefix.length < 127 && route.route_type <= route_type::MULTICAST
}

/// The first of the routes with the longest prefix for an address.
fn longest<'r>(routes: &'r [Route], address: &AddressPrefix) -> Option<&'r Route> {
    let fitting = routes.iter().rev().filter(|it| it.prefix.covers(address));
    fitting.max_by_key(|it| it.prefix.length)
}

/// An anycast prefix on an interface.
fn add_with_scope(entries: &mut Vec<AddressEntry>, prefix: AddressPrefix, interface: u32) {
    let prefix = AddressPrefix {
        scope: interface,
        ..prefix
    };
    put(entries, Family::V6, prefix, route_type::ANYCAST, interface);
}

fn of_table(routes: &[Route], table: u32) -> impl Iterator<Item = Route> {
    let routes = routes.iter().copied();
    routes.filter(move |route| route.table == table)
}

fn is_special(route: &Route) -> bool {
    matches!(route.route_type, route_type::LOCAL | route_type::ANYCAST)
}

fn add(entries: &mut Vec<AddressEntry>, family: Family, route: Route) {
    put(
        entries,
        family,
        route.prefix,
        route.route_type,
        route.interface,
    );
}

/// Of several entries with the same prefix the first counts.
fn put(
    entries: &mut Vec<AddressEntry>,
    family: Family,
    prefix: AddressPrefix,
    route_type: u8,
    interface: u32,
) {
    let prefix = Some(prefix);
    if !entries.iter().any(|entry| entry.prefix == prefix) {
        entries.push(AddressEntry {
            family,
            prefix,
            route_type,
            interface,
        });
    }
}

/// The routes of a family that packets without a type of service meet.
fn routes(family: AddressFamily) -> io::Result<Vec<Route>> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    let found = dump(RouteNetlinkMessage::GetRoute(request))?;
    let routes = found.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) => read_route(route),
        _ => None,
    });
    Ok(routes.collect())
}

/// None for routes that are not usable or not for all packets.
fn read_route(message: &RouteMessage) -> Option<Route> {
    let header = &message.header;
    let mut route = Route {
        table: header.table.into(),
        prefix: AddressPrefix {
            address: match header.address_family {
                AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
                _ => Ipv6Addr::UNSPECIFIED.into(),
            },
            length: header.destination_prefix_length,
            scope: 0,
        },
        route_type: header.kind.into(),
        interface: 0,
        is_direct: true,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                route.prefix.address = IpAddr::V4(*address);
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                route.prefix.address = IpAddr::V6(*address);
            }
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) => route.is_direct = false,
            RouteAttribute::Oif(interface) => route.interface = *interface,
            RouteAttribute::MultiPath(hops) => {
                route.interface = hops.first().map_or(0, |hop| hop.interface_index);
                let mut attributes = hops.iter().flat_map(|hop| &hop.attributes);
                route.is_direct = !attributes
                    .any(|it| matches!(it, RouteAttribute::Gateway(_) | RouteAttribute::Via(_)));
            }
            _ => {}
        }
    }
    // The kernel does not take an anycast route for IPv6 for one unless it has made it itself
    // (`addrconf_f6i_alloc`, net/ipv6/route.c).
    let is_foreign =
        header.address_family == AddressFamily::Inet6 && header.protocol != RouteProtocol::Kernel;
    if is_foreign && route.route_type == route_type::ANYCAST {
        route.route_type = route_type::UNICAST;
    }
    let dead = u32::from(RouteNextHopFlags::Dead.bits());
    let usable = header.tos == 0 && header.flags.bits() & dead == 0;
    (usable && header.source_prefix_length == 0).then_some(route)
}

/// The IPv6 addresses of all interfaces that are in use: not those still being tried for duplicates
/// (`ipv6_chk_addr`, net/ipv6/addrconf.c).
fn own_addresses() -> io::Result<Vec<(u32, Ipv6Addr)>> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet6;
    let found = dump(RouteNetlinkMessage::GetAddress(request))?;
    let addresses = found.iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewAddress(message) => read_address(message),
        _ => None,
    });
    Ok(addresses.collect())
}

fn read_address(message: &AddressMessage) -> Option<(u32, Ipv6Addr)> {
    let (mut own, mut far, mut flags) = (None, None, AddressFlags::empty());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V6(address)) => own = Some(*address),
            AddressAttribute::Address(IpAddr::V6(address)) => far = Some(*address),
            AddressAttribute::Flags(found) => flags = *found,
            _ => {}
        }
    }
    let tried =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    // Without a far end, only one of the two is there.
    let address = own.or(far).filter(|_| !tried)?;
    Some((message.header.index, address))
}

impl Maps {
    /// Whether the programs want to be told the types of addresses.
    pub fn wants_addresses(&self) -> bool {
        self.get(ADDRESSES_MAP).is_ok()
    }

    /// Tells the programs the types of addresses in the calling thread's network namespace. Does nothing
    /// where they do not ask ([`Maps::wants_addresses`]). Until this is done, rules that ask drop; it is to
    /// be done again when addresses or routes of this host change.
    ///
    /// # Errors
    /// As [`addresses`] and [`Maps::set_addresses`].
    pub fn fill_addresses(&self) -> Result<(), Error> {
        if !self.wants_addresses() {
            return Ok(());
        }
        self.set_addresses(&addresses()?)
    }

    /// Makes the programs know exactly these addresses.
    ///
    /// # Errors
    /// [`Error::NoMap`] where the programs do not ask, [`Error::MapTooSmall`] when there are too many,
    /// [`Error::Refused`].
    pub fn set_addresses(&self, entries: &[AddressEntry]) -> Result<(), Error> {
        let map = self.get(ADDRESSES_MAP)?;
        if map.key_size != 4 + KEY as usize || map.value_size != VALUE as usize {
            return Err(Error::NoMap {
                name: ADDRESSES_MAP,
            });
        }
        if entries.len() > map.max_entries as usize {
            return Err(Error::MapTooSmall {
                name: ADDRESSES_MAP,
                wanted: entries.len(),
                room: map.max_entries,
            });
        }
        let refused = || Error::refused(Step::WriteMap(ADDRESSES_MAP.to_owned()));
        // Those that are gone make room first; those that stay are never missing. What stands for all
        // other addresses comes last: with it, the map counts as filled.
        for key in map_keys(map)? {
            if !entries.iter().any(|entry| entry.key()[..] == key) {
                map.delete(&key).map_err(refused())?;
            }
        }
        let (special, rest): (Vec<&AddressEntry>, Vec<&AddressEntry>) =
            entries.iter().partition(|entry| entry.prefix.is_some());
        for entry in special.into_iter().chain(rest) {
            map.update(&entry.key(), &entry.value())
                .map_err(refused())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ipt2bpf_codegen::addresses::find;

    use super::*;

    fn route(table: u32, prefix: &str, route_type: u8, interface: u32) -> Route {
        let (address, length) = prefix.split_once('/').unwrap();
        Route {
            table,
            prefix: AddressPrefix {
                address: address.parse().unwrap(),
                length: length.parse().unwrap(),
                scope: 0,
            },
            route_type,
            interface,
            is_direct: false,
        }
    }

    fn type_of(entries: &[AddressEntry], address: &str, scope: u32) -> u8 {
        let address = address.parse().unwrap();
        find(entries, address, scope).unwrap().route_type
    }

    #[test]
    fn the_main_table_counts_in_ipv4_where_it_is_one_with_the_local_table() {
        let routes = [
            route(LOCAL, "127.0.0.0/8", route_type::LOCAL, 1),
            route(LOCAL, "10.0.0.1/32", route_type::LOCAL, 2),
            route(LOCAL, "10.0.0.1/32", route_type::BROADCAST, 3),
            route(MAIN, "127.9.0.0/16", route_type::UNICAST, 2),
            route(MAIN, "10.0.0.0/8", 6, 0),
        ];
        for (merged, inner) in [(true, route_type::UNICAST), (false, route_type::LOCAL)] {
            let entries = entries4(&routes, merged);
            assert_eq!(type_of(&entries, "127.0.0.1", 0), route_type::LOCAL);
            assert_eq!(type_of(&entries, "127.9.0.1", 0), inner);
            assert_eq!(type_of(&entries, "10.0.0.1", 0), route_type::LOCAL);
            assert_eq!(type_of(&entries, "10.0.0.2", 0), route_type::UNICAST);
        }
    }

    #[test]
    fn the_local_table_goes_before_the_main_table_in_ipv6() {
        let routes = [
            route(LOCAL, "2001:db8::/32", 7, 1),
            route(LOCAL, "fd00::/128", route_type::ANYCAST, 2),
            route(MAIN, "2001:db8::1/128", route_type::LOCAL, 1),
            route(MAIN, "2001:db9::/32", route_type::LOCAL, 1),
            route(MAIN, "2001:db9:1::/48", route_type::UNICAST, 2),
        ];
        let own = [(2, "fd00::5".parse().unwrap())];
        let entries = entries6(&routes, &own);
        assert_eq!(type_of(&entries, "2001:db8::1", 0), 7);
        assert_eq!(type_of(&entries, "2001:db9::1", 0), route_type::LOCAL);
        assert_eq!(type_of(&entries, "2001:db9:1::1", 0), route_type::UNICAST);
        assert_eq!(type_of(&entries, "fd00::", 0), route_type::ANYCAST);
        assert_eq!(type_of(&entries, "fd00::", 2), route_type::ANYCAST);
        assert_eq!(type_of(&entries, "fd00::", 3), route_type::UNICAST);
        assert_eq!(type_of(&entries, "fd00::5", 2), route_type::LOCAL);
        assert_eq!(type_of(&entries, "fd00::5", 3), route_type::UNICAST);
    }
}
