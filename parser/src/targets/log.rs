//! `-j LOG`: a line in the kernel log; the packet goes on (libxt_LOG, xt_LOG.c).

use bstr::BString;
use serde::Serialize;

/// The `LOG` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// 0 (emerg) to 7 (debug); 4 (warning) unless told.
    pub level: u8,
    /// At most 29 bytes before each line.
    pub prefix: BString,
    /// `--log-tcp-sequence`
    pub tcp_sequence: bool,
    /// `--log-tcp-options`
    pub tcp_options: bool,
    /// `--log-ip-options`
    pub ip_options: bool,
    /// `--log-uid`
    pub uid: bool,
    /// `--log-macdecode`
    pub mac_decode: bool,
}
