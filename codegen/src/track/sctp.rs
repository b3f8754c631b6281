//! SCTP: the state machine and the verification tags (net/netfilter/nf_conntrack_proto_sctp.c of Linux 6.18), the
//! reference.
//!
//! A packet is first reduced to its [`Chunks`]: those that the machine knows, in their order, and of the
//! others whether there are any. Checksums are not verified, and a packet with more chunks of the former than
//! [`MAX_CHUNKS`] is invalid here.

/// The states of an association, numbered as the kernel does (`enum sctp_conntrack`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum State {
    None = 0,
    Closed = 1,
    CookieWait = 2,
    CookieEchoed = 3,
    Established = 4,
    ShutdownSent = 5,
    ShutdownReceived = 6,
    ShutdownAckSent = 7,
    HeartbeatSent = 8,
}

/// How many [`State`]s there are.
pub const STATES: usize = 9;

/// What the machine knows of a chunk: a number of four bits, 0 for all that it does not know.
#[allow(missing_docs)]
pub mod kind {
    pub const OTHER: u8 = 0;
    pub const INIT: u8 = 1;
    pub const INIT_ACK: u8 = 2;
    pub const ABORT: u8 = 3;
    pub const SHUTDOWN: u8 = 4;
    pub const SHUTDOWN_ACK: u8 = 5;
    pub const ERROR: u8 = 6;
    pub const COOKIE_ECHO: u8 = 7;
    pub const COOKIE_ACK: u8 = 8;
    pub const SHUTDOWN_COMPLETE: u8 = 9;
    pub const HEARTBEAT: u8 = 10;
    pub const HEARTBEAT_ACK: u8 = 11;
    /// An ABORT, or a SHUTDOWN COMPLETE, whose flag T says that its tag is that of its sender.
    pub const ABORT_T: u8 = 12;
    pub const SHUTDOWN_COMPLETE_T: u8 = 13;
    /// Only in sets of kinds, beside [`OTHER`].
    pub const DATA: u8 = 14;

    /// A set of kinds: a bit for each.
    pub const fn set(kinds: &[u8]) -> u32 {
        let (mut set, mut index) = (0, 0);
        while index < kinds.len() {
            set |= 1 << kinds[index];
            index += 1;
        }
        set
    }

    /// The [kinds](self) of the first sixteen types of chunks (RFC 9260 section 3.2).
    pub const OF_TYPES: [u8; 16] = [
        OTHER,
        INIT,
        INIT_ACK,
        OTHER,
        HEARTBEAT,
        HEARTBEAT_ACK,
        ABORT,
        SHUTDOWN,
        SHUTDOWN_ACK,
        ERROR,
        COOKIE_ECHO,
        COOKIE_ACK,
        OTHER,
        OTHER,
        SHUTDOWN_COMPLETE,
        OTHER,
    ];
    /// Those that are alone in their packet.
    pub const ALONE: [u8; 4] = [INIT, INIT_ACK, SHUTDOWN_COMPLETE, SHUTDOWN_COMPLETE_T];
    /// Those that come first.
    pub const FIRST: [u8; 2] = [COOKIE_ECHO, COOKIE_ACK];
    /// Those that begin no association.
    pub const BEGIN_NONE: u32 = set(&[
        OTHER,
        ABORT,
        ABORT_T,
        SHUTDOWN_COMPLETE,
        SHUTDOWN_COMPLETE_T,
        COOKIE_ACK,
    ]);
    /// Those that begin a secondary path, whose tag is known.
    pub const BEATS: u32 = set(&[HEARTBEAT, HEARTBEAT_ACK]);
    /// Those with whose packets the tag is not compared at first.
    pub const TAGGED: u32 = set(&[
        INIT,
        SHUTDOWN_COMPLETE,
        SHUTDOWN_COMPLETE_T,
        COOKIE_ECHO,
        ABORT,
        ABORT_T,
        SHUTDOWN_ACK,
        HEARTBEAT,
        HEARTBEAT_ACK,
    ]);

    /// The row of [`TRANSITIONS`](super::TRANSITIONS).
    pub const fn row(kind: u8) -> usize {
        match kind {
            ABORT_T => ABORT as usize - 1,
            SHUTDOWN_COMPLETE_T => SHUTDOWN_COMPLETE as usize - 1,
            kind => kind as usize - 1,
        }
    }
}

