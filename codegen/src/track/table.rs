//! The table of flows, the reference: what state a packet gets, and what it leaves behind.

use std::collections::HashMap;

use super::resolve::{Class, resolve};
use super::sctp::{Association, Chunks};
use super::tcp::{Answer, Connection, Segment};
use super::timeouts::{Timeouts, UDP_STREAM_AFTER};
use super::{Flow, Key, sctp, state, status, tcp};
use crate::field::Field;
use crate::packet::{Connected, Packet};
use crate::routine::World;
use crate::semantic::Tracking;

/// All flows by their keys.
pub type Flows = HashMap<Key, Flow>;

/// Gives a packet the state that rules see, and tells its flow of it. A flow that it begins is only
/// remembered when the packet is [confirmed](confirm).
///
/// What programs are told of the kernel's connections is the same, as far as they are told.
pub fn track(packet: &mut Packet<'_>, tracking: Tracking, world: &mut World) {
    let mut connected = visit(packet, tracking.arrives, world, false);
    if tracking.asks_kernel() && !resolve(packet, tracking.arrives).is_answered_by_kernel() {
        connected = Connected::default();
    }
    packet.set_connection(connected);
}

/// Remembers the flow that an accepted packet begins.
pub fn confirm(packet: &Packet<'_>, tracking: Tracking, world: &mut World) {
    if packet.connection().is_unconfirmed {
        visit(packet, tracking.arrives, world, true);
    }
}

fn visit(packet: &Packet<'_>, arrives: bool, world: &mut World, commit: bool) -> Connected {
    let invalid = Connected {
        state: state::INVALID,
        ..Connected::default()
    };
    let untracked = Connected {
        state: state::UNTRACKED,
        ..Connected::default()
    };
    if packet.connection().state == state::UNTRACKED {
        return untracked;
    }
    let question = resolve(packet, arrives);
    let now = Clock {
        now: world.jiffies as u32,
        rate: world.tick_rate,
        timeouts: world.timeouts,
    };
    match question.class {
        Class::Invalid => return invalid,
        Class::Untracked => return untracked,
        _ => {}
    }
    let segment = packet
        .bytes()
        .get(packet.transport()..)
        .and_then(Segment::new);
    if question.class == Class::Tcp && segment.is_none() {
        return invalid;
    }
    if question.class == Class::Udp && !udp_is_whole(packet) {
        return invalid;
    }
    let transport = packet.bytes().get(packet.transport()..);
    let chunks = match question.class {
        Class::Sctp => transport.and_then(Chunks::read),
        _ => None,
    };
    if question.class == Class::Sctp && chunks.is_none() {
        return invalid;
    }
    let flows = &mut world.flows;
    if flows
        .get(&question.key)
        .is_some_and(|it| it.is_over(now.now))
    {
        flows.remove(&question.key);
    }
    // A closed TCP connection that is opened again is forgotten first.
    for _ in 0..2 {
        let Some(flow) = flows.get_mut(&question.key) else {
            break;
        };
        let direction = usize::from(question.forward == flow.backwards);
        let mut connected = Connected {
            state: state::RELATED,
            direction: direction as u8,
            status: flow.status,
            mark: flow.mark,
            is_unconfirmed: false,
        };
        if question.class == Class::Error {
            return connected;
        }
        let answered = direction == 1 || flow.status & status::SEEN_REPLY != 0;
        connected.state = match answered {
            true => state::ESTABLISHED,
            false => state::NEW,
        };
        let told = Told {
            class: question.class,
            direction,
            segment,
            chunks: chunks.as_ref(),
            length: packet.len(),
            is_part: packet.has_more_fragments(),
        };
        let fate = flow.tell(&told, &now);
        connected.status = flow.status;
        match fate {
            Fate::Lives => {}
            // It stays until its key is asked for again, as the rules may still ask for it.
            Fate::Dies => flow.tcp.state = tcp::GONE,
            Fate::Refuses => return invalid,
            Fate::MakesWay => {
                flows.remove(&question.key);
                continue;
            }
        }
        return connected;
    }
    if question.class == Class::Error || question.is_answer {
        return invalid;
    }
    let mut flow = Flow {
        backwards: !question.forward,
        ..Flow::default()
    };
    if let (Class::Tcp, Some(segment)) = (question.class, &segment) {
        match Connection::begin(segment) {
            Some(connection) => flow.tcp = connection,
            None => return invalid,
        }
    }
    if let Some(chunks) = &chunks {
        match Association::begin(chunks) {
            Some(association) => flow.sctp = association,
            None => return invalid,
        }
    }
    if question.class == Class::Udp {
        flow.stream_from = now.after(UDP_STREAM_AFTER);
    }
    let told = Told {
        class: question.class,
        direction: 0,
        segment,
        chunks: chunks.as_ref(),
        length: packet.len(),
        is_part: packet.has_more_fragments(),
    };
    match flow.tell(&told, &now) {
        Fate::Refuses => return invalid,
        Fate::Lives if commit => {
            flow.mark = packet.connection().mark;
            flow.status |= status::CONFIRMED;
            flows.insert(question.key, flow);
        }
        Fate::Lives | Fate::Dies | Fate::MakesWay => {}
    }
    Connected {
        state: state::NEW,
        direction: 0,
        status: 0,
        mark: 0,
        is_unconfirmed: true,
    }
}

