//! Asking the kernel for its routes and addresses, and putting programs to interfaces (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::sys::Program;

/// Everything that a request for a dump gives, in the kernel's order.
///
/// # Errors
/// What the kernel says, and answers that cannot be read.
pub fn dump(request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    ask(request, NLM_F_DUMP)
}

/// `XDP_FLAGS_UPDATE_IF_NOEXIST` and `XDP_FLAGS_REPLACE` of linux/if_link.h.
const XDP_IF_NONE: u32 = 1 << 0;
const XDP_REPLACE: u32 = 1 << 4;

/// Puts a program, or none, to an interface in the place of another, or where none is. `mode` are the flags of the
/// mode (`XDP_FLAGS_*`); with none of them the driver runs the program if it can.
///
/// # Errors
/// What the kernel says, also when what runs there is another than was thought.
pub fn set_xdp(
    index: u32,
    new: Option<&Program>,
    old: Option<&Program>,
    mode: u32,
) -> io::Result<()> {
    let fd = |program: &Program| program.as_fd().as_raw_fd();
    let mut told = vec![LinkXdp::Fd(new.map_or(-1, fd))];
    match old {
        Some(old) => told.extend([
            LinkXdp::Flags(mode | XDP_REPLACE),
            LinkXdp::ExpectedFd(fd(old).cast_unsigned()),
        ]),
        None => told.push(LinkXdp::Flags(mode | XDP_IF_NONE)),
    }
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::Xdp(told)];
    ask(RouteNetlinkMessage::SetLink(message), NLM_F_ACK).map(drop)
}

/// Sends a request with these flags, and collects what is answered up to the end or the acknowledgement.
fn ask(request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut found = Vec::new();
    loop {
        let (answers, _) = socket.recv_from_full()?;
        let mut rest = answers.as_slice();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(io::Error::other)?;
            match answer.payload {
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(error.to_io());
                }
                // An error of none is the acknowledgement.
                NetlinkPayload::Error(_) => return Ok(found),
                NetlinkPayload::InnerMessage(message) => found.push(message),
                _ => {}
            }
            // Messages begin on boundaries of 4 bytes (NLMSG_ALIGNTO).
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = match length {
                0 => &[],
                length => rest.get(length..).unwrap_or_default(),
            };
        }
    }
}
