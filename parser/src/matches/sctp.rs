//! `-m sctp`: ports and chunks (libxt_sctp, xt_sctp.c).

use std::collections::BTreeMap;

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use super::tcp::refuse_backwards;
use super::{DESTINATION_PORTS, PortRange, SOURCE_PORTS};
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::names::closest;
use crate::print::Line;
use crate::ruleset::Negatable;

/// The `sctp` match. An option that is absent does not test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sctp {
    /// `--sport`
    pub source_ports: Option<Negatable<PortRange>>,
    /// `--dport`
    pub destination_ports: Option<Negatable<PortRange>>,
    /// `--chunk-types`
    pub chunks: Option<Negatable<Chunks>>,
}

/// What the chunks of a packet are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Chunks {
    /// How the packet's chunks relate to the listed ones.
    pub relation: Relation,
    /// The listed chunks.
    pub list: ChunkList,
}

/// How the chunks of a packet relate to a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Relation {
    /// `any`: one of the listed is there.
    Any,
    /// `all`: each of the listed is there.
    All,
    /// `only`: no other than the listed is there.
    Only,
}

/// A list of chunks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkList {
    /// `ALL`: each of the 256 types.
    Everything,
    /// The flags by chunk type; empty for `NONE`.
    Types(BTreeMap<u8, ChunkFlags>),
}

/// A test of a chunk's flags byte. With an empty mask all chunks of the type pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ChunkFlags {
    /// The bits looked at.
    pub mask: u8,
    /// The bits that must be set among them.
    pub set: u8,
}

const PROTOCOL_SCTP: u8 = 132;
/// `IPT_NUM_SCTP_FLAGS`
const FLAGGED_LIMIT: usize = 4;

/// Name, type, and the letters of the flags from bit 7 to bit 0.
type Name = (&'static str, u8, &'static [u8; 8]);

/// The names of libxt_sctp. A letter `-` stands for bit 7.
const NAMES: [Name; 22] = [
    ("DATA", 0, b"----IUBE"),
    ("INIT", 1, b"--------"),
    ("INIT_ACK", 2, b"--------"),
    ("SACK", 3, b"--------"),
    ("HEARTBEAT", 4, b"--------"),
    ("HEARTBEAT_ACK", 5, b"--------"),
    ("ABORT", 6, b"-------T"),
    ("SHUTDOWN", 7, b"--------"),
    ("SHUTDOWN_ACK", 8, b"--------"),
    ("ERROR", 9, b"--------"),
    ("COOKIE_ECHO", 10, b"--------"),
    ("COOKIE_ACK", 11, b"--------"),
    ("ECN_ECNE", 12, b"--------"),
    ("ECN_CWR", 13, b"--------"),
    ("SHUTDOWN_COMPLETE", 14, b"-------T"),
    ("I_DATA", 64, b"----IUBE"),
    ("ASCONF_ACK", 128, b"--------"),
    ("RE_CONFIG", 130, b"--------"),
    ("PAD", 132, b"--------"),
    ("FORWARD_TSN", 192, b"--------"),
    ("ASCONF", 193, b"--------"),
    ("I_FORWARD_TSN", 194, b"--------"),
];

/// libxt_sctp files the flags of a chunk under the chunk's row in its table. For these types the
/// two are the same; the flags of the others are never looked at.
const TYPES_WITH_FLAGS: std::ops::RangeInclusive<u8> = 0..=14;

static CHUNKS: Opt<Chunks> = Opt::new(&["chunk-types"], chunks)
    .with_arity(2)
    .invertible();

impl Extension for Sctp {
    const NAME: &'static str = "sctp";
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&SOURCE_PORTS.spec, &DESTINATION_PORTS.spec, &CHUNKS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL_SCTP], "-p sctp")?;
        let source_ports = arguments.get(&SOURCE_PORTS)?;
        let destination_ports = arguments.get(&DESTINATION_PORTS)?;
        for ports in [&source_ports, &destination_ports].into_iter().flatten() {
            refuse_backwards(ports)?;
        }
        Ok(Self {
            source_ports,
            destination_ports,
            chunks: arguments.get(&CHUNKS)?,
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
        if let Some(chunks) = &self.chunks {
            let Chunks { relation, list } = &chunks.value.value;
            line.option(chunks.negated, "--chunk-types");
            line.word(relation.name());
            line.word(list.save());
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("sctp");
        line.ports("spt", &self.source_ports, PROTOCOL_SCTP);
        line.ports("dpt", &self.destination_ports, PROTOCOL_SCTP);
        if let Some(chunks) = &self.chunks {
            let Chunks { relation, list } = &chunks.value.value;
            if chunks.negated {
                line.word("!");
            }
            line.word(relation.name());
            match line.style.numeric {
                true => line.word(list.in_numbers()),
                false => line.word(list.save()),
            }
        }
    }
}

impl Relation {
    const ALL: [Relation; 3] = [Relation::Any, Relation::All, Relation::Only];

    fn name(self) -> &'static str {
        match self {
            Relation::Any => "any",
            Relation::All => "all",
            Relation::Only => "only",
        }
    }
}

