//! `-j CLASSIFY`: the packet's priority, which queueing disciplines take for a class; the packet goes
//! on (libxt_CLASSIFY, xt_CLASSIFY.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem, Value};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::NfHook;

/// The `CLASSIFY` target. The priority is `major << 16 | minor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Classify {
    /// The number before the colon of `--set-class`.
    pub major: u16,
    /// The number behind it.
    pub minor: u16,
}

static SET_CLASS: Opt<Classify> = Opt::new(&["set-class"], class);

impl Extension for Classify {
    const NAME: &'static str = "CLASSIFY";
    const OPTIONS: &'static [&'static OptionSpec] = &[&SET_CLASS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(arguments.need(&SET_CLASS)?.value.value)
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Forward, NfHook::Output, NfHook::Postrouting]
    }

    fn print(&self, line: &mut Line) {
        line.word("--set-class");
        line.word(format!("{:04x}:{:04x}", self.major, self.minor));
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!(
            "CLASSIFY set {:x}:{:x}",
            self.major, self.minor
        ));
    }
}

fn class(value: &Value<'_>) -> Result<Classify, Problem> {
    let word = value.word(0);
    let pair = || {
        let (major, rest) = hexadecimal(word)?;
        let (minor, _) = hexadecimal(rest.strip_prefix(b":")?)?;
        Some(Classify { major, minor })
    };
    pair().ok_or_else(|| {
        Problem::new(format!("{:?} is no class", BStr::new(word)))
            .with_help("write two hexadecimal numbers, as in 1:10")
    })
}

/// The low 16 bits of a number as `sscanf` with `%x` reads it, and what stands behind it.
fn hexadecimal(word: &[u8]) -> Option<(u16, &[u8])> {
    let word = word.trim_start();
    let (is_negative, word) = match word {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, word),
    };
    let (has_prefix, word) = match word {
        [b'0', b'x' | b'X', rest @ ..] => (true, rest),
        _ => (false, word),
    };
    let count = word
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, rest) = word.split_at(count);
    if digits.is_empty() && !has_prefix {
        return None;
    }
    let low = digits.get(count.saturating_sub(4)..)?.to_str().ok()?;
    let value = if low.is_empty() {
        0
    } else {
        u16::from_str_radix(low, 16).ok()?
    };
    let value = if is_negative {
        value.wrapping_neg()
    } else {
        value
    };
    Some((value, rest))
}
