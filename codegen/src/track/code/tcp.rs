//! The TCP machine in bytecode, statement by statement as in [`tcp`](crate::track::tcp).

use crate::asm::{Alu, Cond, Imm64, Label, Reg, Size};
use crate::emit::words::{Compare, Fact, Place, Script, Word};
use crate::track::tcp::{
    IG, IV, Index, MAX_RETRANSMITS, MIN_ACK_WINDOW, State, TRANSITIONS, bits, flags,
};
use crate::track::{layout, status};

/// The flow, all through the machine.
pub const FLOW: Reg = Reg::R8;

/// What is known of the segment, in variables.
#[derive(Clone, Copy)]
pub struct Segment {
    /// The header's flags.
    pub flags: Place,
    /// Its sequence number.
    pub sequence: Place,
    /// Its acknowledgement.
    pub ack: Place,
    /// The greatest sequence number it acknowledges, selectively or not.
    pub sack: Place,
    /// Its window, not shifted.
    pub window: Place,
    /// The sequence number behind it.
    pub end: Place,
    /// What it is for the machine.
    pub index: Place,
    /// Whether it has options.
    pub has_options: Place,
    /// The shift that its options offer.
    pub scale: Place,
    /// The flags of a side that its options set.
    pub offers: Place,
}

/// Where the machine leaves.
#[derive(Clone, Copy)]
pub struct Exits {
    /// The packet belongs to the connection; the old and the new state stand in their variables.
    pub valid: Label,
    /// It belongs to the connection, whose state it does not change.
    pub ignored: Label,
    /// It does not belong to it.
    pub invalid: Label,
    /// Likewise, but both sides have said that they end it: it is not to be remembered for long.
    pub lingers: Label,
    /// The connection is over; the packet begins another.
    pub reopened: Label,
}

/// The variables of the machine.
#[derive(Clone, Copy)]
pub struct Variables {
    /// The state before.
    pub old: Place,
    /// The state behind.
    pub new: Place,
    sequence: Place,
    ack: Place,
    sack: Place,
    end: Place,
    window: Place,
    ack_window: Place,
}

impl Variables {
    /// Makes them.
    pub fn new(script: &mut Script<'_>) -> Self {
        let mut variable = || script.variable();
        Variables {
            old: variable(),
            new: variable(),
            sequence: variable(),
            ack: variable(),
            sack: variable(),
            end: variable(),
            window: variable(),
            ack_window: variable(),
        }
    }
}

/// Leaves the next state by `index` and the state in a register in R2; R1 and R3 are lost.
fn next_state(script: &mut Script<'_>, direction: usize, index: Place, state: Place) {
    let code = &mut *script.code;
    let found = code.label();
    code.load(state.size, Reg::R3, state.base, state.offset);
    code.alu(Alu::And, Reg::R3, 15);
    code.alu(Alu::Lsh, Reg::R3, 2);
    code.load(index.size, Reg::R1, index.base, index.offset);
    for (number, row) in TRANSITIONS[direction].iter().enumerate() {
        let packed = row
            .iter()
            .rev()
            .fold(0u64, |packed, &state| packed << 4 | u64::from(state));
        code.load_imm64(Reg::R2, Imm64::Number(packed));
        code.branch(Cond::Eq, Reg::R1, number as i32, found);
    }
    code.bind(found);
    code.alu(Alu::Rsh, Reg::R2, Reg::R3);
    code.alu(Alu::And, Reg::R2, 15);
}

