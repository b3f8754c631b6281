//! Rule sets drawn from a seed, as iptables-save text.
//!
//! All of them stand in raw PREROUTING, where netfilter meets them first: both sides of a comparison then
//! decide the same frames by the same rules. The shapes of [`acl`] and [`firewall`] follow the seeds acl1 and
//! fw1 of ClassBench (Taylor and Turner, "ClassBench: a packet classification benchmark", 2007): which share
//! of the rules names which field, and how exactly.

mod acl;
mod blocklist;
mod containers;
mod firewall;

use std::collections::HashSet;
use std::fmt;
use std::net::Ipv4Addr;

use clap::ValueEnum;
use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// What a rule set is like.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Access control: both addresses and a port named, few wildcards.
    Acl,
    /// A firewall: wildcards on either side, ranges of ports.
    Firewall,
    /// Source addresses to drop.
    Blocklist,
    /// Docker's and Kubernetes' way: a chain for each of many containers.
    Containers,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Acl, Kind::Firewall, Kind::Blocklist, Kind::Containers];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Acl => "ACL",
            Kind::Firewall => "firewall",
            Kind::Blocklist => "blocklist",
            Kind::Containers => "containers",
        })
    }
}

/// Which verdicts rules have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdicts {
    /// Some accept and some drop, as the kind has it; what matches nothing is accepted.
    Mixed,
    /// All drop, and so does the policy: for comparisons in which no frame may go on.
    Drop,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// It is gone.
    Drop,
}

/// An IPv4 network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Its first address.
    pub address: u32,
    /// How many bits of it count.
    pub length: u8,
}

/// A range of ports, both ends among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ports {
    /// The first.
    pub low: u16,
    /// The last.
    pub high: u16,
}

/// The packets that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// Where they come from.
    pub source: Network,
    /// Where they go.
    pub destination: Network,
    /// Their protocol by its number; none for all.
    pub protocol: Option<u8>,
    /// Of TCP and UDP.
    pub source_ports: Ports,
    /// Of TCP and UDP.
    pub destination_ports: Ports,
}

/// TCP, UDP and ICMP by their numbers.
pub const TCP: u8 = 6;
/// See [`TCP`].
pub const UDP: u8 = 17;
/// See [`TCP`].
pub const ICMP: u8 = 1;

/// Where a packet goes that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To its end.
    Verdict(Verdict),
    /// Into a chain, by its index, and back.
    Jump(usize),
}

/// One rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Whom it is for.
    pub matches: Match,
    /// What becomes of them.
    pub target: Target,
}

/// A chain of rules.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A table of rules: the first chain is PREROUTING. No rule returns, and chains end in their caller.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// The chains.
    pub chains: Vec<Chain>,
    /// Of what matches nothing.
    pub policy: Verdict,
}

/// What a rule decides when all jumps are followed.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Whom it is for, the jumps to it among the conditions.
    pub matches: Match,
    /// What it says.
    pub verdict: Verdict,
}

impl RuleSet {
    /// So many rules of a kind; the same seed gives the same rules.
    pub fn draw(kind: Kind, rules: usize, verdicts: Verdicts, seed: u64) -> RuleSet {
        let mut rng = Rng::with_seed(seed ^ rules as u64);
        let mut set = match kind {
            Kind::Acl => single(acl::rules(&mut rng, rules)),
            Kind::Firewall => single(firewall::rules(&mut rng, rules)),
            Kind::Blocklist => single(blocklist::rules(&mut rng, rules)),
            Kind::Containers => containers::rules(&mut rng, rules),
        };
        if verdicts == Verdicts::Drop {
            set.policy = Verdict::Drop;
            for rule in set.chains.iter_mut().flat_map(|chain| &mut chain.rules) {
                if let Target::Verdict(verdict) = &mut rule.target {
                    *verdict = Verdict::Drop;
                }
            }
        }
        set
    }

    /// What decides about packets, in the order in which they meet it.
    pub fn decisions(&self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.follow(0, &Match::ALL, &mut decisions);
        decisions
    }

    fn follow(&self, chain: usize, under: &Match, decisions: &mut Vec<Decision>) {
        for rule in &self.chains[chain].rules {
            let Some(matches) = rule.matches.and(under) else {
                continue;
            };
            match rule.target {
                Target::Verdict(verdict) => decisions.push(Decision { matches, verdict }),
                Target::Jump(to) => self.follow(to, &matches, decisions),
            }
        }
    }
}

