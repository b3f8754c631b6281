//! TCP: the state machine and the windows (net/netfilter/nf_conntrack_proto_tcp.c), the reference.

use super::Side;

/// The states of a connection, numbered as the kernel does (`enum tcp_conntrack`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum State {
    #[default]
    None = 0,
    SynSent = 1,
    SynReceived = 2,
    Established = 3,
    FinWait = 4,
    CloseWait = 5,
    LastAck = 6,
    TimeWait = 7,
    Close = 8,
    SynSent2 = 9,
}

/// What a packet is for the machine, numbered as the kernel does (`enum tcp_bit_set`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Index {
    Syn = 0,
    SynAck = 1,
    Fin = 2,
    Ack = 3,
    Rst = 4,
    #[default]
    None = 5,
}

/// What is known of a side (`IP_CT_TCP_FLAG_*`).
#[allow(missing_docs)]
pub mod flags {
    pub const WINDOW_SCALE: u8 = 1;
    pub const SACK_PERMITTED: u8 = 2;
    pub const CLOSE_INIT: u8 = 4;
    pub const BE_LIBERAL: u8 = 8;
    pub const UNACKNOWLEDGED: u8 = 16;
    pub const MAX_ACK_SET: u8 = 32;
    pub const CHALLENGE_ACK: u8 = 64;
    pub const SIMULTANEOUS_OPEN: u8 = 128;
}

/// Bits of the header's flags.
#[allow(missing_docs)]
pub mod bits {
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
    pub const URG: u8 = 32;
}

/// The combinations of FIN, SYN, RST, ACK and URG that a packet may have.
pub const VALID_FLAGS: [u8; 9] = [0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30];

/// The least window of acknowledgements (`MAXACKWINCONST`).
pub const MIN_ACK_WINDOW: u32 = 66_000;
/// The greatest shift of a window (RFC 7323).
pub const MAX_SCALE: u8 = 14;
/// Repeats after which a connection is remembered for less long (`nf_conntrack_tcp_max_retrans`).
pub const MAX_RETRANSMITS: u8 = 3;

/// In the place of a [`State`]: the connection has ended, and its entry waits to be forgotten.
pub const GONE: u8 = 255;

/// In [`TRANSITIONS`]: the packet is invalid.
pub const IV: u8 = 10;
/// In [`TRANSITIONS`]: the packet passes and changes nothing.
pub const IG: u8 = 11;

/// The next state by direction, [`Index`] and [`State`] (`tcp_conntracks`).
pub const TRANSITIONS: [[[u8; 10]; 6]; 2] = {
    const SS: u8 = State::SynSent as u8;
    const SR: u8 = State::SynReceived as u8;
    const ES: u8 = State::Established as u8;
    const FW: u8 = State::FinWait as u8;
    const CW: u8 = State::CloseWait as u8;
    const LA: u8 = State::LastAck as u8;
    const TW: u8 = State::TimeWait as u8;
    const CL: u8 = State::Close as u8;
    const S2: u8 = State::SynSent2 as u8;
    [
        [
            [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2],
            [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR],
            [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV],
            [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
        ],
        [
            [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2],
            [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR],
            [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV],
            [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG],
            [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL],
            [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV],
        ],
    ]
};

/// A connection's TCP part (`struct ip_ct_tcp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Its state, a number of [`State`].
    pub state: u8,
    /// The two sides, the original's first.
    pub sides: [Side; 2],
    /// What the last packet was, a number of [`Index`].
    pub last_index: u8,
    /// Which way it went.
    pub last_direction: u8,
    /// Its sequence number.
    pub last_sequence: u32,
    /// Its acknowledgement.
    pub last_ack: u32,
    /// The sequence number behind it.
    pub last_end: u32,
    /// Its window, not shifted.
    pub last_window: u16,
    /// The shift it offered, when it was an ignored SYN.
    pub last_scale: u8,
    /// Its flags, likewise.
    pub last_flags: u8,
    /// How often it was repeated, up to [`MAX_RETRANSMITS`].
    pub retransmits: u8,
}

/// What the machine says to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It belongs to the connection; the old and the new state.
    Valid(u8, u8),
    /// It belongs to the connection, whose state it does not change.
    Ignored,
    /// It does not belong to it.
    Invalid,
    /// Likewise, but both sides have said that they end it: it is not to be remembered for long.
    Lingers,
    /// The connection is over; the packet begins another.
    Reopened,
}

