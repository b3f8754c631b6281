//! A rule line cut into words, with the quoting of iptables-restore (xshared.c,
//! `add_param_to_argv`): blanks separate, double quotes keep blanks, a backslash inside the quotes
//! takes the next byte as it is, and a closing quote ends the word. Single quotes are plain bytes.

use bstr::{BStr, ByteSlice};
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::combinator::opt;
use nom::multi::fold_many0;
use nom::number::complete::u8 as any_byte;
use nom::sequence::preceded;
use nom::{IResult, Parser};
use smallvec::SmallVec;

use crate::diagnostic::{Diagnostic, code};
use crate::span::{SourceId, Span};

/// The bytes of a word. Nearly all words are short, and a text has millions of them.
pub(crate) type Text = SmallVec<[u8; 24]>;

/// One word with its quotes removed.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    pub text: Text,
    pub span: Span,
    /// Whether any of it stood in quotes.
    pub quoted: bool,
}

impl Word {
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_slice()
    }

    /// For messages.
    pub fn show(&self) -> &BStr {
        self.text.as_bstr()
    }
}

/// A word's buffer in iptables-restore is 1024 bytes with its NUL.
const WORD_LIMIT: usize = 1023;
/// `MAX_ARGC` is 255; the program, `-t` and the table take three and the end one.
const WORDS_LIMIT: usize = 251;

/// Cuts a line, which starts at `offset` of its source, into words.
pub(crate) fn split(line: &[u8], source: SourceId, offset: u32) -> Result<Vec<Word>, Diagnostic> {
    let at = |rest: &[u8]| offset + (line.len() - rest.len()) as u32;
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_with(|c| matches!(c, ' ' | '\t' | '\n'));
        let start = at(rest);
        let Ok((tail, (text, quoted))) = word(rest) else {
            return Ok(words);
        };
        let span = Span {
            source,
            start,
            end: at(tail),
        };
        rest = tail;
        if text.len() > WORD_LIMIT {
            let message = format!("a word of {} bytes is too long", text.len());
            return Err(Diagnostic::error(code::TOO_LONG, span, message)
                .with_help(format!("iptables-restore takes words of up to {WORD_LIMIT} bytes; use several rules or an ipset")));
        }
        if words.len() == WORDS_LIMIT {
            return Err(
                Diagnostic::error(code::TOO_LONG, span, "too many words in one line").with_help(
                    format!("iptables-restore takes up to {WORDS_LIMIT} words a line"),
                ),
            );
        }
        words.push(Word { text, span, quoted });
    }
}

/// Unquoted bytes, then an optional quoted part that ends the word.
fn word(input: &[u8]) -> IResult<&[u8], (Text, bool)> {
    let plain = take_while1(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'"'));
    let (rest, head) = opt(plain).parse(input)?;
    let (rest, tail) = match head {
        Some(_) => opt(quoted).parse(rest)?,
        None => quoted.map(Some).parse(rest)?,
    };
    let mut text = Text::from_slice(head.unwrap_or_default());
    let is_quoted = tail.is_some();
    text.extend_from_slice(&tail.unwrap_or_default());
    Ok((rest, (text, is_quoted)))
}

/// The quotes and what they hold; the end of the line closes them too.
fn quoted(input: &[u8]) -> IResult<&[u8], Vec<u8>> {
    let run = take_while1(|byte| byte != b'"' && byte != b'\\').map(Vec::from);
    let escape = preceded(tag(&b"\\"[..]), opt(any_byte)).map(|byte| byte.into_iter().collect());
    let body = fold_many0(alt((run, escape)), Vec::new, |mut text, piece: Vec<u8>| {
        text.extend(piece);
        text
    });
    let (rest, text) = preceded(tag(&b"\""[..]), body).parse(input)?;
    let (rest, _) = opt(tag(&b"\""[..])).parse(rest)?;
    Ok((rest, text))
}

/// The fields of a `:chain` or `*table` line: `strtok` on blanks, no quoting.
pub(crate) fn fields(line: &[u8], source: SourceId, offset: u32) -> Vec<Word> {
    let blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n');
    let mut words = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let skipped: IResult<&[u8], &[u8]> = take_while(blank)(rest);
        let (text, _) = skipped.unwrap_or((rest, b""));
        let taken: IResult<&[u8], &[u8]> = take_while(|byte| !blank(byte))(text);
        let (tail, field) = taken.unwrap_or((b"", text));
        if !field.is_empty() {
            let end = offset + (line.len() - tail.len()) as u32;
            words.push(Word {
                text: field.into(),
                span: Span {
                    source,
                    start: end - field.len() as u32,
                    end,
                },
                quoted: false,
            });
        }
        rest = tail;
    }
    words
}
