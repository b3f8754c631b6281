//! `-m comment`: text that is kept with a rule (libxt_comment).

use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Arguments, Extension, Opt, OptionSpec};
use crate::listing::Listing;
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

static COMMENT: Opt<BString> = Opt::new(&["comment"], |value| Ok(value.word(0).into()));

impl Extension for Comment {
    const NAME: &'static str = "comment";
    const OPTIONS: &'static [&'static OptionSpec] = &[&COMMENT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let given = arguments.need(&COMMENT)?;
        let mut text = given.value.value;
        if text.len() > LIMIT {
            text.truncate(LIMIT);
            let message =
                format!("the comment is cut to its first {LIMIT} bytes, as iptables does");
            arguments.warn(Diagnostic::warning(
                code::TRUNCATED,
                given.value.span,
                message,
            ));
        }
        Ok(Self { text })
    }

    fn print(&self, line: &mut Line) {
        line.word("--comment");
        line.string(&self.text);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.put(" /* ");
        line.put_bytes(&self.text);
        line.put(" */");
    }
}