/// [`Connection::begin`](crate::track::tcp::Connection::begin): a flow that is all zero; goes to
/// `invalid` for a packet that begins none.
pub fn begin(script: &mut Script<'_>, segment: &Segment, invalid: Label) {
    let state = Place::byte(FLOW, layout::TCP_STATE);
    next_state(script, 0, segment.index, state);
    script
        .code
        .branch(Cond::Ge, Reg::R2, i32::from(IV), invalid);
    script.set(Place::byte(FLOW, layout::LAST_INDEX), Index::None as u32);
    let side = SideAt(0);
    script.set(side.end(), segment.end);
    script.set(side.max_end(), segment.end);
    set_window(script, side, segment.window);
    script.either(
        segment.index.is(Index::Syn as u32),
        |script| offer(script, segment, side),
        |script| {
            script.set(side.max_end(), side.end() + side.max_window());
            for side in [SideAt(0), SideAt(1)] {
                let both = flags::SACK_PERMITTED | flags::BE_LIBERAL;
                script.set(side.flags(), u32::from(both));
            }
        },
    );
}

/// A side of the flow by its direction.
#[derive(Clone, Copy)]
struct SideAt(usize);

impl SideAt {
    fn word(self, offset: i16) -> Place {
        Place::word(FLOW, layout::SIDES[self.0] + offset)
    }

    fn end(self) -> Place {
        self.word(layout::side::END)
    }

    fn max_end(self) -> Place {
        self.word(layout::side::MAX_END)
    }

    fn max_window(self) -> Place {
        self.word(layout::side::MAX_WINDOW)
    }

    fn max_ack(self) -> Place {
        self.word(layout::side::MAX_ACK)
    }

    fn scale(self) -> Place {
        Place::byte(FLOW, layout::SIDES[self.0] + layout::side::SCALE)
    }

    fn flags(self) -> Place {
        Place::byte(FLOW, layout::SIDES[self.0] + layout::side::FLAGS)
    }
}

/// The greatest window of a side is this one, at least 1.
fn set_window(script: &mut Script<'_>, side: SideAt, window: impl Into<Word>) {
    script.set(side.max_window(), window);
    script.when(side.max_window().is(0), |script| {
        script.set(side.max_window(), 1)
    });
}

fn raise(script: &mut Script<'_>, place: Place, flag: u8) {
    script.set(place, place | u32::from(flag));
}

fn lower(script: &mut Script<'_>, place: Place, flag: u8) {
    script.set(place, place & u32::from(!flag));
}

fn offer(script: &mut Script<'_>, segment: &Segment, side: SideAt) {
    script.when(segment.has_options.is(1), |script| {
        script.set(side.scale(), segment.scale);
        let kept = side.flags() & u32::from(flags::BE_LIBERAL);
        script.set(side.flags(), kept | segment.offers);
    });
}

fn byte(offset: i16) -> Place {
    Place::byte(FLOW, offset)
}

fn was(last: Index) -> Fact {
    byte(layout::LAST_INDEX).is(last as u32)
}

/// Writes the machine for packets of one direction.
pub fn packet(
    script: &mut Script<'_>,
    segment: &Segment,
    direction: usize,
    variables: &Variables,
    exits: &Exits,
) {
    let machine = Machine {
        segment: *segment,
        direction,
        own: SideAt(direction),
        other: SideAt(1 - direction),
        v: *variables,
        exits: *exits,
    };
    machine.write(script);
}

struct Machine {
    segment: Segment,
    direction: usize,
    own: SideAt,
    other: SideAt,
    v: Variables,
    exits: Exits,
}

impl Machine {
    fn is(&self, index: Index) -> Fact {
        self.segment.index.is(index as u32)
    }

    /// The last packet went the same way.
    fn same_way(&self) -> Fact {
        byte(layout::LAST_DIRECTION).is(self.direction as u32)
    }

