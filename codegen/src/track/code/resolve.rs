//! [`resolve`](crate::track::resolve::resolve) as a function of a program.

use ipt2bpf_parser::ruleset::Family;

use super::question;
use crate::asm::{Alu, Cond, Label, Reg, Size};
use crate::emit::link::{Body, PACKET};
use crate::emit::words::{Compare, Fact, Place, Script};
use crate::field::{Field, layout};
use crate::module::Hook;
use crate::packet::MAX_EXTENSION_HEADERS;
use crate::track::Key;
use crate::track::resolve::{
    Class, ERRORS4, FIRST_QUERY6, PPP, QUERIES4, QUERIES6, UNTRACKED6, protocol,
};

/// The question, all through the function.
const QUESTION: Reg = Reg::R8;
/// Where the transport header lies, from the IP header on.
const AT: Reg = Reg::R9;

/// What lies on the stack.
mod stack {
    pub const SOURCE: i16 = -16;
    pub const DESTINATION: i16 = -32;
    /// The header in work.
    pub const HEADER: i16 = -72;
    /// Variables lie below, six of them.
    pub const VARIABLES: i16 = -72;
    /// How often a loop has turned.
    pub const TURNS: i16 = -104;
    /// What is stored here counts as unknown to the verifier: it is off its boundaries.
    pub const FORGOTTEN: i16 = -108;
}

/// Writes the function's body; R3 is the question.
pub fn resolve(body: &mut Body, family: Family) {
    body.code.mov(QUESTION, Reg::R3);
    let mut writer = Writer::new(body, family);
    writer.outer();
    writer.ports();
    writer.key();
    let end = writer.end;
    body.code.bind(end);
    body.answer(0);
}

struct Writer<'a> {
    body: &'a mut Body,
    family: Family,
    /// The number of the protocol.
    protocol: Place,
    /// 1 when the packet in work lies in an ICMP error.
    inner: Place,
    /// Two ports, as they lie in the header; or an identifier in the place of the one that asks.
    ports: Place,
    /// The query's type and code, in the order of a key.
    icmp: Place,
    /// For ICMP, 1 when the packet asks, 0 when it answers; else 2.
    asks: Place,
    class: Place,
    /// Where a packet leaves that has no connection, with the question all zero.
    end: Label,
}

/// What [`Writer::asks`] holds for other protocols.
const NO_QUERY: u32 = 2;

impl<'a> Writer<'a> {
    fn new(body: &'a mut Body, family: Family) -> Self {
        let mut script = Script::new(&mut body.code, stack::VARIABLES);
        let mut variable = |value: u32| script.bind(value);
        let [protocol, inner, ports, icmp, class] = [(); 5].map(|()| variable(0));
        let asks = variable(NO_QUERY);
        let end = body.code.label();
        Writer {
            body,
            family,
            protocol,
            inner,
            ports,
            icmp,
            asks,
            class,
            end,
        }
    }

