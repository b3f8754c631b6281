//! Options behind `create` and `add`: which are given, each once, with its value.

use bstr::ByteSlice;

use super::kind::{CreateOption, SetType};
use crate::diagnostic::{Diagnostic, code};
use crate::names;
use crate::span::Span;
use crate::words::Word;

/// An option of `add`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddOption {
    Timeout,
    NoMatch,
    Wildcard,
    Packets,
    Bytes,
    Comment,
    SkbMark,
    SkbPriority,
    SkbQueue,
    Before,
    After,
}

impl AddOption {
    /// What every type of set has.
    const COMMON: [AddOption; 7] = [
        AddOption::Timeout,
        AddOption::Packets,
        AddOption::Bytes,
        AddOption::Comment,
        AddOption::SkbMark,
        AddOption::SkbPriority,
        AddOption::SkbQueue,
    ];

    /// The options of `add` for a type of set.
    pub fn of(kind: SetType) -> Vec<AddOption> {
        let mut options = AddOption::COMMON.to_vec();
        if kind.has_nomatch() {
            options.push(AddOption::NoMatch);
        }
        if kind == SetType::HashNetIface {
            options.push(AddOption::Wildcard);
        }
        if kind == SetType::ListSet {
            options.extend([AddOption::Before, AddOption::After]);
        }
        options
    }

    fn name(self) -> &'static str {
        match self {
            AddOption::Timeout => "timeout",
            AddOption::NoMatch => "nomatch",
            AddOption::Wildcard => "wildcard",
            AddOption::Packets => "packets",
            AddOption::Bytes => "bytes",
            AddOption::Comment => "comment",
            AddOption::SkbMark => "skbmark",
            AddOption::SkbPriority => "skbprio",
            AddOption::SkbQueue => "skbqueue",
            AddOption::Before => "before",
            AddOption::After => "after",
        }
    }
}

/// A word that may stand where options stand.
#[derive(Clone, Copy)]
pub(super) struct Keyword<O> {
    pub option: O,
    name: &'static str,
    takes_value: bool,
}

/// The words for some options of `create`.
pub(super) fn create_keywords(options: &[CreateOption]) -> Vec<Keyword<CreateOption>> {
    let words = options.iter().flat_map(|&option| {
        option.names().iter().map(move |&name| Keyword {
            option,
            name,
            takes_value: !name.starts_with('-')
                && !matches!(
                    option,
                    CreateOption::Counters
                        | CreateOption::Comment
                        | CreateOption::ForceAdd
                        | CreateOption::SkbInfo
                ),
        })
    });
    words.collect()
}

/// The words for some options of `add`.
pub(super) fn add_keywords(options: &[AddOption]) -> Vec<Keyword<AddOption>> {
    let words = options.iter().map(|&option| Keyword {
        option,
        name: option.name(),
        takes_value: !matches!(option, AddOption::NoMatch | AddOption::Wildcard),
    });
    words.collect()
}

/// An option as a line gives it.
pub(super) struct Given<'a, O> {
    pub option: O,
    pub name: &'static str,
    /// Its value, or itself if it takes none.
    pub value: &'a Word,
    /// The option with its value.
    pub span: Span,
}

/// Finds the options of a line. Two dashes may stand before each.
pub(super) fn scan<'a, O: Copy>(
    words: &'a [Word],
    keywords: &[Keyword<O>],
    kind: SetType,
) -> Result<Vec<Given<'a, O>>, Diagnostic> {
    let mut given: Vec<Given<'a, O>> = Vec::new();
    let mut rest = words;
    while let Some((word, tail)) = rest.split_first() {
        rest = tail;
        let text = word.as_bytes();
        let text = text.strip_prefix(b"--").unwrap_or(text);
        let keyword = keywords
            .iter()
            .find(|keyword| keyword.name.as_bytes() == text)
            .ok_or_else(|| unknown(word, keywords, kind))?;
        let value = match tail.split_first() {
            _ if !keyword.takes_value => word,
            Some((value, behind)) => {
                rest = behind;
                value
            }
            None => {
                let message = format!("{} needs a value", keyword.name);
                return Err(Diagnostic::error(code::MISSING_OPTION, word.span, message));
            }
        };
        if given.iter().any(|other| other.name == keyword.name) {
            let message = format!("{} is given twice", keyword.name);
            return Err(Diagnostic::error(code::REPEATED_OPTION, word.span, message));
        }
        given.push(Given {
            option: keyword.option,
            name: keyword.name,
            value,
            span: word.span.to(value.span),
        });
    }
    Ok(given)
}

fn unknown<O>(word: &Word, keywords: &[Keyword<O>], kind: SetType) -> Diagnostic {
    let message = format!("{:?} is no option of {kind}", word.show());
    let names = || keywords.iter().map(|keyword| keyword.name);
    let text = word.as_bytes().trim_start_with(|c| c == '-');
    let help = match names::closest(text, names()) {
        Some(name) => format!("did you mean {name}?"),
        None => {
            let names: Vec<&str> = names().filter(|name| !name.starts_with('-')).collect();
            format!("the options are {}", names.join(", "))
        }
    };
    Diagnostic::error(code::UNKNOWN_OPTION, word.span, message).with_help(help)
}
