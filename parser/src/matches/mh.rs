//! `-m mh`: the message type of IPv6 mobility headers (libip6t_mh, ip6t_mh.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::range::{self, Range};
use crate::ruleset::{Family, Negatable};
use crate::value::{byte, is_prefix_of};

/// The `mh` match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mh {
    /// `--mh-type` (RFC 6275, section 6.1.1); every type when it is not given.
    pub types: Negatable<Range<u8>>,
}

/// `IPPROTO_MH`
const PROTOCOL: u8 = 135;
/// The types from 0 on by their long and short names.
const NAMES: [(&str, &str); 8] = [
    ("binding-refresh-request", "brr"),
    ("home-test-init", "hoti"),
    ("careof-test-init", "coti"),
    ("home-test", "hot"),
    ("careof-test", "cot"),
    ("binding-update", "bu"),
    ("binding-acknowledgement", "ba"),
    ("binding-error", "be"),
];

static TYPE: Opt<Range<u8>> = Opt::new(&["mh-type"], types).invertible();

impl Extension for Mh {
    const NAME: &'static str = "mh";
    const FAMILY: Option<Family> = Some(Family::V6);
    const OPTIONS: &'static [&'static OptionSpec] = &[&TYPE.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need_protocol(&[PROTOCOL], "-p mh")?;
        let types = range::read(arguments, &TYPE, Range::EVERYTHING)?;
        Ok(Self { types })
    }

    fn print(&self, line: &mut Line) {
        range::print(line, "--mh-type", &self.types);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("mh");
        let Range { low, high } = self.types.value.value;
        let sign = sign(self.types.negated);
        if self.types.value.value.is_everything() && sign.is_empty() {
            return;
        }
        let numeric = line.style.numeric;
        let name = |number: u8| match type_name(number).filter(|_| !numeric) {
            Some(name) => name.to_owned(),
            None => number.to_string(),
        };
        match low == high {
            true => line.word(format_args!("{sign}{}", name(low))),
            false => line.word(format_args!("{sign}{}:{}", name(low), name(high))),
        }
    }
}

/// The long name of a message type.
fn type_name(number: u8) -> Option<&'static str> {
    NAMES.get(usize::from(number)).map(|row| row.0)
}

/// `type[:type]`, either end left out; an empty word is type 0.
fn types(value: &Value<'_>) -> Result<Range<u8>, Problem> {
    let end = |word: &[u8], open: u8| match word {
        b"" => Ok(open),
        word => message_type(word),
    };
    let range = match value.word(0).split_once_str(":") {
        Some((low, high)) => Range {
            low: end(low, u8::MIN)?,
            high: end(high, u8::MAX)?,
        },
        None => end(value.word(0), 0).map(Range::of)?,
    };
    if range.low > range.high {
        return Err(Problem::new(format!("the range {range} runs backwards")));
    }
    Ok(range)
}

/// A number, or the name that the word is or else the first that it begins, in either case.
fn message_type(word: &[u8]) -> Result<u8, Problem> {
    let is_name = |row: &(&str, &str)| {
        [row.0, row.1]
            .iter()
            .any(|name| name.as_bytes().eq_ignore_ascii_case(word))
    };
    let is_part = |row: &(&str, &str)| is_prefix_of(word, row.0) || is_prefix_of(word, row.1);
    let named = || {
        let index = NAMES.iter().position(is_name);
        index.or_else(|| NAMES.iter().position(is_part))
    };
    byte(word)
        .or_else(|| u8::try_from(named()?).ok())
        .ok_or_else(|| {
            Problem::new(format!(
                "{:?} is no type of mobility message",
                BStr::new(word)
            ))
            .with_help("write a number from 0 to 255 or a name such as binding-update")
        })
}
