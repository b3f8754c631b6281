//! How long a flow is remembered after a packet, by what it is.

use std::fmt;

use super::{sctp, tcp};

/// Seconds after which answered UDP is a stream.
pub const UDP_STREAM_AFTER: u32 = 2;
/// The longest time that may be chosen, in seconds: as ticks it must stay below 2 to the power of 31, also where
/// a second has 1,000 of them.
pub const LONGEST: u32 = 2_000_000;

/// The times in seconds; at first the defaults of the kernel's sysctls `net.netfilter.nf_conntrack_*_timeout*`
/// (Documentation/networking/nf_conntrack-sysctl.rst).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeouts {
    /// TCP, by its state's number in [`tcp::State`].
    pub tcp: [u32; 10],
    /// TCP that repeats itself.
    pub tcp_retransmitting: u32,
    /// TCP with data that nobody has acknowledged.
    pub tcp_unacknowledged: u32,
    /// SCTP, by its state's number in [`sctp::State`].
    pub sctp: [u32; sctp::STATES],
    /// UDP without an answer, or just answered.
    pub udp: u32,
    /// UDP that goes both ways for longer.
    pub udp_stream: u32,
    /// Queries of ICMP and ICMPv6.
    pub icmp: u32,
    /// GRE without an answer.
    pub gre: u32,
    /// GRE with one.
    pub gre_stream: u32,
    /// All other protocols.
    pub generic: u32,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            tcp: [0, 120, 60, 432_000, 120, 60, 30, 120, 10, 120],
            tcp_retransmitting: 300,
            tcp_unacknowledged: 300,
            sctp: [10, 10, 3, 3, 210, 3, 3, 3, 30],
            udp: 30,
            udp_stream: 120,
            icmp: 30,
            gre: 30,
            gre_stream: 180,
            generic: 600,
        }
    }
}

/// Where a time lies.
type Place = fn(&mut Timeouts) -> &mut u32;

/// The times by their names: those of the sysctls, without `nf_conntrack_`.
const NAMES: [(&str, Place); 24] = [
    ("generic_timeout", |it| &mut it.generic),
    ("gre_timeout", |it| &mut it.gre),
    ("gre_timeout_stream", |it| &mut it.gre_stream),
    ("icmp_timeout", |it| &mut it.icmp),
    ("sctp_timeout_closed", |it| {
        &mut it.sctp[sctp::State::Closed as usize]
    }),
    ("sctp_timeout_cookie_echoed", |it| {
        &mut it.sctp[sctp::State::CookieEchoed as usize]
    }),
    ("sctp_timeout_cookie_wait", |it| {
        &mut it.sctp[sctp::State::CookieWait as usize]
    }),
    ("sctp_timeout_established", |it| {
        &mut it.sctp[sctp::State::Established as usize]
    }),
    ("sctp_timeout_heartbeat_sent", |it| {
        &mut it.sctp[sctp::State::HeartbeatSent as usize]
    }),
    ("sctp_timeout_shutdown_ack_sent", |it| {
        &mut it.sctp[sctp::State::ShutdownAckSent as usize]
    }),
    ("sctp_timeout_shutdown_recd", |it| {
        &mut it.sctp[sctp::State::ShutdownReceived as usize]
    }),
    ("sctp_timeout_shutdown_sent", |it| {
        &mut it.sctp[sctp::State::ShutdownSent as usize]
    }),
    ("tcp_timeout_close", |it| {
        &mut it.tcp[tcp::State::Close as usize]
    }),
    ("tcp_timeout_close_wait", |it| {
        &mut it.tcp[tcp::State::CloseWait as usize]
    }),
    ("tcp_timeout_established", |it| {
        &mut it.tcp[tcp::State::Established as usize]
    }),
    ("tcp_timeout_fin_wait", |it| {
        &mut it.tcp[tcp::State::FinWait as usize]
    }),
    ("tcp_timeout_last_ack", |it| {
        &mut it.tcp[tcp::State::LastAck as usize]
    }),
    ("tcp_timeout_max_retrans", |it| &mut it.tcp_retransmitting),
    ("tcp_timeout_syn_recv", |it| {
        &mut it.tcp[tcp::State::SynReceived as usize]
    }),
    ("tcp_timeout_syn_sent", |it| {
        &mut it.tcp[tcp::State::SynSent as usize]
    }),
    ("tcp_timeout_time_wait", |it| {
        &mut it.tcp[tcp::State::TimeWait as usize]
    }),
    ("tcp_timeout_unacknowledged", |it| {
        &mut it.tcp_unacknowledged
    }),
    ("udp_timeout", |it| &mut it.udp),
    ("udp_timeout_stream", |it| &mut it.udp_stream),
];

/// Why a time cannot be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There is no time of this name.
    Name,
    /// It is not from 1 to [`LONGEST`] seconds.
    Seconds,
}

impl std::error::Error for Unknown {}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unknown::Name => {
                let names = NAMES.map(|(name, _)| name).join(", ");
                write!(f, "the times are {names}")
            }
            Unknown::Seconds => write!(f, "a time is from 1 to {LONGEST} seconds"),
        }
    }
}

impl Timeouts {
    /// Chooses a time.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn set(&mut self, name: &str, seconds: u32) -> Result<(), Unknown> {
        let named = NAMES.iter().find(|(it, _)| *it == name);
        let (_, place) = named.ok_or(Unknown::Name)?;
        if !(1..=LONGEST).contains(&seconds) {
            return Err(Unknown::Seconds);
        }
        *place(self) = seconds;
        Ok(())
    }

    /// Those that are not the defaults, by their names.
    pub fn chosen(mut self) -> impl Iterator<Item = (&'static str, u32)> {
        let mut usual = Timeouts::default();
        NAMES.into_iter().filter_map(move |(name, place)| {
            let seconds = *place(&mut self);
            (seconds != *place(&mut usual)).then_some((name, seconds))
        })
    }

    /// The longest that half a table of new flows may take to be a flood of them: as long as a connection
    /// half-opened lasts.
    pub fn flood(&self) -> u32 {
        self.tcp[tcp::State::SynSent as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_a_time_of_its_own() {
        let mut timeouts = Timeouts::default();
        for (number, (name, _)) in (0..).zip(NAMES) {
            assert_eq!(timeouts.set(name, 1_000_000 + number), Ok(()));
        }
        let mut expected: Vec<_> = NAMES.iter().map(|it| it.0).zip(1_000_000..).collect();
        let mut chosen: Vec<_> = timeouts.chosen().collect();
        expected.sort_unstable();
        chosen.sort_unstable();
        assert_eq!(chosen, expected);
    }

    #[test]
    fn nothing_else_can_be_chosen() {
        let mut timeouts = Timeouts::default();
        assert_eq!(timeouts.set("tcp", 5), Err(Unknown::Name));
        assert_eq!(timeouts.set("udp_timeout", 0), Err(Unknown::Seconds));
        assert_eq!(
            timeouts.set("udp_timeout", LONGEST + 1),
            Err(Unknown::Seconds)
        );
        assert_eq!(timeouts, Timeouts::default());
    }
}
