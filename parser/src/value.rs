//! The grammars of values: numbers, ports, addresses, interfaces.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use bstr::{BStr, ByteSlice};
use nom::branch::alt;
use nom::bytes::complete::{tag, tag_no_case, take_while1};
use nom::character::complete::{digit1, hex_digit1, multispace0, oct_digit0};
use nom::combinator::{all_consuming, map_opt, opt};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use crate::databases::Names;
use crate::extension::{Problem, Surroundings};
use crate::matches::{Masked, PortRange};
use crate::names;
use crate::range::{Number, Range};
use crate::ruleset::{Family, InterfacePattern, Network};

/// A number as `strtoul` with base 0 reads it: decimal, `0x` hexadecimal, `0` octal.
pub(crate) fn number(input: &[u8]) -> IResult<&[u8], u64> {
    let hexadecimal = preceded(tag_no_case(&b"0x"[..]), digits(hex_digit1, 16));
    let octal = preceded(tag(&b"0"[..]), digits(oct_digit0, 8));
    let decimal = digits(digit1, 10);
    if let [b'1'..=b'9', ..] = input {
        // Nothing else begins so, and most numbers do.
        let mut decimal = decimal;
        return decimal.parse(input);
    }
    preceded(
        (multispace0, opt(tag(&b"+"[..]))),
        alt((hexadecimal, octal, decimal)),
    )
    .parse(input)
}

fn digits<'a, P>(
    pattern: P,
    radix: u32,
) -> impl Parser<&'a [u8], Output = u64, Error = nom::error::Error<&'a [u8]>>
where
    P: Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>>,
{
    map_opt(pattern, move |digits: &[u8]| match digits {
        b"" => Some(0),
        _ => u64::from_str_radix(digits.to_str().ok()?, radix).ok(),
    })
}

/// A whole word that is a number up to `max`.
pub(crate) fn integer(word: &[u8], max: u64) -> Option<u64> {
    let (_, value) = all_consuming(number).parse(word).ok()?;
    (value <= max).then_some(value)
}

/// A whole word that is a number in a range; the range is what fits the type.
pub(crate) fn ranged<T: TryFrom<u64>>(
    word: &[u8],
    range: RangeInclusive<u64>,
) -> Result<T, Problem> {
    integer(word, *range.end())
        .filter(|value| range.contains(value))
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| {
            let (low, high) = (range.start(), range.end());
            Problem::new(format!(
                "{:?} is no number from {low} to {high}",
                BStr::new(word)
            ))
        })
}

/// A whole word that is a number of eight bits.
pub(crate) fn byte(word: &[u8]) -> Option<u8> {
    integer(word, 0xff).and_then(|value| u8::try_from(value).ok())
}

/// A whole word that is a number of the type.
pub(crate) fn number_of<T: Number>(word: &[u8]) -> Result<T, Problem> {
    integer(word, T::MAX.into())
        .and_then(|value| T::try_from(value).ok())
        .ok_or_else(|| {
            Problem::new(format!(
                "{:?} is no number from 0 to {}",
                BStr::new(word),
                T::MAX
            ))
        })
}

/// `number`, `low:high`, `low:` or `:high`. An empty word is zero, and a range may run backwards
/// (libxtables, `xtopt_parse_mint`).
pub(crate) fn range<T: Number>(word: &[u8]) -> Result<Range<T>, Problem> {
    let end = |word: &[u8], open: T| match word {
        b"" => Ok(open),
        word => number_of(word)
            .map_err(|problem| problem.with_help("write a number, or a range LOW:HIGH")),
    };
    match word.split_once_str(":") {
        Some((low, high)) => Ok(Range {
            low: end(low, T::MIN)?,
            high: end(high, T::MAX)?,
        }),
        None => end(word, T::MIN).map(Range::of),
    }
}

/// `value[/mask]` of 32 bits, all bits without a mask (libxtables, `xtopt_parse_markmask`).
pub(crate) fn masked(word: &[u8]) -> Result<Masked, Problem> {
    let number = |word| {
        number_of(word)
            .map_err(|problem| problem.with_help("write VALUE or VALUE/MASK, as in 0x1/0xff"))
    };
    let (value, mask) = match word.split_once_str("/") {
        Some((value, mask)) => (value, number(mask)?),
        None => (word, u32::MAX),
    };
    Ok(Masked {
        value: number(value)?,
        mask,
    })
}

/// A word of decimal digits alone, as counters are written.
pub(crate) fn counter(word: &[u8]) -> Option<u64> {
    let (_, digits): (_, &[u8]) =
        all_consuming(terminated(digit1::<_, nom::error::Error<_>>, multispace0))
            .parse(word)
            .ok()?;
    digits.to_str().ok()?.parse().ok()
}

