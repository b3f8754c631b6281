//! What Docker and Kubernetes' network policies write: published ports of containers in one chain, and a
//! chain of its own for each pod, which a jump for its address leads to and a DROP ends.

use fastrand::Rng;

use super::{
    Chain, Match, Network, PREROUTING, Rule, RuleSet, TCP, Target, UDP, Verdict, service, weighted,
};

/// Rules for one pod: the jump, the DROP, and what is allowed.
const RULES_PER_POD: usize = 8;
/// One rule in so many publishes a container's port.
const PUBLISHED: usize = 4;

/// The networks of pods, containers and peers.
const PODS: u32 = 0x0af4_0000;
const CONTAINERS: u32 = 0xac11_0000;
const PEERS: u32 = 0x0a00_0000;

/// So many rules.
pub fn rules(rng: &mut Rng, count: usize) -> RuleSet {
    let published = count.saturating_sub(1) / PUBLISHED;
    let docker = Chain {
        name: "DOCKER".into(),
        rules: (0..published).map(|number| publish(rng, number)).collect(),
    };
    let mut chains = vec![
        Chain {
            name: PREROUTING.into(),
            rules: Vec::new(),
        },
        docker,
    ];
    // The jump to DOCKER is a rule, too.
    let mut left = count - published;
    if published > 0 {
        chains[0].rules.push(jump(Match::ALL, 1));
        left -= 1;
    }
    let mut pod = 0;
    while left >= 2 {
        let size = RULES_PER_POD.min(left);
        let address = Network::host(PODS + pod + 2);
        let to_pod = Match {
            destination: address,
            ..Match::ALL
        };
        let next = chains.len();
        chains[0].rules.push(jump(to_pod, next));
        let mut rules: Vec<Rule> = (0..size - 2).map(|_| allow(rng)).collect();
        rules.push(verdict(Match::ALL, Verdict::Drop));
        chains.push(Chain {
            name: format!("KUBE-POD-FW-{pod:06X}"),
            rules,
        });
        left -= size;
        pod += 1;
    }
    if left == 1 {
        chains[0].rules.push(publish(rng, published));
    }
    RuleSet {
        chains,
        policy: Verdict::Accept,
    }
}

fn jump(matches: Match, to: usize) -> Rule {
    Rule {
        matches,
        target: Target::Jump(to),
    }
}

fn verdict(matches: Match, verdict: Verdict) -> Rule {
    Rule {
        matches,
        target: Target::Verdict(verdict),
    }
}

/// A container's port for everybody.
fn publish(rng: &mut Rng, number: usize) -> Rule {
    let matches = Match {
        destination: Network::host(CONTAINERS + number as u32 + 2),
        protocol: Some(weighted(rng, &[(90, TCP), (10, UDP)])),
        destination_ports: service(rng),
        ..Match::ALL
    };
    verdict(matches, Verdict::Accept)
}

/// What a pod lets in: some peer, or one of its ports.
fn allow(rng: &mut Rng) -> Rule {
    let length = weighted(rng, &[(50, 32), (30, 24), (20, 16)]);
    let source = match rng.bool() {
        true => Network::new(PEERS | rng.u32(0..1 << 24), length),
        false => Network::ALL,
    };
    let matches = Match {
        source,
        protocol: Some(weighted(rng, &[(80, TCP), (20, UDP)])),
        destination_ports: service(rng),
        ..Match::ALL
    };
    verdict(matches, Verdict::Accept)
}

#[cfg(test)]
mod tests {
    use super::super::Ports;
    use super::*;

    #[test]
    fn ports_of_a_rule_are_those_of_its_protocol() {
        let set = rules(&mut Rng::with_seed(1), 100);
        for rule in set.chains.iter().flat_map(|chain| &chain.rules) {
            let ports = rule.matches.destination_ports;
            assert!(ports == Ports::ALL || rule.matches.protocol.is_some());
        }
    }
}
