//! A line of a save file cut into words, with the quoting of `ipset restore` (lib/ipset.c,
//! `build_argv`): blanks separate, double quotes keep blanks wherever they stand, and nothing escapes
//! a quote. A word without a byte is no word.

use bstr::ByteSlice;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_while1};
use nom::multi::fold_many1;
use nom::sequence::delimited;
use nom::{IResult, Parser};

use crate::diagnostic::{Diagnostic, code};
use crate::span::{SourceId, Span};
use crate::words::{Text, Word};

/// `MAX_ARGS` is 32; the program takes one and the end one.
const WORDS_LIMIT: usize = 30;

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Cuts a line, which starts at `offset` of its source, into words.
pub(super) fn split(line: &[u8], source: SourceId, offset: u32) -> Result<Vec<Word>, Diagnostic> {
    let at = |rest: &[u8]| offset + (line.len() - rest.len()) as u32;
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_with(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
        let mut span = Span {
            source,
            start: at(rest),
            end: at(rest),
        };
        if rest.is_empty() {
            return Ok(words);
        }
        let Ok((tail, (text, quoted))) = word(rest) else {
            span.end += rest.trim_end().len() as u32;
            return Err(
                Diagnostic::error(code::BAD_ARGUMENT, span, "a quote is not closed")
                    .with_help("close it in the same line; nothing can stand for a quote itself"),
            );
        };
        span.end = at(tail);
        rest = tail;
        if words.len() == WORDS_LIMIT {
            let message = "too many words in one line";
            let help = format!("ipset restore takes up to {WORDS_LIMIT} words a line");
            return Err(Diagnostic::error(code::TOO_LONG, span, message).with_help(help));
        }
        if !text.is_empty() {
            words.push(Word { text, span, quoted });
        }
    }
}

/// Plain and quoted pieces up to a blank, and whether there are quoted ones. Fails at a quote that is
/// not closed.
fn word(input: &[u8]) -> IResult<&[u8], (Text, bool)> {
    let plain = take_while1(|byte| !is_blank(byte) && byte != b'"').map(|piece| (piece, false));
    let quote = || tag(&b"\""[..]);
    let quoted = delimited(quote(), take_till(|byte| byte == b'"'), quote());
    let mut pieces = fold_many1(
        alt((plain, quoted.map(|piece| (piece, true)))),
        || (Text::new(), false),
        |(mut text, any), (piece, quoted): (&[u8], bool)| {
            text.extend_from_slice(piece);
            (text, any || quoted)
        },
    );
    let (rest, found) = pieces.parse(input)?;
    match rest.first() {
        Some(b'"') => Err(nom::Err::Error(nom::error::Error::new(
            rest,
            nom::error::ErrorKind::Tag,
        ))),
        _ => Ok((rest, found)),
    }
}
