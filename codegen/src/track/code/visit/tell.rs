//! What the flow is told of the packet, and what that makes of the packet.

use super::{DYING, Table, Writer, forget, in_question, packet_byte, stack};
use crate::asm::{Cond, Helper, Reg, Size};
use crate::emit::link::PACKET;
use crate::emit::words::{Compare, Fact, Place, Word};
use crate::field::{Field, layout as packet_layout};
use crate::track::code::tcp::{self, Exits, FLOW};
use crate::track::code::{question, sctp};
use crate::track::resolve::Class;
use crate::track::tcp::{Index, State, flags};
use crate::track::{layout, state, status};

impl Writer<'_> {
    /// Tells the locked flow of the packet; ends unlocked.
    pub(super) fn tell(&mut self) {
        let (labels, table) = (self.labels, self.table);
        let (class, direction, state_place) = (self.class, self.direction, self.state);
        let flow = |offset: i16| Place::byte(FLOW, offset);
        let error = self.body.code.label();
        // direction = forward == backwards
        self.question();
        let mut script = self.script();
        script.set(
            direction,
            (in_question(question::FORWARD) ^ 1) ^ flow(layout::BACKWARDS),
        );
        script.branch(&class.is(Class::Error as u32), true, error);
        let answered = direction
            .is(1)
            .or(flow(layout::STATUS).has(u32::from(status::SEEN_REPLY)));
        script.either(
            answered,
            |script| script.set(state_place, u32::from(state::ESTABLISHED)),
            |script| {
                script.set(state_place, u32::from(state::NEW));
                // Only the kernel has helpers that expect connections.
                if let Table::Kernel(_) = table {
                    let expected = flow(layout::STATUS).has(u32::from(status::EXPECTED));
                    let related = u32::from(state::RELATED);
                    script.when(expected, |script| script.set(state_place, related));
                }
            },
        );
        let next = self.body.code.label();
        self.script()
            .branch(&class.differs(Class::Tcp as u32), true, next);
        self.tell_tcp();
        self.body.code.bind(next);
        let next = self.body.code.label();
        self.script()
            .branch(&class.differs(Class::Sctp as u32), true, next);
        self.tell_sctp();
        self.body.code.bind(next);
        self.others();
        self.body.code.bind(labels.refresh);
        if let Table::Own(_) = table {
            self.refresh();
        }
        self.body.code.bind(labels.keep);
        let mut script = self.script();
        script.when(direction.is(1), |script| {
            let answered = flow(layout::STATUS) | u32::from(status::SEEN_REPLY);
            script.set(flow(layout::STATUS), answered);
        });
        let [told, dropped] = [(); 2].map(|()| self.body.code.label());
        self.body.code.jump(told);
        self.body.code.bind(error);
        self.script().set(state_place, u32::from(state::RELATED));
        self.body.code.bind(told);
        self.report();
        self.lock(Helper::SpinUnlock);
        self.body.code.jump(dropped);
        self.body.code.bind(labels.refused);
        self.lock(Helper::SpinUnlock);
        self.body.code.jump(labels.invalid);
        self.body.code.bind(labels.reopened);
        self.lock(Helper::SpinUnlock);
        // Only a flow that is found can be over.
        let code = &mut self.body.code;
        code.load(Size::D, Reg::R1, Reg::R10, stack::IS_NEW);
        code.branch(Cond::Ne, Reg::R1, 0, labels.invalid);
        self.delete();
        self.body.code.jump(labels.fresh);
        self.body.code.bind(dropped);
    }

    /// Copies what rules ask for into the packet.
    fn report(&mut self) {
        let direction = self.direction;
        let mut script = self.script();
        script.set(packet_byte(Field::CtDirection), direction);
        let seen = Place::byte(FLOW, layout::STATUS);
        script.set(packet_byte(Field::CtStatus), seen);
        let mark = Place::word(PACKET, Field::CtMark.place().offset);
        let is_new = Place {
            base: Reg::R10,
            offset: stack::IS_NEW,
            size: Size::D,
        };
        script.either(
            is_new.is(0),
            |script| script.set(mark, Place::word(FLOW, layout::MARK)),
            |script| {
                script.set(packet_byte(Field::CtStatus), 0);
                let unconfirmed = Place::byte(PACKET, packet_layout::UNCONFIRMED);
                script.set(unconfirmed, 1);
            },
        );
    }

    fn tell_sctp(&mut self) {
        let (labels, it, direction) = (self.labels, self.association, self.direction);
        let valid = self.body.code.label();
        let exits = sctp::Exits {
            valid,
            ignored: labels.keep,
            invalid: labels.refused,
        };
        let mut script = self.script();
        forget(&mut script, &[it.kinds, direction]);
        sctp::packet(&mut script, &it, direction, &exits);
        script.code.bind(valid);
        self.sctp_timeout();
        self.body.code.jump(labels.refresh);
    }

    fn tell_tcp(&mut self) {
        let (labels, segment, machine, direction) =
            (self.labels, self.segment, self.machine, self.direction);
        let [valid, reply, lingers] = [(); 3].map(|()| self.body.code.label());
        let exits = Exits {
            valid,
            ignored: labels.keep,
            invalid: labels.refused,
            lingers,
            reopened: labels.reopened,
        };
        let mut script = self.script();
        script.branch(&direction.is(1), true, reply);
        tcp::packet(&mut script, &segment, 0, &machine, &exits);
        script.code.bind(reply);
        tcp::packet(&mut script, &segment, 1, &machine, &exits);
        script.code.bind(lingers);
        let soon = self
            .timeouts
            .tcp_unacknowledged
            .wrapping_mul(self.tick_rate);
        let expires = Place::word(FLOW, layout::EXPIRES);
        let now = self.now;
        let mut script = self.script();
        let left: Word = expires - now;
        let long = Fact::Compare(Cond::Sgt, left, soon.into());
        script.when(long, |script| script.set(expires, now + soon));
        script.code.jump(labels.refused);
        script.code.bind(valid);
        forget(&mut script, &[machine.old, machine.new, segment.index]);
        let more = Place::byte(PACKET, packet_layout::MORE_FRAGMENTS);
        script.when(more.differs(0), |script| {
            for side in layout::SIDES {
                let known = Place::byte(FLOW, side + layout::side::FLAGS);
                script.set(known, known | u32::from(flags::BE_LIBERAL));
            }
        });
        let flow_status = Place::byte(FLOW, layout::STATUS);
        let seen = || flow_status.has(u32::from(status::SEEN_REPLY));
        let state = |it: State| u32::from(it as u8);
        let opened = machine
            .old
            .is(state(State::SynReceived))
            .or(machine.old.is(state(State::Established)));
        let assured = Fact::All(vec![
            seen(),
            opened,
            machine.new.is(state(State::Established)),
        ]);
        script.when(assured, |script| {
            script.set(flow_status, flow_status | u32::from(status::ASSURED));
        });
        let ends = seen().negated().and(segment.index.is(Index::Rst as u32));
        script.when(ends, |script| script.set(machine.old, DYING));
        // A SYN that is repeated keeps no connection alive.
        let repeats = Fact::All(vec![
            seen().negated(),
            segment.index.is(Index::Syn as u32),
            machine.old.is(state(State::SynSent)),
        ]);
        script.branch(&repeats, true, labels.keep);
        self.tcp_timeout();
        let (expires, now, old) = (self.expires, self.now, self.machine.old);
        let mut script = self.script();
        // The last packet of a flow is counted, but gives it no more time.
        script.when(old.is(DYING), |script| {
            script.set(expires, Place::word(FLOW, layout::EXPIRES) - now);
        });
        let refresh = labels.refresh;
        self.body.code.jump(refresh);
    }
}
