//! `-m srh`: the IPv6 segment routing header, RFC 8754 (libip6t_srh, ip6t_srh.c).

use std::fmt;
use std::net::Ipv6Addr;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::{Listing, sign};
use crate::print::{Inet6, Line};
use crate::ruleset::{Family, Negatable};
use crate::value::{address_v6, byte, integer, mask_v6};

/// The `srh` match: the packet has such a header, and what is given holds for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Srh {
    /// `--srh-next-hdr`: the protocol number of the next header.
    pub next_header: Option<Negatable<u8>>,
    /// `--srh-hdr-len-*`: the header's length in units of 8 bytes, without the first.
    pub header_length: FieldTests,
    /// `--srh-segs-left-*`: how many segments are still to come.
    pub segments_left: FieldTests,
    /// `--srh-last-entry-*`: the index of the last segment in the list.
    pub last_entry: FieldTests,
    /// `--srh-tag`, the number as written. The tool hands it over in host order, where the kernel wants
    /// network order: on a little-endian machine `--srh-tag 1` tests for the tag 256.
    pub tag: Option<Negatable<u16>>,
    /// `--srh-psid`: the segment before this one.
    pub previous_segment: Option<Negatable<Segment>>,
    /// `--srh-nsid`: the segment behind this one.
    pub next_segment: Option<Negatable<Segment>>,
    /// `--srh-lsid`: the last segment of the way.
    pub last_segment: Option<Negatable<Segment>>,
}

/// The tests of one field against one value: the tool keeps the value given last for all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct FieldTests {
    /// What the field is compared with.
    pub value: u8,
    /// `-eq`: the field is the value.
    pub equal: Asked,
    /// `-gt`: the field is greater.
    pub greater: Asked,
    /// `-lt`: the field is less.
    pub less: Asked,
}

/// Whether a test is part of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Asked {
    /// Not at all.
    #[default]
    No,
    /// It must be true.
    True,
    /// Behind `!`: it must be false.
    False,
}

/// A segment's address, compared under a mask. Save prints the address unmasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Segment {
    /// As given.
    pub address: Ipv6Addr,
    /// Leading bits that are compared, 0 to 128.
    pub prefix: u8,
}

static NEXT_HEADER: Opt<u8> = Opt::new(&["srh-next-hdr"], small).invertible();
static HEADER_LENGTH: FieldOptions = FieldOptions {
    equal: Opt::new(&["srh-hdr-len-eq"], small).invertible(),
    greater: Opt::new(&["srh-hdr-len-gt"], small).invertible(),
    less: Opt::new(&["srh-hdr-len-lt"], small).invertible(),
};
static SEGMENTS_LEFT: FieldOptions = FieldOptions {
    equal: Opt::new(&["srh-segs-left-eq"], small).invertible(),
    greater: Opt::new(&["srh-segs-left-gt"], small).invertible(),
    less: Opt::new(&["srh-segs-left-lt"], small).invertible(),
};
static LAST_ENTRY: FieldOptions = FieldOptions {
    equal: Opt::new(&["srh-last-entry-eq"], small).invertible(),
    greater: Opt::new(&["srh-last-entry-gt"], small).invertible(),
    less: Opt::new(&["srh-last-entry-lt"], small).invertible(),
};
static TAG: Opt<u16> = Opt::new(&["srh-tag"], tag).invertible();
static PREVIOUS_SEGMENT: Opt<Segment> = Opt::new(&["srh-psid"], segment).invertible();
static NEXT_SEGMENT: Opt<Segment> = Opt::new(&["srh-nsid"], segment).invertible();
static LAST_SEGMENT: Opt<Segment> = Opt::new(&["srh-lsid"], segment).invertible();

/// The three options of one field.
struct FieldOptions {
    equal: Opt<u8>,
    greater: Opt<u8>,
    less: Opt<u8>,
}