/// What tracking looks at in a TCP header.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    flags: u8,
    sequence: u32,
    ack: u32,
    window: u16,
    end: u32,
    options: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads the header at the start of the transport layer's bytes. None when it is broken or its
    /// flags make no sense.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let header: &[u8; 20] = bytes.first_chunk()?;
        let length = 4 * usize::from(header[12] >> 4);
        let options = bytes.get(20..length)?;
        let flags = header[13];
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|it| header[at + it]));
        let payload = (bytes.len() - length) as u32;
        let room = u32::from(flags & bits::SYN != 0) + u32::from(flags & bits::FIN != 0);
        VALID_FLAGS.contains(&(flags & 0x37)).then_some(Segment {
            flags,
            sequence: word(4),
            ack: word(8),
            window: u16::from_be_bytes([header[14], header[15]]),
            end: word(4).wrapping_add(payload).wrapping_add(room),
            options,
        })
    }

    /// What it is for the machine.
    pub fn index(&self) -> Index {
        match self.flags {
            it if it & bits::RST != 0 => Index::Rst,
            it if it & bits::SYN != 0 && it & bits::ACK != 0 => Index::SynAck,
            it if it & bits::SYN != 0 => Index::Syn,
            it if it & bits::FIN != 0 => Index::Fin,
            it if it & bits::ACK != 0 => Index::Ack,
            _ => Index::None,
        }
    }

    fn has(&self, bits: u8) -> bool {
        self.flags & bits == bits
    }

    /// `tcp_options`: what a SYN offers, into a side.
    fn offer(&self, side: &mut Side) {
        if self.options.is_empty() {
            return;
        }
        side.scale = 0;
        side.flags &= flags::BE_LIBERAL;
        for option in Options(self.options) {
            match option {
                [4, 2] => side.flags |= flags::SACK_PERMITTED,
                [3, 3, scale] => {
                    side.scale = (*scale).min(MAX_SCALE);
                    side.flags |= flags::WINDOW_SCALE;
                }
                _ => {}
            }
        }
    }

    /// `tcp_sack`: the greatest sequence number that it acknowledges, selectively or not.
    fn selective_ack(&self) -> u32 {
        for option in Options(self.options) {
            if option[0] == 5 && option.len() >= 10 && (option.len() - 2).is_multiple_of(8) {
                let blocks = option[2..].as_chunks::<8>().0;
                let ends = blocks
                    .iter()
                    .map(|&[.., a, b, c, d]| u32::from_be_bytes([a, b, c, d]));
                return ends.fold(self.ack, |sack, end| match after(end, sack) {
                    true => end,
                    false => sack,
                });
            }
        }
        self.ack
    }
}

/// The options with a length, up to the first that is broken.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            match *self.0 {
                [1, ref rest @ ..] => self.0 = rest,
                [] | [0, ..] | [_] => return None,
                [_, length, ..] => {
                    let length = usize::from(length);
                    let option = self.0.get(..length).filter(|_| length >= 2)?;
                    self.0 = &self.0[length..];
                    return Some(option);
                }
            }
        }
    }
}

fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

fn before(a: u32, b: u32) -> bool {
    after(b, a)
}

impl Connection {
    /// A connection that begins with a packet, before that is [tracked](Connection::packet). None for
    /// one that begins none. An unknown connection in its middle is picked up.
    pub fn begin(segment: &Segment<'_>) -> Option<Self> {
        let first = TRANSITIONS[0][segment.index() as usize][State::None as usize];
        if first >= IV {
            return None;
        }
        let mut connection = Connection {
            last_index: Index::None as u8,
            ..Connection::default()
        };
        let side = &mut connection.sides[0];
        side.end = segment.end;
        side.max_window = u32::from(segment.window).max(1);
        side.max_end = side.end;
        if first == State::SynSent as u8 {
            segment.offer(side);
        } else {
            side.max_end = side.end.wrapping_add(side.max_window);
            for side in &mut connection.sides {
                side.flags = flags::SACK_PERMITTED | flags::BE_LIBERAL;
            }
        }
        Some(connection)
    }