/// One chain without jumps, whose policy accepts.
fn single(rules: Vec<Rule>) -> RuleSet {
    RuleSet {
        chains: vec![Chain {
            name: PREROUTING.into(),
            rules,
        }],
        policy: Verdict::Accept,
    }
}

const PREROUTING: &str = "PREROUTING";

/// So many different rules, as `draw` gives them.
fn different(rng: &mut Rng, count: usize, draw: impl Fn(&mut Rng) -> Rule) -> Vec<Rule> {
    let mut seen = HashSet::with_capacity(count);
    let mut rules = Vec::with_capacity(count);
    while rules.len() < count {
        let rule = draw(rng);
        if seen.insert(rule.matches) {
            rules.push(rule);
        }
    }
    rules
}

/// One of several, by their weights.
fn weighted<T: Copy>(rng: &mut Rng, choices: &[(u32, T)]) -> T {
    let sum = choices.iter().map(|(weight, _)| weight).sum();
    let mut drawn = rng.u32(0..sum);
    for &(weight, choice) in choices {
        if drawn < weight {
            return choice;
        }
        drawn -= weight;
    }
    choices[0].1
}

/// A unicast address that is nobody's by definition of its first byte.
fn public_address(rng: &mut Rng) -> u32 {
    let first = weighted(rng, &[(126, 1u32), (96, 128)]);
    let span = if first == 1 { 126 } else { 96 };
    (first + rng.u32(0..span)) << 24 | rng.u32(0..1 << 24)
}

impl Network {
    /// All addresses.
    pub const ALL: Network = Network {
        address: 0,
        length: 0,
    };

    /// The network of an address.
    pub fn new(address: u32, length: u8) -> Network {
        Network {
            address: address & mask(length),
            length,
        }
    }

    /// One address.
    pub fn host(address: u32) -> Network {
        Network::new(address, 32)
    }

    /// The bits that count.
    pub fn mask(self) -> u32 {
        mask(self.length)
    }

    /// Whether the address lies in it.
    pub fn contains(self, address: u32) -> bool {
        address & self.mask() == self.address
    }

    /// One of its addresses.
    pub fn draw(self, rng: &mut Rng) -> u32 {
        self.address | rng.u32(..) & !self.mask()
    }

    /// What lies in both.
    fn and(self, other: Network) -> Option<Network> {
        let (wide, narrow) = match self.length <= other.length {
            true => (self, other),
            false => (other, self),
        };
        wide.contains(narrow.address).then_some(narrow)
    }
}

fn mask(length: u8) -> u32 {
    !u32::MAX.checked_shr(length.into()).unwrap_or(0)
}

impl Ports {
    /// All of them.
    pub const ALL: Ports = Ports {
        low: 0,
        high: u16::MAX,
    };
    /// Those that clients use.
    pub const HIGH: Ports = Ports {
        low: 1024,
        high: u16::MAX,
    };

    /// One port.
    pub fn one(port: u16) -> Ports {
        Ports {
            low: port,
            high: port,
        }
    }

    /// A range that begins at some port.
    fn some_range(rng: &mut Rng) -> Ports {
        let low = rng.u16(1..60_000);
        let high = low + (1 << rng.u16(1..12));
        Ports { low, high }
    }

    /// What lies in both.
    fn and(self, other: Ports) -> Option<Ports> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        (low <= high).then_some(Ports { low, high })
    }
}

/// Ports of well-known services, the most used first.
const SERVICES: [u16; 16] = [
    443, 80, 22, 53, 25, 3389, 8080, 123, 1433, 3306, 5432, 389, 445, 161, 993, 6443,
];

/// A port that a service listens on: often a well-known one.
fn service(rng: &mut Rng) -> Ports {
    Ports::one(match rng.u8(0..10) {
        0..6 => {
            SERVICES[rng
                .usize(0..SERVICES.len())
                .min(rng.usize(0..SERVICES.len()))]
        }
        6..8 => rng.u16(1..1024),
        _ => rng.u16(1024..=u16::MAX),
    })
}

impl Match {
    /// All packets.
    pub const ALL: Match = Match {
        source: Network::ALL,
        destination: Network::ALL,
        protocol: None,
        source_ports: Ports::ALL,
        destination_ports: Ports::ALL,
    };

