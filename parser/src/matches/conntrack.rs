//! `-m conntrack` and `-m state`: what is known of the packet's connection (libxt_conntrack,
//! xt_conntrack.c).

use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use super::PortRange;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::prefix::{self, Prefix};
use crate::print::Line;
use crate::range::{Range, warn_backwards};
use crate::ruleset::Negatable;
use crate::value::{is_prefix_of, protocol, range, resolved_ports};

/// A set of connection states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct States {
    /// `INVALID`
    pub invalid: bool,
    /// `NEW`
    pub new: bool,
    /// `RELATED`
    pub related: bool,
    /// `ESTABLISHED`
    pub established: bool,
    /// `UNTRACKED`
    pub untracked: bool,
    /// `SNAT`, only with `-m conntrack`
    pub snat: bool,
    /// `DNAT`, only with `-m conntrack`
    pub dnat: bool,
}

/// The `conntrack` match. An option that is absent does not test; one at least is there. For a packet
/// without a connection only the states are tested, and without a test of states it does not match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Conntrack {
    /// `--ctstate`
    pub states: Option<Negatable<States>>,
    /// `--ctproto`: an IANA protocol number.
    pub protocol: Option<Negatable<u8>>,
    /// `--ctorigsrc`, `--ctorigdst`, `--ctorigsrcport`, `--ctorigdstport`: what the packets of the
    /// side that opened the connection look like.
    pub original: Box<Tuple>,
    /// `--ctreplsrc`, `--ctrepldst`, `--ctreplsrcport`, `--ctrepldstport`: what those of the other
    /// side look like.
    pub reply: Box<Tuple>,
    /// `--ctstatus`
    pub statuses: Option<Negatable<Statuses>>,
    /// `--ctexpire`: seconds until the connection is forgotten.
    pub expiry: Option<Negatable<Range<u32>>>,
    /// `--ctdir`: the direction of the packet.
    pub direction: Option<Direction>,
}

/// Tests of the packets of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tuple {
    /// Who sends them.
    pub source: Option<Negatable<Prefix>>,
    /// To whom.
    pub destination: Option<Negatable<Prefix>>,
    /// From which port; the identifier for ICMP.
    pub source_ports: Option<Negatable<PortRange>>,
    /// To which port.
    pub destination_ports: Option<Negatable<PortRange>>,
}

/// A set of flags of which a connection must have one. The empty set (`NONE`) fits no connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Statuses {
    /// `EXPECTED`: a helper foresaw it.
    pub expected: bool,
    /// `SEEN_REPLY`: both sides have sent.
    pub seen_reply: bool,
    /// `ASSURED`: it is not dropped early.
    pub assured: bool,
    /// `CONFIRMED`: its first packet has left.
    pub confirmed: bool,
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Direction {
    /// From the side that opened it.
    Original,
    /// From the other side.
    Reply,
}

/// The `state` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// `--state`
    pub states: Negatable<States>,
}

static CTSTATE: Opt<States> =
    Opt::new(&["ctstate"], |value| states(value.word(0), true)).invertible();
static STATE: Opt<States> = Opt::new(&["state"], |value| states(value.word(0), false)).invertible();

static PROTOCOL: Opt<u8> = Opt::new(&["ctproto"], |value| {
    protocol(value.word(0), value.rule.names)
})
.invertible();
static ORIGINAL_SOURCE: Opt<Prefix> = Opt::new(&["ctorigsrc"], prefix::read).invertible();
static ORIGINAL_DESTINATION: Opt<Prefix> = Opt::new(&["ctorigdst"], prefix::read).invertible();
static REPLY_SOURCE: Opt<Prefix> = Opt::new(&["ctreplsrc"], prefix::read).invertible();
static REPLY_DESTINATION: Opt<Prefix> = Opt::new(&["ctrepldst"], prefix::read).invertible();
static ORIGINAL_SOURCE_PORTS: Opt<PortRange> = Opt::new(&["ctorigsrcport"], ports).invertible();
static ORIGINAL_DESTINATION_PORTS: Opt<PortRange> =
    Opt::new(&["ctorigdstport"], ports).invertible();
static REPLY_SOURCE_PORTS: Opt<PortRange> = Opt::new(&["ctreplsrcport"], ports).invertible();
static REPLY_DESTINATION_PORTS: Opt<PortRange> = Opt::new(&["ctrepldstport"], ports).invertible();
static STATUSES: Opt<Statuses> =
    Opt::new(&["ctstatus"], |value| statuses(value.word(0))).invertible();