    fn write(&self, script: &mut Script<'_>) {
        let (old, new) = (self.v.old, self.v.new);
        let state = |it: State| u32::from(it as u8);
        let [ignore, window, inside, outside] = [(); 4].map(|()| script.code.label());
        script.set(old, byte(layout::TCP_STATE));
        next_state(script, self.direction, self.segment.index, old);
        script.code.store(Size::W, new.base, new.offset, Reg::R2);
        let over = new.is(state(State::SynSent)).and(
            old.is(state(State::TimeWait))
                .or(old.is(state(State::Close)))
                .or(old.is(state(State::SynSent2))),
        );
        script.when(over, |script| {
            let both = SideAt(0).flags() | SideAt(1).flags();
            let closed = both.has(u32::from(flags::CLOSE_INIT));
            let reopened = closed.or(self.same_way().and(was(Index::Rst)));
            script.branch(&reopened, true, self.exits.reopened);
            script.set(new, u32::from(IG));
        });
        script.branch(&new.is(u32::from(IV)), true, self.exits.invalid);
        script.when(new.is(u32::from(IG)), |script| {
            self.ignored(script, window, ignore)
        });
        script.when(new.is(state(State::TimeWait)), |script| {
            let answers = Fact::All(vec![
                old.is(state(State::LastAck)),
                self.is(Index::Ack),
                self.same_way().negated(),
                was(Index::Syn),
                byte(layout::LAST_FLAGS).has(u32::from(flags::CHALLENGE_ACK)),
            ]);
            script.when(answers, |script| {
                lower(script, byte(layout::LAST_FLAGS), flags::CHALLENGE_ACK);
                script.code.jump(self.exits.ignored);
            });
        });
        script.when(new.is(state(State::SynSent2)), |script| {
            raise(script, byte(layout::LAST_FLAGS), flags::SIMULTANEOUS_OPEN);
        });
        if self.direction == 1 {
            let opened = Fact::All(vec![
                new.is(state(State::SynReceived)),
                self.is(Index::Ack),
                byte(layout::LAST_FLAGS).has(u32::from(flags::SIMULTANEOUS_OPEN)),
            ]);
            script.when(opened, |script| script.set(new, state(State::Established)));
        }
        let reset = new.is(state(State::Close)).and(self.is(Index::Rst));
        script.when(reset, |script| self.reset(script, window, inside));
        script.code.bind(window);
        self.in_window(script, inside, outside);
        script.code.bind(inside);
        script.set(byte(layout::LAST_INDEX), self.segment.index);
        script.set(byte(layout::LAST_DIRECTION), self.direction as u32);
        script.set(byte(layout::TCP_STATE), new);
        let closes = new.is(state(State::FinWait)).and(old.differs(new));
        script.when(closes, |script| {
            raise(script, self.own.flags(), flags::CLOSE_INIT);
        });
        script.code.jump(self.exits.valid);
        script.code.bind(ignore);
        self.remember_ignored(script);
        script.code.jump(self.exits.ignored);
        script.code.bind(outside);
        self.outside(script);
        script.code.jump(self.exits.invalid);
    }

    /// A packet that the table says to ignore, unless it shows that the ends are in sync.
    fn ignored(&self, script: &mut Script<'_>, window: Label, ignore: Label) {
        let in_sync = Fact::All(vec![
            self.is(Index::SynAck),
            was(Index::Syn),
            self.same_way().negated(),
            self.segment.ack.is(Place::word(FLOW, layout::LAST_END)),
        ]);
        script.branch(&in_sync, false, ignore);
        script.set(self.v.old, u32::from(State::SynSent as u8));
        script.set(self.v.new, u32::from(State::SynReceived as u8));
        lower(script, byte(layout::LAST_FLAGS), flags::CHALLENGE_ACK);
        let (own, other) = (self.own, self.other);
        let end = Place::word(FLOW, layout::LAST_END);
        script.set(other.end(), end);
        script.set(other.max_end(), end);
        let last_window = Place {
            base: FLOW,
            offset: layout::LAST_WINDOW,
            size: Size::H,
        };
        set_window(script, other, last_window);
        script.set(other.scale(), byte(layout::LAST_SCALE));
        script.set(other.flags(), byte(layout::LAST_FLAGS));
        for place in [own.end(), own.max_end(), own.max_window(), own.max_ack()] {
            script.set(place, 0);
        }
        script.set(own.scale(), 0);
        script.set(own.flags(), own.flags() & u32::from(flags::BE_LIBERAL));
        script.code.jump(window);
    }

