//! The user's choices as a comment line above the rules that an object keeps, so that whoever changes the
//! rules compiles them alike. What is not chosen is not written.

use std::fmt::Write;

use crate::classify::Strategy;
use crate::options::{ConnectionTable, Options, XdpPath};

/// How the line begins.
const HEAD: &str = "# Compiled by ipt2bpf with";

/// The line for some choices; nothing when all are the usual ones.
pub fn note(options: &Options) -> String {
    let usual = Options::default();
    let mut words = String::new();
    // Writing to a string cannot fail.
    let mut word = |word: std::fmt::Arguments<'_>| {
        let _ = write!(words, " {word}");
    };
    if options.approximate {
        word(format_args!("approximate"));
    }
    if options.ignore_nat {
        word(format_args!("ignore-nat"));
    }
    if options.live_sets {
        word(format_args!("live-sets"));
    }
    if options.connections != usual.connections {
        word(format_args!("connections={}", options.connections));
    }
    for (name, seconds) in options.timeouts.chosen() {
        word(format_args!("{name}={seconds}"));
    }
    match options.conntrack {
        ConnectionTable::Own => {}
        ConnectionTable::Kernel => word(format_args!("conntrack=kernel")),
    }
    if let Some(strategy) = options.strategy {
        word(format_args!("strategy={strategy}"));
    }
    if options.max_memory != usual.max_memory {
        word(format_args!("max-memory={}", options.max_memory));
    }
    match options.xdp_path {
        XdpPath::Auto => {}
        XdpPath::Input => word(format_args!("xdp-path=input")),
        XdpPath::Forward => word(format_args!("xdp-path=forward")),
    }
    match words.is_empty() {
        true => String::new(),
        false => format!("{HEAD}{words}\n"),
    }
}

/// The choices that the rules of an object were compiled with. Words that are not known are left out.
pub fn of_text(text: &[u8]) -> Options {
    let mut options = Options::default();
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let Some(words) = first.strip_prefix(HEAD) else {
        return options;
    };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            None if word == "approximate" => options.approximate = true,
            None if word == "ignore-nat" => options.ignore_nat = true,
            None if word == "live-sets" => options.live_sets = true,
            Some(("connections", number)) => {
                options.connections = number.parse().unwrap_or(options.connections);
            }
            Some(("conntrack", "kernel")) => options.conntrack = ConnectionTable::Kernel,
            Some(("strategy", name)) => options.strategy = Strategy::from_name(name),
            Some(("max-memory", number)) => {
                options.max_memory = number.parse().unwrap_or(options.max_memory);
            }
            Some(("xdp-path", "input")) => options.xdp_path = XdpPath::Input,
            Some(("xdp-path", "forward")) => options.xdp_path = XdpPath::Forward,
            Some((name, seconds)) => {
                let seconds = seconds.parse().unwrap_or_default();
                // One of another version is among what is left out.
                let _ = options.timeouts.set(name, seconds);
            }
            None => {}
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::timeouts::Timeouts;

    #[test]
    fn usual_choices_leave_no_note() {
        assert_eq!(note(&Options::default()), "");
        assert_eq!(note(&of_text(b"*filter\nCOMMIT\n")), "");
    }

    #[test]
    fn choices_come_back_from_their_note() {
        let chosen = Options {
            approximate: true,
            ignore_nat: true,
            live_sets: true,
            connections: 4096,
            timeouts: Timeouts {
                udp_stream: 60,
                ..Timeouts::default()
            },
            conntrack: ConnectionTable::Kernel,
            strategy: Some(Strategy::Tables),
            max_memory: 65_536,
            xdp_path: XdpPath::Forward,
            ..Options::default()
        };
        let line = note(&chosen);
        assert_eq!(
            line,
            "# Compiled by ipt2bpf with approximate ignore-nat live-sets connections=4096 udp_timeout_stream=60 \
             conntrack=kernel strategy=tables max-memory=65536 xdp-path=forward\n"
        );
        let back = of_text(format!("{line}*filter\nCOMMIT\n").as_bytes());
        assert_eq!(note(&back), line);
    }
}
