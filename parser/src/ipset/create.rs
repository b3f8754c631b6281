//! `create NAME TYPE [options]` to a set without entries.

use std::net::{IpAddr, Ipv4Addr};

use super::code::UNKNOWN_SET_TYPE;
use super::kind::{CreateOption, SetType};
use super::options::{self, Given};
use super::set::{Options, Range, Set};
use super::value;
use crate::databases::Names;
use crate::diagnostic::{Diagnostic, code};
use crate::extension::Problem;
use crate::names::closest;
use crate::ruleset::Family;
use crate::span::{Span, Spanned};
use crate::words::Word;

/// `IPSET_BITMAP_MAX_RANGE` and one more.
const BITMAP_LIMIT: u64 = 0x1_0000;

/// Reads the words behind `create`.
pub(super) fn read(
    words: &[Word],
    whole: Span,
    names: &Names,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Set, Diagnostic> {
    let [name, kind, rest @ ..] = words else {
        let message = "create needs the name and the type of a set";
        return Err(Diagnostic::error(code::MISSING_OPTION, whole, message)
            .with_help("write create NAME hash:ip, for example"));
    };
    let set_name = value::set_name(name.as_bytes()).map_err(|problem| problem.at(name.span))?;
    let kind = set_type(kind)?;
    let keywords = options::create_keywords(kind.options());
    let given = options::scan(rest, &keywords, kind)?;
    let reader = Reader {
        kind,
        given: &given,
        names,
    };
    let options = reader.options(whole)?;
    warnings.extend(
        given
            .iter()
            .filter(|given| given.option == CreateOption::Ignored)
            .map(|given| {
                let message = format!("{} does nothing since ipset 6", given.name);
                Diagnostic::warning(code::UNKNOWN_OPTION, given.span, message)
                    .with_help("leave it out")
            }),
    );
    Ok(Set {
        name: Spanned {
            value: set_name,
            span: name.span,
        },
        kind,
        options,
        entries: Vec::new(),
    })
}

fn set_type(word: &Word) -> Result<SetType, Diagnostic> {
    SetType::of_name(word.as_bytes()).ok_or_else(|| {
        let message = format!("{:?} is no type of set", word.show());
        let types = || SetType::ALL.into_iter().map(SetType::name);
        let help = match closest(word.as_bytes(), types()) {
            Some(name) => format!("did you mean {name}?"),
            None => format!("the types are {}", types().collect::<Vec<_>>().join(", ")),
        };
        Diagnostic::error(UNKNOWN_SET_TYPE, word.span, message).with_help(help)
    })
}

struct Reader<'a> {
    kind: SetType,
    given: &'a [Given<'a, CreateOption>],
    names: &'a Names,
}

impl Reader<'_> {
    fn options(&self, whole: Span) -> Result<Options, Diagnostic> {
        let families: Vec<_> = self.all(CreateOption::Family).collect();
        if let [_, second, ..] = families.as_slice() {
            let message = "the family is given twice";
            return Err(Diagnostic::error(
                code::REPEATED_OPTION,
                second.span,
                message,
            ));
        }
        let family = match self.get(CreateOption::Family, family)? {
            None => self.kind.default_family(),
            Some(family) => Some(family),
        };
        let width = value::width(family.unwrap_or(Family::V4));
        let length = |word: &[u8]| value::number(word, 1, width.into()).map(|length| length as u8);
        let netmask = self.get(CreateOption::Netmask, length)?;
        let bitmask = self.get(CreateOption::Bitmask, |word| {
            let mask = value::address(word, family.unwrap_or(Family::V4))?;
            match mask.is_unspecified() {
                true => Err(Problem::new(
                    "an empty bitmask leaves nothing of an address",
                )),
                false => Ok(mask),
            }
        })?;
        if let (Some(_), Some(given)) = (netmask, self.all(CreateOption::Bitmask).next()) {
            let message = "netmask and bitmask exclude each other";
            return Err(
                Diagnostic::error(code::REPEATED_OPTION, given.span, message)
                    .with_help("write the netmask as a bitmask, too, or leave one out"),
            );
        }
        Ok(Options {
            family,
            range: self.range(netmask, whole)?,
            // The kernel forgets masks that leave everything.
            netmask: netmask.filter(|&length| length < width),
            bitmask: bitmask.filter(|&mask| !value::is_all_ones(mask)),
            markmask: self.get(CreateOption::MarkMask, |word| {
                value::number(word, 1, u32::MAX.into()).map(|mask| mask as u32)
            })?,
            hashsize: self.get(CreateOption::HashSize, hash_size)?,
            maxelem: self.get(CreateOption::MaxElem, value::number32)?,
            bucketsize: self.get(CreateOption::BucketSize, bucket_size)?,
            initval: self.get(CreateOption::InitVal, value::number32)?,
            size: self.get(CreateOption::Size, |word| {
                // `IP_SET_LIST_MIN_SIZE`
                value::number32(word).map(|size| size.max(4))
            })?,
            timeout: self.get(CreateOption::Timeout, value::timeout)?,
            counters: self.has(CreateOption::Counters),
            comment: self.has(CreateOption::Comment),
            skbinfo: self.has(CreateOption::SkbInfo),
            forceadd: self.has(CreateOption::ForceAdd),
        })
    }

    fn all(&self, option: CreateOption) -> impl Iterator<Item = &Given<'_, CreateOption>> {
        self.given
            .iter()
            .filter(move |given| given.option == option)
    }

    fn has(&self, option: CreateOption) -> bool {
        self.all(option).next().is_some()
    }

    fn get<T>(
        &self,
        option: CreateOption,
        read: impl Fn(&[u8]) -> Result<T, Problem>,
    ) -> Result<Option<T>, Diagnostic> {
        let given = self.all(option).next();
        given
            .map(|given| {
                read(given.value.as_bytes()).map_err(|problem| problem.at(given.value.span))
            })
            .transpose()
    }

    /// What a bitmap can hold: `range FROM-TO`, `range NETWORK`, `network NETWORK` or `from FROM to TO`.
    fn range(&self, netmask: Option<u8>, whole: Span) -> Result<Option<Range>, Diagnostic> {
        if !self.kind.options().contains(&CreateOption::Range) {
            return Ok(None);
        }
        let ways = [
            CreateOption::Range,
            CreateOption::Network,
            CreateOption::From,
        ];
        let mut found = ways.into_iter().flat_map(|way| self.all(way));
        let (Some(first), second) = (found.next(), found.next()) else {
            let message = format!("a {} needs a range", self.kind);
            return Err(Diagnostic::error(code::MISSING_OPTION, whole, message)
                .with_help("write range FROM-TO"));
        };
        if let Some(second) = second {
            let message = "the range is given twice";
            return Err(Diagnostic::error(
                code::REPEATED_OPTION,
                second.span,
                message,
            ));
        }
        let to = self.all(CreateOption::To).next();
        let text = match (first.option, to) {
            (CreateOption::From, Some(to)) => {
                [first.value.as_bytes(), b"-", to.value.as_bytes()].concat()
            }
            (_, None) if first.option != CreateOption::From => first.value.as_bytes().to_vec(),
            _ => {
                let message = "from and to need each other";
                return Err(Diagnostic::error(code::MISSING_OPTION, first.span, message));
            }
        };
        let range = match self.kind {
            SetType::BitmapPort => ports(&text, self.names),
            _ => addresses(&text, netmask),
        };
        range
            .map(Some)
            .map_err(|problem| problem.at(first.value.span))
    }
}