/// Bytes of the common header.
pub const HEADER: usize = 12;
/// The bit T of a chunk's flags.
pub const FLAG_T: u8 = 1;
/// How many chunks of a packet the machine looks at.
pub const MAX_CHUNKS: usize = 7;

/// In [`TRANSITIONS`]: the packet is invalid.
pub const IV: u8 = 10;

/// The next state by direction, [`kind`] less one, and [`State`] (`sctp_conntracks`).
pub const TRANSITIONS: [[[u8; STATES]; 11]; 2] = {
    const CL: u8 = State::Closed as u8;
    const CW: u8 = State::CookieWait as u8;
    const CE: u8 = State::CookieEchoed as u8;
    const ES: u8 = State::Established as u8;
    const SS: u8 = State::ShutdownSent as u8;
    const SR: u8 = State::ShutdownReceived as u8;
    const SA: u8 = State::ShutdownAckSent as u8;
    const HS: u8 = State::HeartbeatSent as u8;
    [
        [
            [CL, CL, CW, CE, ES, CL, CL, SA, CW],
            [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            [CL, CL, CL, CL, CL, CL, CL, CL, CL],
            [CL, CL, CW, CE, SS, SS, SR, SA, CL],
            [SA, CL, CW, CE, ES, SA, SA, SA, SA],
            [CL, CL, CW, CE, ES, SS, SR, SA, CL],
            [CL, CL, CE, CE, ES, SS, SR, SA, CL],
            [CL, CL, CW, ES, ES, SS, SR, SA, CL],
            [CL, CL, CW, CE, ES, SS, SR, CL, CL],
            [HS, CL, CW, CE, ES, SS, SR, SA, HS],
            [CL, CL, CW, CE, ES, SS, SR, SA, HS],
        ],
        [
            [IV, CL, CW, CE, ES, SS, SR, SA, IV],
            [IV, CW, CW, CE, ES, SS, SR, SA, IV],
            [IV, CL, CL, CL, CL, CL, CL, CL, IV],
            [IV, CL, CW, CE, SR, SS, SR, SA, IV],
            [IV, CL, CW, CE, ES, SA, SA, SA, IV],
            [IV, CL, CW, CL, ES, SS, SR, SA, IV],
            [IV, CL, CE, CE, ES, SS, SR, SA, IV],
            [IV, CL, CW, ES, ES, SS, SR, SA, IV],
            [IV, CL, CW, CE, ES, SS, SR, CL, IV],
            [IV, CL, CW, CE, ES, SS, SR, SA, HS],
            [IV, CL, CW, CE, ES, SS, SR, SA, ES],
        ],
    ]
};

/// What a packet says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// The verification tag, as it lies in the header.
    tag: u32,
    /// The [`kind`]s of the chunks that the machine knows, in order.
    known: Vec<u8>,
    /// All kinds.
    kinds: u32,
    /// The tag that an INIT or INIT ACK gives.
    init_tag: u32,
}

impl Chunks {
    /// Reads a packet from the common header on; none for one that is invalid whatever the association.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_first_chunk::<HEADER>()?;
        let mut chunks = Chunks {
            tag: u32::from_ne_bytes([header[4], header[5], header[6], header[7]]),
            ..Chunks::default()
        };
        let first = rest;
        while let Some(&[number, flags, high, low]) = rest.first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length == 0 || !chunks.take(number, flags) {
                return None;
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        if chunks.kinds == 0 {
            return None;
        }
        if chunks.kinds & GIVES_TAG != 0 {
            let init = first.first_chunk::<20>()?;
            chunks.init_tag = u32::from_ne_bytes([init[4], init[5], init[6], init[7]]);
        }
        Some(chunks)
    }

    /// `do_basic_checks`: false where the chunk may not stand here.
    fn take(&mut self, number: u8, flags: u8) -> bool {
        let known = kind::OF_TYPES.get(usize::from(number));
        let kind = match known.copied().unwrap_or(kind::OTHER) {
            kind::ABORT if flags & FLAG_T != 0 => kind::ABORT_T,
            kind::SHUTDOWN_COMPLETE if flags & FLAG_T != 0 => kind::SHUTDOWN_COMPLETE_T,
            kind => kind,
        };
        let alone = self.kinds & kind::set(&kind::ALONE) != 0 || kind::ALONE.contains(&kind);
        let leads = alone || kind::FIRST.contains(&kind);
        if leads && self.kinds != 0 {
            return false;
        }
        self.kinds |= 1 << kind;
        if number == 0 {
            self.kinds |= 1 << kind::DATA;
        }
        if kind != kind::OTHER {
            self.known.push(kind);
        }
        self.known.len() <= MAX_CHUNKS
    }

