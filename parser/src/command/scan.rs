//! From words to options: the loop of getopt_long, with extensions coming in on the way.

use bstr::ByteSlice;

use super::draft::Draft;
use super::options::{BASE, Base, TakesValue};
use super::{Applies, Jump, Meaning, Owner, Result, Scan, repeated};
use crate::diagnostic::{Diagnostic, code};
use crate::extension::{Given, OptionSpec};
use crate::matches;
use crate::names;
use crate::span::Span;
use crate::words::Word;

impl<'a> Scan<'a> {
    /// Goes over all words.
    pub(super) fn run(&mut self) -> Result<Applies> {
        while let Some(word) = self.take() {
            let applies = match word.as_bytes() {
                b"!" => self.negate(word)?,
                [b'-', b'-', name @ ..] if !name.is_empty() => {
                    let (name, attached) = match name.split_once_str("=") {
                        Some((name, value)) => (name, Some(value)),
                        None => (name, None),
                    };
                    self.long(word, name, attached)?
                }
                [b'-', letter, rest @ ..] if *letter != b'-' => self.short(word, *letter, rest)?,
                _ => {
                    let message = format!("{:?} is not an option", word.show());
                    return Err(Diagnostic::error(code::BAD_ARGUMENT, word.span, message)
                        .with_help(
                            "an option starts with -; a value with blanks needs double quotes",
                        )
                        .bare(format!("Bad argument `{}'", word.show())));
                }
            };
            if let Applies::No = applies {
                return Ok(Applies::No);
            }
        }
        if let Some(span) = self.negation {
            return Err(
                Diagnostic::error(code::BAD_NEGATION, span, "nothing follows this !")
                    .usage("nothing appropriate following !"),
            );
        }
        Ok(Applies::Yes)
    }

