//! An extension of a rule while its options are gathered.

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Given, Spec, Surroundings};
use crate::lossy;
use crate::print::Line;
use crate::ruleset::TableKind;
use crate::span::{Span, Spanned};
use crate::words::Word;

/// An extension whose options are still coming.
pub(super) struct Draft<E: 'static> {
    pub spec: &'static Spec<E>,
    /// Its name in the text.
    pub span: Span,
    pub given: Vec<Given>,
}

impl<E> Draft<E> {
    pub(super) fn new(spec: &'static Spec<E>, span: Span) -> Self {
        Self {
            spec,
            span,
            given: Vec::new(),
        }
    }

    /// The extension at the place of its name and options.
    pub(super) fn build(
        &self,
        rule: Surroundings<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Spanned<E>> {
        if !self.spec.tables.contains(&rule.table) {
            diagnostics.push(self.in_wrong_table(rule.table));
            return None;
        }
        let mut arguments = Arguments {
            given: &self.given,
            rule,
            span: self.span,
            name: self.spec.name,
            warnings: Vec::new(),
        };
        let built = (self.spec.build)(&mut arguments);
        diagnostics.append(&mut arguments.warnings);
        match built {
            Ok(value) => {
                diagnostics.extend(self.lossy_option(&value).map(lossy::warning));
                Some(Spanned {
                    value,
                    span: self.whole_span(),
                })
            }
            Err(diagnostic) => {
                diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// The option that iptables-save prints so that it reads as something else.
    fn lossy_option(&self, value: &E) -> Option<Span> {
        let is_odd = |word: &Word| !lossy::needs_no_quotes(word.as_bytes());
        let mut given = self.given.iter();
        let odd = given.find(|given| given.words.iter().any(is_odd))?;
        let mut line = Line::default();
        (self.spec.print)(value, &mut line);
        line.is_lossy().then_some(odd.span)
    }

    fn in_wrong_table(&self, table: TableKind) -> Diagnostic {
        let message = format!("{} cannot stand in the {table} table", self.spec.name);
        let right: Vec<String> = self.spec.tables.iter().map(TableKind::to_string).collect();
        Diagnostic::error(code::MISPLACED, self.span, message)
            .with_help(format!("move the rule to the {} table", right.join(" or ")))
            .refusal("Invalid argument. Run `dmesg' for more information.")
    }

    fn whole_span(&self) -> Span {
        let options = self.given.iter();
        options.fold(self.span, |span, given| span.to(given.span))
    }
}