impl Extension for Srh {
    const NAME: &'static str = "srh";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &NEXT_HEADER.spec,
        &HEADER_LENGTH.equal.spec,
        &HEADER_LENGTH.greater.spec,
        &HEADER_LENGTH.less.spec,
        &SEGMENTS_LEFT.equal.spec,
        &SEGMENTS_LEFT.greater.spec,
        &SEGMENTS_LEFT.less.spec,
        &LAST_ENTRY.equal.spec,
        &LAST_ENTRY.greater.spec,
        &LAST_ENTRY.less.spec,
        &TAG.spec,
        &PREVIOUS_SEGMENT.spec,
        &NEXT_SEGMENT.spec,
        &LAST_SEGMENT.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            next_header: arguments.get(&NEXT_HEADER)?,
            header_length: HEADER_LENGTH.read(arguments)?,
            segments_left: SEGMENTS_LEFT.read(arguments)?,
            last_entry: LAST_ENTRY.read(arguments)?,
            tag: arguments.get(&TAG)?,
            previous_segment: arguments.get(&PREVIOUS_SEGMENT)?,
            next_segment: arguments.get(&NEXT_SEGMENT)?,
            last_segment: arguments.get(&LAST_SEGMENT)?,
        })
    }

    fn print(&self, line: &mut Line) {
        print(line, "--srh-next-hdr", &self.next_header);
        HEADER_LENGTH.print(line, self.header_length);
        SEGMENTS_LEFT.print(line, self.segments_left);
        LAST_ENTRY.print(line, self.last_entry);
        print(line, "--srh-tag", &self.tag);
        print(line, "--srh-psid", &self.previous_segment);
        print(line, "--srh-nsid", &self.next_segment);
        print(line, "--srh-lsid", &self.last_segment);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("srh");
        list(line, "next-hdr", &self.next_header);
        for (name, tests) in [
            ("hdr-len", self.header_length),
            ("segs-left", self.segments_left),
            ("last-entry", self.last_entry),
        ] {
            for (asked, relation) in [
                (tests.equal, "eq"),
                (tests.greater, "gt"),
                (tests.less, "lt"),
            ] {
                if asked != Asked::No {
                    let sign = sign(asked == Asked::False);
                    line.word(format_args!("{name}-{relation}:{sign}{}", tests.value));
                }
            }
        }
        list(line, "tag", &self.tag);
        for (name, segment) in [
            ("psid", &self.previous_segment),
            ("nsid", &self.next_segment),
            ("lsid", &self.last_segment),
        ] {
            if let Some(segment) = segment {
                let sign = sign(segment.negated);
                line.word(format_args!("{name} {sign} {}", segment.value.value));
            }
        }
    }
}

fn list(line: &mut Listing<'_>, name: &str, test: &Option<Negatable<impl fmt::Display>>) {
    if let Some(test) = test {
        let sign = sign(test.negated);
        line.word(format_args!("{name}:{sign}{}", test.value.value));
    }
}

fn print(line: &mut Line, option: &str, test: &Option<Negatable<impl fmt::Display>>) {
    if let Some(test) = test {
        line.option(test.negated, option);
        line.word(&test.value.value);
    }
}

impl FieldOptions {
    fn read(&'static self, arguments: &Arguments<'_>) -> Result<FieldTests, Diagnostic> {
        let equal = arguments.get(&self.equal)?;
        let greater = arguments.get(&self.greater)?;
        let less = arguments.get(&self.less)?;
        let last = [&equal, &greater, &less]
            .into_iter()
            .flatten()
            .max_by_key(|given| given.value.span.start);
        Ok(FieldTests {
            value: last.map_or(0, |given| given.value.value),
            equal: asked(&equal),
            greater: asked(&greater),
            less: asked(&less),
        })
    }

    fn print(&self, line: &mut Line, tests: FieldTests) {
        for (asked, option) in [
            (tests.equal, &self.equal),
            (tests.greater, &self.greater),
            (tests.less, &self.less),
        ] {
            if asked != Asked::No {
                line.option(asked == Asked::False, &format!("--{}", option.spec.name()));
                line.word(tests.value);
            }
        }
    }
}

fn asked<T>(given: &Option<Negatable<T>>) -> Asked {
    match given {
        None => Asked::No,
        Some(given) if given.negated => Asked::False,
        Some(_) => Asked::True,
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Inet6(self.address), self.prefix)
    }
}

fn small(value: &Value<'_>) -> Result<u8, Problem> {
    byte(value.word(0)).ok_or_else(|| Problem::new("write a number from 0 to 255"))
}

fn tag(value: &Value<'_>) -> Result<u16, Problem> {
    integer(value.word(0), u16::MAX.into())
        .and_then(|tag| u16::try_from(tag).ok())
        .ok_or_else(|| Problem::new("a tag is a number from 0 to 65535"))
}

/// `address[/prefix]`, or a mask behind the `/`; one with holes counts as /128 (libxtables,
/// `xtopt_parse_plenmask`).
fn segment(value: &Value<'_>) -> Result<Segment, Problem> {
    let word = value.word(0);
    let (address, mask) = match word.split_once_str("/") {
        Some((address, mask)) => (address, mask_v6(mask)),
        None => (word, Some(u128::MAX)),
    };
    let address = address_v6(address).ok_or_else(|| {
        Problem::new(format!("{:?} is no IPv6 address", BStr::new(address)))
            .with_help("host names are not looked up: write addresses")
    })?;
    let mask =
        mask.ok_or_else(|| Problem::new("the mask is no prefix").with_help("write /0 to /128"))?;
    let prefix = match mask.leading_ones() {
        length if length == mask.count_ones() => length as u8,
        _ => 128,
    };
    Ok(Segment {
        address: Ipv6Addr::from_bits(address),
        prefix,
    })
}
