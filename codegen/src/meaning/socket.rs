//! `socket_mt4_v1_v2_v3` and `socket_mt6_v1_v2_v3` of net/netfilter/xt_socket.c: whether a socket of this host
//! would receive the packet, or has sent what an ICMP error tells of.
//!
//! The kernel looks sockets up by the packet's addresses and ports (`nf_sk_lookup_slow_v4` in
//! net/ipv4/netfilter/nf_socket_ipv4.c, `nf_sk_lookup_slow_v6` in net/ipv6/netfilter/nf_socket_ipv6.c), and
//! helpers of net/core/filter.c look them up the same way. What they cannot know is dropped: parts of a packet
//! that netfilter sees as a whole only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipt2bpf_parser::matches::socket::Socket;
use ipt2bpf_parser::ruleset::Family;

use super::change_mark;
use super::{BROKEN as UNKNOWN, Context, MatchMeaning, NO, Refusal, YES};
use crate::asm::{Alu, Cond, Helper, Label, Reg, Size};
use crate::emit::link::{Body, CONTEXT, Call, Linker, PACKET};
use crate::field::{Field, layout};
use crate::module::Hook;
use crate::packet::Packet;
use crate::routine::{Perform, World};
use crate::semantic::{Step, Test};
use crate::track::resolve::{ERRORS4, FIRST_QUERY6, protocol};

impl MatchMeaning for Socket {
    fn steps(&self, context: Context<'_>) -> Result<Vec<Step>, Refusal> {
        if context.hook != Hook::Xdp {
            return Err(Refusal {
                code: "unseen",
                reason: "asks which socket the packet's addresses lead to, and programs run at the socket that \
                         has received it, when that may have been closed or connected by the packet itself"
                    .into(),
                help: "compile for xdp, or keep this rule in iptables, which comes before these programs"
                    .into(),
            });
        }
        if self.transparent {
            return Err(Refusal {
                code: "unseen",
                reason: "asks for sockets with IP_TRANSPARENT (--transparent), which programs are not shown"
                    .into(),
                help: "leave --transparent away, or keep this rule in iptables".into(),
            });
        }
        let find = FindSocket {
            family: context.family,
            with_wildcard: self.no_wildcard,
            restores_mark: self.restore_mark,
        };
        Ok(vec![
            Step::Ask(find.into()),
            Step::demand(Test::between(Field::Answer, NO, YES)),
            Step::require(Test::equal(Field::Answer, YES)),
        ])
    }

    fn note(&self, context: Context<'_>) -> Option<String> {
        let mut note = String::from(
            "sockets are looked up by the addresses that the packet has here, before NAT and for no VRF; fragments \
             are dropped that do not show all that it takes",
        );
        if self.restore_mark {
            note += "; ";
            note += &change_mark::note(context);
        }
        Some(note)
    }
}

/// A socket of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSocket {
    /// TCP or UDP.
    pub protocol: u8,
    /// Where it receives; the unspecified address is the wildcard.
    pub local: SocketAddr,
    /// Whom it is connected to, if it is.
    pub remote: Option<SocketAddr>,
    /// `TCP_*` of include/net/tcp_states.h.
    pub state: u8,
    /// Its mark.
    pub mark: u32,
}

impl HostSocket {
    /// Whether it is a socket that processes have, and no rest or beginning of a connection (`sk_fullsock`,
    /// include/net/sock.h).
    pub fn is_full(&self) -> bool {
        ![TIME_WAIT, NEW_SYN_RECEIVED].contains(&self.state)
    }

    fn receives(&self, source: SocketAddr, destination: SocketAddr) -> bool {
        let ip = self.local.ip();
        let same_family = ip.is_ipv4() == destination.is_ipv4();
        self.local.port() == destination.port()
            && (ip == destination.ip() || (ip.is_unspecified() && same_family))
            && self.remote.is_none_or(|remote| remote == source)
    }