/// `udp_error`, `udplite_error`: the header is there, the length it says is possible, and UDP-Lite has a
/// checksum.
fn udp_is_whole(packet: &Packet<'_>) -> bool {
    let bytes = packet.bytes().get(packet.transport()..).unwrap_or_default();
    let Some(&[_, _, _, _, high, low, sum, more_sum]) = bytes.first_chunk() else {
        return false;
    };
    // UDP-Lite says there how much of it the checksum covers; 0 is all.
    let length = usize::from(u16::from_be_bytes([high, low]));
    let is_lite = packet.get(Field::Protocol) as u8 == super::resolve::protocol::UDPLITE;
    // What a first fragment lacks is in the others.
    let greatest = match packet.has_more_fragments() {
        true => usize::MAX,
        false => bytes.len(),
    };
    let is_summed = !is_lite || [sum, more_sum] != [0, 0];
    is_summed && ((is_lite && length == 0) || (8..=greatest).contains(&length))
}

/// The kernel's clock of ticks, in the 32 bits that flows are dated with, and how long they last.
struct Clock {
    now: u32,
    rate: u32,
    timeouts: Timeouts,
}

impl Clock {
    fn after(&self, seconds: u32) -> u32 {
        self.now.wrapping_add(seconds.wrapping_mul(self.rate))
    }

    /// Ticks until then; negative when it is past.
    fn left(&self, tick: u32) -> i32 {
        tick.wrapping_sub(self.now) as i32
    }

    fn is_past(&self, tick: u32) -> bool {
        self.left(tick) <= 0
    }
}

/// What a flow is told of a packet.
struct Told<'a> {
    class: Class,
    direction: usize,
    segment: Option<Segment<'a>>,
    chunks: Option<&'a Chunks>,
    length: u64,
    /// It is the first of several fragments.
    is_part: bool,
}

/// What a packet means to its flow.
enum Fate {
    /// It goes on.
    Lives,
    /// The packet was its last.
    Dies,
    /// The packet is none of its.
    Refuses,
    /// It was over; the packet begins another.
    MakesWay,
}

impl Flow {
    /// Whether it has expired at a tick, or ended.
    pub fn is_over(&self, now: u32) -> bool {
        self.expires.wrapping_sub(now) as i32 <= 0 || self.tcp.state == tcp::GONE
    }

