//! What rules say of a packet, found by trying one after the other: independent of everything measured.

use crate::rules::{RuleSet, TCP, UDP, Verdict};

/// The fields of a packet that rules look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Protocol number.
    pub protocol: u8,
    /// Of TCP and UDP; zero in others.
    pub source_port: u16,
    /// Likewise.
    pub destination_port: u16,
}

/// Rules that are tried together: enough to fill the vector registers, few enough to end early.
const TOGETHER: usize = 64;

/// The decisions of a rule set, one column for each condition, so that many are compared at once.
pub struct Oracle {
    columns: Vec<Columns>,
    verdicts: Vec<Verdict>,
    policy: Verdict,
}

#[derive(Clone)]
struct Columns {
    source: [u32; TOGETHER],
    source_mask: [u32; TOGETHER],
    destination: [u32; TOGETHER],
    destination_mask: [u32; TOGETHER],
    protocol: [u32; TOGETHER],
    protocol_mask: [u32; TOGETHER],
    /// Low port, and how many more there are.
    source_low: [u32; TOGETHER],
    source_span: [u32; TOGETHER],
    destination_low: [u32; TOGETHER],
    destination_span: [u32; TOGETHER],
}

impl Columns {
    /// Where no rule stands, none matches: no protocol is this large.
    const NONE: Columns = Columns {
        source: [0; TOGETHER],
        source_mask: [0; TOGETHER],
        destination: [0; TOGETHER],
        destination_mask: [0; TOGETHER],
        protocol: [u32::MAX; TOGETHER],
        protocol_mask: [u32::MAX; TOGETHER],
        source_low: [0; TOGETHER],
        source_span: [0; TOGETHER],
        destination_low: [0; TOGETHER],
        destination_span: [0; TOGETHER],
    };
}

impl Oracle {
    /// Of a rule set.
    pub fn new(set: &RuleSet) -> Oracle {
        let decisions = set.decisions();
        let columns = decisions.chunks(TOGETHER).map(|chunk| {
            let mut columns = Columns::NONE;
            for (place, decision) in chunk.iter().enumerate() {
                let it = &decision.matches;
                columns.source[place] = it.source.address;
                columns.source_mask[place] = it.source.mask();
                columns.destination[place] = it.destination.address;
                columns.destination_mask[place] = it.destination.mask();
                columns.protocol[place] = it.protocol.unwrap_or(0).into();
                columns.protocol_mask[place] = if it.protocol.is_some() { u32::MAX } else { 0 };
                columns.source_low[place] = it.source_ports.low.into();
                columns.source_span[place] = (it.source_ports.high - it.source_ports.low).into();
                columns.destination_low[place] = it.destination_ports.low.into();
                columns.destination_span[place] =
                    (it.destination_ports.high - it.destination_ports.low).into();
            }
            columns
        });
        Oracle {
            columns: columns.collect(),
            verdicts: decisions.iter().map(|decision| decision.verdict).collect(),
            policy: set.policy,
        }
    }

    /// The first decision that a packet meets, by its index in [`RuleSet::decisions`].
    pub fn first(&self, packet: &Header) -> Option<usize> {
        let protocol = u32::from(packet.protocol);
        let source_port = u32::from(packet.source_port);
        let destination_port = u32::from(packet.destination_port);
        self.columns.iter().enumerate().find_map(|(chunk, it)| {
            let mut differs = [0u32; TOGETHER];
            for (place, differs) in differs.iter_mut().enumerate() {
                let beyond =
                    |port: u32, low: u32, span: u32| u32::from(port.wrapping_sub(low) > span);
                *differs = (packet.source & it.source_mask[place]) ^ it.source[place]
                    | (packet.destination & it.destination_mask[place]) ^ it.destination[place]
                    | (protocol & it.protocol_mask[place]) ^ it.protocol[place]
                    | beyond(source_port, it.source_low[place], it.source_span[place])
                    | beyond(
                        destination_port,
                        it.destination_low[place],
                        it.destination_span[place],
                    );
            }
            let place = differs.iter().position(|&differs| differs == 0)?;
            Some(chunk * TOGETHER + place)
        })
    }

    /// What becomes of a packet.
    pub fn verdict(&self, packet: &Header) -> Verdict {
        self.first(packet)
            .map_or(self.policy, |first| self.verdicts[first])
    }
}

impl Header {
    /// Whether it has ports.
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP)
    }

    /// An answer to it.
    pub fn reversed(self) -> Header {
        Header {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Kind, Match, Verdicts};
    use fastrand::Rng;

    fn meets(matches: &Match, packet: &Header) -> bool {
        let ports = |low: u16, high: u16, port: u16| (low..=high).contains(&port);
        matches.source.contains(packet.source)
            && matches.destination.contains(packet.destination)
            && matches.protocol.is_none_or(|it| it == packet.protocol)
            && ports(
                matches.source_ports.low,
                matches.source_ports.high,
                packet.source_port,
            )
            && ports(
                matches.destination_ports.low,
                matches.destination_ports.high,
                packet.destination_port,
            )
    }

    #[test]
    fn columns_find_the_first_rule() {
        for kind in Kind::ALL {
            let set = RuleSet::draw(kind, 200, Verdicts::Mixed, 3);
            let (oracle, decisions) = (Oracle::new(&set), set.decisions());
            let mut rng = Rng::with_seed(4);
            let mut found = 0;
            for _ in 0..500 {
                let decision = &decisions[rng.usize(0..decisions.len())];
                let mut packet = crate::packets::draw(&decision.matches, &mut rng);
                packet.destination_port ^= rng.u16(0..2);
                let first = decisions.iter().position(|it| meets(&it.matches, &packet));
                found += usize::from(first.is_some());
                assert_eq!(oracle.first(&packet), first, "{kind}: {packet:?}");
            }
            assert!(found > 100, "{kind}: {found}");
        }
    }
}
