//! What a ruleset compares packets with, rule by rule, so that packets can be aimed at it.

use ipt2bpf_parser::matches::icmp::TypeCode;
use ipt2bpf_parser::matches::multiport::Side;
use ipt2bpf_parser::matches::tcp::Flags;
use ipt2bpf_parser::matches::{Match, PortRange};
use ipt2bpf_parser::ruleset::{Action, Family, Negatable, Network, NfHook, Rule, Ruleset, Table};

/// The name of the interface of a host whose ruleset names none.
const ANY_INTERFACE: &str = "eth0";
/// How many interfaces a host gets; rulesets that name more get the first ones.
const MAX_INTERFACES: usize = 16;
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
}

/// All constants of a ruleset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constants {
    /// For which family packets are made.
    pub family: Family,
    /// The interfaces that a host needs; never empty.
    pub interfaces: Vec<String>,
    /// One aim for each rule that a received packet can meet, together with the rules that lead
    /// to it. Empty when there is no such rule.
    pub aims: Vec<Aim>,
}

impl Constants {
    /// Collects the constants of a ruleset.
    pub fn of(ruleset: &Ruleset) -> Constants {
        let mut aims = Vec::new();
        for table in &ruleset.tables {
            for chain in &table.chains {
                for rule in &chain.rules {
                    if let Some(mut aim) = approach(table, &chain.name, MAX_DEPTH) {
                        aim.add(rule);
                        aims.push(aim);
                    }
                }
            }
        }
        let mut interfaces: Vec<String> = Vec::new();
        let rules = ruleset
            .tables
            .iter()
            .flat_map(|table| &table.chains)
            .flat_map(|chain| &chain.rules);
        for rule in rules {
            for pattern in [&rule.base.in_interface, &rule.base.out_interface]
                .into_iter()
                .flatten()
            {
                let pattern = &pattern.value.value;
                if let Some(name) = interface_name(&pattern.name, pattern.prefix)
                    && !interfaces.contains(&name)
                    && interfaces.len() < MAX_INTERFACES
                {
                    interfaces.push(name);
                }
            }
        }
        if interfaces.is_empty() {
            interfaces.push(ANY_INTERFACE.to_owned());
        }
        Constants {
            family: ruleset.family,
            interfaces,
            aims,
        }
    }
}

/// What a packet must match to be sent to a chain from a hook of received packets; none when no such
/// hook leads there. One way of several is taken: the first.
fn approach(table: &Table, chain: &str, depth: usize) -> Option<Aim> {
    let target = table.chains.iter().find(|found| found.name == chain)?;
    if let Some(builtin) = target.builtin {
        return (builtin.hook != NfHook::Output).then(Aim::default);
    }
    let calls = |rule: &Rule| match &rule.action {
        Action::Jump(name) | Action::Goto(name) => name.value == chain,
        _ => false,
    };
    let callers = table
        .chains
        .iter()
        .flat_map(|from| from.rules.iter().map(move |rule| (from, rule)))
        .filter(|(_, rule)| calls(rule));
    for (from, rule) in callers {
        if let Some(mut aim) = approach(table, &from.name, depth.checked_sub(1)?) {
            aim.add(rule);
            return Some(aim);
        }
    }
    None
}

/// A device name that a pattern matches, if the test can make such a device.
fn interface_name(name: &str, prefix: bool) -> Option<String> {
    let name = match prefix {
        true if name.is_empty() => return None,
        true if name.len() < 15 => format!("{name}0"),
        _ => name.to_owned(),
    };
    // `all` and `default` would collide in /proc/sys/net; the rest the kernel refuses
    // (dev_valid_name), or `ip -batch` would take apart.
    let usable = !["lo", "all", "default", ".", ".."].contains(&name.as_str())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.@".contains(&byte));
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
        if let Some(pattern) = &base.in_interface {
            let pattern = &pattern.value.value;
            self.interfaces
                .extend(interface_name(&pattern.name, pattern.prefix));
        }
        for found in &rule.matches {
            self.add_match(&found.value);
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
            Match::Icmp(icmp) => self.icmp.push(icmp.0.value.value),
            Match::Icmp6(icmp) => self.icmp.push(icmp.0.value.value),
            Match::Comment(_)
            | Match::Conntrack(_)
            | Match::Limit(_)
            | Match::State(_)
            | Match::Unknown(_) => {}
        }
    }
}

fn value<T: Copy>(option: &Option<Negatable<T>>) -> Option<T> {
    option.as_ref().map(|found| found.value.value)
}
