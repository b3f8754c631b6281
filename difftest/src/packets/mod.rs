//! Draws frames aimed at a ruleset's constants: packets that its rules match, packets that miss by
//! one, and every kind of malformed packet that a rule might mistake for another.

mod address;
mod ipv4;
mod ipv6;
mod transport;

use anyhow::{Context, Result};
use fastrand::Rng;
use ipt2bpf_parser::ruleset::Family;

use crate::constants::{Aim, Constants};
use crate::frame::{Direction, Frame};

/// The environment variable that sets the seed.
pub const SEED_VARIABLE: &str = "IPT2BPF_SEED";

/// The seed for a run: what [`SEED_VARIABLE`] says, else a new one. Print it with every failure.
///
/// # Errors
/// When the variable is not a number.
pub fn seed() -> Result<u64> {
    match std::env::var(SEED_VARIABLE) {
        Ok(seed) => seed
            .parse()
            .with_context(|| format!("{SEED_VARIABLE} is not a number: {seed}")),
        Err(_) => Ok(fastrand::u64(..)),
    }
}

/// An endless supply of frames, the same for the same constants and seed. Ids run through
/// 1 to 65535, so that many frames can be judged at once.
pub struct Packets<'a> {
    constants: &'a Constants,
    random: Rng,
    id: u16,
}

impl<'a> Packets<'a> {
    /// Starts a supply.
    pub fn new(constants: &'a Constants, seed: u64) -> Self {
        Packets {
            constants,
            random: Rng::with_seed(seed),
            id: 0,
        }
    }

    /// The constants that the next packet is drawn around: mostly one rule's alone, so that all of
    /// its conditions meet; sometimes two rules', so that one is left half-way.
    fn aim(&mut self) -> Aim {
        let aims = &self.constants.aims;
        let Some(mut aim) = self.random.choice(aims).cloned() else {
            return Aim::default();
        };
        if one_in(&mut self.random, 4)
            && let Some(other) = self.random.choice(aims)
        {
            aim.sources.extend(&other.sources);
            aim.destinations.extend(&other.destinations);
            aim.interfaces.extend(other.interfaces.iter().cloned());
            aim.out_interfaces
                .extend(other.out_interfaces.iter().cloned());
            aim.protocols.extend(&other.protocols);
            aim.source_ports.extend(&other.source_ports);
            aim.destination_ports.extend(&other.destination_ports);
            aim.icmp.extend(&other.icmp);
            aim.tcp_flags.extend(&other.tcp_flags);
            aim.tcp_options.extend(&other.tcp_options);
            aim.payloads.extend(other.payloads.iter().cloned());
            aim.classes.extend(&other.classes);
            aim.headers.extend(other.headers.iter().cloned());
        }
        aim
    }
}

impl Iterator for Packets<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        self.id = self.id.checked_add(1).unwrap_or(1);
        let aim = self.aim();
        let random = &mut self.random;
        let direction = self.constants.direction;
        let wanted = match direction {
            Direction::Received => &aim.interfaces,
            Direction::Sent => &aim.out_interfaces,
        };
        let known = self
            .constants
            .interfaces
            .iter()
            .filter(|name| wanted.contains(name))
            .collect::<Vec<_>>();
        let interface = match random.choice(&known) {
            Some(name) if !one_in(random, 8) => *name,
            _ => random.choice(&self.constants.interfaces)?,
        };
        let packet = match self.constants.family {
            Family::V4 => ipv4::packet(random, &aim, self.id),
            Family::V6 => ipv6::packet(random, &aim, self.id),
        };
        let family = self.constants.family;
        if direction == Direction::Sent {
            return Some(Frame::sent(family, interface, &packet));
        }
        let frame = Frame::received(family, interface, &packet);
        Some(match random.u32(..80) {
            0 | 1 => frame.with_priority_tag(random.u8(..8)),
            2 | 3 => frame.with_priority_tag(0).with_priority_tag(0),
            4 => frame.to_group(true),
            5 => frame.to_group(false),
            _ => frame,
        })
    }
}

/// True once in n times.
fn one_in(random: &mut Rng, n: u32) -> bool {
    random.u32(..n) == 0
}

/// Some random bytes.
fn bytes(random: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// A type of service or traffic class: one that a rule asks for, at times with other bits of congestion
/// notification, or any.
fn class(random: &mut Rng, aim: &Aim) -> u8 {
    match random.choice(&aim.classes) {
        Some(&class) if !one_in(random, 4) => match one_in(random, 3) {
            true => class ^ random.u8(..4),
            false => class,
        },
        _ => random.u8(..),
    }
}

/// Bytes behind the end that the IP header tells, as short Ethernet frames have them.
fn padding(random: &mut Rng) -> Vec<u8> {
    let length = match one_in(random, 6) {
        true => random.usize(1..=46),
        false => 0,
    };
    bytes(random, length)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn constants(family: Family) -> Constants {
        Constants {
            aims: vec![Aim {
                protocols: vec![6],
                ..Aim::default()
            }],
            ..Constants::none(family, Direction::Received)
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_frames() {
        for family in [Family::V4, Family::V6] {
            let constants = constants(family);
            let frames =
                |seed| -> Vec<Frame> { Packets::new(&constants, seed).take(500).collect() };
            assert_eq!(frames(1), frames(1));
            assert_ne!(frames(1), frames(2));
        }
    }

    #[test]
    fn every_id_is_drawn_once_before_the_first_returns() {
        for family in [Family::V4, Family::V6] {
            let constants = constants(family);
            let ids: HashSet<_> = Packets::new(&constants, 3)
                .take(65535)
                .map(|frame| frame.id())
                .collect();
            assert_eq!(ids.len(), 65535);
            assert!(!ids.contains(&Some(0)) && !ids.contains(&None));
        }
    }

    #[test]
    fn what_the_host_sends_leaves_by_the_interfaces_of_its_rules() {
        let constants = Constants {
            interfaces: (0..20).map(|number| format!("eth{number}")).collect(),
            aims: vec![Aim {
                interfaces: vec!["eth3".into()],
                out_interfaces: vec!["eth7".into()],
                ..Aim::default()
            }],
            ..Constants::none(Family::V4, Direction::Sent)
        };
        let frames: Vec<Frame> = Packets::new(&constants, 5).take(500).collect();
        assert!(
            frames
                .iter()
                .all(|frame| frame.direction == Direction::Sent)
        );
        assert!(frames.iter().all(|frame| frame.tags() == 0));
        let by = |name: &str| {
            frames
                .iter()
                .filter(|frame| frame.interface == name)
                .count()
        };
        assert!(by("eth7") > 350 && by("eth3") > 0 && by("eth3") < 20);
    }

    #[test]
    fn aimed_packets_are_frequent_and_not_the_only_ones() {
        let constants = constants(Family::V4);
        let tcp = Packets::new(&constants, 4)
            .take(1000)
            .filter(|frame| frame.packet()[9] == 6)
            .count();
        assert!((500..990).contains(&tcp), "{tcp} of 1000");
    }
}
