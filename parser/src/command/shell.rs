//! What a command line may hold beside its command (xshared.c, `generic_opt_check` and `do_parse`).

use super::{Command, Result, Scan};
use crate::diagnostic::{Diagnostic, code};
use crate::ruleset::TableKind;
use crate::table::CHAIN_NAME_LIMIT;

impl Scan<'_> {
    /// Checks that the options of iptables itself fit the command, and the length of the chain's name.
    pub(super) fn check_shell_line(&self, command: &Command) -> Result<()> {
        let misfit = self
            .options_given()
            .find(|&(letter, given)| given && !is_allowed(letter, command));
        if let Some((letter, _)) = misfit {
            let message = format!("-{letter} does not go with -{}", command.letter());
            return Err(Diagnostic::error(code::BAD_COMMAND, self.line, message)
                .usage(format!("Illegal option `-{letter}' with this command")));
        }
        if let Some(chain) = command
            .chain()
            .filter(|it| it.as_bytes().len() > CHAIN_NAME_LIMIT)
        {
            let message = format!("the chain name is {} bytes long", chain.as_bytes().len());
            let usage = format!(
                "chain name `{}' too long (must be under {} chars)",
                chain.show(),
                CHAIN_NAME_LIMIT + 1
            );
            return Err(Diagnostic::error(code::BAD_CHAIN, chain.span, message).usage(usage));
        }
        Ok(())
    }

    /// The policy that the nat table does not have.
    pub(super) fn drops_in_nat(&self, command: &Command) -> bool {
        self.place.table == TableKind::Nat
            && matches!(command, Command::Policy(_, policy) if policy.as_bytes() == b"DROP")
    }

    /// The letters of the options in the order of the check, and whether they are given.
    fn options_given(&self) -> impl Iterator<Item = (char, bool)> {
        [
            ('n', self.call.numeric),
            ('s', self.sources.is_some()),
            ('d', self.destinations.is_some()),
            ('p', self.base.protocol.is_some()),
            ('j', self.jump.is_some()),
            ('x', self.call.exact),
            ('i', self.base.in_interface.is_some()),
            ('o', self.base.out_interface.is_some()),
            ('0', self.call.line_numbers),
            ('c', self.call.counters.is_some()),
            ('f', self.base.fragment.is_some()),
        ]
        .into_iter()
    }
}

/// Whether an option goes with a command.
fn is_allowed(letter: char, command: &Command) -> bool {
    if let Command::About(_) = command {
        return true;
    }
    match letter {
        'n' | 'x' | '0' => matches!(command, Command::List(_)),
        'c' => matches!(
            command,
            Command::Append(_) | Command::Insert(..) | Command::Replace(..) | Command::Policy(..)
        ),
        _ => matches!(
            command,
            Command::Append(_)
                | Command::Insert(..)
                | Command::Replace(..)
                | Command::Delete(_)
                | Command::Check(_)
        ),
    }
}