    /// The socket that receives what is sent from a source to a destination: the connected one first, then the
    /// one with the address.
    pub fn find(
        sockets: &[HostSocket],
        protocol: u8,
        [source, destination]: [SocketAddr; 2],
    ) -> Option<&HostSocket> {
        let fitting = sockets
            .iter()
            .filter(|it| it.protocol == protocol && it.receives(source, destination));
        fitting.max_by_key(|it| (it.remote.is_some(), !it.local.ip().is_unspecified()))
    }
}

/// `TCP_TIME_WAIT` of include/net/tcp_states.h.
pub const TIME_WAIT: u8 = 6;
/// `TCP_NEW_SYN_RECV` of include/net/tcp_states.h.
pub const NEW_SYN_RECEIVED: u8 = 12;

/// Bytes of the headers that the kernel wants whole.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;
/// Extension headers of a quoted packet that are walked over; a packet with more is dropped.
const QUOTED_HEADERS: usize = 4;

/// Next headers of IPv6 that are walked over.
mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION: u8 = 60;
    /// Those but fragments.
    pub const LONG: [u8; 4] = [HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION];
}

/// Finds the socket of a packet; answers 1 when there is one, 2 when that cannot be known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FindSocket {
    family: Family,
    /// Whether one with the wildcard address counts.
    with_wildcard: bool,
    /// Whether the packet gets the socket's mark.
    restores_mark: bool,
}

/// Why no socket is looked up: what is answered instead.
struct Otherwise(u32);

/// Protocol, source and destination to look a socket up by.
type Query = (u8, [SocketAddr; 2]);

/// The two ports at a place.
fn ports(bytes: &[u8], at: usize) -> Option<[u16; 2]> {
    let &[a, b, c, d] = bytes.get(at..)?.first_chunk()?;
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}

/// The two addresses of an IP header that is whole.
fn addresses(family: Family, header: &[u8]) -> Option<[IpAddr; 2]> {
    Some(match family {
        Family::V4 => [12, 16].map(|at| {
            let bytes = header.get(at..)?.first_chunk::<4>()?;
            Some(IpAddr::V4(Ipv4Addr::from(*bytes)))
        }),
        Family::V6 => [8, 24].map(|at| {
            let bytes = header.get(at..)?.first_chunk::<16>()?;
            Some(IpAddr::V6(Ipv6Addr::from(*bytes)))
        }),
    })
    .and_then(|[source, destination]| Some([source?, destination?]))
}

fn has_ports(protocol: u8) -> bool {
    [protocol::TCP, protocol::UDP].contains(&protocol)
}

