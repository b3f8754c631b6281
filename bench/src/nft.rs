//! Rule sets in the language of nft.

use std::fmt::Write as _;

use crate::rules::{Match, Network, Ports, RuleSet, TCP, Target, UDP, Verdict, protocol_name};

/// The same rules one by one, each with its counter.
pub fn rules(set: &RuleSet) -> String {
    let mut text = String::from("table ip bench {\n");
    // A chain is known before it is jumped to.
    for (number, chain) in set.chains.iter().enumerate().rev() {
        writeln!(text, "chain c{number} {{").ok();
        if number == 0 {
            text += &hook(set.policy);
        }
        for rule in &chain.rules {
            text += &conditions(&rule.matches);
            match rule.target {
                Target::Verdict(verdict) => writeln!(text, "counter {}", word(verdict)),
                Target::Jump(to) => writeln!(text, "counter jump c{to}"),
            }
            .ok();
        }
        text += "}\n";
    }
    text + "}\n"
}

/// The sources of all rules as a set that one rule asks for.
pub fn blocklist(set: &RuleSet) -> String {
    let sources: Vec<String> = set.chains[0]
        .rules
        .iter()
        .map(|rule| std::net::Ipv4Addr::from(rule.matches.source.address).to_string())
        .collect();
    format!(
        "table ip bench {{\nset blocked {{\ntype ipv4_addr\nelements = {{ {} }}\n}}\n\
         chain c0 {{\n{}ip saddr @blocked counter drop\n}}\n}}\n",
        sources.join(", "),
        hook(set.policy),
    )
}

fn hook(policy: Verdict) -> String {
    let policy = word(policy);
    format!("type filter hook prerouting priority raw; policy {policy};\n")
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Drop => "drop",
    }
}

fn conditions(matches: &Match) -> String {
    let mut text = String::new();
    for (name, network) in [("saddr", matches.source), ("daddr", matches.destination)] {
        if network != Network::ALL {
            text += &format!("ip {name} {network} ");
        }
    }
    let Some(protocol) = matches.protocol else {
        return text;
    };
    let name = protocol_name(protocol);
    let ports = [
        ("sport", matches.source_ports),
        ("dport", matches.destination_ports),
    ];
    let asked = ports.iter().filter(|(_, ports)| *ports != Ports::ALL);
    let before = text.len();
    if matches!(protocol, TCP | UDP) {
        for (which, Ports { low, high }) in asked {
            text += &match low == high {
                true => format!("{name} {which} {low} "),
                false => format!("{name} {which} {low}-{high} "),
            };
        }
    }
    if text.len() == before {
        text += &format!("ip protocol {name} ");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Chain, Rule, Verdict};

    #[test]
    fn a_rule_says_the_same() {
        let rule = |protocol, destination_ports| Rule {
            matches: Match {
                source: Network::new(0x0a01_0000, 16),
                protocol,
                destination_ports,
                ..Match::ALL
            },
            target: Target::Verdict(Verdict::Drop),
        };
        let set = RuleSet {
            chains: vec![Chain {
                name: "PREROUTING".into(),
                rules: vec![
                    rule(Some(TCP), Ports::one(80)),
                    rule(Some(UDP), Ports { low: 5, high: 9 }),
                    rule(Some(UDP), Ports::ALL),
                    rule(None, Ports::ALL),
                ],
            }],
            policy: Verdict::Accept,
        };
        let expected = "table ip bench {\nchain c0 {\n\
            type filter hook prerouting priority raw; policy accept;\n\
            ip saddr 10.1.0.0/16 tcp dport 80 counter drop\n\
            ip saddr 10.1.0.0/16 udp dport 5-9 counter drop\n\
            ip saddr 10.1.0.0/16 ip protocol udp counter drop\n\
            ip saddr 10.1.0.0/16 counter drop\n}\n}\n";
        assert_eq!(rules(&set), expected);
    }
}