/// A range `low[:high]` of eight-bit numbers.
pub(crate) fn byte_range(word: &[u8]) -> Option<(u8, u8)> {
    let (rest, low) = number(word).ok()?;
    let (_, high) = all_consuming(opt(preceded(tag(&b":"[..]), number)))
        .parse(rest)
        .ok()?;
    Some((
        u8::try_from(low).ok()?,
        u8::try_from(high.unwrap_or(low)).ok()?,
    ))
}

/// A whole word that is a number of 32 bits.
pub(crate) fn word32(word: &[u8]) -> Option<u32> {
    number_of(word).ok()
}

/// A number at the head of a word, and what follows it.
pub(crate) fn leading_integer(word: &[u8]) -> Option<(u64, &[u8])> {
    let (rest, value) = number(word).ok()?;
    Some((value, rest))
}

/// A prefix length, or a mask as an address (libxtables, `xtopt_parse_plen`). Unlike iptables, which
/// takes a mask with holes for the longest prefix, this refuses one.
pub(crate) fn prefix_length(word: &[u8], family: Family) -> Result<u8, Problem> {
    let (longest, bits) = match family {
        Family::V4 => (32, inet_aton(word).map(|mask| u128::from(mask) << 96)),
        Family::V6 => (128, address_v6(word)),
    };
    let mask = || bits.filter(|bits| bits.leading_ones() == bits.count_ones());
    integer(word, longest)
        .or_else(|| mask().map(|bits| u64::from(bits.leading_ones())))
        .and_then(|length| u8::try_from(length).ok())
        .ok_or_else(|| {
            Problem::new(format!("{:?} is no prefix length", BStr::new(word)))
                .with_help(format!("write 0 to {longest}, or a mask without holes"))
        })
}

/// A port number or the name of a service over the rule's protocol (libxtables,
/// `xtables_parse_port`).
pub(crate) fn port(word: &[u8], rule: &Surroundings<'_>) -> Result<u16, Problem> {
    let number = || integer(word, 0xffff).and_then(|port| u16::try_from(port).ok());
    let named = || rule.names.service_of(word, rule.protocol()?);
    number().or_else(named).ok_or_else(|| {
        let shown = BStr::new(word);
        let problem = Problem::new(format!("{shown:?} is no port number or known service"))
            .usage(format!("invalid port/service `{shown}' specified"));
        if word.contains(&b',') {
            problem.with_help("use -m multiport --dports for several ports")
        } else if let Some(port) = rule.names.service(word) {
            problem.with_help(format!(
                "the name is for another protocol, with port {port}: write the number"
            ))
        } else {
            problem.with_help("write a number from 0 to 65535")
        }
    })
}

/// `port`, `low:high`, `low:` or `:high` (libxt_tcp, libxt_sctp). A range may run backwards.
pub(crate) fn port_range(word: &[u8], rule: &Surroundings<'_>) -> Result<PortRange, Problem> {
    let Some((low, high)) = word.split_once_str(":") else {
        let port = port(word, rule)?;
        return Ok(PortRange {
            low: port,
            high: port,
        });
    };
    let end = |word: &[u8], missing| match word {
        b"" => Ok(missing),
        word => port(word, rule),
    };
    Ok(PortRange {
        low: end(low, 0)?,
        high: end(high, u16::MAX)?,
    })
}

/// A port as the resolver reads it: a decimal number, or the name of a service over any protocol; an
/// empty word is port 0 (libxtables, `xtables_getportbyname`). The resolver cuts greater numbers to 16
/// bits; here they are refused.
pub(crate) fn resolved_port(word: &[u8], names: &Names) -> Result<u16, Problem> {
    let number = || match word {
        b"" => Some(0),
        word => word.trim_start().to_str().ok()?.parse().ok(),
    };
    number().or_else(|| names.service(word)).ok_or_else(|| {
        let shown = BStr::new(word);
        let problem = Problem::new(format!("{shown:?} is no port number or known service"))
            .usage(format!("Port \"{shown}\" does not resolve to anything.\n"));
        if word.contains(&b',') {
            problem.with_help("use -m multiport --dports for several ports")
        } else {
            problem.with_help("write a decimal number from 0 to 65535")
        }
    })
}

