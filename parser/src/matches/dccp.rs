//! `-m dccp`: the datagram congestion control protocol (RFC 4340; libxt_dccp, xt_dccp.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use super::PortRange;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::range::warn_backwards;
use crate::ruleset::Negatable;
use crate::value::{byte, resolved_ports};

/// The `dccp` match. An option that is absent does not test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dccp {
    /// `--sport`
    pub source_ports: Option<Negatable<PortRange>>,
    /// `--dport`
    pub destination_ports: Option<Negatable<PortRange>>,
    /// `--dccp-types`
    pub types: Option<Negatable<PacketTypes>>,
    /// `--dccp-option`, 1 to 255
    pub option: Option<Negatable<u8>>,
}

/// A set of packet types: a bit for each number of four bits. The bits from 10 on, which are
/// `INVALID`, come together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct PacketTypes(pub u16);

const PROTOCOL_DCCP: u8 = 33;

/// The names of the types with their bits, in the order of the numbers.
const TYPES: [(&str, u16); 11] = [
    ("REQUEST", 1 << 0),
    ("RESPONSE", 1 << 1),
    ("DATA", 1 << 2),
    ("ACK", 1 << 3),
    ("DATAACK", 1 << 4),
    ("CLOSEREQ", 1 << 5),
    ("CLOSE", 1 << 6),
    ("RESET", 1 << 7),
    ("SYNC", 1 << 8),
    ("SYNCACK", 1 << 9),
    ("INVALID", 0xfc00),
];

static SOURCE_PORTS: Opt<PortRange> = Opt::new(&["source-port", "sport"], |value| {
    resolved_ports(value.word(0), value.rule.names)
})
.invertible();
static DESTINATION_PORTS: Opt<PortRange> = Opt::new(&["destination-port", "dport"], |value| {
    resolved_ports(value.word(0), value.rule.names)
})
.invertible();
static PACKET_TYPES: Opt<PacketTypes> =
    Opt::new(&["dccp-types"], |value| types(value.word(0))).invertible();
static OPTION: Opt<u8> = Opt::new(&["dccp-option"], |value| {
    byte(value.word(0))
        .filter(|&option| option != 0)
        .ok_or_else(|| Problem::new("a DCCP option is a number from 1 to 255"))
})
.invertible();

impl Extension for Dccp {
    const NAME: &'static str = "dccp";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &SOURCE_PORTS.spec,
        &DESTINATION_PORTS.spec,
        &PACKET_TYPES.spec,
        &OPTION.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_DCCP], "-p dccp")?;
        let source_ports = arguments.get(&SOURCE_PORTS)?;
        let destination_ports = arguments.get(&DESTINATION_PORTS)?;
        for ports in [&source_ports, &destination_ports].into_iter().flatten() {
            let PortRange { low, high } = ports.value.value;
            warn_backwards(arguments, ports, low > high);
        }
        Ok(Self {
            source_ports,
            destination_ports,
            types: arguments.get(&PACKET_TYPES)?,
            option: arguments.get(&OPTION)?,
        })
    }

    fn print(&self, line: &mut Line) {
        for (option, ports) in [
            ("--sport", &self.source_ports),
            ("--dport", &self.destination_ports),
        ] {
            if let Some(ports) = ports {
                line.option(ports.negated, option);
                line.word(ports.value.value);
            }
        }
        if let Some(types) = &self.types {
            let bits = types.value.value.0;
            let names = TYPES.iter().filter(|row| bits & row.1 != 0);
            let names: Vec<&str> = names.map(|row| row.0).collect();
            line.option(types.negated, "--dccp-types");
            line.word(names.join(","));
        }
        if let Some(option) = &self.option {
            line.option(option.negated, "--dccp-option");
            line.word(option.value.value);
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("dccp");
        line.ports("spt", &self.source_ports, PROTOCOL_DCCP);
        line.ports("dpt", &self.destination_ports, PROTOCOL_DCCP);
        if let Some(types) = &self.types {
            let bits = types.value.value.0;
            let names: Vec<String> = match line.style.numeric {
                true => {
                    let bits = (0..16).filter(|bit| bits & 1 << bit != 0);
                    bits.map(|bit: u32| bit.to_string()).collect()
                }
                false => {
                    let rows = TYPES.iter().filter(|row| bits & row.1 != 0);
                    rows.map(|row| row.0.to_owned()).collect()
                }
            };
            if types.negated {
                line.word("!");
            }
            line.word(names.join(","));
        }
        if let Some(option) = &self.option {
            let sign = sign(option.negated);
            line.word(format_args!("option={sign}{}", option.value.value));
        }
    }
}

/// Names between commas; empty ones are skipped, as `strtok` does.
fn types(word: &[u8]) -> Result<PacketTypes, Problem> {
    let mut bits = 0;
    for name in word.split_str(",").filter(|name| !name.is_empty()) {
        let found = TYPES
            .iter()
            .find(|row| row.0.as_bytes().eq_ignore_ascii_case(name));
        let Some(row) = found else {
            let names: Vec<&str> = TYPES.iter().map(|row| row.0).collect();
            return Err(
                Problem::new(format!("{:?} is no DCCP packet type", BStr::new(name)))
                    .with_help(format!("the types are {}", names.join(", "))),
            );
        };
        bits |= row.1;
    }
    Ok(PacketTypes(bits))
}
