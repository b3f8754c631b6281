//! Diagnostics as text for people: message, file and line, the words with carets, the way out.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use bstr::ByteSlice;

use crate::diagnostic::{Diagnostic, Severity};
use crate::span::Sources;

/// Whether the text carries terminal colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// No escape sequences.
    Plain,
    /// ANSI colours.
    Coloured,
}

/// All diagnostics in their order, each followed by an empty line. Bytes that are not UTF-8 are
/// replaced.
pub fn render(diagnostics: &[Diagnostic], sources: &Sources, style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled(),
    };
    diagnostics
        .iter()
        .map(|diagnostic| one(diagnostic, sources, &renderer) + "\n\n")
        .collect()
}

fn one(diagnostic: &Diagnostic, sources: &Sources, renderer: &Renderer) -> String {
    let source = sources.get(diagnostic.span.source);
    let excerpt = Excerpt::new(diagnostic, sources);
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let annotation = AnnotationKind::Primary
        .span(excerpt.start..excerpt.end)
        .label(diagnostic.label.as_str());
    let snippet = Snippet::source(excerpt.line)
        .path(source.name.as_str())
        .line_start(excerpt.number)
        .annotation(annotation);
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code)
        .element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// The first line of a span, as UTF-8, with the span inside it.
struct Excerpt {
    line: String,
    number: usize,
    start: usize,
    end: usize,
}

impl Excerpt {
    fn new(diagnostic: &Diagnostic, sources: &Sources) -> Self {
        let text = &sources.get(diagnostic.span.source).text;
        let (words, number) = sources.slice(diagnostic.span);
        let start = (diagnostic.span.start as usize).min(text.len());
        let words = words.lines().next().unwrap_or_default();
        let line_start = text[..start].rfind_byte(b'\n').map_or(0, |at| at + 1);
        let end = start + words.len();
        let line_end = text[end..]
            .find_byte(b'\n')
            .map_or(text.len(), |at| end + at);
        // The parts are made UTF-8 one by one, so that their lengths are known.
        let before = text[line_start..start].to_str_lossy();
        let marked = words.to_str_lossy();
        let after = text[end..line_end].to_str_lossy();
        Self {
            line: format!("{before}{marked}{after}"),
            number,
            start: before.len(),
            end: before.len() + marked.len(),
        }
    }
}