/// `port`, `low:high`, `low:` or `:high` for the resolver (libxtables, `xtopt_parse_mport`). A range
/// may run backwards.
pub(crate) fn resolved_ports(word: &[u8], names: &Names) -> Result<PortRange, Problem> {
    let (low, high) = match word.split_once_str(":") {
        Some((low, b"")) => (resolved_port(low, names)?, u16::MAX),
        Some((low, high)) => (resolved_port(low, names)?, resolved_port(high, names)?),
        None => {
            let port = resolved_port(word, names)?;
            (port, port)
        }
    };
    Ok(PortRange { low, high })
}

/// The addresses of `-s` or `-d`, separated by commas (libxtables, `xtables_ipparse_multiple`).
pub(crate) fn networks(word: &[u8], family: Family) -> Result<Vec<Network>, Problem> {
    word.split(|&byte| byte == b',')
        .map(|item| network(item.trim_start(), family))
        .collect()
}

/// `address[/mask]`, masked.
pub(crate) fn network(word: &[u8], family: Family) -> Result<Network, Problem> {
    let (address, mask) = match word.rsplit_once_str("/") {
        Some((address, mask)) => (address, Some(mask)),
        None => (word, None),
    };
    let bad_mask = || {
        let help = match family {
            Family::V4 => "write /0 to /32 or a dotted mask",
            Family::V6 => "write /0 to /128 or an address as mask",
        };
        Problem::new(format!(
            "/{} is no mask",
            BStr::new(mask.unwrap_or_default())
        ))
        .with_help(help)
        .usage(format!(
            "invalid mask `{}' specified",
            BStr::new(mask.unwrap_or_default())
        ))
    };
    let bad_address = || bad_address(address, family);
    match family {
        Family::V4 => {
            let mask = mask.map_or(Some(u32::MAX), mask_v4).ok_or_else(bad_mask)?;
            // Under an empty mask iptables does not look at the address, as in `any/0`.
            let address = if mask == 0 {
                0
            } else {
                address_v4(address).ok_or_else(bad_address)?
            };
            Ok(Network::V4 {
                address: Ipv4Addr::from_bits(address & mask),
                mask: Ipv4Addr::from_bits(mask),
            })
        }
        Family::V6 => {
            let mask = mask.map_or(Some(u128::MAX), mask_v6).ok_or_else(bad_mask)?;
            let address = if mask == 0 {
                0
            } else {
                address_v6(address).ok_or_else(bad_address)?
            };
            Ok(Network::V6 {
                address: Ipv6Addr::from_bits(address & mask),
                mask: Ipv6Addr::from_bits(mask),
            })
        }
    }
}

/// An IPv4 address in numbers, of which missing parts are zero (libxtables,
/// `xtables_numeric_to_ipaddr`).
pub(crate) fn numeric_v4(word: &[u8]) -> Result<Ipv4Addr, Problem> {
    dotted(word, true)
        .map(Ipv4Addr::from_bits)
        .ok_or_else(|| bad_address(word, Family::V4))
}

/// An IPv6 address.
pub(crate) fn numeric_v6(word: &[u8]) -> Result<Ipv6Addr, Problem> {
    address_v6(word)
        .map(Ipv6Addr::from_bits)
        .ok_or_else(|| bad_address(word, Family::V6))
}

/// An address as the resolver reads it, so that the last part of an IPv4 one fills the rest
/// (libxtables, `xtopt_parse_host`).
pub(crate) fn host(word: &[u8], family: Family) -> Result<IpAddr, Problem> {
    match family {
        Family::V4 => inet_aton(word)
            .or_else(|| localhost(word))
            .map(|bits| Ipv4Addr::from_bits(bits).into())
            .ok_or_else(|| bad_address(word, family)),
        Family::V6 => numeric_v6(word).map(IpAddr::V6),
    }
}

fn bad_address(address: &[u8], family: Family) -> Problem {
    let shown = BStr::new(address);
    let problem = match family {
        Family::V4 if address_v6(address).is_some() => {
            Problem::new(format!("{shown} is an IPv6 address in an IPv4 ruleset"))
                .with_help("give -6, or put the rule into the ip6tables ruleset")
        }
        Family::V6 if address_v4(address).is_some() => {
            Problem::new(format!("{shown} is an IPv4 address in an IPv6 ruleset"))
                .with_help("give -4, or put the rule into the iptables ruleset")
        }
        _ => Problem::new(format!("{shown:?} is no address"))
            .with_help("host names are not looked up: write addresses"),
    };
    problem.usage(format!("host/network `{shown}' not found"))
}

/// `address[/length]` or `address[/mask]` for one host or one network, not masked (libxtables,
/// `xtopt_parse_hostmask`).
pub(crate) fn host_and_length(word: &[u8], family: Family) -> Result<(IpAddr, u8), Problem> {
    match word.split_once_str("/") {
        Some((address, length)) => Ok((host(address, family)?, prefix_length(length, family)?)),
        None => {
            let address = host(word, family)?;
            Ok((address, if address.is_ipv4() { 32 } else { 128 }))
        }
    }
}