    /// Looks at no windows from now on: how much a fragmented packet has sent is not known.
    pub fn take_liberally(&mut self) {
        for side in &mut self.sides {
            side.flags |= flags::BE_LIBERAL;
        }
    }

    /// `nf_conntrack_tcp_packet`: what a packet of this direction means to the connection.
    pub fn packet(&mut self, segment: &Segment<'_>, direction: usize, status: u8) -> Answer {
        let index = segment.index();
        let mut old = self.state;
        let row = &TRANSITIONS[direction][index as usize];
        // What a map holds may be anything.
        let mut new = row.get(usize::from(old)).copied().unwrap_or(IV);
        let other = 1 - direction;
        let was = |this: &Self, last: Index| this.last_index == last as u8;
        let from = |this: &Self, direction: usize| usize::from(this.last_direction) == direction;
        if new == State::SynSent as u8 && old >= State::TimeWait as u8 {
            let closed = (self.sides[0].flags | self.sides[1].flags) & flags::CLOSE_INIT != 0;
            if closed || (from(self, direction) && was(self, Index::Rst)) {
                return Answer::Reopened;
            }
            new = IG;
        }
        let mut skip_window = false;
        match new {
            IV => return Answer::Invalid,
            IG => {
                let in_sync = index == Index::SynAck
                    && was(self, Index::Syn)
                    && !from(self, direction)
                    && segment.ack == self.last_end;
                if !in_sync {
                    self.ignore(segment, direction, index, old);
                    return Answer::Ignored;
                }
                old = State::SynSent as u8;
                new = State::SynReceived as u8;
                self.last_flags &= !flags::CHALLENGE_ACK;
                let (end, window) = (self.last_end, u32::from(self.last_window).max(1));
                let (scale, last_flags) = (self.last_scale, self.last_flags);
                let known = &mut self.sides[other];
                known.end = end;
                known.max_end = end;
                known.max_window = window;
                known.scale = scale;
                known.flags = last_flags;
                let own = &mut self.sides[direction];
                *own = Side {
                    flags: own.flags & flags::BE_LIBERAL,
                    ..Side::default()
                };
            }
            // An answer to a challenge, for a SYN that was ignored (RFC 5961).
            _ if new == State::TimeWait as u8
                && old == State::LastAck as u8
                && index == Index::Ack
                && !from(self, direction)
                && was(self, Index::Syn)
                && self.last_flags & flags::CHALLENGE_ACK != 0 =>
            {
                self.last_flags &= !flags::CHALLENGE_ACK;
                return Answer::Ignored;
            }
            _ if new == State::SynSent2 as u8 => self.last_flags |= flags::SIMULTANEOUS_OPEN,
            _ if new == State::SynReceived as u8
                && direction == 1
                && index == Index::Ack
                && self.last_flags & flags::SIMULTANEOUS_OPEN != 0 =>
            {
                new = State::Established as u8;
            }
            _ if new == State::Close as u8 && index == Index::Rst => {
                match self.reset(segment, direction, status) {
                    Reset::Invalid => return Answer::Invalid,
                    Reset::Closes { in_window } => skip_window = !in_window,
                    Reset::Harmless => new = old,
                }
            }
            _ => {}
        }
        if !skip_window {
            match self.in_window(segment, direction, index) {
                Window::Inside => {}
                Window::Ignored => return Answer::Ignored,
                Window::Outside => return self.outside(direction, index, status),
            }
        }
        self.last_index = index as u8;
        self.last_direction = direction as u8;
        self.state = new;
        if old != new && new == State::FinWait as u8 {
            self.sides[direction].flags |= flags::CLOSE_INIT;
        }
        Answer::Valid(old, new)
    }

    /// `nf_tcp_handle_invalid`: a RST or FIN outside the windows may all the same be the end.
    fn outside(&mut self, direction: usize, index: Index, status: u8) -> Answer {
        let ends = |it: u8| [Index::Rst as u8, Index::Fin as u8].contains(&it);
        if status & super::status::ASSURED == 0 || !ends(index as u8) {
            return Answer::Invalid;
        }
        if usize::from(self.last_direction) != direction && ends(self.last_index) {
            return Answer::Lingers;
        }
        self.last_index = index as u8;
        self.last_direction = direction as u8;
        Answer::Invalid
    }

