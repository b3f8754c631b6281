//! `-m policy`: the IPsec policy that a packet came or leaves under (libxt_policy, xt_policy.c).

use bstr::BStr;
use bstr::ByteSlice;
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Given, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::prefix::{self, Prefix};
use crate::print::Line;
use crate::ruleset::{Negatable, NfHook};
use crate::value::{integer, number_of};

/// The `policy` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// `--dir`
    pub direction: Direction,
    /// `--pol`
    pub kind: PolicyKind,
}

/// Which policy is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// `in`: the one that a received packet was unwrapped by.
    In,
    /// `out`: the one that a leaving packet will be wrapped by.
    Out,
}

/// What the policy must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyKind {
    /// `none`: there is no IPsec.
    None,
    /// `ipsec`: some transformation fits the element.
    Ipsec(Element),
    /// `ipsec` with `--strict`: 1 to 4 elements, one for each transformation, in order.
    Strict(Vec<Element>),
}

/// One transformation of a policy; what is absent is not tested.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Element {
    /// `--reqid`
    pub request_id: Option<Negatable<u32>>,
    /// `--spi`, the number as written. The tool hands it over in host order, where the kernel wants
    /// network order: on a little-endian machine `--spi 0x9` tests for the SPI 0x09000000.
    pub spi: Option<Negatable<u32>>,
    /// `--proto`
    pub protocol: Option<Negatable<Protocol>>,
    /// `--mode`
    pub mode: Option<Negatable<Mode>>,
    /// `--tunnel-dst`, only in tunnel mode.
    pub tunnel_destination: Option<Negatable<Prefix>>,
    /// `--tunnel-src`, only in tunnel mode.
    pub tunnel_source: Option<Negatable<Prefix>>,
}

/// The protocols of IPsec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// 51
    Ah,
    /// 50
    Esp,
    /// 108
    Ipcomp,
}

/// The modes of IPsec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Only what IP carries is transformed.
    Transport,
    /// Whole packets are.
    Tunnel,
}

/// `XT_POLICY_MAX_ELEM`
const LIMIT: usize = 4;

static DIRECTION: Opt<Direction> = Opt::new(&["dir"], direction);
static POLICY: Opt<bool> = Opt::new(&["pol"], is_ipsec);
static STRICT: Opt<()> = switch(&["strict"]);
static REQUEST_ID: Opt<u32> = Opt::new(&["reqid"], |value| number_of(value.word(0)))
    .invertible()
    .repeatable();
static SPI: Opt<u32> = Opt::new(&["spi"], |value| number_of(value.word(0)))
    .invertible()
    .repeatable();
static PROTOCOL: Opt<Protocol> = Opt::new(&["proto"], protocol).invertible().repeatable();
static MODE: Opt<Mode> = Opt::new(&["mode"], mode).invertible().repeatable();
static TUNNEL_DESTINATION: Opt<Prefix> = Opt::new(&["tunnel-dst"], prefix::read)
    .invertible()
    .repeatable();
static TUNNEL_SOURCE: Opt<Prefix> = Opt::new(&["tunnel-src"], prefix::read)
    .invertible()
    .repeatable();
static NEXT: Opt<()> = switch(&["next"]).repeatable();

impl Element {
    fn list(&self, line: &mut Listing<'_>) {
        let number = self.protocol.as_ref().map(|it| match it.value.value {
            Protocol::Ah => ("ah", "51"),
            Protocol::Esp => ("esp", "50"),
            Protocol::Ipcomp => ("ipcomp", "108"),
        });
        let mut saved = Line::default();
        self.print(&mut saved);
        let text = saved.into_bytes();
        let mut words = text.split_str(" ").skip(1).peekable();
        while let Some(word) = words.next() {
            let name = word.strip_prefix(b"--").unwrap_or(word);
            line.word(name.as_bstr());
            if let (b"proto", Some((_, number)), true) = (name, number, line.style.numeric) {
                words.next();
                line.word(number);
            }
        }
    }
}