    /// The next word, whatever it is.
    pub(super) fn take(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    pub(super) fn negate(&mut self, word: &Word) -> Result<Applies> {
        if self.negation.replace(word.span).is_some() {
            return Err(
                Diagnostic::error(code::BAD_NEGATION, word.span, "! stands twice")
                    .usage("multiple consecutive ! not allowed"),
            );
        }
        Ok(Applies::Yes)
    }

    pub(super) fn short(&mut self, word: &'a Word, letter: u8, rest: &[u8]) -> Result<Applies> {
        let Some(base) = Base::by_letter(letter) else {
            let message = format!("-{} is no option of iptables", [letter].as_bstr());
            return Err(Diagnostic::error(code::UNKNOWN_OPTION, word.span, message)
                .usage(format!("unknown option \"{}\"", word.show())));
        };
        if rest.is_empty() {
            return self.base_option(base, word, None);
        }
        if base.value() == TakesValue::No {
            // Letters in one word, as in `-fj`.
            return match self.base_option(base, word, None)? {
                Applies::Yes => self.short(word, rest[0], &rest[1..]),
                Applies::No => Ok(Applies::No),
            };
        }
        // iptables takes the value of the other options from the word before the next, which is
        // this one: it would look for a protocol called `-ptcp`.
        if base.value() == TakesValue::Perhaps
            || matches!(
                base,
                Base::Append | Base::Insert | Base::NewChain | Base::Policy | Base::Match
            )
        {
            return self.base_option(base, word, Some(rest));
        }
        let message = format!("a blank is missing behind -{}", [letter].as_bstr());
        Err(
            Diagnostic::error(code::BAD_ARGUMENT, word.span, message).with_help(format!(
                "write -{} {}",
                [letter].as_bstr(),
                rest.as_bstr()
            )),
        )
    }

    pub(super) fn long(
        &mut self,
        word: &'a Word,
        name: &[u8],
        attached: Option<&[u8]>,
    ) -> Result<Applies> {
        let meaning = match self.resolve(word, name) {
            Ok(meaning) => meaning,
            Err(diagnostic) => {
                if !self.load_protocol_match(word.span) {
                    return Err(diagnostic);
                }
                self.resolve(word, name)?
            }
        };
        match meaning {
            // As with letters, iptables would take the whole word for the value.
            Meaning::Base(base)
                if attached.is_some()
                    && base.value() == TakesValue::Yes
                    && !matches!(base, Base::Append | Base::Insert | Base::Match) =>
            {
                let message = format!(
                    "a blank must stand between --{} and its value",
                    name.as_bstr()
                );
                Err(Diagnostic::error(code::BAD_ARGUMENT, word.span, message))
            }
            Meaning::Base(base) => self.base_option(base, word, attached),
            Meaning::Extension(owner, spec) => self.extension_option(owner, spec, word, attached),
        }
    }

    /// Finds what a long option means: its whole name first, then a leading part that fits no other.
    pub(super) fn resolve(&self, word: &Word, name: &[u8]) -> Result<Meaning> {
        if let Some(meaning) = self.exact(name) {
            return Ok(meaning);
        }
        let mut found: Vec<(&str, Meaning)> = Vec::new();
        for (candidate, meaning) in self.known_options() {
            let is_new = !found.iter().any(|(_, other)| other.is_same(&meaning));
            if candidate.as_bytes().starts_with(name) && is_new {
                found.push((candidate, meaning));
            }
        }
        match found.as_slice() {
            [(_, meaning)] => Ok(*meaning),
            [] => Err(self.unknown_option(word, name)),
            [first, second, ..] => {
                let message = format!(
                    "--{} may mean --{} or --{}",
                    name.as_bstr(),
                    first.0,
                    second.0
                );
                Err(
                    Diagnostic::error(code::AMBIGUOUS_OPTION, word.span, message)
                        .with_help("write the whole name")
                        .usage(format!("unknown option \"{}\"", word.show())),
                )
            }
        }
    }

    pub(super) fn exact(&self, name: &[u8]) -> Option<Meaning> {
        let mut options = self.known_options();
        options
            .find(|(candidate, _)| candidate.as_bytes() == name)
            .map(|(_, meaning)| meaning)
    }

    /// The long options that are known at this point: those of iptables, then those of the extensions
    /// from the last to the first (libxtables, `xtables_merge_options`).
    pub(super) fn known_options(&self) -> impl Iterator<Item = (&'static str, Meaning)> + '_ {
        let base = BASE
            .iter()
            .flat_map(|row| row.1.iter().map(|name| (*name, Meaning::Base(row.2))));
        let matches = self.matches.iter().enumerate().rev();
        let matches = matches.map(|(index, draft)| (Owner::Match(index), draft.spec.options));
        let target = match &self.jump {
            Some(Jump::Extension(draft)) => Some((Owner::Target, draft.spec.options)),
            _ => None,
        };
        let extensions = matches.chain(target).flat_map(|(owner, options)| {
            options.iter().flat_map(move |spec| {
                spec.names
                    .iter()
                    .map(move |name| (*name, Meaning::Extension(owner, spec)))
            })
        });
        base.chain(extensions)
    }

    pub(super) fn unknown_option(&self, word: &Word, name: &[u8]) -> Diagnostic {
        let message = format!("--{} is unknown here", name.as_bstr());
        let diagnostic = Diagnostic::error(code::UNKNOWN_OPTION, word.span, message)
            .usage(format!("unknown option \"{}\"", word.show()));
        let family = self.place.family;
        let owners: Vec<&str> = matches::of_family(family)
            .filter(|spec| {
                let mut options = spec.options.iter();
                options.any(|option| option.names.iter().any(|it| it.as_bytes() == name))
            })
            .map(|spec| spec.name)
            .collect();
        let of_protocol = (0..=u8::MAX).find(|&it| {
            names::protocol_match(it, family).is_some_and(|name| owners.contains(&name))
        });
        if let Some(protocol) = of_protocol.and_then(names::protocol_name) {
            return diagnostic.with_help(format!("put -p {protocol} before it"));
        }
        if let Some(owner) = owners.first() {
            return diagnostic.with_help(format!("put -m {owner} before it"));
        }
        match names::closest(name, self.known_options().map(|(name, _)| name)) {
            Some(close) => diagnostic.with_help(format!("did you mean --{close}?")),
            None => diagnostic
                .with_help("name the extension that it belongs to before it, with -m or -j"),
        }
    }

    /// Loads the match of `-p`, once a rule. Says whether there was one to load.
    pub(super) fn load_protocol_match(&mut self, span: Span) -> bool {
        let Some(protocol) = self.base.protocol.as_ref().filter(|_| !self.protocol_used) else {
            return false;
        };
        let Some(name) = names::protocol_match(protocol.value.value, self.place.family) else {
            return false;
        };
        self.protocol_used = true;
        let Some(spec) = self.match_spec(name.as_bytes()) else {
            return false;
        };
        self.matches.push(Draft::new(spec, span));
        true
    }

    pub(super) fn extension_option(
        &mut self,
        owner: Owner,
        spec: &'static OptionSpec,
        word: &'a Word,
        attached: Option<&[u8]>,
    ) -> Result<Applies> {
        let negation = self.negation.take();
        if let Some(span) = negation.filter(|_| !spec.invertible) {
            let message = format!("--{} cannot be inverted", spec.name());
            let usage = format!(
                "{}: option \"--{}\" cannot be inverted.\n",
                self.name_of(owner),
                spec.name()
            );
            let span = span.to(word.span);
            return Err(Diagnostic::error(code::BAD_NEGATION, span, message).usage(usage));
        }
        if attached.is_some() && spec.arity == 0 {
            let message = format!("--{} takes no value", spec.name());
            return Err(Diagnostic::error(code::BAD_ARGUMENT, word.span, message));
        }
        let mut words: Vec<Word> = attached
            .map(|value| self.attached(word, value))
            .into_iter()
            .collect();
        let is_left_out = spec.word_is_optional
            && self
                .words
                .get(self.next)
                .is_none_or(|word| word.as_bytes().starts_with(b"-") || word.as_bytes() == b"!");
        while words.len() < spec.arity && !is_left_out {
            let is_second = !words.is_empty();
            let value = self
                .take()
                .filter(|it| !is_second || !it.as_bytes().starts_with(b"-"));
            words.push(value.cloned().ok_or_else(|| {
                let count = if spec.arity == 1 {
                    "a value".to_owned()
                } else {
                    format!("{} values", spec.arity)
                };
                let message = format!("--{} needs {count}", spec.name());
                Diagnostic::error(code::MISSING_OPTION, word.span, message)
                    .usage(format!("option \"{}\" requires an argument", word.show()))
            })?);
        }
        let span = words
            .iter()
            .fold(negation.unwrap_or(word.span).to(word.span), |span, it| {
                span.to(it.span)
            });
        let given = Given {
            spec,
            negated: negation.is_some(),
            words,
            span,
        };
        let all_given = match (owner, &mut self.jump) {
            (Owner::Match(index), _) => match self.matches.get_mut(index) {
                Some(draft) => &mut draft.given,
                None => return Ok(Applies::Yes),
            },
            (Owner::Target, Some(Jump::Extension(draft))) => &mut draft.given,
            (Owner::Target, _) => return Ok(Applies::Yes),
        };
        if !spec.repeatable && all_given.iter().any(|other| other.is(spec)) {
            let name = spec.name();
            let owner = self.name_of(owner);
            return Err(repeated(&format!("--{name}"), given.span).usage(format!(
                "{owner}: option \"--{name}\" can only be used once.\n"
            )));
        }
        all_given.push(given);
        Ok(Applies::Yes)
    }

    /// The name of the extension that an option belongs to.
    fn name_of(&self, owner: Owner) -> &'static str {
        let name = match owner {
            Owner::Match(index) => self.matches.get(index).map(|draft| draft.spec.name),
            Owner::Target => match &self.jump {
                Some(Jump::Extension(draft)) => Some(draft.spec.name),
                _ => None,
            },
        };
        name.unwrap_or_default()
    }

    /// The value behind `=` as a word of its own.
    pub(super) fn attached(&self, word: &Word, value: &[u8]) -> Word {
        Word {
            text: value.into(),
            ..word.clone()
        }
    }
}
