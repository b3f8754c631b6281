//! `-m multiport`: up to fifteen ports (libxt_multiport, xt_multiport.c).

use serde::Serialize;

use super::PortRange;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::port;
use bstr::ByteSlice;

/// The `multiport` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Multiport {
    /// Which of the packet's ports are looked at.
    pub side: Side,
    /// A range takes two of the fifteen slots.
    pub ports: Negatable<Vec<PortRange>>,
}

/// Which ports of the packet a multiport rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `--sports`
    Source,
    /// `--dports`
    Destination,
    /// `--ports`: either of the two.
    Either,
}

/// `XT_MULTI_PORTS`
const SLOTS: usize = 15;
/// TCP, UDP, DCCP, SCTP, UDP-Lite.
const PROTOCOLS: [u8; 5] = [6, 17, 33, 132, 136];

/// What the tool says of a rule for another protocol.
const NEEDS_PROTOCOL: &str =
    "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'";

static SOURCE: Opt<Vec<PortRange>> = Opt::new(&["source-ports", "sports"], ports).invertible();
static DESTINATION: Opt<Vec<PortRange>> =
    Opt::new(&["destination-ports", "dports"], ports).invertible();
static EITHER: Opt<Vec<PortRange>> = Opt::new(&["ports"], ports).invertible();

impl Extension for Multiport {
    const NAME: &'static str = "multiport";
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&SOURCE.spec, &DESTINATION.spec, &EITHER.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments
            .need_protocol(&PROTOCOLS, "-p tcp, udp, udplite, sctp or dccp")
            .map_err(|it| it.usage(NEEDS_PROTOCOL))?;
        arguments.at_most_one(Self::OPTIONS)?;
        for (side, option) in [
            (Side::Source, &SOURCE),
            (Side::Destination, &DESTINATION),
            (Side::Either, &EITHER),
        ] {
            if let Some(ports) = arguments.get(option)? {
                return Ok(Self { side, ports });
            }
        }
        Err(
            Diagnostic::error(code::MISSING_OPTION, arguments.span, "no ports are given")
                .usage("multiport expection an option")
                .with_help("add --dports, --sports or --ports"),
        )
    }

    fn print(&self, line: &mut Line) {
        let option = match self.side {
            Side::Source => "--sports",
            Side::Destination => "--dports",
            Side::Either => "--ports",
        };
        let ports: Vec<String> = self
            .ports
            .value
            .value
            .iter()
            .map(PortRange::to_string)
            .collect();
        line.option(self.ports.negated, option);
        line.word(ports.join(","));
    }

    fn list(&self, line: &mut Listing<'_>) {
        let side = match self.side {
            Side::Source => "sports",
            Side::Destination => "dports",
            Side::Either => "ports",
        };
        let protocol = line.protocol;
        let ports = self.ports.value.value.iter();
        let ports: Vec<String> = ports
            .map(|&PortRange { low, high }| {
                let first = line.port(low, protocol);
                match low == high {
                    true => first,
                    false => format!("{first}:{}", line.port(high, protocol)),
                }
            })
            .collect();
        let negation = if self.ports.negated { " !" } else { "" };
        line.word(format_args!(
            "multiport {side} {negation}{}",
            ports.join(",")
        ));
    }
}

fn ports(value: &Value<'_>) -> Result<Vec<PortRange>, Problem> {
    let mut ranges = Vec::new();
    let mut slots = 0;
    for item in value.word(0).split_str(",") {
        let range = match item.split_once_str(":") {
            None => port(item, value.rule).map(|port| PortRange {
                low: port,
                high: port,
            })?,
            Some((low, high)) => PortRange {
                low: port(low, value.rule)?,
                high: port(high, value.rule)?,
            },
        };
        let is_range = item.contains(&b':');
        if is_range && range.low >= range.high {
            return Err(Problem::new(format!(
                "the range {}:{} does not rise",
                range.low, range.high
            ))
            .usage("invalid portrange specified"));
        }
        slots += if is_range { 2 } else { 1 };
        ranges.push(range);
    }
    if slots > SLOTS {
        return Err(Problem::new(format!(
            "{slots} ports are too many for one multiport match"
        ))
        .usage("too many ports specified")
        .with_help(format!(
            "it holds {SLOTS}, and a range counts as two: split the rule"
        )));
    }
    Ok(ranges)
}
