//! The reference: the lists of a rule as the kernel keeps them.

use std::collections::HashMap;

use super::GROWTH;
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::World;
use crate::track::resolve::{Class, protocol, resolve};
use crate::track::tcp::State;
use crate::track::{Flow, Key, NO_CONNECTION, status};

/// What a packet means to a list.
pub struct Arrival {
    /// The name of its connection: the key, and whether it begins at the key's first end. All zero for a
    /// packet that can have none. A packet that is none of a connection that has its name is named by its own
    /// direction.
    name: (Key, bool),
    /// Whether the connection is in the table.
    confirmed: bool,
    /// Whether it is assured too: it was entered long ago then, if at all.
    assured: bool,
    now: u32,
    processor: u32,
}

impl Arrival {
    /// None when the packet lacks what would name its connection (`nf_ct_get_tuplepr`).
    pub fn of(packet: &Packet<'_>, arrives: bool, world: &World) -> Option<Arrival> {
        let question = resolve(packet, arrives);
        let connection = packet.connection();
        let named = |turned: bool| (question.key, question.forward != turned);
        let (name, found) = match (connection.state & NO_CONNECTION, question.class) {
            (0, _) => {
                let known = (!connection.is_unconfirmed).then_some(connection.status);
                (named(connection.direction == 1), known)
            }
            (_, Class::Invalid) if !has_name(packet) => return None,
            // Neither an error nor what is never tracked is found by its own name.
            (_, Class::Invalid | Class::Untracked | Class::Error) => {
                ((Key([0; Key::SIZE]), false), None)
            }
            _ => {
                let known = living(&question.key, world);
                (named(false), known.map(|it| it.status))
            }
        };
        Some(Arrival {
            name,
            confirmed: found.is_some(),
            assured: found.is_some_and(|status| status & status::ASSURED != 0),
            now: world.jiffies as u32,
            processor: packet.get(Field::Processor) as u32,
        })
    }
}

/// Whether what begins no connection of ours would still have a name in the kernel.
fn has_name(packet: &Packet<'_>) -> bool {
    let needed = match packet.get(Field::Protocol) as u8 {
        protocol::UDPLITE => 4,
        protocol::ICMP | protocol::ICMP6 => 8,
        _ => return false,
    };
    packet.get(Field::BrokenHeaders) == 0
        && packet.get(Field::FragmentOffset) == 0
        && packet.get(Field::TransportLength) >= needed
}

/// The connection of a key, if the table has it.
fn living<'a>(key: &Key, world: &'a World) -> Option<&'a Flow> {
    let flow = world.flows.get(key)?;
    (!flow.is_over(world.jiffies as u32)).then_some(flow)
}

/// The lists of a rule by the masked addresses.
#[derive(Default)]
pub struct Lists(HashMap<u128, List>);

struct List {
    records: Vec<Record>,
    /// The tick of the last search for connections that are gone.
    searched: u32,
    /// How many there were behind it.
    left: u32,
}

struct Record {
    name: (Key, bool),
    since: u32,
    processor: u32,
}

impl Lists {
    /// Counts the connections of an address, the packet's among them.
    pub fn count(&mut self, address: u128, arrival: &Arrival, world: &World) -> u32 {
        let is_new = !self.0.contains_key(&address);
        let list = self.0.entry(address).or_insert_with(|| List {
            records: Vec::new(),
            searched: arrival.now,
            left: 0,
        });
        let adds = !arrival.assured;
        let searched_now = list.searched == arrival.now
            && (list.records.len() as u32).wrapping_sub(list.left) < GROWTH;
        // It is always looked whether a connection is there that may be.
        let searches = !is_new && (!searched_now || (arrival.confirmed && adds));
        let known = searches && list.search(arrival, adds, world);
        if is_new || (adds && !known) {
            list.records.push(Record {
                name: arrival.name,
                since: arrival.now,
                processor: arrival.processor,
            });
        }
        list.records.len() as u32
    }
}

impl List {
    /// Takes out what is gone. A packet that would enter its connection ends the search when it finds it.
    fn search(&mut self, arrival: &Arrival, adds: bool, world: &World) -> bool {
        let mut at = 0;
        while let Some(record) = self.records.get(at) {
            match record.fate(arrival, adds, world) {
                Fate::Same => return true,
                Fate::Stays => at += 1,
                // The order does not matter, and the last is quickly moved.
                Fate::Goes => {
                    self.records.swap_remove(at);
                }
            }
        }
        self.searched = arrival.now;
        self.left = self.records.len() as u32;
        false
    }
}

enum Fate {
    /// It is the packet's own.
    Same,
    Stays,
    Goes,
}

impl Record {
    fn fate(&self, arrival: &Arrival, adds: bool, world: &World) -> Fate {
        let same = adds && self.name == arrival.name;
        let Some(flow) = living(&self.name.0, world) else {
            // Another processor may be about to confirm it.
            let old = arrival.now.wrapping_sub(self.since) >= 2;
            return match self.processor == arrival.processor || old {
                true => Fate::Goes,
                false if same => Fate::Same,
                false => Fate::Stays,
            };
        };
        match flow.tcp.state {
            _ if same => Fate::Same,
            state if state == State::TimeWait as u8 || state == State::Close as u8 => Fate::Goes,
            _ => Fate::Stays,
        }
    }
}
