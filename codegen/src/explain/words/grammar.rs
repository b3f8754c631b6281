//! The grammar of described packets, and what is said of mistakes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use nom::Parser;
use nom::bytes::complete::{tag, take_till1, take_while1};
use nom::character::complete::{char, space0, space1};
use nom::combinator::{opt, verify};
use nom::error::{ErrorKind, ParseError};
use nom::multi::many0;
use nom::sequence::{delimited, preceded, terminated};

/// What is wrong, and where.
#[derive(Debug)]
pub(super) struct Problem<'a> {
    /// The rest of the text from there on.
    pub(super) at: &'a str,
    pub(super) message: String,
}

impl<'a> Problem<'a> {
    pub(super) fn new(at: &'a str, message: impl Into<String>) -> Self {
        Problem {
            at,
            message: message.into(),
        }
    }
}

impl<'a> ParseError<&'a str> for Problem<'a> {
    fn from_error_kind(at: &'a str, _: ErrorKind) -> Self {
        Problem::new(at, "this is not understood")
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }
}

pub(super) type Step<'a, T> = nom::IResult<&'a str, T, Problem<'a>>;

/// Says what was expected where a parser fails.
pub(super) fn expect<'a, T>(
    what: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = Problem<'a>>,
) -> impl FnMut(&'a str) -> Step<'a, T> {
    move |text| {
        parser
            .parse(text)
            .map_err(|_| nom::Err::Failure(Problem::new(text, format!("expected {what}"))))
    }
}

/// A word, up to the next space.
pub(super) fn word(text: &str) -> Step<'_, &str> {
    take_till1(char::is_whitespace)(text)
}

pub(super) fn number<T: FromStr>(text: &str) -> Step<'_, T> {
    word.map_opt(|digits: &str| digits.parse().ok()).parse(text)
}

/// A number as iptables writes it: hexadecimal behind 0x.
pub(super) fn number_in_any_base(text: &str) -> Step<'_, u32> {
    word.map_opt(|digits: &str| match digits.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => digits.parse().ok(),
    })
    .parse(text)
}

pub(super) fn byte(text: &str) -> Step<'_, u8> {
    number_in_any_base
        .map_opt(|number| number.try_into().ok())
        .parse(text)
}

/// `aa:bb:cc:dd:ee:ff`
pub(super) fn mac(text: &str) -> Step<'_, [u8; 6]> {
    word.map_opt(|written: &str| {
        let bytes = written.split(':').map(|pair| match pair.as_bytes() {
            [high, low] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
            _ => None,
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        bytes?.try_into().ok()
    })
    .parse(text)
}

pub(super) fn interface(text: &str) -> Step<'_, &str> {
    // IFNAMSIZ with its NUL.
    verify(word, |name: &str| name.len() < 16).parse(text)
}

/// One of the words behind the addresses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Word<'a> {
    TcpFlag(u8),
    IcmpType(u8),
    IcmpCode(u8),
    In(&'a str),
    Out(&'a str),
    Fragment(u16),
    Length(u16),
    TimeToLive(u8),
    TypeOfService(u8),
    Mark(u32),
    Mac([u8; 6]),
}

/// The bits of TCP's flag byte (RFC 9293, 3.1), and a word for none of them.
pub(super) const TCP_FLAGS: [(&str, u8); 9] = [
    ("fin", 0x01),
    ("syn", 0x02),
    ("rst", 0x04),
    ("psh", 0x08),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ece", 0x40),
    ("cwr", 0x80),
    ("none", 0),
];

/// A word with the place it stands at, for messages.
pub(super) fn described_word(text: &str) -> Step<'_, (&str, Word<'_>)> {
    let (at, _) = space1(text)?;
    let (rest, name) = word(at)?;
    let (rest, word) = match name {
        "type" => preceded(space0, expect("an ICMP type from 0 to 255", number))
            .map(Word::IcmpType)
            .parse(rest)?,
        "code" => preceded(space0, expect("an ICMP code from 0 to 255", number))
            .map(Word::IcmpCode)
            .parse(rest)?,
        "in" => preceded(
            space0,
            expect("an interface of at most 15 bytes", interface),
        )
        .map(Word::In)
        .parse(rest)?,
        "out" => preceded(
            space0,
            expect("an interface of at most 15 bytes", interface),
        )
        .map(Word::Out)
        .parse(rest)?,
        "frag" => preceded(
            space0,
            expect(
                "a fragment offset in bytes, a multiple of 8 up to 65528",
                verify(number, |offset: &u16| offset.is_multiple_of(8)),
            ),
        )
        .map(Word::Fragment)
        .parse(rest)?,
        "len" => preceded(space0, expect("a length in bytes up to 65535", number))
            .map(Word::Length)
            .parse(rest)?,
        "ttl" => preceded(space0, expect("a time to live from 0 to 255", byte))
            .map(Word::TimeToLive)
            .parse(rest)?,
        "tos" => preceded(space0, expect("a type of service up to 0xff", byte))
            .map(Word::TypeOfService)
            .parse(rest)?,
        "mark" => preceded(
            space0,
            expect("a mark up to 0xffffffff", number_in_any_base),
        )
        .map(Word::Mark)
        .parse(rest)?,
        "mac" => preceded(
            space0,
            expect("an Ethernet address such as 02:00:00:00:00:01", mac),
        )
        .map(Word::Mac)
        .parse(rest)?,
        flag => match TCP_FLAGS.iter().find(|(known, _)| *known == flag) {
            Some(&(_, bits)) => (rest, Word::TcpFlag(bits)),
            None => {
                let message =
                    "expected a TCP flag, type, code, in, out, frag, len, ttl, tos, mark or mac";
                return Err(nom::Err::Failure(Problem::new(at, message)));
            }
        },
    };
    Ok((rest, (at, word)))
}

