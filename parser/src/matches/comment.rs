//! `-m comment`: text that is kept with a rule (libxt_comment).

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::print::Line;
use bstr::BString;
use serde::Serialize;

/// The `comment` match: always true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comment {
    /// At most 255 bytes, of any kind.
    pub text: BString,
}

/// `XT_MAX_COMMENT_LEN` less the NUL.
const LIMIT: usize = 255;

static COMMENT: Opt<BString> = Opt::new(&["comment"], |value| {
    let text = value.word(0);
    if text.len() > LIMIT {
        return Err(
            Problem::new(format!("a comment of {} bytes is too long", text.len()))
                .with_help(format!("keep it to {LIMIT} bytes")),
        );
    }
    Ok(text.into())
});

impl Extension for Comment {
    const NAME: &'static str = "comment";
    const OPTIONS: &'static [&'static OptionSpec] = &[&COMMENT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let text = arguments.need(&COMMENT)?.value.value;
        Ok(Self { text })
    }

    fn print(&self, line: &mut Line) {
        line.word("--comment");
        line.string(&self.text);
    }
}
