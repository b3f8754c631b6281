//! `-m string`: bytes anywhere in the packet (libxt_string, xt_string.c).

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value, switch};
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::integer;

/// The `string` match. The search starts at the IP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StringMatch {
    /// `--string` or `--hex-string`, 1 to 128 bytes.
    pub pattern: Negatable<BString>,
    /// `--algo`
    pub algorithm: Algorithm,
    /// `--from`: the first byte looked at, counted from the IP header.
    pub from: u16,
    /// `--to`: where the pattern must have ended.
    pub to: u16,
    /// `--icase`: ASCII letters in either case.
    pub ignore_case: bool,
}

/// How the kernel searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Algorithm {
    /// `bm`, Boyer-Moore: misses a pattern across two pieces of a packet that is not linear.
    #[serde(rename = "bm")]
    BoyerMoore,
    /// `kmp`, Knuth-Pratt-Morris
    #[serde(rename = "kmp")]
    KnuthPrattMorris,
}

/// `XT_STRING_MAX_PATTERN_SIZE`
const PATTERN_LIMIT: usize = 128;

static STRING: Opt<BString> =
    Opt::new(&["string"], |value| checked(value.word(0).to_vec())).invertible();
static HEX_STRING: Opt<BString> = Opt::new(&["hex-string"], |value| {
    hex(value.word(0)).and_then(checked)
})
.invertible();
static ALGORITHM: Opt<Algorithm> = Opt::new(&["algo"], algorithm);
static FROM: Opt<u16> = Opt::new(&["from"], offset);
static TO: Opt<u16> = Opt::new(&["to"], offset);
static IGNORE_CASE: Opt<()> = switch(&["icase"]);

impl Extension for StringMatch {
    const NAME: &'static str = "string";
    const OPTIONS: &'static [&'static OptionSpec] = &[
        &FROM.spec,
        &TO.spec,
        &ALGORITHM.spec,
        &STRING.spec,
        &HEX_STRING.spec,
        &IGNORE_CASE.spec,
    ];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.at_most_one(&[&STRING.spec, &HEX_STRING.spec])?;
        let given = arguments.get(&STRING)?;
        let pattern = given.map_or_else(|| arguments.get(&HEX_STRING), |given| Ok(Some(given)))?;
        let Some(pattern) = pattern else {
            return Err(Diagnostic::error(
                code::MISSING_OPTION,
                arguments.span,
                "there is nothing to search for",
            )
            .usage("STRING match: You must specify `--string' or `--hex-string'")
            .with_help("add --string or --hex-string"));
        };
        let algorithm = arguments.need(&ALGORITHM)?.value.value;
        let from = arguments.get(&FROM)?.map_or(0, |given| given.value.value);
        let to = arguments
            .get(&TO)?
            .map_or(u16::MAX, |given| given.value.value);
        if from > to {
            let message = format!("the search would end at {to}, before it starts at {from}");
            return Err(Diagnostic::error(code::BAD_VALUE, arguments.span, message));
        }
        Ok(Self {
            pattern,
            algorithm,
            from,
            to,
            ignore_case: arguments.has(&IGNORE_CASE),
        })
    }

    fn print(&self, line: &mut Line) {
        let pattern = &self.pattern.value.value;
        let option = match is_printable(pattern) {
            true => "--string",
            false => "--hex-string",
        };
        line.option(self.pattern.negated, option);
        line.word(quoted(pattern));
        line.word("--algo");
        line.word(match self.algorithm {
            Algorithm::BoyerMoore => "bm",
            Algorithm::KnuthPrattMorris => "kmp",
        });
        if self.from != 0 {
            line.word("--from");
            line.word(self.from);
        }
        if self.to != u16::MAX {
            line.word("--to");
            line.word(self.to);
        }
        if self.ignore_case {
            line.word("--icase");
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        let pattern = &self.pattern.value.value;
        line.word(format_args!("STRING match {} ", sign(self.pattern.negated)));
        line.put(quoted(pattern));
        let algorithm = match self.algorithm {
            Algorithm::BoyerMoore => "bm",
            Algorithm::KnuthPrattMorris => "kmp",
        };
        line.word(format_args!("ALGO name {algorithm}"));
        if self.from != 0 {
            line.word(format_args!("FROM {}", self.from));
        }
        if self.to != u16::MAX {
            line.word(format_args!("TO {}", self.to));
        }
        if self.ignore_case {
            line.word("ICASE");
        }
    }
}