impl ChunkList {
    fn save(&self) -> String {
        let types = match self {
            ChunkList::Everything => return "ALL".to_owned(),
            ChunkList::Types(types) if types.is_empty() => return "NONE".to_owned(),
            ChunkList::Types(types) => types,
        };
        Self::items(types, |name, _| name.to_owned())
    }

    /// As [`ChunkList::save`], with numbers for names.
    fn in_numbers(&self) -> String {
        match self {
            ChunkList::Types(types) if !types.is_empty() => {
                Self::items(types, |_, number| format!("0x{number:04X}"))
            }
            _ => self.save(),
        }
    }

    fn items(types: &BTreeMap<u8, ChunkFlags>, show: fn(&str, u8) -> String) -> String {
        let items = NAMES.iter().filter_map(|(name, kind, letters)| {
            let flags = types.get(kind)?.letters(letters);
            let name = show(name, *kind);
            Some(match flags.as_str() {
                "" => name,
                flags => format!("{name}:{flags}"),
            })
        });
        items.collect::<Vec<_>>().join(",")
    }
}

impl ChunkFlags {
    /// The letters of the tested bits, capitals for those that must be set.
    fn letters(self, letters: &[u8; 8]) -> String {
        let tested = letters.iter().zip((0..8).rev());
        let tested = tested.filter(|(_, bit)| self.mask & 1 << bit != 0);
        tested
            .map(|(&letter, bit)| match self.set & 1 << bit {
                0 => char::from(letter.to_ascii_lowercase()),
                _ => char::from(letter),
            })
            .collect()
    }

    /// Adds the test that a letter stands for: a capital for a set bit, a small one for a clear bit.
    fn add(&mut self, letter: u8, letters: &[u8; 8]) -> Option<()> {
        let upper = letter.to_ascii_uppercase();
        let place = letters.iter().position(|&it| it == upper)?;
        let bit = 0x80 >> place;
        self.mask |= bit;
        if letter.is_ascii_uppercase() {
            self.set |= bit;
        }
        Some(())
    }
}

fn chunks(value: &Value<'_>) -> Result<Chunks, Problem> {
    let word = value.word(0);
    let relation = Relation::ALL
        .into_iter()
        .find(|relation| relation.name().as_bytes().eq_ignore_ascii_case(word))
        .ok_or_else(|| {
            Problem::new(format!("{:?} is not any, all or only", BStr::new(word)))
                .with_help("write --chunk-types any DATA,INIT")
        })?;
    let list = match value.word(1) {
        list if list.eq_ignore_ascii_case(b"ALL") => ChunkList::Everything,
        list if list.eq_ignore_ascii_case(b"NONE") => ChunkList::Types(BTreeMap::new()),
        list => ChunkList::Types(types(list)?),
    };
    Ok(Chunks { relation, list })
}

/// `NAME[:flags]` between commas; empty ones are skipped, as `strtok` does.
fn types(list: &[u8]) -> Result<BTreeMap<u8, ChunkFlags>, Problem> {
    let mut types: BTreeMap<u8, ChunkFlags> = BTreeMap::new();
    for item in list.split_str(",").filter(|item| !item.is_empty()) {
        let (name, flags) = match item.split_once_str(":") {
            Some((name, flags)) => (name, flags),
            None => (item, &b""[..]),
        };
        let (name, kind, letters) = NAMES
            .iter()
            .find(|row| row.0.as_bytes().eq_ignore_ascii_case(name))
            .ok_or_else(|| unknown_chunk(name))?;
        let test = types.entry(*kind).or_default();
        for &letter in flags {
            test.add(letter, letters).ok_or_else(|| {
                Problem::new(format!("{:?} is no flag of {name}", BStr::new(&[letter]))).with_help(
                    "DATA and I_DATA have I, U, B and E; ABORT and SHUTDOWN_COMPLETE have T",
                )
            })?;
        }
    }
    if types.values().filter(|flags| flags.mask != 0).count() > FLAGGED_LIMIT {
        return Err(Problem::new("too many chunk types with flags")
            .with_help(format!("one match takes {FLAGGED_LIMIT}: use several")));
    }
    for (kind, flags) in &mut types {
        if !TYPES_WITH_FLAGS.contains(kind) {
            *flags = ChunkFlags::default();
        }
    }
    Ok(types)
}

fn unknown_chunk(name: &[u8]) -> Problem {
    let problem = Problem::new(format!("{:?} is no SCTP chunk", BStr::new(name)));
    match closest(name, NAMES.iter().map(|row| row.0)) {
        Some(close) => problem.with_help(format!("did you mean {close}?")),
        None => {
            problem.with_help("write names such as DATA,INIT_ACK,ABORT:T, or ALL or NONE alone")
        }
    }
}