/// Bytes of an IP header without what may follow it.
fn header_size(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

impl FindSocket {
    fn query(&self, packet: &Packet<'_>) -> Result<Query, Otherwise> {
        let missing = Otherwise(match packet.has_more_fragments() {
            true => UNKNOWN,
            false => NO,
        });
        if packet.get(Field::BrokenHeaders) != 0 {
            return Err(Otherwise(UNKNOWN));
        }
        let protocol = packet.get(Field::Protocol) as u8;
        let needed = match (protocol, self.family) {
            (protocol::TCP, _) => TCP_HEADER,
            (protocol::UDP, _) => UDP_HEADER,
            (protocol::ICMP, Family::V4) | (protocol::ICMP6, Family::V6) => ICMP_HEADER,
            _ => return Err(Otherwise(NO)),
        };
        if packet.is_later_fragment() {
            return Err(Otherwise(UNKNOWN));
        }
        if packet.get(Field::TransportLength) < needed as u128 {
            return Err(missing);
        }
        if has_ports(protocol) {
            let ends = ends(self.family, packet.bytes(), packet.transport());
            return ends.map(|ends| (protocol, ends)).ok_or(missing);
        }
        let kind = packet.get(Field::IcmpType) as u8;
        let is_error = match self.family {
            Family::V4 => ERRORS4.contains(&kind),
            Family::V6 => kind < FIRST_QUERY6,
        };
        if !is_error {
            return Err(Otherwise(NO));
        }
        let start = packet.transport() + ICMP_HEADER;
        let quoted = packet.bytes().get(start..).unwrap_or_default();
        self.quoted(quoted).unwrap_or(Err(missing))
    }

    /// The query for the sender of a quoted packet; none where bytes are missing.
    fn quoted(&self, bytes: &[u8]) -> Option<Result<Query, Otherwise>> {
        let header = bytes.get(..header_size(self.family))?;
        let (mut protocol, mut at) = match self.family {
            Family::V4 => (header[9], 4 * usize::from(header[0] & 15)),
            Family::V6 => (header[6], header.len()),
        };
        let mut walked = 0;
        while self.family == Family::V6 && is_extension(protocol) {
            if walked == QUOTED_HEADERS {
                return Some(Err(Otherwise(UNKNOWN)));
            }
            let &[next, length] = bytes.get(at..)?.first_chunk()?;
            at += match protocol {
                extension::FRAGMENT => {
                    let &[_, _, high, low] = bytes.get(at..)?.first_chunk()?;
                    if u16::from_be_bytes([high, low]) & !7 != 0 {
                        return Some(Err(Otherwise(NO)));
                    }
                    8
                }
                extension::AUTHENTICATION => 4 * (usize::from(length) + 2),
                _ => 8 * (usize::from(length) + 1),
            };
            protocol = next;
            walked += 1;
        }
        if !has_ports(protocol) {
            return Some(Err(Otherwise(NO)));
        }
        let [from, to] = ends(self.family, bytes, at)?;
        Some(Ok((protocol, [to, from])))
    }
}

/// Source and destination of a packet whose ports are at a place.
fn ends(family: Family, packet: &[u8], at: usize) -> Option<[SocketAddr; 2]> {
    let [source, destination] = addresses(family, packet)?;
    let [from, to] = ports(packet, at)?;
    Some([
        SocketAddr::new(source, from),
        SocketAddr::new(destination, to),
    ])
}

fn is_extension(protocol: u8) -> bool {
    protocol == extension::FRAGMENT || extension::LONG.contains(&protocol)
}

impl Perform for FindSocket {
    fn perform(&self, packet: &mut Packet<'_>, world: &mut World) -> u32 {
        let (protocol, ends) = match self.query(packet) {
            Ok(query) => query,
            Err(Otherwise(answer)) => return answer,
        };
        let Some(socket) = HostSocket::find(&world.sockets, protocol, ends) else {
            return NO;
        };
        if socket.is_full() {
            if !self.with_wildcard && socket.local.ip().is_unspecified() {
                return NO;
            }
            if self.restores_mark {
                packet.set_mark(socket.mark);
            }
        }
        YES
    }

    fn link(&self, linker: &mut Linker<'_>) -> Call {
        let function = linker.function("find_socket", 0, |body| self.write(body));
        Call {
            function,
            arguments: Vec::new(),
        }
    }

    fn reads(&self) -> Vec<Field> {
        let mut fields = vec![
            // Of a frame with a VLAN's number the interface is not known, by which sockets may be bound.
            Field::Interface,
            Field::Protocol,
            Field::FragmentOffset,
            Field::TransportLength,
            Field::SourcePort,
            Field::DestinationPort,
            Field::IcmpType,
        ];
        fields.extend((self.family == Family::V6).then_some(Field::BrokenHeaders));
        fields.extend(self.restores_mark.then_some(Field::Mark));
        fields
    }

    fn branches(&self) -> usize {
        match self.family {
            Family::V4 => 64,
            Family::V6 => 192,
        }
    }
}

/// On the stack: `struct bpf_sock_tuple`, whose addresses come first, and what is read of a quoted packet.
const TUPLE: i16 = -40;
const QUOTED: i16 = -80;

/// Where fields lie in `struct bpf_sock`.
mod sock {
    pub const MARK: i16 = 16;
    pub const LOCAL4: i16 = 24;
    pub const LOCAL6: i16 = 28;
    pub const STATE: i16 = 72;
}

/// `BPF_F_CURRENT_NETNS`
const CURRENT_NETNS: i32 = -1;

/// Where a routine goes.
struct Labels {
    no: Label,
    unknown: Label,
    /// Bytes are missing.
    missing: Label,
    /// The tuple is whole, its protocol in R9.
    ask: Label,
}

impl FindSocket {
    fn write(&self, body: &mut Body) {
        let code = &mut body.code;
        let labels = Labels {
            no: code.label(),
            unknown: code.label(),
            missing: code.label(),
            ask: code.label(),
        };
        let [direct, error, udp] = [(); 3].map(|()| code.label());
        let kind = Reg::R9;
        if self.family == Family::V6 {
            body.field(Reg::R1, Field::BrokenHeaders);
            body.code.branch(Cond::Ne, Reg::R1, 0, labels.unknown);
        }
        body.field(kind, Field::Protocol);
        body.field(Reg::R1, Field::FragmentOffset);
        body.field(Reg::R2, Field::TransportLength);
        let icmp = match self.family {
            Family::V4 => protocol::ICMP,
            Family::V6 => protocol::ICMP6,
        };
        for (number, needed, target) in [
            (protocol::TCP, TCP_HEADER, direct),
            (protocol::UDP, UDP_HEADER, direct),
            (icmp, ICMP_HEADER, error),
        ] {
            let code = &mut body.code;
            let other = code.label();
            code.branch(Cond::Ne, kind, i32::from(number), other);
            code.branch(Cond::Ne, Reg::R1, 0, labels.unknown);
            code.branch32(Cond::Lt, Reg::R2, needed as i32, labels.missing);
            code.jump(target);
            code.bind(other);
        }
        body.code.jump(labels.no);
        body.code.bind(direct);
        self.copy_tuple(body);
        body.code.jump(labels.ask);
        body.code.bind(error);
        self.read_error(body, &labels);
        body.code.bind(labels.ask);
        body.code
            .branch(Cond::Eq, kind, i32::from(protocol::UDP), udp);
        self.ask(body, protocol::TCP, labels.no);
        body.code.bind(udp);
        self.ask(body, protocol::UDP, labels.no);
        let code = &mut body.code;
        code.bind(labels.missing);
        code.load(Size::B, Reg::R1, PACKET, layout::MORE_FRAGMENTS);
        code.branch(Cond::Ne, Reg::R1, 0, labels.unknown);
        code.bind(labels.no);
        body.answer(NO as i32);
        body.code.bind(labels.unknown);
        body.answer(UNKNOWN as i32);
    }

    /// Bytes of an address, and the fields of the packet's.
    fn address(&self) -> (i16, [Field; 2]) {
        match self.family {
            Family::V4 => (4, [Field::Source4, Field::Destination4]),
            Family::V6 => (16, [Field::Source6, Field::Destination6]),
        }
    }

    fn copy_tuple(&self, body: &mut Body) {
        let (size, fields) = self.address();
        let ports = (Field::SourcePort.place().offset, TUPLE + 2 * size, 4);
        let [source, destination] = fields.map(|it| it.place().offset);
        for (from, to, bytes) in [
            (source, TUPLE, size),
            (destination, TUPLE + size, size),
            ports,
        ] {
            for word in (0..bytes).step_by(4) {
                body.code.load(Size::W, Reg::R1, PACKET, from + word);
                body.code.store(Size::W, Reg::R10, to + word, Reg::R1);
            }
        }
    }

    /// Makes the tuple of the packet that an ICMP error quotes, as its answer would have it.
    fn read_error(&self, body: &mut Body, labels: &Labels) {
        let (at, kind) = (Reg::R8, Reg::R9);
        let (size, _) = self.address();
        let header = header_size(self.family) as i16;
        body.field(Reg::R1, Field::IcmpType);
        let code = &mut body.code;
        let is_error = code.label();
        match self.family {
            Family::V4 => {
                for error in ERRORS4 {
                    code.branch(Cond::Eq, Reg::R1, i32::from(error), is_error);
                }
            }
            Family::V6 => code.branch(Cond::Lt, Reg::R1, i32::from(FIRST_QUERY6), is_error),
        }
        code.jump(labels.no);
        code.bind(is_error);
        code.load(Size::H, at, PACKET, layout::TRANSPORT);
        code.alu(Alu::Add, at, ICMP_HEADER as i32);
        body.bytes(at, header, QUOTED, labels.missing);
        let code = &mut body.code;
        let source = QUOTED + header - 2 * size;
        for word in (0..size).step_by(4) {
            for (from, to) in [(source, TUPLE + size), (source + size, TUPLE)] {
                code.load(Size::W, Reg::R1, Reg::R10, from + word);
                code.store(Size::W, Reg::R10, to + word, Reg::R1);
            }
        }
        match self.family {
            Family::V4 => {
                code.load(Size::B, kind, Reg::R10, QUOTED + 9);
                code.load(Size::B, Reg::R1, Reg::R10, QUOTED);
                code.alu(Alu::And, Reg::R1, 15);
                code.alu(Alu::Lsh, Reg::R1, 2);
                code.alu(Alu::Add, at, Reg::R1);
            }
            Family::V6 => {
                code.load(Size::B, kind, Reg::R10, QUOTED + 6);
                code.alu(Alu::Add, at, i32::from(header));
                walk(body, at, kind, labels);
            }
        }
        let code = &mut body.code;
        let has_ports = code.label();
        for number in [protocol::TCP, protocol::UDP] {
            code.branch(Cond::Eq, kind, i32::from(number), has_ports);
        }
        code.jump(labels.no);
        code.bind(has_ports);
        body.bytes(at, 4, QUOTED, labels.missing);
        let code = &mut body.code;
        code.load(Size::H, Reg::R1, Reg::R10, QUOTED);
        code.load(Size::H, Reg::R2, Reg::R10, QUOTED + 2);
        code.store(Size::H, Reg::R10, TUPLE + 2 * size, Reg::R2);
        code.store(Size::H, Reg::R10, TUPLE + 2 * size + 2, Reg::R1);
    }

    /// Looks the socket up and answers.
    fn ask(&self, body: &mut Body, protocol: u8, no: Label) {
        let (socket, answer) = (Reg::R8, Reg::R9);
        let is_tcp = protocol == protocol::TCP;
        self.look_up(
            body,
            match is_tcp {
                true => Helper::SkcLookupTcp,
                false => Helper::SkLookupUdp,
            },
            no,
        );
        let code = &mut body.code;
        let done = code.label();
        code.mov(socket, Reg::R0);
        code.mov(answer, YES as i32);
        if is_tcp {
            code.load(Size::W, Reg::R1, socket, sock::STATE);
            for state in [TIME_WAIT, NEW_SYN_RECEIVED] {
                code.branch32(Cond::Eq, Reg::R1, i32::from(state), done);
            }
        }
        if !self.with_wildcard {
            let (first, words) = match self.family {
                Family::V4 => (sock::LOCAL4, 1),
                Family::V6 => (sock::LOCAL6, 4),
            };
            code.load(Size::W, Reg::R1, socket, first);
            for word in 1..words {
                code.load(Size::W, Reg::R2, socket, first + 4 * word);
                code.alu(Alu::Or, Reg::R1, Reg::R2);
            }
            code.mov(answer, NO as i32);
            code.branch32(Cond::Eq, Reg::R1, 0, done);
            code.mov(answer, YES as i32);
        }
        if self.restores_mark {
            let gone = code.label();
            if is_tcp {
                // What the lookup gives may be no full socket: the verifier lets nobody read a mark of it.
                release(body, socket);
                self.look_up(body, Helper::SkLookupTcp, gone);
                body.code.mov(socket, Reg::R0);
            }
            let code = &mut body.code;
            code.load(Size::W, Reg::R1, socket, sock::MARK);
            code.store(Size::W, PACKET, Field::Mark.place().offset, Reg::R1);
            if is_tcp {
                release(body, socket);
                body.code.bind(gone);
                body.answer(YES as i32);
            }
        }
        body.code.bind(done);
        release(body, socket);
        body.answer(answer);
    }

    /// `r0 = the socket of the tuple`, to be released; goes to `none` when there is none.
    fn look_up(&self, body: &mut Body, helper: Helper, none: Label) {
        let (size, _) = self.address();
        body.code.mov(Reg::R1, CONTEXT);
        body.stack(Reg::R2, TUPLE);
        let code = &mut body.code;
        code.mov(Reg::R3, i32::from(2 * size + 4));
        code.mov(Reg::R4, CURRENT_NETNS);
        code.mov(Reg::R5, 0);
        code.call(helper);
        code.branch(Cond::Eq, Reg::R0, 0, none);
    }
}

fn release(body: &mut Body, socket: Reg) {
    body.code.mov(Reg::R1, socket);
    body.code.call(Helper::SkRelease);
}

/// `ipv6_skip_exthdr` (net/ipv6/exthdrs_core.c): moves `at` behind extension headers, the first of the type
/// `kind`, which becomes the type of what follows them.
fn walk(body: &mut Body, at: Reg, kind: Reg, labels: &Labels) {
    let end = body.code.label();
    for _ in 0..QUOTED_HEADERS {
        let [long, fragment, authentication, next] = [(); 4].map(|()| body.code.label());
        let code = &mut body.code;
        code.branch(Cond::Eq, kind, i32::from(extension::FRAGMENT), fragment);
        for number in extension::LONG {
            code.branch(Cond::Eq, kind, i32::from(number), long);
        }
        code.jump(end);
        code.bind(fragment);
        body.bytes(at, 4, QUOTED, labels.missing);
        let code = &mut body.code;
        code.load(Size::H, Reg::R1, Reg::R10, QUOTED + 2);
        code.to_big_endian(Reg::R1, 16);
        code.branch(Cond::Gt, Reg::R1, 7, labels.no);
        code.mov(Reg::R1, 8);
        code.jump(next);
        code.bind(long);
        body.bytes(at, 2, QUOTED, labels.missing);
        let code = &mut body.code;
        code.load(Size::B, Reg::R1, Reg::R10, QUOTED + 1);
        let number = i32::from(extension::AUTHENTICATION);
        code.branch(Cond::Eq, kind, number, authentication);
        code.alu(Alu::Add, Reg::R1, 1);
        code.alu(Alu::Lsh, Reg::R1, 3);
        code.jump(next);
        code.bind(authentication);
        code.alu(Alu::Add, Reg::R1, 2);
        code.alu(Alu::Lsh, Reg::R1, 2);
        code.bind(next);
        code.alu(Alu::Add, at, Reg::R1);
        code.load(Size::B, kind, Reg::R10, QUOTED);
    }
    let code = &mut body.code;
    code.branch(
        Cond::Eq,
        kind,
        i32::from(extension::FRAGMENT),
        labels.unknown,
    );
    for number in extension::LONG {
        code.branch(Cond::Eq, kind, i32::from(number), labels.unknown);
    }
    code.bind(end);
}

impl fmt::Display for FindSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("socket of the packet")?;
        if self.with_wildcard {
            f.write_str(", also with the wildcard address")?;
        }
        if self.restores_mark {
            f.write_str(", and its mark")?;
        }
        Ok(())
    }
}
