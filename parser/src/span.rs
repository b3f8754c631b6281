//! Where a piece of a ruleset stands in the text it was read from.

use std::sync::OnceLock;

use bstr::ByteSlice;
use serde::Serialize;

/// Names one text among those of a run; [`Sources`] hands them out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SourceId(pub u16);

/// A half-open range of byte offsets in one source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Span {
    /// The text the offsets count in.
    pub source: SourceId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    /// The smallest span with both in it; both are of one source.
    pub fn to(self, other: Span) -> Span {
        Span {
            source: self.source,
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// One input text with the name that messages call it by.
#[derive(Clone, Debug)]
pub struct Source {
    /// A file name, or `<stdin>`.
    pub name: String,
    /// The text; iptables accepts any bytes in comments, so no encoding is promised.
    pub text: Vec<u8>,
}

/// All texts of a run, so that a [`Span`] can be shown as file, line and caret.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    texts: Vec<Source>,
    /// For each text the offsets behind its newlines, in order, once a message asks for a line.
    line_starts: Vec<OnceLock<Vec<usize>>>,
}

impl Sources {
    /// Keeps a text and names it.
    ///
    /// # Panics
    /// When more than 65,536 texts are added.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Vec<u8>>) -> SourceId {
        let id = SourceId(u16::try_from(self.texts.len()).expect("at most 65,536 sources"));
        self.line_starts.push(OnceLock::new());
        self.texts.push(Source {
            name: name.into(),
            text: text.into(),
        });
        id
    }

    /// The text behind an id.
    pub fn get(&self, id: SourceId) -> &Source {
        &self.texts[usize::from(id.0)]
    }

    /// The bytes a span covers, and 1-based line number of its start.
    pub fn slice(&self, span: Span) -> (&[u8], usize) {
        let text = &self.get(span.source).text;
        let start = (span.start as usize).min(text.len());
        let end = (span.end as usize).clamp(start, text.len());
        let starts = self.line_starts[usize::from(span.source.0)]
            .get_or_init(|| text.find_iter(b"\n").map(|at| at + 1).collect());
        let line = 1 + starts.partition_point(|&line_start| line_start <= start);
        (&text[start..end], line)
    }
}

/// A value with the place it was read from.
#[derive(Clone, Debug, Serialize)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Another value at the same place.
    pub fn map<U>(self, function: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: function(self.value),
            span: self.span,
        }
    }
}

/// Two values are equal whatever place they were written at.
impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}
impl<T: Eq> Eq for Spanned<T> {}