    /// Remembers a packet that may show that the table is behind the two ends.
    fn ignore(&mut self, segment: &Segment<'_>, direction: usize, index: Index, old: u8) {
        self.last_index = index as u8;
        self.last_direction = direction as u8;
        self.last_sequence = segment.sequence;
        self.last_end = segment.end;
        self.last_window = segment.window;
        if index == Index::Syn && direction == 0 {
            let mut seen = Side::default();
            segment.offer(&mut seen);
            let offered = flags::WINDOW_SCALE | flags::SACK_PERMITTED;
            self.last_flags = seen.flags & offered;
            self.last_scale = seen.scale;
            if old == State::LastAck as u8 {
                self.last_flags |= flags::CHALLENGE_ACK;
            }
        }
        if old == State::SynSent as u8 && index == Index::Ack && direction == 1 {
            self.last_ack = segment.ack;
        }
    }

    /// What a RST does that may close the connection.
    fn reset(&self, segment: &Segment<'_>, direction: usize, status: u8) -> Reset {
        use super::status::{ASSURED, SEEN_REPLY};
        const CLOSING: [u8; 5] = [
            State::FinWait as u8,
            State::LastAck as u8,
            State::TimeWait as u8,
            State::Close as u8,
            State::CloseWait as u8,
        ];
        if CLOSING.contains(&self.state) {
            return Reset::Closes { in_window: false };
        }
        let own = usize::from(self.last_direction) == direction;
        let was = |last: Index| self.last_index == last as u8;
        let other = &self.sides[1 - direction];
        let established = self.state == State::Established as u8 && status & ASSURED != 0;
        if other.flags & flags::MAX_ACK_SET != 0 && !was(Index::Syn) {
            if segment.sequence == 0 && !established {
                return Reset::Closes { in_window: true };
            }
            if before(segment.sequence, other.max_ack) {
                return Reset::Invalid;
            }
            let exact = segment.sequence == other.max_ack;
            let follows = was(Index::Ack) && own && segment.sequence == self.last_end;
            return match !established || exact || follows {
                true => Reset::Closes { in_window: true },
                false => Reset::Harmless,
            };
        }
        let ignored_syn = status & SEEN_REPLY != 0 && was(Index::Syn) && !own;
        let ignored_ack = status & ASSURED == 0 && was(Index::Ack);
        let answers = (ignored_syn || ignored_ack) && segment.ack == self.last_end;
        let to_ack = self.state == State::SynSent as u8
            && was(Index::Ack)
            && self.last_direction == 1
            && segment.sequence == self.last_ack;
        Reset::Closes {
            in_window: !(answers || to_ack),
        }
    }

    /// A side begins to send: its first packet, or one that starts it anew.
    fn start(&mut self, segment: &Segment<'_>, direction: usize) {
        let (end, window) = (segment.end, u32::from(segment.window).max(1));
        let side = &mut self.sides[direction];
        side.end = end;
        side.max_end = end;
        side.max_window = window;
        segment.offer(side);
        let scaled = self.sides[0].flags & self.sides[1].flags & flags::WINDOW_SCALE != 0;
        if direction == 1 && !scaled {
            self.sides[0].scale = 0;
            self.sides[1].scale = 0;
        }
    }