    fn script(&mut self) -> Script<'_> {
        Script::new(&mut self.body.code, stack::VARIABLES)
    }

    fn header(offset: i16) -> Place {
        Place::byte(Reg::R10, stack::HEADER + offset)
    }

    /// Goes to the end, with what the question then holds.
    fn leave_if(&mut self, fact: Fact) {
        let end = self.end;
        self.script().branch(&fact, true, end);
    }

    fn fetch(&mut self, bytes: i16) {
        self.body.bytes(AT, bytes, stack::HEADER, self.end);
    }

    /// The packet itself; of an ICMP error, the packet inside.
    fn outer(&mut self) {
        for offset in (0..question::SIZE).step_by(8) {
            self.body.code.store(Size::D, QUESTION, offset, 0);
        }
        let field = |field: Field| {
            let place = field.place();
            let size = if place.size == 1 { Size::B } else { Size::H };
            Place {
                base: PACKET,
                offset: place.offset,
                size,
            }
        };
        self.leave_if(field(Field::FragmentOffset).differs(0));
        if self.family == Family::V6 {
            self.leave_if(field(Field::BrokenHeaders).differs(0));
        }
        self.body.code.load(Size::H, AT, PACKET, layout::TRANSPORT);
        let number = self.protocol;
        self.script().set(number, field(Field::Protocol));
        self.addresses(PACKET, self.packet_addresses());
        if self.body.hook != Hook::CgroupEgress {
            self.leave_if(number.is(u32::from(protocol::UDPLITE)));
        }
        let icmp = match self.family {
            Family::V4 => protocol::ICMP,
            Family::V6 => protocol::ICMP6,
        };
        let plain = self.body.code.label();
        self.script()
            .branch(&number.differs(u32::from(icmp)), true, plain);
        self.fetch(8);
        let kind = Self::header(0);
        match self.family {
            Family::V4 => {
                let errors = ERRORS4.map(|error| kind.is(u32::from(error)));
                let is_error = Fact::Any(errors.to_vec());
                self.script().branch(&is_error, false, plain);
            }
            Family::V6 => {
                let untracked = UNTRACKED6.map(|it| kind.is(u32::from(it)));
                let tracked = self.body.code.label();
                self.script()
                    .branch(&Fact::Any(untracked.to_vec()), false, tracked);
                self.body
                    .code
                    .store(Size::B, QUESTION, question::CLASS, Class::Untracked as i32);
                let end = self.end;
                self.body.code.jump(end);
                self.body.code.bind(tracked);
                let is_query = kind.below(u32::from(FIRST_QUERY6)).negated();
                self.script().branch(&is_query, true, plain);
            }
        }
        self.packet_inside();
        self.body.code.bind(plain);
    }

    fn packet_addresses(&self) -> [i16; 2] {
        match self.family {
            Family::V4 => [Field::Source4, Field::Destination4],
            Family::V6 => [Field::Source6, Field::Destination6],
        }
        .map(|field| field.place().offset)
    }

    /// Copies source and destination to the stack; IPv4's fill the first four bytes.
    fn addresses(&mut self, base: Reg, from: [i16; 2]) {
        let code = &mut self.body.code;
        for (from, to) in from.into_iter().zip([stack::SOURCE, stack::DESTINATION]) {
            match self.family {
                Family::V4 => {
                    code.load(Size::W, Reg::R1, base, from);
                    code.store(Size::D, Reg::R10, to, 0);
                    code.store(Size::D, Reg::R10, to + 8, 0);
                    code.store(Size::W, Reg::R10, to, Reg::R1);
                }
                Family::V6 => {
                    for word in (0..16).step_by(4) {
                        code.load(Size::W, Reg::R1, base, from + word);
                        code.store(Size::W, Reg::R10, to + word, Reg::R1);
                    }
                }
            }
        }
    }

    /// The packet that an ICMP error is about, at 8 bytes behind the error's header.
    fn packet_inside(&mut self) {
        self.body.code.alu(Alu::Add, AT, 8);
        let (inner, number) = (self.inner, self.protocol);
        self.script().set(inner, 1);
        match self.family {
            Family::V4 => {
                self.fetch(20);
                let offset = (Self::header(6) & 0x1f) | Self::header(7);
                self.leave_if(offset.differs(0));
                self.script().set(number, Self::header(9));
                self.addresses(Reg::R10, [stack::HEADER + 12, stack::HEADER + 16]);
                let code = &mut self.body.code;
                code.load(Size::B, Reg::R1, Reg::R10, stack::HEADER);
                code.alu(Alu::And, Reg::R1, 15);
                code.alu(Alu::Lsh, Reg::R1, 2);
                code.alu(Alu::Add, AT, Reg::R1);
            }
            Family::V6 => {
                self.fetch(40);
                self.script().set(number, Self::header(6));
                self.addresses(Reg::R10, [stack::HEADER + 8, stack::HEADER + 24]);
                self.body.code.alu(Alu::Add, AT, 40);
                self.extension_headers();
            }
        }
        // It must come back to whoever sent what it tells of.
        let destination = self.packet_addresses()[1];
        let words = match self.family {
            Family::V4 => 1,
            Family::V6 => 4,
        };
        for word in 0..words {
            let sender = Place::word(Reg::R10, stack::SOURCE + 4 * word);
            self.leave_if(sender.differs(Place::word(PACKET, destination + 4 * word)));
        }
        let (code, end) = (&mut self.body.code, self.end);
        code.load(Size::W, Reg::R1, PACKET, layout::LENGTH);
        code.branch(Cond::Gt, AT, Reg::R1, end);
    }

    /// Walks the extension headers of the packet inside.
    fn extension_headers(&mut self) {
        let number = self.protocol;
        let (again, known) = (self.body.code.label(), self.body.code.label());
        // Eight bytes, so that the verifier counts the turns with us.
        let turns = Place {
            base: Reg::R10,
            offset: stack::TURNS,
            size: Size::D,
        };
        self.script().set(turns, 0);
        self.body.code.bind(again);
        let is_extension = Fact::Any([0, 43, 44, 51, 60].map(|it| number.is(it)).to_vec());
        self.script().branch(&is_extension, false, known);
        self.fetch(2);
        let [plain, routing, fragment, next] = [(); 4].map(|()| self.body.code.label());
        let mut script = self.script();
        script.branch(&number.is(43), true, routing);
        script.branch(&number.is(44), true, fragment);
        script.branch(&number.differs(51), true, plain);
        let code = &mut self.body.code;
        code.load(Size::B, Reg::R1, Reg::R10, stack::HEADER + 1);
        code.alu(Alu::Add, Reg::R1, 2);
        code.alu(Alu::Lsh, Reg::R1, 2);
        code.jump(next);
        code.bind(fragment);
        self.fetch(4);
        let offset = (Self::header(2) | (Self::header(3) & 0xf8)).differs(0);
        self.leave_if(offset);
        self.body.code.mov(Reg::R1, 8);
        self.body.code.jump(next);
        self.body.code.bind(routing);
        self.fetch(4);
        let code = &mut self.body.code;
        code.bind(plain);
        code.load(Size::B, Reg::R1, Reg::R10, stack::HEADER + 1);
        code.alu(Alu::Add, Reg::R1, 1);
        code.alu(Alu::Lsh, Reg::R1, 3);
        code.bind(next);
        code.alu(Alu::Add, AT, Reg::R1);
        // The verifier is to see all turns alike.
        code.store(Size::W, Reg::R10, stack::FORGOTTEN, AT);
        code.load(Size::W, AT, Reg::R10, stack::FORGOTTEN);
        let mut script = self.script();
        script.set(number, Self::header(0));
        script.set(turns, turns + 1);
        let more = turns.below(MAX_EXTENSION_HEADERS as u32);
        script.branch(&more, true, again);
        let end = self.end;
        self.body.code.jump(end);
        self.body.code.bind(known);
    }

    /// The class, and ports or what ICMP has in their place.
    fn ports(&mut self) {
        let (number, class) = (self.protocol, self.class);
        let [with_ports, icmp, gre, done] = [(); 4].map(|()| self.body.code.label());
        let (query, without): (u8, &[u8]) = match self.family {
            Family::V4 => (protocol::ICMP, &[protocol::ICMP6]),
            Family::V6 => (protocol::ICMP6, &[protocol::ICMP, protocol::NONE]),
        };
        for &other in without {
            self.leave_if(number.is(u32::from(other)));
        }
        let mut script = self.script();
        script.branch(&number.is(u32::from(query)), true, icmp);
        for (number_of, class_of, then) in [
            (protocol::TCP, Class::Tcp, with_ports),
            (protocol::UDP, Class::Udp, with_ports),
            (protocol::UDPLITE, Class::Udp, with_ports),
            (protocol::SCTP, Class::Sctp, with_ports),
            (protocol::GRE, Class::Gre, gre),
        ] {
            let next = script.code.label();
            script.set(class, class_of as u32);
            script.branch(&number.differs(u32::from(number_of)), true, next);
            script.code.jump(then);
            script.code.bind(next);
        }
        script.set(class, Class::Generic as u32);
        script.code.jump(done);
        script.code.bind(icmp);
        self.query();
        self.body.code.jump(done);
        self.body.code.bind(gre);
        self.gre_call(done);
        self.body.code.jump(done);
        self.body.code.bind(with_ports);
        self.fetch(4);
        let ports = self.ports;
        self.script()
            .set(ports, Place::word(Reg::R10, stack::HEADER));
        self.body.code.bind(done);
    }

    /// The call of PPTP's version of GRE in the place of the second port; goes to `done` for others.
    fn gre_call(&mut self, done: Label) {
        let ports = self.ports;
        self.body.bytes(AT, 8, stack::HEADER, done);
        let pptp = (Self::header(1) & 7).is(1);
        self.script().branch(&pptp, false, done);
        self.leave_if(Self::header(2).differs(u32::from(PPP[0])));
        self.leave_if(Self::header(3).differs(u32::from(PPP[1])));
        let call = Place {
            base: Reg::R10,
            offset: stack::HEADER + 6,
            size: Size::H,
        };
        self.script().set(ports, call << 16);
    }

    /// An ICMP query or its answer.
    fn query(&mut self) {
        let queries: &[(u8, u8)] = match self.family {
            Family::V4 => &QUERIES4,
            Family::V6 => &QUERIES6,
        };
        self.fetch(8);
        let (class, ports, icmp, asks) = (self.class, self.ports, self.icmp, self.asks);
        let found = self.body.code.label();
        let mut script = self.script();
        let kind = Self::header(0);
        for &(query, answer) in queries {
            for (seen, is_query) in [(query, 1), (answer, 0)] {
                script.set(icmp, u32::from(query));
                script.set(asks, is_query);
                script.branch(&kind.is(u32::from(seen)), true, found);
            }
        }
        let end = self.end;
        self.body.code.jump(end);
        self.body.code.bind(found);
        let identifier = Place {
            base: Reg::R10,
            offset: stack::HEADER + 4,
            size: Size::H,
        };
        let mut script = self.script();
        script.set(class, Class::Icmp as u32);
        script.set(icmp, icmp + (Self::header(1) << 8));
        // The key wants it with the end that asks.
        script.either(
            asks.is(1),
            |script| script.set(ports, identifier),
            |script| script.set(ports, identifier << 16),
        );
    }

    /// Puts the ends in their order and fills the question.
    fn key(&mut self) {
        let (class, ports, icmp, asks) = (self.class, self.ports, self.icmp, self.asks);
        let (number, inner) = (self.protocol, self.inner);
        let [forward, backward, filled] = [(); 3].map(|()| self.body.code.label());
        let mut script = self.script();
        script.branch(&asks.is(1), true, forward);
        script.branch(&asks.is(0), true, backward);
        let code = &mut self.body.code;
        let words: &[(i16, Size, u8)] = match self.family {
            Family::V4 => &[(0, Size::W, 32)],
            Family::V6 => &[(0, Size::D, 64), (8, Size::D, 64)],
        };
        for &(word, size, bits) in words {
            code.load(size, Reg::R1, Reg::R10, stack::SOURCE + word);
            code.load(size, Reg::R2, Reg::R10, stack::DESTINATION + word);
            code.to_big_endian(Reg::R1, bits);
            code.to_big_endian(Reg::R2, bits);
            code.branch(Cond::Lt, Reg::R1, Reg::R2, forward);
            code.branch(Cond::Gt, Reg::R1, Reg::R2, backward);
        }
        code.load(Size::H, Reg::R1, Reg::R10, ports.offset);
        code.load(Size::H, Reg::R2, Reg::R10, ports.offset + 2);
        code.to_big_endian(Reg::R1, 16);
        code.to_big_endian(Reg::R2, 16);
        code.branch(Cond::Gt, Reg::R1, Reg::R2, backward);
        code.bind(forward);
        self.ends([stack::SOURCE, stack::DESTINATION], [0, 2]);
        self.body
            .code
            .store(Size::B, QUESTION, question::FORWARD, 1);
        self.body.code.jump(filled);
        self.body.code.bind(backward);
        self.ends([stack::DESTINATION, stack::SOURCE], [2, 0]);
        self.body.code.bind(filled);
        let at = |offset: usize| Place::byte(QUESTION, question::KEY + offset as i16);
        let family = match self.family {
            Family::V4 => 4,
            Family::V6 => 6,
        };
        let question_class = Place::byte(QUESTION, question::CLASS);
        let mut script = self.script();
        script.set(at(Key::PROTOCOL), number);
        script.set(at(Key::FAMILY), family);
        script.set(at(Key::ICMP_TYPE), icmp);
        script.set(at(Key::ICMP_CODE), icmp >> 8);
        script.set(question_class, class);
        let is_answer = Place::byte(QUESTION, question::IS_ANSWER);
        script.when(asks.is(0), |script| script.set(is_answer, 1));
        script.when(inner.is(1), |script| {
            let forward = Place::byte(QUESTION, question::FORWARD);
            script.set(question_class, Class::Error as u32);
            script.set(forward, forward ^ 1);
        });
    }

    fn ends(&mut self, addresses: [i16; 2], ports: [i16; 2]) {
        let code = &mut self.body.code;
        let to = [Key::FIRST, Key::SECOND].map(|it| question::KEY + it as i16);
        for (from, to) in addresses.into_iter().zip(to) {
            for half in [0, 8] {
                code.load(Size::D, Reg::R1, Reg::R10, from + half);
                code.store(Size::D, QUESTION, to + half, Reg::R1);
            }
        }
        let to = [Key::FIRST_PORT, Key::SECOND_PORT].map(|it| question::KEY + it as i16);
        for (from, to) in ports.into_iter().zip(to) {
            code.load(Size::H, Reg::R1, Reg::R10, self.ports.offset + from);
            code.store(Size::H, QUESTION, to, Reg::R1);
        }
    }
}
