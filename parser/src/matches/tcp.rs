//! `-m tcp`: ports, flags, options (libxt_tcp, xt_tcpudp.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use super::{DESTINATION_PORTS, PROTOCOL_TCP, PortRange, SOURCE_PORTS, print_ports, read_ports};
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::span::Spanned;
use crate::value::byte;

/// The `tcp` match. An option that is absent does not test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tcp {
    /// `--sport`
    pub source_ports: Option<Negatable<PortRange>>,
    /// `--dport`
    pub destination_ports: Option<Negatable<PortRange>>,
    /// `--tcp-flags`, `--syn`
    pub flags: Option<Negatable<Flags>>,
    /// `--tcp-option`, 1 to 255
    pub option: Option<Negatable<u8>>,
}

/// Bits of the TCP header's byte 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Flags {
    /// The bits looked at.
    pub mask: u8,
    /// The bits that must be set among them.
    pub set: u8,
}

static FLAGS: Opt<Flags> = Opt::new(&["tcp-flags"], flags).with_arity(2).invertible();
static SYN: Opt<()> = switch(&["syn"]).invertible();
static OPTION: Opt<u8> = Opt::new(&["tcp-option"], option).invertible();

/// The names of the bits, in the order in which they are printed.
const NAMES: [(&str, u8); 6] = [
    ("FIN", 0x01),
    ("SYN", 0x02),
    ("RST", 0x04),
    ("PSH", 0x08),
    ("ACK", 0x10),
    ("URG", 0x20),
];

impl Flags {
    /// What `--syn` stands for: a packet that opens a connection.
    pub const SYN: Flags = Flags {
        mask: 0x17,
        set: 0x02,
    };
}

impl Extension for Tcp {
    const NAME: &'static str = "tcp";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &SOURCE_PORTS.spec,
        &DESTINATION_PORTS.spec,
        &FLAGS.spec,
        &SYN.spec,
        &OPTION.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_TCP], "-p tcp")?;
        arguments.at_most_one(&[&FLAGS.spec, &SYN.spec])?;
        let source_ports = read_ports(arguments, &SOURCE_PORTS)?;
        let destination_ports = read_ports(arguments, &DESTINATION_PORTS)?;
        for ports in [&source_ports, &destination_ports].into_iter().flatten() {
            refuse_backwards(ports)?;
        }
        let syn = arguments.get(&SYN)?.map(|given| Negatable {
            negated: given.negated,
            value: Spanned {
                value: Flags::SYN,
                span: given.value.span,
            },
        });
        Ok(Self {
            source_ports,
            destination_ports,
            flags: arguments.get(&FLAGS)?.or(syn),
            option: arguments.get(&OPTION)?,
        })
    }

    fn print(&self, line: &mut Line) {
        print_ports(line, "--sport", &self.source_ports);
        print_ports(line, "--dport", &self.destination_ports);
        if let Some(option) = &self.option {
            line.option(option.negated, "--tcp-option");
            line.word(option.value.value);
        }
        // An empty mask that is not inverted is no test to the tool, and it does not print it.
        if let Some(flags) = self
            .flags
            .as_ref()
            .filter(|flags| flags.negated || flags.value.value.mask != 0)
        {
            line.option(flags.negated, "--tcp-flags");
            line.word(flag_list(flags.value.value.mask));
            line.word(flag_list(flags.value.value.set));
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("tcp");
        line.ports("spt", &self.source_ports, PROTOCOL_TCP);
        line.ports("dpt", &self.destination_ports, PROTOCOL_TCP);
        if let Some(option) = &self.option {
            let sign = sign(option.negated);
            line.word(format_args!("option={sign}{}", option.value.value));
        }
        if let Some(flags) = self
            .flags
            .as_ref()
            .filter(|flags| flags.negated || flags.value.value.mask != 0)
        {
            let Flags { mask, set } = flags.value.value;
            let sign = sign(flags.negated);
            match line.style.numeric {
                true => line.word(format_args!("flags:{sign}0x{mask:02X}/0x{set:02X}")),
                false => {
                    let (mask, set) = (flag_list(mask), flag_list(set));
                    line.word(format_args!("flags:{sign}{mask}/{set}"));
                }
            }
        }
    }
}

/// Unlike libxt_udp, libxt_tcp and libxt_sctp take no range that holds no port.
pub(super) fn refuse_backwards(ports: &Negatable<PortRange>) -> Result<(), Diagnostic> {
    let PortRange { low, high } = ports.value.value;
    if low <= high {
        return Ok(());
    }
    let message = format!("the range {low}:{high} runs backwards");
    Err(
        Diagnostic::error(code::BAD_VALUE, ports.value.span, message)
            .usage("invalid portrange (min > max)")
            .with_help(format!("write {high}:{low}")),
    )
}

fn flags(value: &Value<'_>) -> Result<Flags, Problem> {
    Ok(Flags {
        mask: flag_set(value.word(0))?,
        set: flag_set(value.word(1))?,
    })
}

/// Names between commas; empty ones are skipped, as `strtok` does.
fn flag_set(word: &[u8]) -> Result<u8, Problem> {
    let mut set = 0;
    for name in word.split_str(",").filter(|name| !name.is_empty()) {
        set |= match NAMES
            .iter()
            .find(|row| row.0.as_bytes().eq_ignore_ascii_case(name))
        {
            Some(row) => row.1,
            None if name.eq_ignore_ascii_case(b"ALL") => 0x3f,
            None if name.eq_ignore_ascii_case(b"NONE") => 0,
            None => {
                return Err(
                    Problem::new(format!("{:?} is no TCP flag", BStr::new(name)))
                        .usage(format!("Unknown TCP flag `{}'", BStr::new(name)))
                        .with_help("the flags are FIN, SYN, RST, PSH, ACK, URG, ALL and NONE"),
                );
            }
        };
    }
    Ok(set)
}

fn flag_list(set: u8) -> String {
    let names: Vec<&str> = NAMES
        .iter()
        .filter(|row| set & row.1 != 0)
        .map(|row| row.0)
        .collect();
    if names.is_empty() {
        "NONE".to_owned()
    } else {
        names.join(",")
    }
}

fn option(value: &Value<'_>) -> Result<u8, Problem> {
    match byte(value.word(0)) {
        None | Some(0) => Err(Problem::new("a TCP option is a number from 1 to 255")),
        Some(option) => Ok(option),
    }
}
