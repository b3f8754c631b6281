//! An extension of a rule while its options are gathered.

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Given, OptionSpec, Spec, Surroundings};
use crate::span::Span;
use crate::unknown::{Argument, Unknown};
use crate::words::Word;

/// An extension whose options are still coming.
pub(super) struct Draft<E: 'static> {
    pub kind: Kind<E>,
    pub span: Span,
    pub given: Vec<Given>,
    /// Every word, for an extension that is kept as it is.
    pub raw: Vec<Word>,
}

pub(super) enum Kind<E: 'static> {
    Typed(&'static Spec<E>),
    Untyped(&'static str),
}

impl<E> Draft<E> {
    pub(super) fn new(kind: Kind<E>, span: Span) -> Self {
        Self {
            kind,
            span,
            given: Vec::new(),
            raw: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Typed(spec) => spec.name,
            Kind::Untyped(name) => name,
        }
    }

    pub(super) fn options(&self) -> &'static [&'static OptionSpec] {
        match self.kind {
            Kind::Typed(spec) => spec.options,
            Kind::Untyped(_) => &[],
        }
    }

    /// The extension's value, or `None` for one that is kept as it is.
    pub(super) fn build(
        &self,
        rule: Surroundings<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Built<E>> {
        let spec = match self.kind {
            Kind::Untyped(_) => {
                return Some(Built::Unknown(Unknown {
                    name: self.name().to_owned(),
                    words: self.raw.iter().map(argument).collect(),
                }));
            }
            Kind::Typed(spec) => spec,
        };
        let mut arguments = Arguments {
            given: &self.given,
            rule,
            span: self.span,
            warnings: Vec::new(),
        };
        let built = (spec.build)(&mut arguments);
        diagnostics.append(&mut arguments.warnings);
        match built {
            Ok(extension) => Some(Built::Typed(extension)),
            Err(diagnostic) => {
                diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// The name and all options.
    pub(super) fn whole_span(&self) -> Span {
        self.raw
            .iter()
            .fold(self.span, |span, word| span.to(word.span))
    }
}

fn argument(word: &Word) -> Argument {
    Argument {
        text: word.text.clone(),
        quoted: word.quoted,
    }
}

pub(super) enum Built<E> {
    Typed(E),
    Unknown(Unknown),
}
