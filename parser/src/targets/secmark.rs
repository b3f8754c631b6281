//! `-j SECMARK`: the packet gets a security mark; it goes on (libxt_SECMARK, xt_SECMARK.c).

use bstr::BString;
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, text};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::TableKind;

/// The `SECMARK` target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Secmark {
    /// `--selctx`: an SELinux context that the running kernel knows, at most 255 bytes.
    pub context: BString,
}

/// `SECMARK_SECCTX_MAX` less the NUL.
const CONTEXT_LIMIT: usize = 255;

static CONTEXT: Opt<BString> = text(&["selctx"]);

impl Extension for Secmark {
    const NAME: &'static str = "SECMARK";
    const TABLES: &'static [TableKind] = &[TableKind::Mangle, TableKind::Security];
    const OPTIONS: &'static [&'static OptionSpec] = &[&CONTEXT.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        arguments.need(&CONTEXT)?;
        let context = arguments.text(&CONTEXT, CONTEXT_LIMIT)?;
        Ok(Self {
            context: context.unwrap_or_default(),
        })
    }

    fn print(&self, line: &mut Line) {
        line.word("--selctx");
        line.raw(&self.context);
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word(format_args!("SECMARK selctx {}", self.context));
    }
}