    fn remember_ignored(&self, script: &mut Script<'_>) {
        let it = &self.segment;
        script.set(byte(layout::LAST_INDEX), it.index);
        script.set(byte(layout::LAST_DIRECTION), self.direction as u32);
        script.set(Place::word(FLOW, layout::LAST_SEQUENCE), it.sequence);
        script.set(Place::word(FLOW, layout::LAST_END), it.end);
        self.set_last_window(script);
        if self.direction == 0 {
            script.when(self.is(Index::Syn), |script| {
                script.set(byte(layout::LAST_FLAGS), 0);
                script.set(byte(layout::LAST_SCALE), 0);
                script.when(it.has_options.is(1), |script| {
                    script.set(byte(layout::LAST_FLAGS), it.offers);
                    script.set(byte(layout::LAST_SCALE), it.scale);
                });
                let last_ack = self.v.old.is(u32::from(State::LastAck as u8));
                script.when(last_ack, |script| {
                    raise(script, byte(layout::LAST_FLAGS), flags::CHALLENGE_ACK);
                });
            });
        } else {
            let half_open = self
                .v
                .old
                .is(u32::from(State::SynSent as u8))
                .and(self.is(Index::Ack));
            script.when(half_open, |script| {
                script.set(Place::word(FLOW, layout::LAST_ACK), it.ack);
            });
        }
    }

    fn set_last_window(&self, script: &mut Script<'_>) {
        let place = Place {
            base: FLOW,
            offset: layout::LAST_WINDOW,
            size: Size::H,
        };
        script.set(place, self.segment.window);
    }

    /// A RST that may close the connection: goes to `window` when it must lie in the windows, to
    /// `inside` when it need not.
    fn reset(&self, script: &mut Script<'_>, window: Label, inside: Label) {
        let (old, new) = (self.v.old, self.v.new);
        let closing = [
            State::FinWait,
            State::LastAck,
            State::TimeWait,
            State::Close,
            State::CloseWait,
        ];
        let closing = closing.map(|it| byte(layout::TCP_STATE).is(u32::from(it as u8)));
        script.branch(&Fact::Any(closing.to_vec()), true, inside);
        let it = &self.segment;
        let assured = byte(layout::STATUS).has(u32::from(status::ASSURED));
        let established = byte(layout::TCP_STATE)
            .is(u32::from(State::Established as u8))
            .and(assured.clone());
        let max_ack = self.other.max_ack();
        let checked = self
            .other
            .flags()
            .has(u32::from(flags::MAX_ACK_SET))
            .and(was(Index::Syn).negated());
        script.when(checked, |script| {
            let blind = it.sequence.is(0).and(established.clone().negated());
            script.branch(&blind, true, window);
            script.branch(&it.sequence.before(max_ack), true, self.exits.invalid);
            script.branch(&established.clone().negated(), true, window);
            script.branch(&it.sequence.is(max_ack), true, window);
            let follows = Fact::All(vec![
                was(Index::Ack),
                self.same_way(),
                it.sequence.is(Place::word(FLOW, layout::LAST_END)),
            ]);
            script.branch(&follows, true, window);
            script.set(new, old);
            script.code.jump(window);
        });
        let seen_reply = byte(layout::STATUS).has(u32::from(status::SEEN_REPLY));
        let ignored_syn = Fact::All(vec![seen_reply, was(Index::Syn), self.same_way().negated()]);
        let ignored_ack = assured.negated().and(was(Index::Ack));
        let answers = ignored_syn
            .or(ignored_ack)
            .and(it.ack.is(Place::word(FLOW, layout::LAST_END)));
        script.branch(&answers, true, inside);
        let to_ack = Fact::All(vec![
            byte(layout::TCP_STATE).is(u32::from(State::SynSent as u8)),
            was(Index::Ack),
            byte(layout::LAST_DIRECTION).is(1),
            it.sequence.is(Place::word(FLOW, layout::LAST_ACK)),
        ]);
        script.branch(&to_ack, true, inside);
    }

