//! `-j LOG`: a line in the kernel log; the packet goes on (libxt_LOG, xt_LOG.c).

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::value::integer;
use bstr::{BStr, BString};
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

/// The longest prefix that the kernel holds.
const PREFIX_LIMIT: usize = 29;
/// `LOG_WARNING`
const DEFAULT_LEVEL: u8 = 4;
/// The levels of syslog(3) by the names of libxtables.
const LEVELS: [(&str, u8); 10] = [
    ("alert", 1),
    ("crit", 2),
    ("debug", 7),
    ("emerg", 0),
    ("err", 3),
    ("error", 3),
    ("info", 6),
    ("notice", 5),
    ("panic", 0),
    ("warning", 4),
];

/// The names of the levels in a listing.
const LISTED_LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug",
];

static LEVEL: Opt<u8> = Opt::new(&["log-level"], level);
static PREFIX: Opt<BString> = Opt::new(&["log-prefix"], prefix);
static TCP_SEQUENCE: Opt<()> = switch(&["log-tcp-sequence"]);
static TCP_OPTIONS: Opt<()> = switch(&["log-tcp-options"]);
static IP_OPTIONS: Opt<()> = switch(&["log-ip-options"]);
static UID: Opt<()> = switch(&["log-uid"]);
static MAC_DECODE: Opt<()> = switch(&["log-macdecode"]);

impl Extension for Log {
    const NAME: &'static str = "LOG";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &LEVEL.spec,
        &PREFIX.spec,
        &TCP_SEQUENCE.spec,
        &TCP_OPTIONS.spec,
        &IP_OPTIONS.spec,
        &UID.spec,
        &MAC_DECODE.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            level: arguments
                .get(&LEVEL)?
                .map_or(DEFAULT_LEVEL, |given| given.value.value),
            prefix: arguments.text(&PREFIX, PREFIX_LIMIT)?.unwrap_or_default(),
            tcp_sequence: arguments.has(&TCP_SEQUENCE),
            tcp_options: arguments.has(&TCP_OPTIONS),
            ip_options: arguments.has(&IP_OPTIONS),
            uid: arguments.has(&UID),
            mac_decode: arguments.has(&MAC_DECODE),
        })
    }

    fn print(&self, line: &mut Line) {
        if !self.prefix.is_empty() {
            line.word("--log-prefix");
            line.string(&self.prefix);
        }
        if self.level != DEFAULT_LEVEL {
            line.word("--log-level");
            line.word(self.level);
        }
        for (is_set, option) in [
            (self.tcp_sequence, "--log-tcp-sequence"),
            (self.tcp_options, "--log-tcp-options"),
            (self.ip_options, "--log-ip-options"),
            (self.uid, "--log-uid"),
            (self.mac_decode, "--log-macdecode"),
        ] {
            if is_set {
                line.word(option);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("LOG");
        let flags = [
            (self.tcp_sequence, "tcp-sequence"),
            (self.tcp_options, "tcp-options"),
            (self.ip_options, "ip-options"),
            (self.uid, "uid"),
            (self.mac_decode, "macdecode"),
        ];
        if line.style.numeric {
            // `XT_LOG_TCPSEQ` and those behind it are the bits from the lowest on; 0x10 is of another kind.
            let bits = flags.iter().zip([0x01, 0x02, 0x04, 0x08, 0x20]);
            let bits: u32 = bits.filter(|(flag, _)| flag.0).map(|(_, bit)| bit).sum();
            line.word(format_args!("flags {bits} level {}", self.level));
        } else {
            match LISTED_LEVELS.get(usize::from(self.level)) {
                Some(name) => line.word(format_args!("level {name}")),
                None => line.word(format_args!("UNKNOWN level {}", self.level)),
            }
            for (_, name) in flags.iter().filter(|flag| flag.0) {
                line.word(name);
            }
        }
        if !self.prefix.is_empty() {
            line.word("prefix \"");
            line.put_bytes(&self.prefix);
            line.put("\"");
        }
    }
}

fn level(value: &Value<'_>) -> Result<u8, Problem> {
    let word = value.word(0);
    let number = integer(word, 7).and_then(|level| u8::try_from(level).ok());
    let named = || {
        LEVELS
            .iter()
            .find(|row| row.0.as_bytes() == word)
            .map(|row| row.1)
    };
    number.or_else(named).ok_or_else(|| {
        Problem::new(format!("{:?} is no log level", BStr::new(word)))
            .usage(format!("log level \"{}\" unknown\n", BStr::new(word)))
            .with_help("write 0 to 7, or emerg, alert, crit, err, warning, notice, info or debug")
    })
}

/// A text before each line of a log: not empty, on one line.
pub(super) fn prefix(value: &Value<'_>) -> Result<BString, Problem> {
    match value.word(0) {
        [] => Err(Problem::new("the prefix is empty").with_help("leave it out")),
        text if text.contains(&b'\n') => {
            Err(Problem::new("a prefix cannot hold a newline")
                .with_help("is a closing quote missing?"))
        }
        text => Ok(text.into()),
    }
}