impl Extension for Policy {
    const NAME: &'static str = "policy";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &DIRECTION.spec,
        &POLICY.spec,
        &STRICT.spec,
        &REQUEST_ID.spec,
        &SPI.spec,
        &PROTOCOL.spec,
        &MODE.spec,
        &TUNNEL_DESTINATION.spec,
        &TUNNEL_SOURCE.spec,
        &NEXT.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let direction = arguments.need(&DIRECTION)?.value.value;
        let is_ipsec = arguments
            .get(&POLICY)?
            .is_none_or(|given| given.value.value);
        let is_strict = arguments.has(&STRICT);
        let elements = elements(arguments)?;
        let refusal = |message: &str| Diagnostic::error(code::BAD_VALUE, arguments.span, message);
        if !is_strict && elements.len() > 1 {
            return Err(refusal("--next needs --strict"));
        }
        if !is_ipsec {
            return if is_strict {
                Err(refusal("--strict does not go with --pol none"))
            } else {
                Ok(Self {
                    direction,
                    kind: PolicyKind::None,
                })
            };
        }
        if is_strict && elements.contains(&Element::default()) {
            return Err(refusal("with --strict, every element needs a test")
                .with_help("add --reqid, --spi, --proto, --mode, --tunnel-src or --tunnel-dst"));
        }
        if !elements.iter().all(Element::has_tunnel_mode_for_its_ends) {
            return Err(
                refusal("--tunnel-src and --tunnel-dst are only for tunnel mode")
                    .with_help("add --mode tunnel"),
            );
        }
        let mut elements = elements;
        let kind = match elements.pop() {
            Some(only) if !is_strict => PolicyKind::Ipsec(only),
            last => {
                elements.extend(last);
                PolicyKind::Strict(elements)
            }
        };
        Ok(Self { direction, kind })
    }

    fn hooks(&self) -> &'static [NfHook] {
        match self.direction {
            Direction::In => &[NfHook::Prerouting, NfHook::Input, NfHook::Forward],
            Direction::Out => &[NfHook::Forward, NfHook::Output, NfHook::Postrouting],
        }
    }

    fn print(&self, line: &mut Line) {
        line.word("--dir");
        line.word(match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
        });
        line.word("--pol");
        match &self.kind {
            PolicyKind::None => line.word("none"),
            PolicyKind::Ipsec(element) => {
                line.word("ipsec");
                element.print(line);
            }
            PolicyKind::Strict(elements) => {
                line.word("ipsec");
                line.word("--strict");
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        line.word("--next");
                    }
                    element.print(line);
                }
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("policy match dir");
        line.word(match self.direction {
            Direction::In => "in",
            Direction::Out => "out",
        });
        match &self.kind {
            PolicyKind::None => line.word("pol none"),
            PolicyKind::Ipsec(element) => {
                line.word("pol ipsec");
                element.list(line);
            }
            PolicyKind::Strict(elements) => {
                line.word("pol ipsec strict");
                for (at, element) in elements.iter().enumerate() {
                    if elements.len() > 1 {
                        line.word(format_args!("[{at}]"));
                    }
                    element.list(line);
                }
            }
        }
    }
}

/// The options that `--next` stands between.
fn elements(arguments: &Arguments<'_>) -> Result<Vec<Element>, Diagnostic> {
    let mut elements = Vec::new();
    let mut element = Element::default();
    for given in arguments.given {
        if given.is(&NEXT.spec) {
            elements.push(std::mem::take(&mut element));
            if elements.len() == LIMIT {
                let message = format!("a policy match holds {LIMIT} elements");
                return Err(Diagnostic::error(code::BAD_VALUE, given.span, message));
            }
        }
        set(&mut element.request_id, &REQUEST_ID, given, arguments)?;
        set(&mut element.spi, &SPI, given, arguments)?;
        set(&mut element.protocol, &PROTOCOL, given, arguments)?;
        set(&mut element.mode, &MODE, given, arguments)?;
        set(
            &mut element.tunnel_destination,
            &TUNNEL_DESTINATION,
            given,
            arguments,
        )?;
        set(&mut element.tunnel_source, &TUNNEL_SOURCE, given, arguments)?;
    }
    elements.push(element);
    Ok(elements)
}