    /// A side begins to send.
    fn start(&self, script: &mut Script<'_>) {
        script.set(self.own.end(), self.segment.end);
        script.set(self.own.max_end(), self.segment.end);
        set_window(script, self.own, self.segment.window);
        offer(script, &self.segment, self.own);
        if self.direction == 1 {
            let both = self.own.flags() & self.other.flags();
            let scaled = both.has(u32::from(flags::WINDOW_SCALE));
            script.when(scaled.negated(), |script| {
                script.set(self.own.scale(), 0);
                script.set(self.other.scale(), 0);
            });
        }
    }

    /// Goes to `inside` for a packet in the windows, else to an exit.
    fn in_window(&self, script: &mut Script<'_>, inside: Label, outside: Label) {
        let (it, own, other) = (&self.segment, self.own, self.other);
        let Variables {
            sequence,
            ack,
            sack,
            end,
            window,
            ..
        } = self.v;
        let has = |bit: u8| it.flags.has(u32::from(bit));
        script.set(sequence, it.sequence);
        script.set(ack, it.ack);
        script.set(end, it.end);
        script.set(window, it.window);
        script.either(
            other.flags().has(u32::from(flags::SACK_PERMITTED)),
            |script| script.set(sack, it.sack),
            |script| script.set(sack, it.ack),
        );
        let begun = script.code.label();
        script.when(own.max_window().is(0), |script| {
            script.when(has(bits::SYN), |script| {
                self.start(script);
                script.branch(&has(bits::ACK), false, inside);
                script.code.jump(begun);
            });
            script.set(own.end(), end);
            set_window(script, own, window << own.scale());
            script.set(own.max_end(), end + own.max_window());
            script.either(
                other.max_window().is(0),
                |script| {
                    script.set(other.end(), sack);
                    script.set(other.max_end(), sack);
                },
                |script| {
                    script.when(sack.is(other.end() + 1), |script| {
                        script.set(other.end(), other.end() + 1);
                    });
                },
            );
            script.code.jump(begun);
        });
        let state = byte(layout::TCP_STATE);
        let opening = state
            .is(u32::from(State::SynSent as u8))
            .or(state.is(u32::from(State::SynReceived as u8)));
        let again = Fact::All(vec![has(bits::SYN), end.after(own.end()), opening]);
        script.when(again, |script| {
            self.start(script);
            if self.direction == 1 {
                script.branch(&has(bits::ACK), false, inside);
            }
        });
        script.code.bind(begun);
        let unacknowledging = has(bits::ACK).negated().or(has(bits::RST).and(ack.is(0)));
        script.when(unacknowledging, |script| {
            script.set(ack, other.end());
            script.set(sack, other.end());
        });
        let refused = Fact::All(vec![
            has(bits::RST),
            sequence.is(0),
            state.is(u32::from(State::SynSent as u8)),
        ]);
        script.when(refused, |script| {
            script.set(sequence, own.end());
            script.set(end, own.end());
        });
        self.judge(script, inside, outside);
        script.when(has(bits::SYN).negated(), |script| {
            script.set(window, window << own.scale());
        });
        let selective = window + sack - ack;
        script.when(own.max_window().below(selective.clone()), |script| {
            script.set(own.max_window(), selective);
        });
        script.when(end.after(own.end()), |script| {
            script.set(own.end(), end);
            raise(script, own.flags(), flags::UNACKNOWLEDGED);
        });
        let newest = own
            .flags()
            .has(u32::from(flags::MAX_ACK_SET))
            .negated()
            .or(ack.after(own.max_ack()));
        script.when(has(bits::ACK).and(newest), |script| {
            script.set(own.max_ack(), ack);
            raise(script, own.flags(), flags::MAX_ACK_SET);
        });
        let beyond = other.max_window().differs(0).and(end.after(own.max_end()));
        script.when(beyond, |script| {
            script.set(other.max_window(), other.max_window() + end - own.max_end());
        });
        script.when((sack + window).after(other.max_end() - 1), |script| {
            script.set(other.max_end(), sack + window);
            script.when(window.is(0), |script| {
                script.set(other.max_end(), other.max_end() + 1);
            });
        });
        script.when(ack.is(other.end()), |script| {
            lower(script, other.flags(), flags::UNACKNOWLEDGED);
        });
        script.when(self.is(Index::Ack), |script| self.remember(script));
    }

