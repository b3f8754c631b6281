//! What connection tracking adds to a packet: the same rules, with and without a first one that accepts what
//! belongs to an established connection.

use anyhow::Result;
use ipt2bpf_codegen::options::{Options, XdpPath};
use serde::{Deserialize, Serialize};

use crate::effort::Effort;
use crate::oracle::{Header, Oracle};
use crate::packet_cost::{self, PacketCost, Yardsticks};
use crate::packets::{self, Mix};
use crate::rules::{Kind, RuleSet, UDP, Verdicts};
use crate::subject;

/// What the rules are drawn from.
const SEED: u64 = 5;

/// A packet of an established connection, by the same rules.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ConnectionCost {
    /// How many rules follow the first.
    pub rules: usize,
    /// How many connections there are.
    pub connections: usize,
    /// Without connection tracking: the packet meets all rules and the policy.
    pub stateless: PacketCost,
    /// With `-m conntrack --ctstate ESTABLISHED -j ACCEPT` as the first rule.
    pub stateful: PacketCost,
}

/// Measures both; nothing where the rules do not run.
///
/// # Errors
/// When the system cannot measure.
pub fn measure(yardsticks: &Yardsticks, effort: &Effort) -> Result<Option<ConnectionCost>> {
    let rules = effort.rules.iter().copied().filter(|&it| it <= 1000).max();
    let Some(rules) = rules else {
        return Ok(None);
    };
    let set = RuleSet::draw(Kind::Acl, rules, Verdicts::Mixed, SEED);
    let packets = conversations(&set, effort.different)?;
    let traffic = packet_cost::traffic(&packets)?;
    let frame = packets[0].frame();
    let options = Options {
        xdp_path: XdpPath::Input,
        companion: true,
        ..effort.options.clone()
    };
    // In raw there is no state yet.
    let text = set.to_string();
    let text = text
        .replace("*raw", "*filter")
        .replace("PREROUTING", "INPUT");
    let measured = |text: &str| -> Result<PacketCost> {
        let (filter, _) = subject::build(text, None, &options)?;
        traffic.lead_to(&filter)?;
        // Twice round: the first packets begin the connections.
        traffic.run(2 * packets.len() as u32)?;
        yardsticks.measure(&filter, &traffic, &frame, effort)
    };
    let first = "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\n";
    let with_state = match text.find("-A ") {
        Some(place) => format!("{}{first}{}", &text[..place], &text[place..]),
        None => text.clone(),
    };
    Ok(Some(ConnectionCost {
        rules,
        connections: packets.len() / 2,
        stateless: measured(&text)?,
        stateful: measured(&with_state)?,
    }))
}

/// Packets of UDP in both directions that no rule is for, so that the policy lets connections begin.
fn conversations(set: &RuleSet, count: usize) -> Result<Vec<Header>> {
    let oracle = Oracle::new(set);
    let packets = packets::mixed(Mix::None, set, &oracle, 4 * count, SEED)?;
    let udp = packets.into_iter().map(|header| Header {
        protocol: UDP,
        ..header
    });
    let unmatched =
        |it: &Header| oracle.first(it).is_none() && oracle.first(&it.reversed()).is_none();
    let opening: Vec<Header> = udp.filter(unmatched).take(count / 2).collect();
    anyhow::ensure!(opening.len() == count / 2, "too few conversations");
    let both = opening.iter().flat_map(|&it| [it, it.reversed()]);
    Ok(both.collect())
}
