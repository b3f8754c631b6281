//! What a ruleset compares packets with, rule by rule, so that packets can be aimed at it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipt2bpf_parser::ipset::{Part, Set};
use ipt2bpf_parser::matches::icmp::TypeCode;
use ipt2bpf_parser::matches::iprange::AddressRange;
use ipt2bpf_parser::matches::multiport::Side;
use ipt2bpf_parser::matches::set;
use ipt2bpf_parser::matches::tcp::Flags;
use ipt2bpf_parser::matches::{Match, PortRange};
use ipt2bpf_parser::range::Range;
use ipt2bpf_parser::ruleset::{
    Action, Family, InterfacePattern, Negatable, Network, NfHook, Rule, Ruleset, Table,
};

use crate::extension_header::ExtensionHeader;

use crate::frame::{Direction, PEER_MAC};

/// The name of the loopback interface, which every host has.
pub const LOOPBACK: &str = "lo";
/// The name of the interface of a host whose ruleset names none.
const ANY_INTERFACE: &str = "eth0";
/// How many interfaces a host gets; rulesets that name more get the first ones.
const MAX_INTERFACES: usize = 16;
/// The kind of TCP option that tells it.
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// The protocol number that tells that nothing follows (RFC 8200 section 4.7).
const NO_NEXT_HEADER: u8 = 59;
/// How many calls from a built-in chain an aim follows.
const MAX_DEPTH: usize = 16;

/// The constants of one rule, or of several that a packet must match one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aim {
    /// `-s`
    pub sources: Vec<Network>,
    /// `-d`
    pub destinations: Vec<Network>,
    /// `-i`, as names that match.
    pub interfaces: Vec<String>,
    /// `-o`, likewise.
    pub out_interfaces: Vec<String>,
    /// `-p`
    pub protocols: Vec<u8>,
    /// Source ports of tcp, udp and multiport.
    pub source_ports: Vec<PortRange>,
    /// Destination ports.
    pub destination_ports: Vec<PortRange>,
    /// ICMP types and codes of either family.
    pub icmp: Vec<TypeCode>,
    /// `--tcp-flags`
    pub tcp_flags: Vec<Flags>,
    /// `--tcp-option`
    pub tcp_options: Vec<u8>,
    /// What `-m string` looks for.
    pub payloads: Vec<Vec<u8>>,
    /// Types of service or traffic classes.
    pub classes: Vec<u8>,
    /// IPv6 extension headers.
    pub headers: Vec<ExtensionHeader>,
}

/// All constants of a ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constants {
    /// For which family packets are made.
    pub family: Family,
    /// Which way they go.
    pub direction: Direction,
    /// The interfaces that packets arrive on or leave by; never empty. The host needs them.
    pub interfaces: Vec<String>,
    /// One aim for each rule that a packet of this direction can meet, together with the rules that
    /// lead to it. Empty when there is no such rule.
    pub aims: Vec<Aim>,
    /// Single destinations of INPUT's rules: addresses that a host should have.
    pub local: Vec<IpAddr>,
    /// By which interfaces destinations should be reached, so that rules with `-d` and `-o` match.
    pub routes: Vec<Route>,
}

/// A way to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network's address.
    pub address: IpAddr,
    /// Its prefix length.
    pub length: u32,
    /// One of the host's interfaces.
    pub interface: String,
}