    fn has(&self, kind: u8) -> bool {
        self.kinds & 1 << kind != 0
    }
}

/// The kinds that give a tag.
pub const GIVES_TAG: u32 = kind::set(&[kind::INIT, kind::INIT_ACK]);

/// An association as its packets show it (`struct ip_ct_sctp`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Association {
    /// A number of [`State`].
    pub state: u8,
    /// The tags of packets of the original and the reply direction, as they lie in the header.
    pub tags: [u32; 2],
    /// [`notes`].
    pub notes: u8,
}

/// What else is known of an association.
pub mod notes {
    /// The original direction has sent an INIT; the bit above, that the other has.
    pub const INIT: u8 = 1;
    /// Both.
    pub const INITS: u8 = 3;
    /// A HEARTBEAT had another tag.
    pub const OTHER_TAG: u8 = 4;
    /// It went the reply direction.
    pub const REPLY: u8 = 8;
}

/// What a packet means to its association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It belongs to it; this is the new state.
    Valid(u8),
    /// It belongs to it, and does not keep it alive.
    Ignored,
    /// It does not belong to it.
    Invalid,
}

impl Association {
    /// What a packet begins, before it is [told](Self::packet) of it (`sctp_new`); none for a packet that
    /// begins nothing.
    pub fn begin(chunks: &Chunks) -> Option<Self> {
        if chunks.kinds & kind::BEGIN_NONE != 0 {
            return None;
        }
        let mut tags = [0; 2];
        if chunks.has(kind::INIT) {
            if chunks.tag != 0 {
                return None;
            }
            tags[1] = chunks.init_tag;
        } else {
            if chunks.kinds & kind::BEATS != 0 {
                tags[0] = chunks.tag;
            }
            if chunks.kinds & !kind::BEATS != 0 {
                tags[1] = chunks.tag;
            }
        }
        Some(Association {
            tags,
            ..Association::default()
        })
    }

    /// Tells it of a packet; gives also whether that establishes it. `confirmed` says whether it is in the
    /// table.
    pub fn packet(&mut self, chunks: &Chunks, direction: usize, confirmed: bool) -> (Answer, bool) {
        if chunks.kinds & kind::TAGGED == 0 && chunks.tag != self.tags[direction] {
            return (Answer::Invalid, false);
        }
        let (mut ignored, mut established) = (false, false);
        for &kind in &chunks.known {
            let before = self.state;
            let taken = self.chunk(kind, chunks, direction, &mut ignored, confirmed);
            established |= before != self.state && self.state == State::Established as u8;
            if taken.is_none() {
                return (Answer::Invalid, established);
            }
        }
        match ignored {
            true => (Answer::Ignored, established),
            false => (Answer::Valid(self.state), established),
        }
    }