static EXPIRY: Opt<Range<u32>> = Opt::new(&["ctexpire"], |value| range(value.word(0))).invertible();
static DIRECTION: Opt<Direction> = Opt::new(&["ctdir"], |value| direction(value.word(0)));

impl Extension for Conntrack {
    const NAME: &'static str = "conntrack";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &CTSTATE.spec,
        &PROTOCOL.spec,
        &ORIGINAL_SOURCE.spec,
        &ORIGINAL_DESTINATION.spec,
        &REPLY_SOURCE.spec,
        &REPLY_DESTINATION.spec,
        &ORIGINAL_SOURCE_PORTS.spec,
        &ORIGINAL_DESTINATION_PORTS.spec,
        &REPLY_SOURCE_PORTS.spec,
        &REPLY_DESTINATION_PORTS.spec,
        &STATUSES.spec,
        &EXPIRY.spec,
        &DIRECTION.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        if arguments.given.is_empty() {
            let message = "nothing is tested";
            return Err(
                Diagnostic::error(code::MISSING_OPTION, arguments.span, message)
                    .usage("conntrack: At least one option is required")
                    .with_help("add --ctstate or another option of conntrack"),
            );
        }
        let expiry = arguments.get(&EXPIRY)?;
        if let Some(range) = &expiry {
            let Range { low, high } = range.value.value;
            warn_backwards(arguments, range, low > high);
        }
        Ok(Self {
            states: arguments.get(&CTSTATE)?,
            protocol: arguments.get(&PROTOCOL)?,
            original: Box::new(Tuple {
                source: arguments.get(&ORIGINAL_SOURCE)?,
                destination: arguments.get(&ORIGINAL_DESTINATION)?,
                source_ports: read_ports(arguments, &ORIGINAL_SOURCE_PORTS)?,
                destination_ports: read_ports(arguments, &ORIGINAL_DESTINATION_PORTS)?,
            }),
            reply: Box::new(Tuple {
                source: arguments.get(&REPLY_SOURCE)?,
                destination: arguments.get(&REPLY_DESTINATION)?,
                source_ports: read_ports(arguments, &REPLY_SOURCE_PORTS)?,
                destination_ports: read_ports(arguments, &REPLY_DESTINATION_PORTS)?,
            }),
            statuses: arguments.get(&STATUSES)?,
            expiry,
            direction: arguments.get(&DIRECTION)?.map(|given| given.value.value),
        })
    }

    fn print(&self, line: &mut Line) {
        print_test(line, "--ctstate", &self.states, States::list);
        print_test(line, "--ctproto", &self.protocol, |number| number);
        let Self {
            original, reply, ..
        } = self;
        for (option, prefix) in [
            ("--ctorigsrc", &original.source),
            ("--ctorigdst", &original.destination),
            ("--ctreplsrc", &reply.source),
            ("--ctrepldst", &reply.destination),
        ] {
            print_test(line, option, prefix, |prefix| prefix);
        }
        for (option, ports) in [
            ("--ctorigsrcport", &original.source_ports),
            ("--ctorigdstport", &original.destination_ports),
            ("--ctreplsrcport", &reply.source_ports),
            ("--ctrepldstport", &reply.destination_ports),
        ] {
            print_test(line, option, ports, saved_ports);
        }
        print_test(line, "--ctstatus", &self.statuses, Statuses::list);
        print_test(line, "--ctexpire", &self.expiry, |range| range);
        if let Some(direction) = self.direction {
            line.word("--ctdir");
            line.word(match direction {
                Direction::Original => "ORIGINAL",
                Direction::Reply => "REPLY",
            });
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.undashed(|line| self.print(line));
    }
}

impl Extension for State {
    const NAME: &'static str = "state";
    const OPTIONS: &'static [&'static OptionSpec] = &[&STATE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let states = arguments.need(&STATE)?;
        Ok(Self { states })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.states.negated, "--state");
        line.word(self.states.value.value.list());
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.undashed(|line| self.print(line));
    }
}