impl Constants {
    /// Those of a ruleset that compares nothing.
    pub fn none(family: Family, direction: Direction) -> Constants {
        Constants {
            family,
            direction,
            interfaces: vec![ANY_INTERFACE.to_owned()],
            aims: Vec::new(),
            local: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// Collects the constants of a ruleset for packets of one direction.
    pub fn of(ruleset: &Ruleset, direction: Direction) -> Constants {
        Constants::with_sets(ruleset, &[], direction)
    }

    /// The same, with the elements of the sets that rules ask for.
    pub fn with_sets(ruleset: &Ruleset, sets: &[Set], direction: Direction) -> Constants {
        let interfaces = interfaces(ruleset);
        let mut constants = Constants::none(ruleset.family, direction);
        if !interfaces.is_empty() {
            constants.interfaces = interfaces;
        }
        if direction == Direction::Sent {
            constants.interfaces.push(LOOPBACK.to_owned());
        }
        for table in &ruleset.tables {
            for chain in &table.chains {
                let Some((hook, approach)) = approach(table, direction, &chain.name, MAX_DEPTH)
                else {
                    continue;
                };
                for rule in &chain.rules {
                    let mut aim = approach.clone();
                    aim.add(rule);
                    aim.add_sets(rule, sets);
                    constants.add(hook, aim);
                }
            }
        }
        constants
    }

    fn add(&mut self, hook: NfHook, aim: Aim) {
        let reachable = aim.destinations.iter().filter_map(prefix);
        for (address, length) in reachable {
            let single = length == if address.is_ipv4() { 32 } else { 128 };
            if hook == NfHook::Input && single && !self.local.contains(&address) {
                self.local.push(address);
            }
            for interface in &aim.out_interfaces {
                let route = Route {
                    address,
                    length,
                    interface: interface.clone(),
                };
                if self.interfaces.contains(interface) && !self.routes.contains(&route) {
                    self.routes.push(route);
                }
            }
        }
        self.aims.push(aim);
    }
}

/// The interfaces that a ruleset names, each once; the loopback interface is not among them.
fn interfaces(ruleset: &Ruleset) -> Vec<String> {
    let mut names = Vec::new();
    let rules = ruleset
        .tables
        .iter()
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules);
    for name in rules.flat_map(|rule| {
        let base = &rule.base;
        interface_name(&base.in_interface)
            .into_iter()
            .chain(interface_name(&base.out_interface))
    }) {
        if names.len() < MAX_INTERFACES && name != LOOPBACK && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A network as a unicast destination that can be routed; none for a mask with holes.
fn prefix(network: &Network) -> Option<(IpAddr, u32)> {
    let (address, length) = match *network {
        Network::V4 { address, mask } => {
            let mask = u32::from(mask);
            let length = mask.leading_ones();
            (length == mask.count_ones()).then_some((IpAddr::from(address), length))
        }
        Network::V6 { address, mask } => {
            let mask = u128::from(mask);
            let length = mask.leading_ones();
            (length == mask.count_ones()).then_some((IpAddr::from(address), length))
        }
    }?;
    let special = address.is_multicast()
        || address.is_loopback()
        || address.is_unspecified()
        || address == IpAddr::from(Ipv4Addr::BROADCAST);
    (!special).then_some((address, length))
}

/// What a packet must match to be sent to a chain from a hook of its direction; none when no such hook
/// leads there. One way of several is taken: the first.
fn approach(
    table: &Table,
    direction: Direction,
    chain: &str,
    depth: usize,
) -> Option<(NfHook, Aim)> {
    let target = table.chains.iter().find(|found| found.name == chain)?;
    if let Some(builtin) = target.builtin {
        let met = match direction {
            Direction::Received => builtin.hook != NfHook::Output,
            Direction::Sent => matches!(builtin.hook, NfHook::Output | NfHook::Postrouting),
        };
        return met.then(|| (builtin.hook, Aim::default()));
    }
    let calls = |rule: &Rule| match &rule.action {
        Action::Jump(name) | Action::Goto(name) => name.value == chain,
        _ => false,
    };
    let depth = depth.checked_sub(1)?;
    let callers = table.chains.iter().filter_map(|from| {
        from.rules
            .iter()
            .find(|rule| calls(rule))
            .map(|rule| (from, rule))
    });
    for (from, rule) in callers {
        if let Some((hook, mut aim)) = approach(table, direction, &from.name, depth) {
            aim.add(rule);
            return Some((hook, aim));
        }
    }
    None
}

/// A device name that a pattern matches, if the test can have such a device.
fn interface_name(pattern: &Option<Negatable<InterfacePattern>>) -> Option<String> {
    let InterfacePattern { name, prefix } = &pattern.as_ref()?.value.value;
    let name = match *prefix {
        true if name.is_empty() => return None,
        true if name.len() < 15 => format!("{name}0"),
        _ => name.to_owned(),
    };
    // `all` and `default` would collide in /proc/sys/net; the rest the kernel refuses
    // (dev_valid_name), or `ip -batch` would take apart.
    let usable = !["all", "default", ".", ".."].contains(&name.as_str())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    usable.then_some(name)
}

impl Aim {
    /// Adds what one rule looks at. Negated constants are added as well: packets near them matter
    /// as much.
    fn add(&mut self, rule: &Rule) {
        let base = &rule.base;
        self.sources.extend(value(&base.source));
        self.destinations.extend(value(&base.destination));
        self.protocols
            .extend(value(&base.protocol).filter(|&protocol| protocol != 0));
        self.interfaces.extend(interface_name(&base.in_interface));
        self.out_interfaces
            .extend(interface_name(&base.out_interface));
        for found in &rule.matches {
            self.add_match(&found.value);
        }
    }

    /// Adds the elements of the sets that a rule asks for.
    fn add_sets(&mut self, rule: &Rule, sets: &[Set]) {
        for found in &rule.matches {
            if let Match::Set(wanted) = &found.value {
                let lookup = &wanted.lookup.value.value;
                self.add_set(&lookup.name, &lookup.sides, sets);
            }
        }
    }

    fn add_set(&mut self, name: &str, sides: &[set::Side], sets: &[Set]) {
        let Some(found) = sets.iter().find(|it| it.name.value == name) else {
            return;
        };
        for entry in found.entries.iter().take(AIMED_ELEMENTS) {
            for (part, side) in entry.value.parts.iter().zip(sides) {
                let is_source = *side == set::Side::Source;
                let (addresses, ports) = match is_source {
                    true => (&mut self.sources, &mut self.source_ports),
                    false => (&mut self.destinations, &mut self.destination_ports),
                };
                let mut add_port = |port| {
                    ports.push(PortRange {
                        low: port,
                        high: port,
                    });
                };
                match part {
                    Part::Address(address) => addresses.push(network(*address, u8::MAX)),
                    Part::Network { address, length } => addresses.push(network(*address, *length)),
                    Part::Port(port) => add_port(*port),
                    Part::ProtocolPort { protocol, port } => {
                        self.protocols.push(*protocol);
                        add_port(*port);
                        let [kind, code] = port.to_be_bytes();
                        self.icmp.push(TypeCode {
                            kind,
                            code_low: code,
                            code_high: code,
                        });
                    }
                    Part::Set(member) => self.add_set(member, sides, sets),
                    Part::Mac(_) | Part::Mark(_) | Part::Interface { .. } => {}
                }
            }
        }
    }

    fn add_match(&mut self, found: &Match) {
        match found {
            Match::Tcp(tcp) => {
                self.source_ports.extend(value(&tcp.source_ports));
                self.destination_ports.extend(value(&tcp.destination_ports));
                self.tcp_flags.extend(value(&tcp.flags));
                self.tcp_options.extend(value(&tcp.option));
            }
            Match::Udp(udp) => {
                self.source_ports.extend(value(&udp.source_ports));
                self.destination_ports.extend(value(&udp.destination_ports));
            }
            Match::Multiport(multiport) => {
                let ports = &multiport.ports.value.value;
                if multiport.side != Side::Destination {
                    self.source_ports.extend(ports);
                }
                if multiport.side != Side::Source {
                    self.destination_ports.extend(ports);
                }
            }
            Match::String(string) => self.payloads.push(string.pattern.value.value.to_vec()),
            Match::Sctp(sctp) => {
                self.source_ports.extend(value(&sctp.source_ports));
                self.destination_ports
                    .extend(value(&sctp.destination_ports));
            }
            Match::Dccp(dccp) => {
                self.source_ports.extend(value(&dccp.source_ports));
                self.destination_ports
                    .extend(value(&dccp.destination_ports));
            }
            Match::Esp(esp) => {
                // The index stands where other protocols have their ports.
                let Range { low, high } = esp.spi.value.value;
                let ports = |shift: u32| PortRange {
                    low: (low >> shift) as u16,
                    high: (high >> shift) as u16,
                };
                self.source_ports.push(ports(16));
                self.destination_ports.push(ports(0));
            }
            Match::Ipcomp(ipcomp) => {
                // The next header and the flags stand where other protocols have their source port, the
                // index where they have the other.
                let Range { low, high } = ipcomp.spi.value.value;
                self.source_ports.push(PortRange { low: 0, high: 0 });
                self.destination_ports.push(PortRange {
                    low: low as u16,
                    high: high as u16,
                });
            }
            Match::Mh(mobility) => {
                // Likewise the next header and the length, then the type and a reserved byte.
                let Range { low, high } = mobility.types.value.value;
                self.source_ports.push(PortRange {
                    low: u16::from_be_bytes([NO_NEXT_HEADER, 0]),
                    high: u16::from_be_bytes([NO_NEXT_HEADER, 2]),
                });
                self.destination_ports.push(PortRange {
                    low: u16::from_be_bytes([low, 0]),
                    high: u16::from_be_bytes([high, u8::MAX]),
                });
            }
            Match::Dscp(dscp) => self.classes.push(dscp.codepoint.value.value << 2),
            Match::Tos(tos) => self.classes.push(tos.tos.value.value.value),
            Match::Eui64(_) => self.sources.push(from_peer()),
            Match::Tcpmss(_) => self.tcp_options.push(MAXIMUM_SEGMENT_SIZE),
            Match::IpRange(range) => {
                self.sources
                    .extend(value(&range.source).map(ends).into_iter().flatten());
                self.destinations
                    .extend(value(&range.destination).map(ends).into_iter().flatten());
            }
            Match::Icmp(icmp) => self.icmp.push(icmp.0.value.value),
            Match::Icmp6(icmp) => self.icmp.push(icmp.0.value.value),
            _ => self.headers.extend(ExtensionHeader::aimed_at(found)),
        }
    }
}

/// How many elements of a set are aimed at.
const AIMED_ELEMENTS: usize = 64;

/// A network of a prefix length.
fn network(address: IpAddr, length: u8) -> Network {
    match address {
        IpAddr::V4(address) => Network::V4 {
            address,
            mask: (!u32::MAX.checked_shr(length.into()).unwrap_or(0)).into(),
        },
        IpAddr::V6(address) => Network::V6 {
            address,
            mask: (!u128::MAX.checked_shr(length.into()).unwrap_or(0)).into(),
        },
    }
}

/// The addresses whose last half is the MAC address of the sender (RFC 4291 appendix A).
fn from_peer() -> Network {
    let [a, b, c, d, e, f] = PEER_MAC;
    let half = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Network::V6 {
        address: Ipv6Addr::from_bits(u128::from(half)),
        mask: Ipv6Addr::from_bits(u128::from(u64::MAX)),
    }
}

/// The first and the last address of a range.
fn ends(range: AddressRange) -> [Network; 2] {
    match range {
        AddressRange::V4 { low, high } => [low, high].map(|address| Network::V4 {
            address,
            mask: Ipv4Addr::BROADCAST,
        }),
        AddressRange::V6 { low, high } => [low, high].map(|address| Network::V6 {
            address,
            mask: Ipv6Addr::from_bits(u128::MAX),
        }),
    }
}

fn value<T: Copy>(option: &Option<Negatable<T>>) -> Option<T> {
    option.as_ref().map(|found| found.value.value)
}

#[cfg(test)]
mod tests {
    use ipt2bpf_parser::ruleset::{BaseMatch, Builtin, Chain, Counters, Policy, TableKind};
    use ipt2bpf_parser::span::{Span, Spanned};

    use super::*;

    fn spanned<T>(value: T) -> Spanned<T> {
        Spanned {
            value,
            span: Span::default(),
        }
    }

    fn plain<T>(value: T) -> Option<Negatable<T>> {
        Some(Negatable {
            negated: false,
            value: spanned(value),
        })
    }

    fn rule(base: BaseMatch, action: Action) -> Rule {
        Rule {
            counters: Counters::default(),
            base,
            matches: Vec::new(),
            action,
            span: Default::default(),
        }
    }

    fn chain(name: &str, hook: Option<NfHook>, rules: Vec<Rule>) -> Chain {
        Chain {
            name: name.into(),
            builtin: hook.map(|hook| Builtin {
                hook,
                policy: Policy::Accept,
            }),
            counters: Counters::default(),
            rules,
            span: Span::default(),
        }
    }

    fn host(last: u8) -> Network {
        Network::V4 {
            address: Ipv4Addr::new(192, 0, 2, last),
            mask: Ipv4Addr::BROADCAST,
        }
    }

    #[test]
    fn a_rule_is_aimed_at_together_with_the_rules_that_lead_to_it() {
        let to_ours = BaseMatch {
            protocol: plain(17),
            out_interface: plain(InterfacePattern {
                name: "docker".into(),
                prefix: true,
            }),
            ..BaseMatch::default()
        };
        let in_ours = BaseMatch {
            destination: plain(host(9)),
            ..BaseMatch::default()
        };
        let local = BaseMatch {
            destination: plain(host(1)),
            ..BaseMatch::default()
        };
        let sent = BaseMatch {
            protocol: plain(99),
            out_interface: plain(InterfacePattern {
                name: LOOPBACK.into(),
                prefix: false,
            }),
            ..BaseMatch::default()
        };
        let ruleset = Ruleset {
            family: Family::V4,
            tables: vec![Table {
                kind: TableKind::Filter,
                chains: vec![
                    chain(
                        "INPUT",
                        Some(NfHook::Input),
                        vec![rule(local, Action::Continue)],
                    ),
                    chain(
                        "FORWARD",
                        Some(NfHook::Forward),
                        vec![rule(to_ours, Action::Jump(spanned("ours".into())))],
                    ),
                    chain(
                        "OUTPUT",
                        Some(NfHook::Output),
                        vec![rule(sent, Action::Continue)],
                    ),
                    chain("ours", None, vec![rule(in_ours, Action::Continue)]),
                    chain(
                        "unused",
                        None,
                        vec![rule(BaseMatch::default(), Action::Continue)],
                    ),
                ],
            }],
        };
        let constants = Constants::of(&ruleset, Direction::Received);
        assert_eq!(constants.interfaces, ["docker0"]);
        assert_eq!(constants.aims.len(), 3, "OUTPUT and unused are not met");
        assert_eq!(
            constants.aims[2],
            Aim {
                destinations: vec![host(9)],
                protocols: vec![17],
                out_interfaces: vec!["docker0".into()],
                ..Aim::default()
            }
        );
        assert_eq!(constants.local, [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(
            constants.routes,
            [Route {
                address: [192, 0, 2, 9].into(),
                length: 32,
                interface: "docker0".into()
            }]
        );
        let constants = Constants::of(&ruleset, Direction::Sent);
        assert_eq!(constants.interfaces, ["docker0", "lo"]);
        assert_eq!(
            constants.aims,
            [Aim {
                protocols: vec![99],
                out_interfaces: vec!["lo".into()],
                ..Aim::default()
            }]
        );
    }

    #[test]
    fn what_cannot_be_a_destination_is_not_routed() {
        let net = |address: [u8; 4], mask: [u8; 4]| Network::V4 {
            address: address.into(),
            mask: mask.into(),
        };
        assert_eq!(prefix(&net([224, 0, 0, 0], [240, 0, 0, 0])), None);
        assert_eq!(prefix(&net([10, 0, 0, 1], [255, 0, 0, 255])), None);
        assert_eq!(
            prefix(&net([10, 0, 0, 0], [255, 0, 0, 0])),
            Some(([10, 0, 0, 0].into(), 8))
        );
    }
}
