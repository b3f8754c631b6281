//! `-m set`: an ipset (libxt_set, xt_set.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use super::Comparison;
use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::integer;

/// The `set` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Set {
    /// `--match-set`
    pub lookup: Negatable<Lookup>,
    /// `--return-nomatch`: an element with `nomatch` counts as found, and the others do not.
    pub return_nomatch: bool,
    /// Whether a hit counts on its element; `! --update-counters` says no.
    pub update_counters: bool,
    /// Whether a hit in a set of sets counts in the set that holds it; `! --update-subcounters` says
    /// no.
    pub update_subcounters: bool,
    /// `--packets-eq`, `--packets-lt`, `--packets-gt`: the element's packet counter.
    pub packets: Option<Comparison<u64>>,
    /// `--bytes-eq`, `--bytes-lt`, `--bytes-gt`: the element's byte counter.
    pub bytes: Option<Comparison<u64>>,
}

/// A set, and how to make an element of it from a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lookup {
    /// The set's name, 1 to 31 bytes. Whether there is such a set only the running system knows.
    pub name: String,
    /// The side of the packet that each part of the element is taken from, 1 to 6 parts.
    pub sides: Vec<Side>,
}

/// A side of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `src`
    Source,
    /// `dst`
    Destination,
}

/// `IPSET_MAXNAMELEN` less the NUL.
const NAME_LIMIT: usize = 31;
/// `IPSET_DIM_MAX`
const SIDES_LIMIT: usize = 6;

static MATCH_SET: Opt<Lookup> = Opt::new(&["match-set", "set"], |value| {
    lookup(value.word(0), value.word(1))
})
.with_arity(2)
.invertible();
static RETURN_NOMATCH: Opt<()> = switch(&["return-nomatch"]);
static UPDATE_COUNTERS: Opt<()> = switch(&["update-counters"]).invertible();
static UPDATE_SUBCOUNTERS: Opt<()> = switch(&["update-subcounters"]).invertible();
static PACKETS: CounterOptions = CounterOptions {
    equal: Opt::new(&["packets-eq"], counter).invertible(),
    less: Opt::new(&["packets-lt"], counter),
    greater: Opt::new(&["packets-gt"], counter),
};
static BYTES: CounterOptions = CounterOptions {
    equal: Opt::new(&["bytes-eq"], counter).invertible(),
    less: Opt::new(&["bytes-lt"], counter),
    greater: Opt::new(&["bytes-gt"], counter),
};

/// The three options of one counter, of which a rule has at most one.
struct CounterOptions {
    equal: Opt<u64>,
    less: Opt<u64>,
    greater: Opt<u64>,
}

impl Extension for Set {
    const NAME: &'static str = "set";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &MATCH_SET.spec,
        &RETURN_NOMATCH.spec,
        &UPDATE_COUNTERS.spec,
        &UPDATE_SUBCOUNTERS.spec,
        &PACKETS.equal.spec,
        &PACKETS.less.spec,
        &PACKETS.greater.spec,
        &BYTES.equal.spec,
        &BYTES.less.spec,
        &BYTES.greater.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let lookup = arguments.need(&MATCH_SET)?;
        let is_off = |switch: Option<Negatable<()>>| switch.is_some_and(|given| given.negated);
        Ok(Self {
            lookup,
            return_nomatch: arguments.has(&RETURN_NOMATCH),
            update_counters: !is_off(arguments.get(&UPDATE_COUNTERS)?),
            update_subcounters: !is_off(arguments.get(&UPDATE_SUBCOUNTERS)?),
            packets: PACKETS.read(arguments)?,
            bytes: BYTES.read(arguments)?,
        })
    }

    fn print(&self, line: &mut Line) {
        line.option(self.lookup.negated, "--match-set");
        self.lookup.value.value.print(line);
        self.print_rest(line);
    }

    fn list(&self, line: &mut Listing<'_>) {
        if self.lookup.negated {
            line.put(" !");
        }
        line.put(" match-set");
        line.saved(|line| self.lookup.value.value.print(line));
        line.undashed(|line| self.print_rest(line));
    }
}

impl Set {
    /// What stands behind the set.
    fn print_rest(&self, line: &mut Line) {
        if self.return_nomatch {
            line.word("--return-nomatch");
        }
        if !self.update_counters {
            line.option(true, "--update-counters");
        }
        if !self.update_subcounters {
            line.option(true, "--update-subcounters");
        }
        for (test, options) in [(self.packets, &PACKETS), (self.bytes, &BYTES)] {
            if let Some(test) = test {
                options.print(test, line);
            }
        }
    }
}

impl CounterOptions {
    fn read(
        &'static self,
        arguments: &Arguments<'_>,
    ) -> Result<Option<Comparison<u64>>, Diagnostic> {
        arguments.at_most_one(&[&self.equal.spec, &self.less.spec, &self.greater.spec])?;
        if let Some(given) = arguments.get(&self.equal)? {
            let count = given.value.value;
            return Ok(Some(match given.negated {
                false => Comparison::Equal(count),
                true => Comparison::Unequal(count),
            }));
        }
        if let Some(given) = arguments.get(&self.less)? {
            return Ok(Some(Comparison::Less(given.value.value)));
        }
        let greater = arguments.get(&self.greater)?;
        Ok(greater.map(|given| Comparison::Greater(given.value.value)))
    }

    fn print(&self, test: Comparison<u64>, line: &mut Line) {
        let (negated, option, count) = match test {
            Comparison::Equal(count) => (false, &self.equal, count),
            Comparison::Unequal(count) => (true, &self.equal, count),
            Comparison::Less(count) => (false, &self.less, count),
            Comparison::Greater(count) => (false, &self.greater, count),
        };
        line.option(negated, &format!("--{}", option.spec.name()));
        line.word(count);
    }
}

impl Lookup {
    /// The set and its sides. The tool prints the name as it is.
    pub(crate) fn print(&self, line: &mut Line) {
        line.raw(self.name.as_bytes());
        let sides: Vec<&str> = self
            .sides
            .iter()
            .map(|side| match side {
                Side::Source => "src",
                Side::Destination => "dst",
            })
            .collect();
        line.word(sides.join(","));
    }
}

/// A set's name and sides between commas.
pub(crate) fn lookup(name: &[u8], sides: &[u8]) -> Result<Lookup, Problem> {
    let name = name
        .to_str()
        .map_err(|_| Problem::new("a set name is valid UTF-8"))?;
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Err(Problem::new(format!(
            "a set name has 1 to {NAME_LIMIT} bytes"
        )));
    }
    // Like libxt_set, look at the first three letters only.
    let sides: Option<Vec<Side>> = sides
        .split_str(",")
        .map(|side| match side {
            [b's', b'r', b'c', ..] => Some(Side::Source),
            [b'd', b's', b't', ..] => Some(Side::Destination),
            _ => None,
        })
        .collect();
    match sides {
        None => Err(Problem::new("the sides are src and dst")
            .with_help("write one for each part of an element, such as src,dst")),
        Some(sides) if sides.len() > SIDES_LIMIT => {
            Err(Problem::new(format!("{} sides are too many", sides.len()))
                .with_help(format!("an element has up to {SIDES_LIMIT} parts")))
        }
        Some(sides) => Ok(Lookup {
            name: name.to_owned(),
            sides,
        }),
    }
}

fn counter(value: &Value<'_>) -> Result<u64, Problem> {
    let word = value.word(0);
    integer(word, u64::MAX)
        .ok_or_else(|| Problem::new(format!("{:?} is no number of 64 bits", BStr::new(word))))
}
