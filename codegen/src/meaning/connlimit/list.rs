//! The reference: the lists of a rule as the kernel keeps them.

use std::collections::HashMap;

use super::GROWTH;
use crate::field::Field;
use crate::packet::Packet;
use crate::routine::World;
use crate::track::resolve::{Class, protocol, resolve};
use crate::track::tcp::State;
use crate::track::{Key, NO_CONNECTION};

/// `LOOPBACK_IFINDEX`
const LOOPBACK: u128 = 1;

/// What a packet means to a list.
pub struct Arrival {
    /// The key of its connection; all zero for a packet that can have none.
    key: Key,
    /// Whether the connection is in the table.
    confirmed: bool,
    /// Whether it has come over the loopback interface, where the sender's side has confirmed the connection
    /// before any rule of the receiver could count it.
    looped: bool,
    now: u32,
    processor: u32,
}

impl Arrival {
    /// None when the packet lacks what would name its connection (`nf_ct_get_tuplepr`).
    pub fn of(packet: &Packet<'_>, arrives: bool, world: &World) -> Option<Arrival> {
        let question = resolve(packet, arrives);
        let connection = packet.connection();
        let (key, confirmed) = match (connection.state & NO_CONNECTION, question.class) {
            (0, _) => (question.key, !connection.is_unconfirmed),
            (_, Class::Invalid) if !has_name(packet) => return None,
            // Neither an error nor what is never tracked is found by its own name.
            (_, Class::Invalid | Class::Untracked | Class::Error) => (Key([0; Key::SIZE]), false),
            _ => (question.key, lives(&question.key, world)),
        };
        Some(Arrival {
            key,
            confirmed,
            looped: arrives && packet.get(Field::Interface) == LOOPBACK,
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

/// Whether the table has a connection.
fn lives(key: &Key, world: &World) -> bool {
    let flow = world.flows.get(key);
    flow.is_some_and(|flow| !flow.is_over(world.jiffies as u32))
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
    key: Key,
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
        let adds = !arrival.confirmed || arrival.looped;
        let searched_now = list.searched == arrival.now
            && (list.records.len() as u32).wrapping_sub(list.left) < GROWTH;
        // Over loopback it is always looked whether the connection is there.
        let searches = !is_new && (!searched_now || (arrival.confirmed && arrival.looped));
        let known = searches && list.search(arrival, adds, world);
        if is_new || (adds && !known) {
            list.records.push(Record {
                key: arrival.key,
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
        let same = adds && self.key == arrival.key;
        if !lives(&self.key, world) {
            // Another processor may be about to confirm it.
            let old = arrival.now.wrapping_sub(self.since) >= 2;
            return match self.processor == arrival.processor || old {
                true => Fate::Goes,
                false if same => Fate::Same,
                false => Fate::Stays,
            };
        }
        let closed = [State::TimeWait as u8, State::Close as u8];
        match world.flows.get(&self.key) {
            _ if same => Fate::Same,
            Some(flow) if closed.contains(&flow.tcp.state) => Fate::Goes,
            _ => Fate::Stays,
        }
    }
}
