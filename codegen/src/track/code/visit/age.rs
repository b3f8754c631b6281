//! How long the flow is remembered behind the packet.

use super::Writer;
use crate::asm::{Alu, Reg, Size};
use crate::emit::link::PACKET;
use crate::emit::words::{Compare, Place, Script};
use crate::field::layout as packet_layout;
use crate::track::code::hidden;
use crate::track::code::tcp::FLOW;
use crate::track::resolve::Class;
use crate::track::tcp::{Index, MAX_RETRANSMITS, State, flags};
use crate::track::{layout, status};

impl Writer<'_> {
    pub(super) fn tcp_timeout(&mut self) {
        let (rate, timeouts) = (self.tick_rate, self.timeouts);
        let (expires, machine, segment) = (self.expires, self.machine, self.segment);
        let mut script = self.script();
        for (number, seconds) in timeouts.tcp.into_iter().enumerate() {
            script.when(machine.new.is(number as u32), |script| {
                script.set(expires, hidden(seconds));
            });
        }
        fn at_most(script: &mut Script<'_>, expires: Place, seconds: u32) {
            script.when(expires.above(seconds), |script| {
                script.set(expires, hidden(seconds))
            });
        }
        let [set, reset, unacknowledged, closed_window] = [(); 4].map(|()| script.code.label());
        let repeats = Place::byte(FLOW, layout::RETRANSMITS);
        let repeating = repeats.below(u32::from(MAX_RETRANSMITS)).negated();
        script.branch(&repeating, false, reset);
        at_most(&mut script, expires, timeouts.tcp_retransmitting);
        script.code.jump(set);
        script.code.bind(reset);
        let is_reset = segment.index.is(Index::Rst as u32);
        script.branch(&is_reset, false, unacknowledged);
        script.set(expires, hidden(timeouts.tcp[State::Close as usize]));
        script.code.jump(set);
        script.code.bind(unacknowledged);
        let side_flags = |side: usize| Place::byte(FLOW, layout::SIDES[side] + layout::side::FLAGS);
        let waits = (side_flags(0) | side_flags(1)).has(u32::from(flags::UNACKNOWLEDGED));
        script.branch(&waits, false, closed_window);
        at_most(&mut script, expires, timeouts.tcp_unacknowledged);
        script.code.jump(set);
        script.code.bind(closed_window);
        let last_window = Place {
            base: FLOW,
            offset: layout::LAST_WINDOW,
            size: Size::H,
        };
        script.when(last_window.is(0), |script| {
            at_most(script, expires, timeouts.tcp_retransmitting);
        });
        script.code.bind(set);
        let one_sided = Place::byte(FLOW, layout::STATUS)
            .has(u32::from(status::SEEN_REPLY))
            .negated()
            .and(machine.new.is(u32::from(State::Established as u8)));
        script.when(one_sided, |script| {
            at_most(script, expires, timeouts.tcp_unacknowledged);
        });
        script.set(expires, expires * rate);
    }

    pub(super) fn sctp_timeout(&mut self) {
        let (rate, timeouts) = (self.tick_rate, self.timeouts);
        let (expires, state) = (self.expires, self.association.new);
        let mut script = self.script();
        for (number, seconds) in timeouts.sctp.into_iter().enumerate() {
            let ticks = seconds.wrapping_mul(rate);
            script.when(state.is(number as u32), |script| {
                script.set(expires, hidden(ticks));
            });
        }
    }

    /// The timeouts of protocols without a machine.
    pub(super) fn others(&mut self) {
        let (rate, timeouts) = (self.tick_rate, self.timeouts);
        let (class, expires, now) = (self.class, self.expires, self.now);
        let flow_status = Place::byte(FLOW, layout::STATUS);
        let seen = || flow_status.has(u32::from(status::SEEN_REPLY));
        let is = |it: Class| class.is(it as u32);
        let hidden_ticks = |seconds: u32| hidden(seconds.wrapping_mul(rate));
        let assure = |script: &mut Script<'_>| {
            script.set(flow_status, flow_status | u32::from(status::ASSURED));
        };
        let mut script = self.script();
        script.set(expires, hidden_ticks(timeouts.generic));
        script.when(is(Class::Icmp), |script| {
            script.set(expires, hidden_ticks(timeouts.icmp))
        });
        script.when(is(Class::Gre), |script| {
            script.set(expires, hidden_ticks(timeouts.gre));
            script.when(seen(), |script| {
                script.set(expires, hidden_ticks(timeouts.gre_stream));
                assure(script);
            });
        });
        script.when(is(Class::Udp), |script| {
            script.set(expires, hidden_ticks(timeouts.udp));
            let from = Place::word(FLOW, layout::STREAM_FROM);
            script.when(seen().and(now.after(from)), |script| {
                script.set(expires, hidden_ticks(timeouts.udp_stream));
                assure(script);
            });
        });
    }

    /// Dates and counts.
    pub(super) fn refresh(&mut self) {
        let (expires, now, direction) = (self.expires, self.now, self.direction);
        let mut script = self.script();
        script.set(Place::word(FLOW, layout::EXPIRES), now + expires);
        let [reply, done] = [(); 2].map(|()| script.code.label());
        script.branch(&direction.is(1), true, reply);
        let code = &mut *script.code;
        for side in 0..2 {
            code.load(Size::D, Reg::R1, FLOW, layout::PACKETS[side]);
            code.alu(Alu::Add, Reg::R1, 1);
            code.store(Size::D, FLOW, layout::PACKETS[side], Reg::R1);
            code.load(Size::D, Reg::R1, FLOW, layout::BYTES[side]);
            code.load(Size::W, Reg::R2, PACKET, packet_layout::LENGTH);
            code.alu(Alu::Add, Reg::R1, Reg::R2);
            code.store(Size::D, FLOW, layout::BYTES[side], Reg::R1);
            if side == 0 {
                code.jump(done);
                code.bind(reply);
            }
        }
        code.bind(done);
    }
}