/// Whether save prints the bytes as they are (libxt_string, `is_hex_string`).
/// The pattern in quotes, in hexadecimal digits where it is not printable.
fn quoted(pattern: &[u8]) -> String {
    if is_printable(pattern) {
        let escaped = pattern.replace("\\", "\\\\").replace("\"", "\\\"");
        format!("\"{}\"", escaped.as_bstr())
    } else {
        let digits: String = pattern.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("\"|{digits}|\"")
    }
}

fn is_printable(pattern: &[u8]) -> bool {
    pattern.iter().all(|byte| (b' '..=b'~').contains(byte)) && !pattern.ends_with(b"\\")
}

fn checked(pattern: Vec<u8>) -> Result<BString, Problem> {
    match pattern.len() {
        0 => Err(Problem::new("the string is empty")),
        length if length > PATTERN_LIMIT => Err(Problem::new(format!(
            "a string of {length} bytes is too long"
        ))
        .with_help(format!(
            "the kernel searches for up to {PATTERN_LIMIT} bytes"
        ))),
        _ => Ok(pattern.into()),
    }
}

/// Text with pairs of hexadecimal digits between bars, one blank at most behind each, and with `\`
/// before a byte to be taken as it is. The byte behind a bar has no such meaning: a bar or `\` there
/// is a digit, which it cannot be, or itself (libxt_string, `parse_hex_string`).
fn hex(word: &[u8]) -> Result<Vec<u8>, Problem> {
    let mut pattern = Vec::new();
    let mut in_hex = false;
    let mut rest = word;
    while let [first, behind @ ..] = rest {
        match first {
            b'\\' if in_hex => {
                return Err(Problem::new("a \\ cannot stand among hexadecimal digits"));
            }
            b'\\' => {
                let [literal, behind @ ..] = behind else {
                    return Err(Problem::new("nothing follows the last \\"));
                };
                pattern.push(*literal);
                rest = behind;
                continue;
            }
            b'|' => {
                in_hex = !in_hex;
                rest = match in_hex {
                    true => behind.trim_start_with(|c| c == ' '),
                    false => behind,
                };
            }
            _ => {}
        }
        if in_hex && !rest.is_empty() {
            let (byte, behind) = pair(rest)?;
            pattern.push(byte);
            rest = behind.strip_prefix(b" ").unwrap_or(behind);
        } else if let [plain, behind @ ..] = rest {
            pattern.push(*plain);
            rest = behind;
        }
    }
    Ok(pattern)
}

/// Two digits, behind which the block goes on.
fn pair(digits: &[u8]) -> Result<(u8, &[u8]), Problem> {
    let bad = |message: String| {
        Problem::new(message).with_help("write pairs of hexadecimal digits between bars: |0d 0a|")
    };
    let digit = |byte: u8| {
        let value = char::from(byte).to_digit(16);
        value
            .and_then(|value| u8::try_from(value).ok())
            .ok_or_else(|| bad(format!("{:?} is no hexadecimal digit", BStr::new(&[byte]))))
    };
    match digits {
        [high, low, behind @ ..] if !behind.is_empty() => {
            Ok((digit(*high)? << 4 | digit(*low)?, behind))
        }
        _ => Err(bad("the block of hexadecimal digits has no end".to_owned())),
    }
}

fn algorithm(value: &Value<'_>) -> Result<Algorithm, Problem> {
    match value.word(0) {
        b"bm" => Ok(Algorithm::BoyerMoore),
        b"kmp" => Ok(Algorithm::KnuthPrattMorris),
        other => Err(
            Problem::new(format!("{:?} is no search algorithm", BStr::new(other)))
                .with_help("the algorithms are bm and kmp"),
        ),
    }
}

fn offset(value: &Value<'_>) -> Result<u16, Problem> {
    integer(value.word(0), u16::MAX.into())
        .and_then(|offset| u16::try_from(offset).ok())
        .ok_or_else(|| Problem::new("an offset is a number from 0 to 65535"))
}
