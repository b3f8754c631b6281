//! `-m ipvs`: the virtual service that a packet's connection belongs to (libxt_ipvs, xt_ipvs.c).

use std::fmt;

use bstr::BStr;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::prefix::{self, Prefix};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::{protocol, resolved_port};

/// The `ipvs` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ipvs {
    /// `--ipvs` and no other test: the packet belongs to a connection of any virtual service.
    Any(Negatable<()>),
    /// The packet belongs to a connection of a virtual service for which all these tests hold. Without
    /// such a connection none of them does, inverted or not.
    Service(Box<Service>),
}

/// Tests of a connection and its virtual service. At least one of them is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// `--vproto`: its protocol, an IANA number.
    pub protocol: Option<Negatable<u8>>,
    /// `--vaddr`: its virtual address.
    pub address: Option<Negatable<Prefix>>,
    /// `--vport`: its virtual port, host byte order.
    pub port: Option<Negatable<u16>>,
    /// `--vdir`: the way of the packet.
    pub direction: Option<Direction>,
    /// `--vmethod`: how packets get to the real server.
    pub method: Option<Negatable<Method>>,
    /// `--vportctl`: the virtual port of the connection that controls this one, host byte order.
    pub control_port: Option<Negatable<u16>>,
}

/// The way of a packet in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client.
    Original,
    /// To the client.
    Reply,
}

/// How packets get to the real server (ip_vs.h, `IP_VS_CONN_F_FWD_MASK`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// To its link layer address.
    Gate,
    /// In a tunnel.
    Ipip,
    /// With its address in the place of the virtual one.
    Masq,
}

static IPVS: Opt<()> = switch(&["ipvs"]).invertible();
static PROTOCOL: Opt<u8> = Opt::new(&["vproto"], |value| {
    protocol(value.word(0), value.rule.names)
})
.invertible();
static ADDRESS: Opt<Prefix> = Opt::new(&["vaddr"], prefix::read).invertible();
static PORT: Opt<u16> = Opt::new(&["vport"], port).invertible();
static DIRECTION: Opt<Direction> = Opt::new(&["vdir"], |value| {
    one_of(value.word(0), &[Direction::Original, Direction::Reply])
});
static METHOD: Opt<Method> = Opt::new(&["vmethod"], |value| {
    one_of(value.word(0), &[Method::Gate, Method::Ipip, Method::Masq])
})
.invertible();
static CONTROL_PORT: Opt<u16> = Opt::new(&["vportctl"], port).invertible();

impl Extension for Ipvs {
    const NAME: &'static str = "ipvs";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &IPVS.spec,
        &PROTOCOL.spec,
        &ADDRESS.spec,
        &PORT.spec,
        &DIRECTION.spec,
        &METHOD.spec,
        &CONTROL_PORT.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let any = arguments.get(&IPVS)?;
        let has_more = arguments.given.iter().any(|given| !given.is(&IPVS.spec));
        match any {
            Some(any) if !has_more => return Ok(Ipvs::Any(any)),
            Some(any) if any.negated => {
                let message = "! --ipvs does not go with other tests of ipvs";
                return Err(
                    Diagnostic::error(code::BAD_NEGATION, any.value.span, message)
                        .with_help("the others are only true of packets that ipvs handles"),
                );
            }
            None if !has_more => {
                return Err(arguments
                    .error(code::MISSING_OPTION, "ipvs is not told what to test")
                    .with_help("add --ipvs, --vproto, --vaddr, --vport or another of its tests"));
            }
            _ => {}
        }
        Ok(Ipvs::Service(Box::new(Service {
            protocol: arguments.get(&PROTOCOL)?,
            address: arguments.get(&ADDRESS)?,
            port: arguments.get(&PORT)?,
            direction: arguments.get(&DIRECTION)?.map(|given| given.value.value),
            method: arguments.get(&METHOD)?,
            control_port: arguments.get(&CONTROL_PORT)?,
        })))
    }

    fn print(&self, line: &mut Line) {
        let service = match self {
            Ipvs::Any(any) => return line.option(any.negated, "--ipvs"),
            Ipvs::Service(service) => service,
        };
        print_test(line, "--vproto", &service.protocol);
        print_test(line, "--vaddr", &service.address);
        print_test(line, "--vport", &service.port);
        if let Some(direction) = service.direction {
            line.word("--vdir");
            line.word(direction);
        }
        print_test(line, "--vmethod", &service.method);
        print_test(line, "--vportctl", &service.control_port);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.undashed(|line| self.print(line));
    }
}

fn print_test<T: fmt::Display>(line: &mut Line, option: &str, test: &Option<Negatable<T>>) {
    if let Some(test) = test {
        line.option(test.negated, option);
        line.word(&test.value.value);
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Original => "ORIGINAL",
            Direction::Reply => "REPLY",
        })
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Gate => "GATE",
            Method::Ipip => "IPIP",
            Method::Masq => "MASQ",
        })
    }
}

fn port(value: &Value<'_>) -> Result<u16, Problem> {
    resolved_port(value.word(0), value.rule.names)
}

/// A value by its whole name in any case.
fn one_of<T: Copy + fmt::Display>(word: &[u8], values: &[T]) -> Result<T, Problem> {
    let names: Vec<String> = values.iter().map(T::to_string).collect();
    let found = names
        .iter()
        .position(|name| name.as_bytes().eq_ignore_ascii_case(word));
    found.and_then(|at| values.get(at)).copied().ok_or_else(|| {
        Problem::new(format!("{:?} is none of these", BStr::new(word)))
            .with_help(format!("write {}", names.join(" or ")))
    })
}