    fn tell(&mut self, told: &Told<'_>, clock: &Clock) -> Fate {
        let seen = self.status & status::SEEN_REPLY != 0;
        let timeouts = &clock.timeouts;
        let mut fate = Fate::Lives;
        let mut refresh = true;
        let seconds = match (told.class, &told.segment) {
            (Class::Sctp, _) => match self.tell_sctp(told) {
                sctp::Answer::Invalid => return Fate::Refuses,
                sctp::Answer::Ignored => {
                    refresh = false;
                    0
                }
                sctp::Answer::Valid(state) => {
                    timeouts.sctp[usize::from(state) % timeouts.sctp.len()]
                }
            },
            (Class::Tcp, Some(segment)) => {
                match self.tcp.packet(segment, told.direction, self.status) {
                    Answer::Invalid => return Fate::Refuses,
                    Answer::Lingers => {
                        let soon = clock.after(timeouts.tcp_unacknowledged);
                        if clock.left(self.expires) > clock.left(soon) {
                            self.expires = soon;
                        }
                        return Fate::Refuses;
                    }
                    Answer::Reopened => return Fate::MakesWay,
                    Answer::Ignored => {
                        refresh = false;
                        0
                    }
                    Answer::Valid(old, new) => {
                        if told.is_part {
                            self.tcp.take_liberally();
                        }
                        let opened = [tcp::State::SynReceived, tcp::State::Established];
                        let established = tcp::State::Established as u8;
                        if !seen && segment.index() == tcp::Index::Rst {
                            fate = Fate::Dies;
                        } else if !seen
                            && segment.index() == tcp::Index::Syn
                            && old == tcp::State::SynSent as u8
                        {
                            // A SYN that is repeated keeps no connection alive.
                            refresh = false;
                        } else if seen
                            && opened.iter().any(|it| *it as u8 == old)
                            && new == established
                        {
                            self.status |= status::ASSURED;
                        }
                        self.tcp_timeout(segment, new, seen, timeouts)
                    }
                }
            }
            (Class::Udp, _) if !seen => timeouts.udp,
            (Class::Udp, _) if clock.is_past(self.stream_from.wrapping_add(1)) => {
                self.status |= status::ASSURED;
                timeouts.udp_stream
            }
            (Class::Udp, _) => timeouts.udp,
            (Class::Icmp, _) => timeouts.icmp,
            (Class::Gre, _) if seen => {
                self.status |= status::ASSURED;
                timeouts.gre_stream
            }
            (Class::Gre, _) => timeouts.gre,
            _ => timeouts.generic,
        };
        if refresh {
            if !matches!(fate, Fate::Dies) {
                self.expires = clock.after(seconds);
            }
            let (packets, bytes) = (self.packets[told.direction], self.bytes[told.direction]);
            self.packets[told.direction] = packets.wrapping_add(1);
            self.bytes[told.direction] = bytes.wrapping_add(told.length);
        }
        if told.direction == 1 {
            self.status |= status::SEEN_REPLY;
        }
        fate
    }

    fn tell_sctp(&mut self, told: &Told<'_>) -> sctp::Answer {
        let Some(chunks) = told.chunks else {
            return sctp::Answer::Invalid;
        };
        let confirmed = self.status & status::CONFIRMED != 0;
        let (answer, established) = self.sctp.packet(chunks, told.direction, confirmed);
        if established {
            self.status |= status::ASSURED;
        }
        answer
    }

    fn tcp_timeout(&self, segment: &Segment<'_>, new: u8, seen: bool, timeouts: &Timeouts) -> u32 {
        let normal = timeouts.tcp[usize::from(new) % timeouts.tcp.len()];
        let flags = self.tcp.sides[0].flags | self.tcp.sides[1].flags;
        let timeout = if self.tcp.retransmits >= tcp::MAX_RETRANSMITS {
            normal.min(timeouts.tcp_retransmitting)
        } else if segment.index() == tcp::Index::Rst {
            timeouts.tcp[tcp::State::Close as usize]
        } else if flags & tcp::flags::UNACKNOWLEDGED != 0 {
            normal.min(timeouts.tcp_unacknowledged)
        } else if self.tcp.last_window == 0 {
            normal.min(timeouts.tcp_retransmitting)
        } else {
            normal
        };
        match !seen && new == tcp::State::Established as u8 {
            true => timeout.min(timeouts.tcp_unacknowledged),
            false => timeout,
        }
    }
}