fn family(word: &[u8]) -> Result<Family, Problem> {
    match word.strip_prefix(b"--").unwrap_or(word) {
        b"inet" | b"ipv4" | b"-4" => Ok(Family::V4),
        b"inet6" | b"ipv6" | b"-6" => Ok(Family::V6),
        _ => Err(Problem::new("this is no family of a set").with_help("write inet or inet6")),
    }
}

/// The power of two that the kernel takes (`htable_bits`).
fn hash_size(word: &[u8]) -> Result<u32, Problem> {
    let most = 1 << 31;
    value::number(word, 0, most).map(|size| (size as u32).max(64).next_power_of_two())
}

/// An even number from 2 to 12 (`AHASH_INIT_SIZE`, `AHASH_MAX_SIZE`).
fn bucket_size(word: &[u8]) -> Result<u8, Problem> {
    let size = value::number(word, 0, u8::MAX.into())?.clamp(2, 12) as u8;
    Ok(size.next_multiple_of(2))
}

fn ports(text: &[u8], names: &Names) -> Result<Range, Problem> {
    if value::cut(text, b'-').is_none() {
        return Err(Problem::new("one port is no range").with_help("write FROM-TO"));
    }
    let (from, to) = value::bitmap_ports(text, names)?;
    Ok(Range::Ports(from, to))
}

/// The range of a bitmap of addresses (`bitmap_ip_create`).
fn addresses(text: &[u8], netmask: Option<u8>) -> Result<Range, Problem> {
    let bits = |text: &[u8]| match value::address(text, Family::V4) {
        Ok(IpAddr::V4(address)) => Ok(address.to_bits()),
        Ok(IpAddr::V6(_)) => Err(Problem::new("a bitmap holds IPv4 addresses only")),
        Err(problem) => Err(problem),
    };
    let (from, to) = if let Some((address, length)) = value::cut(text, b'/') {
        let mask = value::mask_v4(value::number(length, 0, 31)? as u8);
        let address = bits(address)?;
        (address & mask, address | !mask)
    } else if let Some((from, to)) = value::cut(text, b'-') {
        let (from, to) = (bits(from)?, bits(to)?);
        (from.min(to), from.max(to))
    } else {
        return Err(Problem::new("one address is no range").with_help("write FROM-TO or NETWORK"));
    };
    let mask = value::mask_v4(netmask.unwrap_or(32));
    let (from, to) = (from & mask, to | !mask);
    let elements = match netmask {
        None | Some(32) => u64::from(to - from) + 1,
        Some(netmask) => {
            // The widest network that begins where the range does and holds its end
            // (`range_to_mask`); the netmask must be longer than its prefix.
            let length = (0..32)
                .rev()
                .find(|&length| to & value::mask_v4(length) == from);
            let length = length.filter(|&length| netmask > length).ok_or_else(|| {
                Problem::new("the range is no more than one network of the netmask").with_help(
                    "let the range begin at a network that holds all of it, shorter than the netmask",
                )
            })?;
            1 << (netmask - length)
        }
    };
    if elements > BITMAP_LIMIT {
        let message = format!("the range has {elements} elements");
        return Err(Problem::new(message).with_help(format!("a bitmap holds up to {BITMAP_LIMIT}")));
    }
    Ok(Range::Addresses(
        Ipv4Addr::from_bits(from),
        Ipv4Addr::from_bits(to),
    ))
}