    /// `tcp_in_window`: whether the packet lies in the windows; remembers it if so.
    fn in_window(&mut self, segment: &Segment<'_>, direction: usize, index: Index) -> Window {
        let other = 1 - direction;
        let Segment {
            mut sequence,
            mut ack,
            mut end,
            ..
        } = *segment;
        let mut window = u32::from(segment.window);
        let mut sack = match self.sides[other].flags & flags::SACK_PERMITTED != 0 {
            true => segment.selective_ack(),
            false => ack,
        };
        let is_syn = segment.has(bits::SYN);
        let opening = [State::SynSent as u8, State::SynReceived as u8].contains(&self.state);
        if self.sides[direction].max_window == 0 {
            if is_syn {
                self.start(segment, direction);
                if !segment.has(bits::ACK) {
                    return Window::Inside;
                }
            } else {
                let sender = &mut self.sides[direction];
                sender.end = end;
                sender.max_window = window.wrapping_shl(sender.scale.into()).max(1);
                sender.max_end = end.wrapping_add(sender.max_window);
                let receiver = &mut self.sides[other];
                if receiver.max_window == 0 {
                    receiver.end = sack;
                    receiver.max_end = sack;
                } else if sack == receiver.end.wrapping_add(1) {
                    receiver.end = receiver.end.wrapping_add(1);
                }
            }
        } else if is_syn && after(end, self.sides[direction].end) && opening {
            self.start(segment, direction);
            if direction == 1 && !segment.has(bits::ACK) {
                return Window::Inside;
            }
        }
        let state = self.state;
        let (mut sender, mut receiver) = (self.sides[direction], self.sides[other]);
        if !segment.has(bits::ACK) || (segment.has(bits::ACK | bits::RST) && ack == 0) {
            ack = receiver.end;
            sack = receiver.end;
        }
        if segment.has(bits::RST) && sequence == 0 && state == State::SynSent as u8 {
            sequence = sender.end;
            end = sender.end;
        }
        let liberal = sender.flags & flags::BE_LIBERAL != 0;
        let refused = |window: Window| match liberal {
            true => Window::Inside,
            false => window,
        };
        let ack_window = sender.max_window.max(MIN_ACK_WINDOW);
        let ack_is_new = after(sack, receiver.end.wrapping_sub(ack_window).wrapping_sub(1));
        let ack_is_known = before(sack, receiver.end.wrapping_add(1));
        let oldest = sender.end.wrapping_sub(receiver.max_window).wrapping_sub(1);
        if !before(sequence, sender.max_end.wrapping_add(1)) {
            let over = end.wrapping_sub(sender.max_end).wrapping_add(1);
            let in_range = receiver.max_window != 0 && after(end, oldest);
            if in_range && ack_is_new && over <= receiver.max_window && ack_is_known {
                let sender = &mut self.sides[direction];
                sender.end = end;
                sender.flags |= flags::UNACKNOWLEDGED;
                return refused(Window::Ignored);
            }
            return refused(Window::Outside);
        }
        if !ack_is_known {
            return refused(Window::Outside);
        }
        if (receiver.max_window != 0 && !after(end, oldest)) || !ack_is_new {
            return refused(Window::Ignored);
        }
        if !is_syn {
            window = window.wrapping_shl(sender.scale.into());
        }
        sender.max_window = sender
            .max_window
            .max(window.wrapping_add(sack.wrapping_sub(ack)));
        if after(end, sender.end) {
            sender.end = end;
            sender.flags |= flags::UNACKNOWLEDGED;
        }
        if segment.has(bits::ACK)
            && (sender.flags & flags::MAX_ACK_SET == 0 || after(ack, sender.max_ack))
        {
            sender.max_ack = ack;
            sender.flags |= flags::MAX_ACK_SET;
        }
        if receiver.max_window != 0 && after(end, sender.max_end) {
            let more = end.wrapping_sub(sender.max_end);
            receiver.max_window = receiver.max_window.wrapping_add(more);
        }
        let allowed = sack.wrapping_add(window);
        if after(allowed, receiver.max_end.wrapping_sub(1)) {
            receiver.max_end = allowed.wrapping_add(u32::from(window == 0));
        }
        if ack == receiver.end {
            receiver.flags &= !flags::UNACKNOWLEDGED;
        }
        self.sides[direction] = sender;
        self.sides[other] = receiver;
        if index == Index::Ack {
            self.remember(direction, sequence, ack, end, segment.window);
        }
        Window::Inside
    }

    /// Notes an acknowledgement, or that it is repeated.
    fn remember(&mut self, direction: usize, sequence: u32, ack: u32, end: u32, window: u16) {
        let repeated = usize::from(self.last_direction) == direction
            && self.last_sequence == sequence
            && self.last_ack == ack
            && self.last_end == end
            && self.last_window == window;
        if repeated {
            self.retransmits = self.retransmits.saturating_add(1).min(MAX_RETRANSMITS);
            return;
        }
        self.last_direction = direction as u8;
        self.last_sequence = sequence;
        self.last_ack = ack;
        self.last_end = end;
        self.last_window = window;
        self.retransmits = 0;
    }
}

/// What a RST does.
enum Reset {
    Invalid,
    /// It closes the connection, when it lies in the windows or need not.
    Closes {
        in_window: bool,
    },
    /// It is let through and changes nothing: it may be an attacker's.
    Harmless,
}

/// Where a packet lies.
enum Window {
    Inside,
    Ignored,
    Outside,
}
