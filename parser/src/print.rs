//! Printing: byte for byte what iptables-save prints, without its `# Generated` and `# Completed`
//! lines (iptables-save.c; iptables.c, `print_rule4`; ip6tables.c, `print_rule6`).

use std::fmt::{self, Display};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

use bstr::ByteSlice;

use crate::lossy;
use crate::names;
use crate::ruleset::{
    Action, BaseMatch, Chain, Counters, Family, InterfacePattern, Negatable, Network, NfHook,
    Policy, Rule, Ruleset, Table, TableKind, Verdict,
};
use crate::unknown::{Argument, Unknown};

/// Bytes of a rule that is not long.
const USUAL_LINE: usize = 128;

/// Which counters a print shows.
#[derive(Clone, Copy)]
pub enum Counts<'a> {
    /// Those of the text on chains, none before rules: `iptables-save`.
    Chains,
    /// Those of the text on chains and rules: `iptables-save -c`.
    All,
    /// Those that a function finds, on chains and rules.
    Live(&'a dyn Fn(Place<'_>) -> Counters),
}

/// A counter's place in a ruleset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place<'a> {
    /// The table.
    pub table: TableKind,
    /// The chain's name.
    pub chain: &'a str,
    /// The rule's index in its chain from 0, or none for the chain's policy.
    pub rule: Option<usize>,
}

impl Ruleset {
    /// The text of all tables. It is bytes because comments may hold any.
    pub fn print(&self, counts: Counts<'_>) -> Vec<u8> {
        let mut text = Line::default();
        for table in &self.tables {
            table.print_onto(&mut text, counts);
        }
        text.into_bytes()
    }
}

impl Table {
    /// The text of one table, from `*name` to `COMMIT`.
    pub fn print(&self, counts: Counts<'_>) -> Vec<u8> {
        let mut text = Line::default();
        self.print_onto(&mut text, counts);
        text.into_bytes()
    }

    fn print_onto(&self, text: &mut Line, counts: Counts<'_>) {
        text.put(format_args!("*{}\n", self.kind));
        for chain in &self.chains {
            let place = Place {
                table: self.kind,
                chain: &chain.name,
                rule: None,
            };
            let counters = match counts {
                Counts::Chains | Counts::All => chain.counters,
                Counts::Live(find) => find(place),
            };
            text.put(format_args!(":{} ", chain.name));
            match chain.builtin {
                Some(builtin) => text.put(builtin.policy),
                None => text.put("-"),
            }
            text.put(format_args!(" {counters}\n"));
        }
        for chain in &self.chains {
            for (index, rule) in chain.rules.iter().enumerate() {
                let place = Place {
                    table: self.kind,
                    chain: &chain.name,
                    rule: Some(index),
                };
                let counters = match counts {
                    Counts::Chains => None,
                    Counts::All => Some(rule.counters),
                    Counts::Live(find) => Some(find(place)),
                };
                if let Some(counters) = counters {
                    text.put(format_args!("{counters} "));
                }
                rule.print_onto(text, chain, None);
                text.bytes.push(b'\n');
            }
        }
        text.bytes.extend_from_slice(b"COMMIT\n");
    }
}

impl Rule {
    /// The rule as `-A CHAIN ...`, without counters and newline.
    pub fn print(&self, chain: &Chain) -> Vec<u8> {
        self.print_counting(chain, None)
    }

    /// The same with `-c` before the action when there are counters, as `-S -v` writes it.
    pub(crate) fn print_counting(&self, chain: &Chain, counters: Option<Counters>) -> Vec<u8> {
        let mut line = Line::new(Vec::with_capacity(USUAL_LINE));
        self.print_onto(&mut line, chain, counters);
        line.into_bytes()
    }

