//! `struct xt_log_info` (netfilter/xt_LOG.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::blob::codec::{Context, Refused, Wire, flag};
use crate::blob::layout::{until_nul, with_nul};
use crate::targets::log::Log;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Log0 {
    level: u8,
    flags: u8,
    prefix: [u8; 30],
}

/// `XT_LOG_TCPSEQ`
const TCP_SEQUENCE: u8 = 0x01;
/// `XT_LOG_TCPOPT`
const TCP_OPTIONS: u8 = 0x02;
/// `XT_LOG_IPOPT`
const IP_OPTIONS: u8 = 0x04;
/// `XT_LOG_UID`
const UID: u8 = 0x08;
/// `XT_LOG_MACDECODE`
const MAC_DECODE: u8 = 0x20;

impl Wire for Log0 {
    type Value = Log;
    const NAME: &'static str = "LOG";

    fn read(&self, _: &Context<'_>) -> Result<Option<Log>, Refused> {
        if self.level >= 8 {
            return Err(Refused("a level above 7"));
        }
        let prefix = until_nul(&self.prefix).ok_or(Refused("a prefix without an end"))?;
        let has = |flag| self.flags & flag != 0;
        Ok(Some(Log {
            level: self.level,
            prefix: prefix.into(),
            tcp_sequence: has(TCP_SEQUENCE),
            tcp_options: has(TCP_OPTIONS),
            ip_options: has(IP_OPTIONS),
            uid: has(UID),
            mac_decode: has(MAC_DECODE),
        }))
    }

    fn write(value: &Log, _: &Context<'_>) -> Option<Self> {
        Some(Self {
            level: value.level,
            flags: flag(value.tcp_sequence, TCP_SEQUENCE)
                | flag(value.tcp_options, TCP_OPTIONS)
                | flag(value.ip_options, IP_OPTIONS)
                | flag(value.uid, UID)
                | flag(value.mac_decode, MAC_DECODE),
            prefix: with_nul(&value.prefix)?,
        })
    }
}
