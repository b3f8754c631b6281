//! `struct xt_socket_mtinfo3` (netfilter/xt_socket.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::matches::socket::Socket;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Socket3(u8);

/// `XT_SOCKET_TRANSPARENT`
const TRANSPARENT: u8 = 0x01;
/// `XT_SOCKET_NOWILDCARD`
const NO_WILDCARD: u8 = 0x02;
/// `XT_SOCKET_RESTORESKMARK`
const RESTORE_MARK: u8 = 0x04;

impl Wire for Socket3 {
    type Value = Socket;
    const NAME: &'static str = "socket";
    const REVISION: u8 = 3;

    fn read(&self, _: &Context<'_>) -> Result<Option<Socket>, Refused> {
        if self.0 & !(TRANSPARENT | NO_WILDCARD | RESTORE_MARK) != 0 {
            return Err(Refused("an unknown flag"));
        }
        let has = |flag| self.0 & flag != 0;
        Ok(Some(Socket {
            transparent: has(TRANSPARENT),
            no_wildcard: has(NO_WILDCARD),
            restore_mark: has(RESTORE_MARK),
        }))
    }

    fn write(value: &Socket, _: &Context<'_>) -> Option<Self> {
        Some(Self(
            flag(value.transparent, TRANSPARENT)
                | flag(value.no_wildcard, NO_WILDCARD)
                | flag(value.restore_mark, RESTORE_MARK),
        ))
    }
}
