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
    Check,
    List,
    ListRules,
    Numeric,
    Wait,
    WaitInterval,
    Exact,
    Version,
    Help,
    LineNumbers,
    Modprobe,
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
    (Some(b'C'), &["check"], Base::Check),
    (Some(b'R'), &["replace"], Base::Replace),
    (Some(b'L'), &["list"], Base::List),
    (Some(b'S'), &["list-rules"], Base::ListRules),
    (Some(b'F'), &["flush"], Base::Flush),
    (Some(b'Z'), &["zero"], Base::Zero),
    (Some(b'X'), &["delete-chain"], Base::DeleteChain),
    (Some(b'E'), &["rename-chain"], Base::Rename),
    (Some(b'n'), &["numeric"], Base::Numeric),
    (Some(b'w'), &["wait"], Base::Wait),
    (Some(b'W'), &["wait-interval"], Base::WaitInterval),
    (Some(b'x'), &["exact"], Base::Exact),
    (Some(b'V'), &["version"], Base::Version),
    (Some(b'h'), &["help"], Base::Help),
    (None, &["line-numbers"], Base::LineNumbers),
    (Some(b'M'), &["modprobe"], Base::Modprobe),
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

    /// Whether only a command line may hold it: a save file names its table, and commands that show
    /// something have no place there.
    pub(super) fn is_of_shell(self) -> bool {
        use Base::{Check, Exact, Help, LineNumbers, List, ListRules, Modprobe, Numeric, Version};
        use Base::{Wait, WaitInterval};
        matches!(
            self,
            Check
                | List
                | ListRules
                | Numeric
                | Wait
                | WaitInterval
                | Exact
                | Version
                | Help
                | LineNumbers
                | Modprobe
        )
    }

    /// Whether and how a value follows it.
    pub(super) fn value(self) -> TakesValue {
        use Base::{
            DeleteChain, Exact, Flush, Fragment, Help, Ipv4, Ipv6, LineNumbers, List, ListRules,
            Numeric, Verbose, Version, Wait, WaitInterval, Zero,
        };
        match self {
            Fragment | Ipv4 | Ipv6 | Verbose | Numeric | Exact | Version | Help | LineNumbers
            | Wait | WaitInterval => TakesValue::No,
            Flush | Zero | DeleteChain | List | ListRules => TakesValue::Perhaps,
            _ => TakesValue::Yes,
        }
    }
}

/// Whether a value stands behind an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakesValue {
    /// None, or the option looks for it itself.
    No,
    /// In the same word, or in the next unless that is an option.
    Perhaps,
    /// Always.
    Yes,
}