    /// Whether the packet lies in the windows: falls through if so.
    fn judge(&self, script: &mut Script<'_>, inside: Label, outside: Label) {
        let (own, other) = (self.own, self.other);
        let Variables {
            sequence,
            sack,
            end,
            ack_window,
            ..
        } = self.v;
        // Liberal sides are believed.
        let liberal = || own.flags().has(u32::from(flags::BE_LIBERAL));
        script.set(ack_window, own.max_window());
        script.when(ack_window.below(MIN_ACK_WINDOW), |script| {
            script.set(ack_window, MIN_ACK_WINDOW);
        });
        let ack_is_new = || sack.after(other.end() - ack_window - 1);
        let ack_is_known = || sack.before(other.end() + 1);
        let recent = || end.after(own.end() - other.max_window() - 1);
        let above = sequence.before(own.max_end() + 1).negated();
        script.when(above, |script| {
            let over = end - own.max_end() + 1;
            let slightly = Fact::All(vec![
                other.max_window().differs(0),
                recent(),
                ack_is_new(),
                over.at_most(other.max_window()),
                ack_is_known(),
            ]);
            script.when(slightly, |script| {
                script.set(own.end(), end);
                raise(script, own.flags(), flags::UNACKNOWLEDGED);
                script.branch(&liberal(), true, inside);
                script.code.jump(self.exits.ignored);
            });
            script.branch(&liberal(), true, inside);
            script.code.jump(outside);
        });
        script.when(ack_is_known().negated(), |script| {
            script.branch(&liberal(), true, inside);
            script.code.jump(outside);
        });
        let old_data = other.max_window().differs(0).and(recent().negated());
        script.when(old_data.or(ack_is_new().negated()), |script| {
            script.branch(&liberal(), true, inside);
            script.code.jump(self.exits.ignored);
        });
    }

    /// A RST or FIN outside the windows may all the same be the end.
    fn outside(&self, script: &mut Script<'_>) {
        let assured = byte(layout::STATUS).has(u32::from(status::ASSURED));
        let ends = self.is(Index::Rst).or(self.is(Index::Fin));
        script.when(assured.and(ends), |script| {
            let answers = self
                .same_way()
                .negated()
                .and(was(Index::Rst).or(was(Index::Fin)));
            script.branch(&answers, true, self.exits.lingers);
            script.set(byte(layout::LAST_INDEX), self.segment.index);
            script.set(byte(layout::LAST_DIRECTION), self.direction as u32);
        });
    }

    /// Notes an acknowledgement, or that it is repeated.
    fn remember(&self, script: &mut Script<'_>) {
        let word = |offset: i16| Place::word(FLOW, offset);
        let last_window = Place {
            base: FLOW,
            offset: layout::LAST_WINDOW,
            size: Size::H,
        };
        let repeats = byte(layout::RETRANSMITS);
        let v = &self.v;
        let repeated = Fact::All(vec![
            self.same_way(),
            word(layout::LAST_SEQUENCE).is(v.sequence),
            word(layout::LAST_ACK).is(v.ack),
            word(layout::LAST_END).is(v.end),
            last_window.is(self.segment.window),
        ]);
        script.either(
            repeated,
            |script| {
                script.when(repeats.below(u32::from(MAX_RETRANSMITS)), |script| {
                    script.set(repeats, repeats + 1);
                });
            },
            |script| {
                script.set(byte(layout::LAST_DIRECTION), self.direction as u32);
                script.set(word(layout::LAST_SEQUENCE), v.sequence);
                script.set(word(layout::LAST_ACK), v.ack);
                script.set(word(layout::LAST_END), v.end);
                self.set_last_window(script);
                script.set(repeats, 0);
            },
        );
    }
}