    fn chunk(
        &mut self,
        kind: u8,
        chunks: &Chunks,
        direction: usize,
        ignored: &mut bool,
        confirmed: bool,
    ) -> Option<()> {
        let (own, other) = (direction, 1 - direction);
        let init = |direction: usize| notes::INIT << direction;
        let tag = chunks.tag;
        match kind {
            kind::INIT if tag != 0 => return None,
            kind::ABORT | kind::SHUTDOWN_COMPLETE | kind::COOKIE_ECHO if tag != self.tags[own] => {
                return None;
            }
            kind::ABORT_T | kind::SHUTDOWN_COMPLETE_T if tag != self.tags[other] => return None,
            kind::COOKIE_ACK => self.notes &= !notes::INITS,
            kind::HEARTBEAT | kind::HEARTBEAT_ACK => {
                if self.tags[own] == 0 {
                    self.tags[own] = tag;
                } else if tag != self.tags[own] {
                    if chunks.has(kind::DATA) || *ignored {
                        return None;
                    }
                    if kind == kind::HEARTBEAT {
                        self.notes &= !notes::REPLY;
                        self.notes |= notes::OTHER_TAG | (notes::REPLY * own as u8);
                        *ignored = true;
                        return Some(());
                    }
                    let last = usize::from(self.notes & notes::REPLY != 0);
                    if self.notes & notes::OTHER_TAG == 0 || last == own {
                        return None;
                    }
                    self.notes &= !notes::OTHER_TAG;
                    self.tags[own] = tag;
                    self.tags[other] = 0;
                } else {
                    self.notes &= !notes::OTHER_TAG;
                }
            }
            _ => {}
        }
        let row = TRANSITIONS[own].get(kind::row(kind))?;
        let (old, new) = (self.state, *row.get(usize::from(self.state))?);
        if new == IV {
            return None;
        }
        if kind == kind::INIT {
            if self.notes & notes::INITS == notes::INITS {
                self.notes &= !init(other);
            }
            self.notes |= init(own);
            self.tags[other] = chunks.init_tag;
            let closed = State::Closed as u8;
            // An INIT that is repeated keeps no association alive.
            *ignored |= [old, new] == [closed; 2] && confirmed;
        }
        if kind == kind::INIT_ACK {
            let known = self.tags[other];
            let asked = self.notes & init(other) != 0;
            let both = self.notes & notes::INITS == notes::INITS;
            if known != chunks.init_tag && ((!asked && known != 0) || both) {
                return None;
            }
            self.tags[other] = chunks.init_tag;
        }
        self.state = new;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(tag: u32, chunks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0, 2];
        bytes.extend(tag.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(chunks.concat());
        bytes
    }

    const DATA: &[u8] = &[0, 3, 0, 4];
    const ABORT: &[u8] = &[6, 0, 0, 4];
    const COOKIE_ECHO: &[u8] = &[10, 0, 0, 4];
    const SHUTDOWN: &[u8] = &[7, 0, 0, 8, 0, 0, 0, 9];

    #[test]
    fn chunks_stand_where_they_may() {
        let init: &[u8] = &[1, 0, 0, 20, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for (chunks, is_valid) in [
            (&[][..], false),
            (&[DATA], true),
            (&[DATA, DATA, SHUTDOWN], true),
            (&[SHUTDOWN, &[0, 0, 0]], true),
            (&[SHUTDOWN, &[0, 0, 0], &[0, 0, 0, 0]], false),
            (&[COOKIE_ECHO, DATA], true),
            (&[DATA, COOKIE_ECHO], false),
            (&[init], true),
            (&[init, DATA], false),
            (&[&init[..16]], false),
            (&[DATA, init], false),
            (&[&[1, 0, 0, 4]], false),
            (&[&[255, 0, 0, 1, 0, 0, 0]], true),
            (&[ABORT; MAX_CHUNKS], true),
            (&[ABORT; MAX_CHUNKS + 1], false),
        ] {
            let read = Chunks::read(&packet(7, chunks));
            assert_eq!(read.is_some(), is_valid, "{chunks:?}");
        }
        let read = Chunks::read(&packet(7, &[COOKIE_ECHO, DATA])).expect("is valid");
        assert_eq!(read.known, [kind::COOKIE_ECHO]);
        assert!(read.has(kind::DATA) && read.has(kind::OTHER));
        assert!(Chunks::read(&packet(7, &[DATA])[..11]).is_none());
    }

    #[test]
    fn a_handshake_establishes() {
        let begin = |number: u8, tag: u32| -> Vec<u8> {
            let tag = tag.to_ne_bytes();
            [&[number, 0, 0, 20], &tag[..], &[0; 12]].concat()
        };
        let read = |tag: u32, chunk: &[u8]| Chunks::read(&packet(tag, &[chunk])).expect("valid");
        let init = read(0, &begin(1, 11));
        let mut association = Association::begin(&init).expect("begins");
        let cookie_ack = read(11, &[11, 0, 0, 4]);
        for (chunks, direction, answer) in [
            (init, 0, Answer::Valid(State::Closed as u8)),
            (
                read(11, &begin(2, 22)),
                1,
                Answer::Valid(State::CookieWait as u8),
            ),
            (read(11, COOKIE_ECHO), 0, Answer::Invalid),
            (
                read(22, COOKIE_ECHO),
                0,
                Answer::Valid(State::CookieEchoed as u8),
            ),
            (cookie_ack, 1, Answer::Valid(State::Established as u8)),
            (read(22, DATA), 0, Answer::Valid(State::Established as u8)),
            (read(11, DATA), 0, Answer::Invalid),
            (read(5, ABORT), 1, Answer::Invalid),
            (read(11, ABORT), 1, Answer::Valid(State::Closed as u8)),
        ] {
            let (found, _) = association.packet(&chunks, direction, true);
            assert_eq!(found, answer, "{chunks:?}");
        }
        for chunk in [ABORT, DATA, &[11, 0, 0, 4], &[14, 0, 0, 4]] {
            assert!(Association::begin(&read(0, chunk)).is_none());
        }
    }
}
