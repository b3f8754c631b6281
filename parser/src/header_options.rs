//! The options of IPv6 hop-by-hop and destination headers, as `-m hbh` and `-m dst` test them
//! (libip6t_hbh, libip6t_dst, ip6t_hbh.c).

use bstr::{BStr, ByteSlice};
use serde::Serialize;

use crate::extension::Problem;
use crate::listing::{Listing, sign};
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::byte;

/// What is tested of a header. What is absent does not test; the header must be there in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeaderTest {
    /// The header's length in bytes, 8 for the least.
    pub length: Option<Negatable<u32>>,
    /// The options that the header starts with, in this order; at most sixteen.
    pub options: Option<Vec<HeaderOption>>,
}

/// One option of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderOption {
    /// The option's type; 0 is a byte of padding.
    pub kind: u8,
    /// The length of the option's data, 0 to 254 bytes; none for any.
    pub length: Option<u8>,
}

/// `IP6T_OPTS_OPTSNR`
const LIMIT: usize = 16;
/// The length that stands for any.
const ANY: u8 = 255;
const PAD1: u8 = 0;

impl HeaderTest {
    pub(crate) fn print(&self, line: &mut Line, length_option: &str, options_option: &str) {
        if let Some(length) = &self.length {
            line.option(length.negated, length_option);
            line.word(length.value.value);
        }
        if let Some(options) = &self.options {
            let options: Vec<String> = options.iter().map(HeaderOption::save).collect();
            line.word(options_option);
            line.word(options.join(","));
        }
    }
}

impl HeaderTest {
    /// What `-L` shows of it behind the match's name.
    pub(crate) fn list(&self, line: &mut Listing<'_>, name: &str) {
        line.word(name);
        if let Some(length) = &self.length {
            let sign = sign(length.negated);
            line.word(format_args!("length:{sign}{}", length.value.value));
        }
        if let Some(options) = &self.options {
            let options: Vec<String> = options.iter().map(HeaderOption::save).collect();
            line.word(format_args!("opts {}", options.join(",")));
        }
    }
}

impl HeaderOption {
    fn save(&self) -> String {
        match self.length {
            Some(length) => format!("{}:{length}", self.kind),
            None => self.kind.to_string(),
        }
    }
}

/// `type[:length]` between commas.
pub(crate) fn options(word: &[u8]) -> Result<Vec<HeaderOption>, Problem> {
    let items: Vec<&[u8]> = word.split_str(",").collect();
    if items.len() > LIMIT {
        return Err(
            Problem::new(format!("{} options are too many for one rule", items.len()))
                .with_help(format!("write at most {LIMIT}")),
        );
    }
    if items
        .get(LIMIT - 1)
        .is_some_and(|last| last.contains(&b':'))
    {
        let message = format!("option {LIMIT} cannot have a length in iptables");
        return Err(Problem::new(message).with_help("leave its length out"));
    }
    items.into_iter().map(option).collect()
}

fn option(item: &[u8]) -> Result<HeaderOption, Problem> {
    let number = |word: &[u8]| {
        byte(word).ok_or_else(|| {
            Problem::new(format!("{:?} is no number from 0 to 255", BStr::new(word)))
                .with_help("write TYPE or TYPE:LENGTH")
        })
    };
    let (kind, length) = match item.split_once_str(":") {
        Some((kind, length)) => (number(kind)?, Some(number(length)?)),
        None => (number(item)?, None),
    };
    if kind == PAD1 && length.is_some() {
        return Err(Problem::new("option 0 is a single byte and has no length"));
    }
    Ok(HeaderOption {
        kind,
        length: length.filter(|&length| length != ANY),
    })
}