impl States {
    /// The states by name, in the order in which save prints them.
    fn named(&self) -> [(&'static str, bool); 7] {
        [
            ("INVALID", self.invalid),
            ("NEW", self.new),
            ("RELATED", self.related),
            ("ESTABLISHED", self.established),
            ("UNTRACKED", self.untracked),
            ("SNAT", self.snat),
            ("DNAT", self.dnat),
        ]
    }

    fn list(self) -> String {
        let names: Vec<&str> = self
            .named()
            .iter()
            .filter(|row| row.1)
            .map(|row| row.0)
            .collect();
        names.join(",")
    }
}

/// Names between commas, each by any leading part (libxt_conntrack, `conntrack_ps_state`).
fn states(word: &[u8], with_nat: bool) -> Result<States, Problem> {
    let mut states = States::default();
    for name in word.split_str(",") {
        let fields: [(&str, &mut bool); 7] = [
            ("INVALID", &mut states.invalid),
            ("NEW", &mut states.new),
            ("ESTABLISHED", &mut states.established),
            ("RELATED", &mut states.related),
            ("UNTRACKED", &mut states.untracked),
            ("SNAT", &mut states.snat),
            ("DNAT", &mut states.dnat),
        ];
        let known = if with_nat { 7 } else { 5 };
        match fields
            .into_iter()
            .take(known)
            .find(|row| is_prefix_of(name, row.0))
        {
            Some((_, field)) => *field = true,
            None => {
                let nat = if with_nat {
                    ", UNTRACKED, SNAT and DNAT"
                } else {
                    " and UNTRACKED"
                };
                let option = if with_nat { "ctstate" } else { "state" };
                return Err(
                    Problem::new(format!("{:?} is no connection state", BStr::new(name)))
                        .usage(format!("Bad {option} \"{}\"", BStr::new(name)))
                        .with_help(format!(
                            "the states are INVALID, NEW, ESTABLISHED, RELATED{nat}"
                        )),
                );
            }
        }
    }
    Ok(states)
}

impl Statuses {
    fn list(self) -> String {
        let names = [
            ("EXPECTED", self.expected),
            ("SEEN_REPLY", self.seen_reply),
            ("ASSURED", self.assured),
            ("CONFIRMED", self.confirmed),
        ];
        let names: Vec<&str> = names.iter().filter(|row| row.1).map(|row| row.0).collect();
        if names.is_empty() {
            "NONE".to_owned()
        } else {
            names.join(",")
        }
    }
}

fn print_test<T: Copy, U: fmt::Display>(
    line: &mut Line,
    option: &str,
    test: &Option<Negatable<T>>,
    save: fn(T) -> U,
) {
    if let Some(test) = test {
        line.option(test.negated, option);
        line.word(save(test.value.value));
    }
}

/// The tool takes a last port of 0 for none (libxt_conntrack, `conntrack_dump_ports`).
fn saved_ports(ports: PortRange) -> String {
    match ports {
        PortRange { low, high: 0 } => low.to_string(),
        ports => ports.to_string(),
    }
}

fn read_ports(
    arguments: &mut Arguments<'_>,
    option: &'static Opt<PortRange>,
) -> Result<Option<Negatable<PortRange>>, Diagnostic> {
    let ports = arguments.get(option)?;
    if let Some(range) = &ports {
        let PortRange { low, high } = range.value.value;
        warn_backwards(arguments, range, low > high);
    }
    Ok(ports)
}

fn ports(value: &Value<'_>) -> Result<PortRange, Problem> {
    resolved_ports(value.word(0), value.rule.names)
}

/// Names between commas, each by any leading part (libxt_conntrack, `conntrack_ps_status`).
fn statuses(word: &[u8]) -> Result<Statuses, Problem> {
    let mut statuses = Statuses::default();
    for name in word.split_str(",") {
        if is_prefix_of(name, "NONE") {
            continue;
        }
        let fields = [
            ("EXPECTED", &mut statuses.expected),
            ("SEEN_REPLY", &mut statuses.seen_reply),
            ("ASSURED", &mut statuses.assured),
            ("CONFIRMED", &mut statuses.confirmed),
        ];
        let found = fields.into_iter().find(|row| is_prefix_of(name, row.0));
        let Some((_, field)) = found else {
            return Err(
                Problem::new(format!("{:?} is no connection status", BStr::new(name))).with_help(
                    "the statuses are NONE, EXPECTED, SEEN_REPLY, ASSURED and CONFIRMED",
                ),
            );
        };
        *field = true;
    }
    Ok(statuses)
}

fn direction(word: &[u8]) -> Result<Direction, Problem> {
    if word.eq_ignore_ascii_case(b"ORIGINAL") {
        Ok(Direction::Original)
    } else if word.eq_ignore_ascii_case(b"REPLY") {
        Ok(Direction::Reply)
    } else {
        Err(
            Problem::new(format!("{:?} is no direction", BStr::new(word)))
                .with_help("write ORIGINAL or REPLY"),
        )
    }
}