fn mask_v4(word: &[u8]) -> Option<u32> {
    dotted(word, false).or_else(|| {
        let length = integer(word, 32)? as u32;
        Some(u32::MAX.checked_shl(32 - length).unwrap_or(0))
    })
}

pub(crate) fn mask_v6(word: &[u8]) -> Option<u128> {
    address_v6(word).or_else(|| {
        let length = integer(word, 128)? as u32;
        Some(u128::MAX.checked_shl(128 - length).unwrap_or(0))
    })
}

/// One to four parts; missing ones are zero, unlike `inet_aton`, which takes over where a part is
/// too large for that (libxtables first tries its own reading, then the resolver).
fn address_v4(word: &[u8]) -> Option<u32> {
    dotted(word, true)
        .or_else(|| inet_aton(word))
        .or_else(|| localhost(word))
}

fn localhost(word: &[u8]) -> Option<u32> {
    (word == b"localhost").then_some(Ipv4Addr::LOCALHOST.to_bits())
}

/// One to four parts, of which the last fills what the others leave free (inet_aton(3)).
fn inet_aton(word: &[u8]) -> Option<u32> {
    let parts: Option<Vec<u64>> = word
        .split_str(".")
        .map(|part| integer(part, u64::from(u32::MAX)))
        .collect();
    let parts = parts?;
    let (last, heads) = parts.split_last()?;
    let free = 32_u32.checked_sub(8 * u32::try_from(heads.len()).ok()?)?;
    let head = heads
        .iter()
        .try_fold(0_u64, |sum, &part| (part <= 255).then_some(sum << 8 | part))?;
    (free > 0 && *last < 1 << free).then_some(())?;
    u32::try_from(head << free | last).ok()
}

fn dotted(word: &[u8], autocomplete: bool) -> Option<u32> {
    let mut address = [0; 4];
    let mut count = 0;
    for part in word.split(|&byte| byte == b'.') {
        *address.get_mut(count)? = byte(part)?;
        count += 1;
    }
    (count == 4 || autocomplete).then_some(u32::from_be_bytes(address))
}

pub(crate) fn address_v6(word: &[u8]) -> Option<u128> {
    let address: Ipv6Addr = word.to_str().ok()?.parse().ok()?;
    Some(address.to_bits())
}

/// An interface name, perhaps with `+` at its end.
pub(crate) fn interface(word: &[u8]) -> Result<InterfacePattern, Problem> {
    /// `IFNAMSIZ` less the NUL.
    const LIMIT: usize = 15;
    let name = word
        .to_str()
        .map_err(|_| Problem::new("an interface name is valid UTF-8"))?;
    if name.is_empty() {
        return Err(Problem::new("the interface name is empty")
            .usage("Empty interface is likely to be undesired"));
    }
    if name.len() > LIMIT {
        return Err(Problem::new(format!(
            "the interface name {name:?} is longer than {LIMIT} bytes"
        ))
        .usage(format!(
            "interface name `{name}' must be shorter than IFNAMSIZ ({LIMIT})"
        )));
    }
    Ok(match name.strip_suffix('+') {
        Some(prefix) => InterfacePattern {
            name: prefix.to_owned(),
            prefix: true,
        },
        None => InterfacePattern {
            name: name.to_owned(),
            prefix: false,
        },
    })
}

/// A protocol number or name, in either case.
pub(crate) fn protocol(word: &[u8], known: &Names) -> Result<u8, Problem> {
    let lower = word.to_ascii_lowercase();
    byte(&lower)
        .or_else(|| known.protocol(&lower))
        .ok_or_else(|| {
            let shown = BStr::new(word);
            let problem = Problem::new(format!("{shown:?} is no protocol")).usage(format!(
                "unknown protocol \"{}\" specified",
                BStr::new(&lower)
            ));
            match names::closest(word, names::protocols()) {
                Some(name) => problem.with_help(format!("did you mean {name}?")),
                None => {
                    problem.with_help("write a number from 0 to 255 or a name of /etc/protocols")
                }
            }
        })
}

/// The names of a comma list, each found by any leading part of it in any case.
pub(crate) fn is_prefix_of(part: &[u8], name: &str) -> bool {
    let found: IResult<&[u8], &[u8]> = all_consuming(take_while1(|_| true)).parse(part);
    found.is_ok()
        && name.len() >= part.len()
        && name.as_bytes()[..part.len()].eq_ignore_ascii_case(part)
}