    fn print_onto(&self, line: &mut Line, chain: &Chain, counters: Option<Counters>) {
        line.bytes.extend_from_slice(b"-A ");
        line.bytes.extend_from_slice(chain.name.as_bytes());
        self.base.print(line);
        for extension in &self.matches {
            line.plain("-m");
            line.plain(extension.value.name());
            extension.value.print(line);
        }
        if let Some(Counters { packets, bytes }) = counters {
            line.word(format_args!("-c {packets} {bytes}"));
        }
        match &self.action {
            Action::Continue => {}
            Action::Verdict(verdict) => {
                line.plain("-j");
                line.word(verdict);
            }
            Action::Jump(chain) => {
                line.plain("-j");
                line.plain(&chain.value);
            }
            Action::Goto(chain) => {
                line.plain("-g");
                line.plain(&chain.value);
            }
            Action::Target(target) => {
                line.plain("-j");
                line.plain(target.value.name());
                target.value.print(line);
            }
        }
    }
}

impl BaseMatch {
    fn print(&self, line: &mut Line) {
        for (option, network) in [("-s", &self.source), ("-d", &self.destination)] {
            if let Some(network) = network
                .as_ref()
                .filter(|it| it.negated || !it.value.value.is_everything())
            {
                line.option(network.negated, option);
                line.network(network.value.value);
            }
        }
        for (option, interface) in [("-i", &self.in_interface), ("-o", &self.out_interface)] {
            // A lone `+` has an empty mask, which the tool takes for no interface at all.
            if let Some(interface) = interface
                .as_ref()
                .filter(|it| !it.value.value.name.is_empty())
            {
                line.option(interface.negated, option);
                line.raw(interface.value.value.to_string().as_bytes());
            }
        }
        if let Some(Negatable { negated, value }) =
            self.protocol.as_ref().filter(|it| it.value.value != 0)
        {
            line.option(*negated, "-p");
            match names::protocol_name(value.value) {
                Some(name) => line.plain(name),
                None => line.word(value.value),
            }
        }
        if let Some(fragment) = &self.fragment {
            line.option(fragment.negated, "-f");
        }
    }
}

impl Unknown {
    pub(crate) fn print(&self, line: &mut Line) {
        for word in &self.words {
            line.as_given(word);
        }
    }
}

/// A line that grows word by word.
#[derive(Default)]
pub(crate) struct Line {
    bytes: Vec<u8>,
    is_lossy: bool,
}

impl Line {
    /// A line that starts with this.
    pub fn new(start: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: start.into(),
            is_lossy: false,
        }
    }

    /// What it has become.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Whether iptables-restore reads something else than what was put in.
    pub fn is_lossy(&self) -> bool {
        self.is_lossy
    }

    /// Words that need no quotes.
    pub fn word(&mut self, word: impl Display) {
        self.put(format_args!(" {word}"));
    }

    /// What is no word of its own.
    fn put(&mut self, text: impl Display) {
        // Writing to a vector cannot fail.
        let _ = write!(self.bytes, "{text}");
    }

    /// An option, behind `!` when inverted.
    pub fn option(&mut self, negated: bool, option: &str) {
        if negated {
            self.plain("!");
        }
        self.plain(option);
    }

    /// A word that needs neither quotes nor formatting, as most do.
    fn plain(&mut self, word: &str) {
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(word.as_bytes());
    }

    /// A network as its `Display` writes it: most rules have one, and formatting takes time.
    fn network(&mut self, network: Network) {
        let Network::V4 { address, mask } = network else {
            return self.word(network);
        };
        let length = mask.to_bits().leading_ones();
        if length != mask.to_bits().count_ones() {
            return self.word(network);
        }
        let mut before = b' ';
        for octet in address.octets() {
            self.bytes.push(before);
            self.decimal(octet);
            before = b'.';
        }
        self.bytes.push(b'/');
        self.decimal(length as u8);
    }

    fn decimal(&mut self, number: u8) {
        if number >= 100 {
            self.bytes.push(b'0' + number / 100);
        }
        if number >= 10 {
            self.bytes.push(b'0' + number / 10 % 10);
        }
        self.bytes.push(b'0' + number % 10);
    }

    /// A string in quotes unless it is made of letters, digits, `_` and `-` (libxtables,
    /// `xtables_save_string`).
    pub fn string(&mut self, text: &[u8]) {
        let is_plain = |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !text.is_empty() && text.iter().all(is_plain) {
            self.raw(text);
        } else {
            self.quoted(text, b"\"\\'");
        }
    }

    /// A word that the tool prints as it is, even where it could not read it back.
    pub fn raw(&mut self, word: &[u8]) {
        self.is_lossy |= !lossy::needs_no_quotes(word);
        self.bytes.push(b' ');
        self.bytes.extend_from_slice(word);
    }

    /// A word of an extension that nobody read: in quotes if it stood in quotes.
    fn as_given(&mut self, word: &Argument) {
        if word.quoted {
            self.quoted(&word.text, b"\"\\'");
        } else {
            self.raw(&word.text);
        }
    }

    /// A string in quotes, with a backslash before some of its bytes. Nothing helps against a newline,
    /// which ends the line.
    pub fn quoted(&mut self, text: &[u8], escaped: &[u8]) {
        self.is_lossy |= text.contains(&b'\n');
        self.bytes.extend_from_slice(b" \"");
        for byte in text {
            if escaped.contains(byte) {
                self.bytes.push(b'\\');
            }
            self.bytes.push(*byte);
        }
        self.bytes.push(b'"');
    }
}

