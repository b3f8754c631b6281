//! The options of iptables itself.

/// The options of iptables itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Append,
    Insert,
    Replace,
    Delete,
    Flush,
    Zero,
    NewChain,
    DeleteChain,
    Rename,
    Policy,
    Source,
    Destination,
    InInterface,
    OutInterface,
    Protocol,
    Fragment,
    Jump,
    Goto,
    Match,
    Counters,
    Ipv4,
    Ipv6,
    Verbose,
    Table,
    /// A command or option that a save file has no use for.
    Other,
}

/// Letter, long names, meaning. The letter of a long-only option is none.
pub(super) const BASE: &[(Option<u8>, &[&str], Base)] = &[
    (Some(b'A'), &["append"], Base::Append),
    (Some(b'I'), &["insert"], Base::Insert),
    (Some(b'N'), &["new-chain"], Base::NewChain),
    (Some(b'P'), &["policy"], Base::Policy),
    (Some(b's'), &["source", "src"], Base::Source),
    (Some(b'd'), &["destination", "dst"], Base::Destination),
    (Some(b'i'), &["in-interface"], Base::InInterface),
    (Some(b'o'), &["out-interface"], Base::OutInterface),
    (Some(b'p'), &["protocol"], Base::Protocol),
    (Some(b'f'), &["fragments"], Base::Fragment),
    (Some(b'j'), &["jump"], Base::Jump),
    (Some(b'g'), &["goto"], Base::Goto),
    (Some(b'm'), &["match"], Base::Match),
    (Some(b'c'), &["set-counters"], Base::Counters),
    (Some(b'4'), &["ipv4"], Base::Ipv4),
    (Some(b'6'), &["ipv6"], Base::Ipv6),
    (Some(b'v'), &["verbose"], Base::Verbose),
    (Some(b't'), &["table"], Base::Table),
    (Some(b'D'), &["delete"], Base::Delete),
    (Some(b'C'), &["check"], Base::Other),
    (Some(b'R'), &["replace"], Base::Replace),
    (Some(b'L'), &["list"], Base::Other),
    (Some(b'S'), &["list-rules"], Base::Other),
    (Some(b'F'), &["flush"], Base::Flush),
    (Some(b'Z'), &["zero"], Base::Zero),
    (Some(b'X'), &["delete-chain"], Base::DeleteChain),
    (Some(b'E'), &["rename-chain"], Base::Rename),
    (Some(b'n'), &["numeric"], Base::Other),
    (Some(b'w'), &["wait"], Base::Other),
    (Some(b'W'), &["wait-interval"], Base::Other),
    (Some(b'x'), &["exact"], Base::Other),
    (Some(b'V'), &["version"], Base::Other),
    (Some(b'h'), &["help"], Base::Other),
    (None, &["line-numbers"], Base::Other),
    (Some(b'M'), &["modprobe"], Base::Other),
];

impl Base {
    pub(super) fn by_letter(letter: u8) -> Option<Base> {
        BASE.iter()
            .find(|row| row.0 == Some(letter))
            .map(|row| row.2)
    }

    /// Whether `!` may stand before it.
    pub(super) fn is_invertible(self) -> bool {
        use Base::{Destination, Fragment, InInterface, OutInterface, Protocol, Source};
        matches!(
            self,
            Source | Destination | InInterface | OutInterface | Protocol | Fragment
        )
    }

    /// Whether a value must stand behind it.
    pub(super) fn has_value(self) -> bool {
        use Base::{DeleteChain, Flush, Fragment, Ipv4, Ipv6, Other, Verbose, Zero};
        !matches!(
            self,
            Fragment | Ipv4 | Ipv6 | Verbose | Flush | Zero | DeleteChain | Other
        )
    }
}