/// What carries ports or types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    Number(u8),
}

pub(super) fn protocol(text: &str) -> Step<'_, Protocol> {
    let (rest, name) = expect("tcp, udp, icmp, icmpv6, proto or hex:", word)(text)?;
    let protocol = match name {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        "icmpv6" => Protocol::Icmpv6,
        "proto" => {
            let number = expect("a protocol number from 0 to 255", number);
            return preceded(space0, number).map(Protocol::Number).parse(rest);
        }
        _ => {
            let message = "expected tcp, udp, icmp, icmpv6, proto or hex:";
            return Err(nom::Err::Failure(Problem::new(text, message)));
        }
    };
    Ok((rest, protocol))
}

/// An address with the port behind it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoint<'a> {
    pub(super) at: &'a str,
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
}

pub(super) fn endpoint(text: &str) -> Step<'_, Endpoint<'_>> {
    let digits = |text| take_while1(|c: char| c.is_ascii_digit())(text);
    let port = |text| {
        preceded(
            char(':'),
            digits.map_opt(|digits: &str| digits.parse().ok()),
        )
        .parse(text)
    };
    let bracketed = delimited(
        char('['),
        take_till1(|c| c == ']').map_opt(|inner: &str| inner.parse().ok()),
        char(']'),
    )
    .map(|address: Ipv6Addr| IpAddr::V6(address))
    .and(opt(port));
    let plain4 = take_while1(|c: char| c.is_ascii_digit() || c == '.')
        .map_opt(|inner: &str| inner.parse().ok())
        .map(|address: Ipv4Addr| IpAddr::V4(address))
        .and(opt(port));
    let plain6 = word
        .map_opt(|inner: &str| inner.parse().ok())
        .map(|address: Ipv6Addr| (IpAddr::V6(address), None));
    let (rest, (address, port)) = bracketed.or(plain6).or(plain4).parse(text)?;
    let endpoint = Endpoint {
        at: text,
        address,
        port,
    };
    // What follows must be the end or a space, lest a port of 65536 be read as 6553.
    match rest.chars().next() {
        Some(next) if !next.is_whitespace() => Err(nom::Err::Error(Problem::from_error_kind(
            rest,
            ErrorKind::Char,
        ))),
        _ => Ok((rest, endpoint)),
    }
}

/// A packet as its words tell it.
#[derive(Debug)]
pub(super) struct Description<'a> {
    pub(super) protocol: Protocol,
    pub(super) source: Endpoint<'a>,
    pub(super) destination: Endpoint<'a>,
    pub(super) words: Vec<(&'a str, Word<'a>)>,
}

pub(super) fn description(text: &str) -> Step<'_, Description<'_>> {
    const EXAMPLE: &str = "an address such as 10.0.0.5:40000 or [2001:db8::5]:40000";
    let (rest, _) = space0(text)?;
    let (rest, protocol) = protocol(rest)?;
    let (rest, source) = preceded(space0, expect(EXAMPLE, endpoint)).parse(rest)?;
    let (rest, _) = preceded(space0, expect("> and the destination", tag(">"))).parse(rest)?;
    let (rest, destination) = preceded(space0, expect(EXAMPLE, endpoint)).parse(rest)?;
    let (rest, words) = terminated(many0(described_word), space0).parse(rest)?;
    let description = Description {
        protocol,
        source,
        destination,
        words,
    };
    Ok((rest, description))
}

/// Runs a parser over a whole text.
pub(super) fn whole<'a, T>(step: Step<'a, T>) -> Result<T, Problem<'a>> {
    match step {
        Ok(("", value)) => Ok(value),
        Ok((rest, _)) => Err(Problem::new(rest, "this is not understood")),
        Err(nom::Err::Error(problem) | nom::Err::Failure(problem)) => Err(problem),
        Err(nom::Err::Incomplete(_)) => Err(Problem::new("", "the packet is not complete")),
    }
}

pub(super) fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