/// The text of [`Ruleset::print`] with rule counters left out; bytes that are not UTF-8 are replaced.
impl Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(Counts::Chains).to_str_lossy())
    }
}

/// The text of [`Table::print`] with rule counters left out; bytes that are not UTF-8 are replaced.
impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print(Counts::Chains).to_str_lossy())
    }
}

impl Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

impl Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableKind::Raw => "raw",
            TableKind::Mangle => "mangle",
            TableKind::Nat => "nat",
            TableKind::Filter => "filter",
            TableKind::Security => "security",
        })
    }
}

impl Display for NfHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NfHook::Prerouting => "PREROUTING",
            NfHook::Input => "INPUT",
            NfHook::Forward => "FORWARD",
            NfHook::Output => "OUTPUT",
            NfHook::Postrouting => "POSTROUTING",
        })
    }
}

impl Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Policy::Accept => "ACCEPT",
            Policy::Drop => "DROP",
        })
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
            Verdict::Return => "RETURN",
            Verdict::Queue => "QUEUE",
        })
    }
}

impl Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:{}]", self.packets, self.bytes)
    }
}

impl Display for InterfacePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.prefix { "+" } else { "" })
    }
}

/// `address/length`, or `address/mask` when the mask has holes.
impl Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Network::V4 { address, mask } => {
                let bits = mask.to_bits();
                match bits.leading_ones() {
                    length if length == bits.count_ones() => write!(f, "{address}/{length}"),
                    _ => write!(f, "{address}/{mask}"),
                }
            }
            Network::V6 { address, mask } => {
                let bits = mask.to_bits();
                let address = Inet6(address);
                match bits.leading_ones() {
                    length if length == bits.count_ones() => write!(f, "{address}/{length}"),
                    _ => write!(f, "{address}/{}", Inet6(mask)),
                }
            }
        }
    }
}

/// An address as `inet_ntop` of glibc writes it.
pub(crate) struct Inet(pub IpAddr);

impl Display for Inet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => Inet6(address).fmt(f),
        }
    }
}

/// An IPv6 address as `inet_ntop` of glibc writes it: an IPv4-compatible one ends dotted, too.
pub(crate) struct Inet6(pub Ipv6Addr);

impl Display for Inet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.segments() {
            [0, 0, 0, 0, 0, 0, high, low] if high != 0 => {
                let [a, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                write!(f, "::{a}.{b}.{c}.{d}")
            }
            _ => write!(f, "{}", self.0),
        }
    }
}