    /// What both are for.
    fn and(&self, other: &Match) -> Option<Match> {
        let protocol = match (self.protocol, other.protocol) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        Some(Match {
            source: self.source.and(other.source)?,
            destination: self.destination.and(other.destination)?,
            protocol,
            source_ports: self.source_ports.and(other.source_ports)?,
            destination_ports: self.destination_ports.and(other.destination_ports)?,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.address), self.length)
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.low == self.high {
            true => write!(f, "{}", self.low),
            false => write!(f, "{}:{}", self.low, self.high),
        }
    }
}

/// As the options of iptables.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.source != Network::ALL {
            write!(f, " -s {}", self.source)?;
        }
        if self.destination != Network::ALL {
            write!(f, " -d {}", self.destination)?;
        }
        let Some(protocol) = self.protocol else {
            return Ok(());
        };
        let name = protocol_name(protocol);
        write!(f, " -p {name}")?;
        if (self.source_ports, self.destination_ports) != (Ports::ALL, Ports::ALL) {
            write!(f, " -m {name}")?;
        }
        if self.source_ports != Ports::ALL {
            write!(f, " --sport {}", self.source_ports)?;
        }
        if self.destination_ports != Ports::ALL {
            write!(f, " --dport {}", self.destination_ports)?;
        }
        Ok(())
    }
}

/// The name of a protocol that rules have.
pub fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        TCP => "tcp",
        UDP => "udp",
        _ => "icmp",
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
        })
    }
}

/// As iptables-save prints it.
impl fmt::Display for RuleSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*raw\n:{PREROUTING} {} [0:0]", self.policy)?;
        writeln!(f, ":OUTPUT ACCEPT [0:0]")?;
        for chain in &self.chains[1..] {
            writeln!(f, ":{} - [0:0]", chain.name)?;
        }
        for chain in &self.chains {
            for rule in &chain.rules {
                write!(f, "-A {}{} -j ", chain.name, rule.matches)?;
                match rule.target {
                    Target::Verdict(verdict) => writeln!(f, "{verdict}")?,
                    Target::Jump(to) => writeln!(f, "{}", self.chains[to].name)?,
                }
            }
        }
        writeln!(f, "COMMIT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(set: &RuleSet) -> usize {
        set.chains.iter().map(|chain| chain.rules.len()).sum()
    }

    #[test]
    fn sets_have_as_many_rules_as_asked_for_and_depend_on_the_seed_alone() {
        for kind in Kind::ALL {
            for rules in [1, 10, 100, 1000] {
                let set = RuleSet::draw(kind, rules, Verdicts::Mixed, 7);
                assert_eq!(count(&set), rules, "{kind}");
                let again = RuleSet::draw(kind, rules, Verdicts::Mixed, 7);
                assert_eq!(set.to_string(), again.to_string());
            }
            let [a, b] = [7, 8].map(|seed| RuleSet::draw(kind, 100, Verdicts::Mixed, seed));
            assert_ne!(a.to_string(), b.to_string());
        }
    }

    #[test]
    fn nothing_is_accepted_where_all_drop() {
        for kind in Kind::ALL {
            let text = RuleSet::draw(kind, 100, Verdicts::Drop, 1).to_string();
            assert!(!text.contains("-j ACCEPT"), "{text}");
            assert!(text.contains(":PREROUTING DROP"), "{text}");
        }
    }

    #[test]
    fn jumps_add_their_conditions() {
        let to_pod = Match {
            destination: Network::host(0x0a00_0001),
            ..Match::ALL
        };
        let web = Match {
            protocol: Some(TCP),
            destination_ports: Ports::one(80),
            ..Match::ALL
        };
        let chain = |name: &str, matches, target| Chain {
            name: name.into(),
            rules: vec![Rule { matches, target }],
        };
        let set = RuleSet {
            chains: vec![
                chain("PREROUTING", to_pod, Target::Jump(1)),
                chain("POD", web, Target::Verdict(Verdict::Drop)),
            ],
            policy: Verdict::Accept,
        };
        let [decision] = set.decisions()[..] else {
            panic!("one rule decides");
        };
        let expected = " -d 10.0.0.1/32 -p tcp -m tcp --dport 80";
        assert_eq!(decision.matches.to_string(), expected);
    }
}
