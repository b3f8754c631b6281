//! `-m socket`: a socket of this host that the packet belongs to (libxt_socket, xt_socket.c).

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, switch};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::NfHook;

/// The `socket` match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Socket {
    /// `--transparent`: only sockets with `IP_TRANSPARENT`.
    pub transparent: bool,
    /// `--nowildcard`: sockets bound to the wildcard address count, too.
    pub no_wildcard: bool,
    /// `--restore-skmark`: the packet gets the socket's mark.
    pub restore_mark: bool,
}

static TRANSPARENT: Opt<()> = switch(&["transparent"]);
static NO_WILDCARD: Opt<()> = switch(&["nowildcard"]);
static RESTORE_MARK: Opt<()> = switch(&["restore-skmark"]);

impl Extension for Socket {
    const NAME: &'static str = "socket";
    const OPTIONS: &'static [&'static OptionSpec] =
        &[&TRANSPARENT.spec, &NO_WILDCARD.spec, &RESTORE_MARK.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        Ok(Self {
            transparent: arguments.has(&TRANSPARENT),
            no_wildcard: arguments.has(&NO_WILDCARD),
            restore_mark: arguments.has(&RESTORE_MARK),
        })
    }

    fn hooks(&self) -> &'static [NfHook] {
        &[NfHook::Prerouting, NfHook::Input]
    }

    fn print(&self, line: &mut Line) {
        for (is_set, option) in [
            (self.transparent, "--transparent"),
            (self.no_wildcard, "--nowildcard"),
            (self.restore_mark, "--restore-skmark"),
        ] {
            if is_set {
                line.word(option);
            }
        }
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("socket");
        line.saved(|line| self.print(line));
    }
}