/// Sets a test of an element if this is its option.
fn set<T>(
    test: &mut Option<Negatable<T>>,
    option: &'static Opt<T>,
    given: &Given,
    arguments: &Arguments<'_>,
) -> Result<(), Diagnostic> {
    if !given.is(&option.spec) {
        return Ok(());
    }
    if test.replace(arguments.read(option, given)?).is_some() {
        let message = format!("--{} stands twice in one element", option.spec.name());
        return Err(
            Diagnostic::error(code::REPEATED_OPTION, given.span, message)
                .with_help("start the next element with --next"),
        );
    }
    Ok(())
}

impl Element {
    fn has_tunnel_mode_for_its_ends(&self) -> bool {
        let has_ends = self.tunnel_source.is_some() || self.tunnel_destination.is_some();
        let is_tunnel = self
            .mode
            .as_ref()
            .is_some_and(|mode| (mode.value.value == Mode::Tunnel) != mode.negated);
        is_tunnel || !has_ends
    }

    fn print(&self, line: &mut Line) {
        if let Some(request_id) = &self.request_id {
            line.option(request_id.negated, "--reqid");
            line.word(request_id.value.value);
        }
        if let Some(spi) = &self.spi {
            line.option(spi.negated, "--spi");
            line.word(format!("{:#x}", spi.value.value));
        }
        if let Some(protocol) = &self.protocol {
            line.option(protocol.negated, "--proto");
            line.word(match protocol.value.value {
                Protocol::Ah => "ah",
                Protocol::Esp => "esp",
                Protocol::Ipcomp => "ipcomp",
            });
        }
        if let Some(mode) = &self.mode {
            line.option(mode.negated, "--mode");
            line.word(match mode.value.value {
                Mode::Transport => "transport",
                Mode::Tunnel => "tunnel",
            });
        }
        for (option, end) in [
            ("--tunnel-dst", &self.tunnel_destination),
            ("--tunnel-src", &self.tunnel_source),
        ] {
            if let Some(end) = end {
                line.option(end.negated, option);
                line.word(end.value.value);
            }
        }
    }
}

fn direction(value: &Value<'_>) -> Result<Direction, Problem> {
    match value.word(0) {
        b"in" => Ok(Direction::In),
        b"out" => Ok(Direction::Out),
        word => Err(
            Problem::new(format!("{:?} is no direction", BStr::new(word)))
                .with_help("write in or out"),
        ),
    }
}

fn is_ipsec(value: &Value<'_>) -> Result<bool, Problem> {
    match value.word(0) {
        b"ipsec" => Ok(true),
        b"none" => Ok(false),
        word => Err(Problem::new(format!("{:?} is no policy", BStr::new(word)))
            .with_help("write ipsec or none")),
    }
}

/// A number, or a name of the tool or of /etc/protocols.
fn protocol(value: &Value<'_>) -> Result<Protocol, Problem> {
    match (value.word(0), integer(value.word(0), 255)) {
        (b"ah" | b"IPSEC-AH", _) | (_, Some(51)) => Ok(Protocol::Ah),
        (b"esp" | b"IPSEC-ESP", _) | (_, Some(50)) => Ok(Protocol::Esp),
        (b"ipcomp" | b"IPCOMP", _) | (_, Some(108)) => Ok(Protocol::Ipcomp),
        (word, _) => Err(
            Problem::new(format!("{:?} is no protocol of IPsec", BStr::new(word)))
                .with_help("write ah, esp or ipcomp"),
        ),
    }
}

fn mode(value: &Value<'_>) -> Result<Mode, Problem> {
    match value.word(0) {
        b"transport" => Ok(Mode::Transport),
        b"tunnel" => Ok(Mode::Tunnel),
        word => Err(Problem::new(format!("{:?} is no mode", BStr::new(word)))
            .with_help("write transport or tunnel")),
    }
}
