//! What the options of iptables itself do: commands, base match, `-m`, `-j`.

use bstr::ByteSlice;

use super::draft::Draft;
use super::options::{Base, TakesValue};
use super::{
    About, Applies, ChainKind, Command, Jump, Listed, Result, Scan, Speaker, Zeroed, repeated,
};
use crate::diagnostic::{Diagnostic, code};
use crate::extension::Spec;
use crate::matches::{self, Match};
use crate::names;
use crate::ruleset::{Counters, Family, InterfacePattern, Negatable, TableKind, Verdict};
use crate::span::{Span, Spanned};
use crate::targets;
use crate::value;
use crate::words::Word;

/// What iptables says of `-j DROP` and `-P CHAIN DROP` in the nat table.
pub(super) const NAT_DROP: &str = "\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n";

impl<'a> Scan<'a> {
    pub(super) fn base_option(
        &mut self,
        base: Base,
        word: &'a Word,
        attached: Option<&[u8]>,
    ) -> Result<Applies> {
        let negation = self.negation.take();
        if let Some(span) = negation.filter(|_| !base.is_invertible()) {
            let message = format!("{} cannot be inverted", word.show());
            return Err(Diagnostic::error(
                code::BAD_NEGATION,
                span.to(word.span),
                message,
            ));
        }
        let negated = negation.is_some();
        let start = negation.unwrap_or(word.span);
        if base.is_of_shell() && self.place.speaker == Speaker::File {
            let message = format!("{} has no place in a save file", word.show());
            return Err(
                Diagnostic::error(code::BAD_COMMAND, start.to(word.span), message)
                    .with_help("leave it out"),
            );
        }
        let value = match (attached, base.value()) {
            (_, TakesValue::No) => None,
            (Some(value), _) => Some(self.attached(word, value)),
            (None, TakesValue::Perhaps) => self.argument().cloned(),
            (None, TakesValue::Yes) => Some(self.take().cloned().ok_or_else(|| {
                let message = format!("{} needs a value", word.show());
                Diagnostic::error(code::MISSING_OPTION, word.span, message)
                    .usage(format!("option \"{}\" requires an argument", word.show()))
            })?),
        };
        let chain = value.clone();
        let value = value.unwrap_or_else(|| word.clone());
        let span = start.to(value.span);
        let once = |is_set: bool, letter: char| {
            if is_set {
                let diagnostic = repeated(&word.show().to_string(), span);
                Err(diagnostic.usage(format!("multiple -{letter} flags not allowed")))
            } else {
                Ok(())
            }
        };
        match base {
            Base::Append => self.set_command(Command::Append(value), span)?,
            Base::Insert => {
                let index = self.rule_number()?.unwrap_or(0);
                self.set_command(Command::Insert(value, index), span)?;
            }
            Base::Replace => {
                let Some(index) = self.rule_number()? else {
                    return Err(Diagnostic::error(
                        code::BAD_COMMAND,
                        span,
                        "-R needs a chain and a rule number",
                    )
                    .usage("-R requires a rule number"));
                };
                self.set_command(Command::Replace(value, index), span)?;
            }
            Base::Delete => {
                let command = match self.rule_number()? {
                    Some(index) => Command::DeleteAt(value, index),
                    None => Command::Delete(value),
                };
                self.set_command(command, span)?;
            }
            Base::Flush => self.set_command(Command::Flush(chain), span)?,
            Base::Zero => {
                let rule = self.rule_number_behind(&chain)?;
                self.zero(chain, rule, span)?;
            }
            Base::List => {
                let rule = self.rule_number_behind(&chain)?;
                self.show(
                    Command::List,
                    Listed {
                        chain,
                        rule,
                        zero: None,
                    },
                    span,
                )?;
            }
            Base::ListRules => {
                let rule = self.rule_number_behind(&chain)?;
                self.show(
                    Command::ListRules,
                    Listed {
                        chain,
                        rule,
                        zero: None,
                    },
                    span,
                )?;
            }
            Base::Check => self.set_command(Command::Check(value), span)?,
            Base::NewChain => {
                check_new_name(&value)?;
                self.set_command(Command::NewChain(value), span)?;
            }
            Base::DeleteChain => self.set_command(Command::DeleteChain(chain), span)?,
            Base::Rename => {
                let Some(new) = self.argument() else {
                    return Err(Diagnostic::error(
                        code::BAD_COMMAND,
                        span,
                        "-E needs the old and the new name",
                    )
                    .usage("-E requires old-chain-name and new-chain-name"));
                };
                self.set_command(Command::Rename(value, new.clone()), span)?;
            }
            Base::Policy => {
                let Some(policy) = self.argument() else {
                    return Err(Diagnostic::error(
                        code::BAD_COMMAND,
                        span,
                        "-P needs a chain and a policy",
                    )
                    .usage("-P requires a chain and a policy"));
                };
                self.set_command(Command::Policy(value, policy.clone()), span)?;
            }
            Base::Source => {
                once(self.sources.is_some(), 's')?;
                self.sources = Some(Negatable {
                    negated,
                    value: Spanned { value, span },
                });
            }
            Base::Destination => {
                once(self.destinations.is_some(), 'd')?;
                self.destinations = Some(Negatable {
                    negated,
                    value: Spanned { value, span },
                });
            }
            Base::InInterface => {
                once(self.base.in_interface.is_some(), 'i')?;
                self.base.in_interface = Some(interface(&value, negated, span)?);
            }
            Base::OutInterface => {
                once(self.base.out_interface.is_some(), 'o')?;
                self.base.out_interface = Some(interface(&value, negated, span)?);
            }
            Base::Protocol => {
                once(self.base.protocol.is_some(), 'p')?;
                let number = value::protocol(value.as_bytes(), self.place.names)
                    .map_err(|problem| problem.at(value.span))?;
                if number == 0 && negated {
                    return Err(Diagnostic::error(
                        code::BAD_VALUE,
                        span,
                        "a rule for no protocol never matches",
                    )
                    .usage("rule would never match protocol"));
                }
                self.base.protocol = Some(Negatable {
                    negated,
                    value: Spanned {
                        value: number,
                        span,
                    },
                });
            }
            Base::Fragment => {
                once(self.base.fragment.is_some(), 'f')?;
                if self.place.family == Family::V6 {
                    return Err(
                        Diagnostic::error(code::MISPLACED, span, "-f is only for IPv4")
                            .with_help("use -m frag for IPv6")
                            .usage("`-f' is not supported in IPv6, use -m frag instead"),
                    );
                }
                self.base.fragment = Some(Negatable {
                    negated,
                    value: Spanned { value: (), span },
                });
            }
            Base::Jump => {
                once(self.jump.is_some(), 'j')?;
                self.jump(&value)?;
            }
            Base::Goto => {
                once(self.jump.is_some(), 'j')?;
                let chain = self.user_chain(&value, "-g")?;
                self.jump = Some(Jump::Goto(chain));
            }
            Base::Match => self.load_match(&value)?,
            Base::Counters => {
                self.counters = self.counters_of(&value, word, span)?;
                self.call.counters = Some(self.counters);
            }
            Base::Ipv4 if self.place.family == Family::V6 => return Ok(Applies::No),
            Base::Ipv6 if self.place.family == Family::V4 => return Ok(Applies::No),
            Base::Ipv4 | Base::Ipv6 => {}
            Base::Verbose => self.call.verbose = self.call.verbose.saturating_add(1),
            Base::Table if self.place.speaker == Speaker::File => {
                return Err(Diagnostic::error(
                    code::BAD_COMMAND,
                    span,
                    "-t cannot stand in a save file",
                )
                .with_help("the table is named by the line that starts with *"));
            }
            Base::Table => self.call.table = Some(value),
            Base::Numeric => {
                once(self.call.numeric, 'n')?;
                self.call.numeric = true;
            }
            Base::Exact => {
                once(self.call.exact, 'x')?;
                self.call.exact = true;
            }
            Base::LineNumbers => {
                once(self.call.line_numbers, '0')?;
                self.call.line_numbers = true;
            }
            Base::Wait => {
                let seconds = self.argument().map(wait_seconds).transpose()?;
                self.call.wait = Some(seconds);
            }
            Base::WaitInterval => {
                let interval = self.argument();
                interval.map(wait_seconds).transpose()?;
                self.call.wait_interval = true;
            }
            Base::Version => self.tell(About::Version),
            Base::Help => self.tell(About::Help),
            // There is no module to load.
            Base::Modprobe => {}
        }
        Ok(Applies::Yes)
    }

    /// What iptables tells of itself ends the line, whatever else is there.
    fn tell(&mut self, about: About) {
        self.command = Some(Command::About(about));
        self.next = self.words.len();
    }

    pub(super) fn set_command(&mut self, command: Command, span: Span) -> Result<()> {
        let new = command.letter();
        if let Some(before) = self.command.replace(command) {
            return Err(
                Diagnostic::error(code::BAD_COMMAND, span, "a line holds one command")
                    .usage(format!("Cannot use -{new} with -{}", before.letter())),
            );
        }
        Ok(())
    }

    /// `-L` or `-S`, which may stand beside `-Z`.
    fn show(
        &mut self,
        command: fn(Listed) -> Command,
        mut listed: Listed,
        span: Span,
    ) -> Result<()> {
        match self.command.take() {
            Some(Command::Zero(chain)) => {
                listed.chain = listed.chain.or(chain);
                listed.zero = Some(Zeroed::Chains);
            }
            Some(Command::ZeroAt(chain, rule)) => {
                listed.chain.get_or_insert(chain);
                listed.rule.get_or_insert(rule);
                listed.zero = Some(Zeroed::Rule);
            }
            other => self.command = other,
        }
        self.set_command(command(listed), span)
    }

    /// `-Z`, which may stand beside `-L` or `-S`.
    fn zero(&mut self, chain: Option<Word>, rule: Option<usize>, span: Span) -> Result<()> {
        if let Some(Command::List(listed) | Command::ListRules(listed)) = &mut self.command {
            listed.zero = Some(match rule {
                Some(_) => Zeroed::Rule,
                None => Zeroed::Chains,
            });
            listed.rule = rule.or(listed.rule);
            listed.chain = chain.or(listed.chain.take());
            return Ok(());
        }
        let command = match (chain, rule) {
            (Some(chain), Some(rule)) => Command::ZeroAt(chain, rule),
            (chain, _) => Command::Zero(chain),
        };
        self.set_command(command, span)
    }

    /// The two numbers of `-c`: in two words, or in one with a comma.
    fn counters_of(&mut self, first: &Word, word: &Word, span: Span) -> Result<Counters> {
        let bad = |usage: &str| {
            Diagnostic::error(
                code::BAD_COUNTERS,
                span,
                format!("{} needs two numbers", word.show()),
            )
            .with_help("write the number of packets and the number of bytes")
            .usage(usage)
        };
        let (packets, bytes) = match first.as_bytes().split_once_str(",") {
            Some(pair) => pair,
            None => match self.argument() {
                Some(bytes) => (first.as_bytes(), bytes.as_bytes()),
                None => return Err(bad("-c requires packet and byte counter")),
            },
        };
        Ok(Counters {
            packets: value::counter(packets).ok_or_else(|| bad("-c packet counter not numeric"))?,
            bytes: value::counter(bytes).ok_or_else(|| bad("-c byte counter not numeric"))?,
        })
    }

    /// The next word unless it is an option.
    pub(super) fn argument(&mut self) -> Option<&'a Word> {
        let word = self.words.get(self.next)?;
        let is_option = word.as_bytes().starts_with(b"-") || word.as_bytes().starts_with(b"!");
        if is_option { None } else { self.take() }
    }

    /// The rule number behind a chain, from 1 in the text and from 0 here.
    pub(super) fn rule_number(&mut self) -> Result<Option<usize>> {
        let Some(word) = self.argument() else {
            return Ok(None);
        };
        let number = value::integer(word.as_bytes(), u64::from(u32::MAX))
            .and_then(|number| number.checked_sub(1));
        match number.and_then(|number| usize::try_from(number).ok()) {
            Some(index) => Ok(Some(index)),
            None => {
                let message = format!("{:?} is no rule number", word.show());
                Err(Diagnostic::error(code::BAD_VALUE, word.span, message)
                    .with_help("rules count from 1")
                    .usage(format!("Invalid rule number `{}'", word.show())))
            }
        }
    }

    /// The rule number behind a chain that may be left out.
    fn rule_number_behind(&mut self, chain: &Option<Word>) -> Result<Option<usize>> {
        match chain {
            Some(_) => self.rule_number(),
            None => Ok(None),
        }
    }

    pub(super) fn jump(&mut self, name: &Word) -> Result<()> {
        let verdict = match name.as_bytes() {
            b"ACCEPT" => Some(Verdict::Accept),
            b"DROP" => Some(Verdict::Drop),
            b"RETURN" => Some(Verdict::Return),
            b"QUEUE" => Some(Verdict::Queue),
            _ => None,
        };
        if verdict == Some(Verdict::Drop) && self.place.table == TableKind::Nat {
            return Err(
                Diagnostic::error(code::MISPLACED, name.span, "the nat table cannot DROP")
                    .with_help("drop in the filter table")
                    .usage(NAT_DROP),
            );
        }
        if let Some(verdict) = verdict {
            self.jump = Some(Jump::Verdict(verdict));
            return Ok(());
        }
        let mut targets = targets::of_family(self.place.family);
        let typed = targets.find(|spec| spec.name.as_bytes() == name.as_bytes());
        self.jump = Some(match typed {
            Some(spec) => Jump::Extension(Draft::new(spec, name.span)),
            None => Jump::Chain(self.user_chain(name, "-j")?),
        });
        Ok(())
    }

    pub(super) fn user_chain(&self, word: &Word, option: &str) -> Result<Spanned<String>> {
        let name = word.as_bytes().to_str().unwrap_or_default();
        match (self.place.chain)(name) {
            ChainKind::User => Ok(Spanned {
                value: name.to_owned(),
                span: word.span,
            }),
            ChainKind::Builtin(_) => {
                let message = format!("{option} cannot lead to the built-in chain {name}");
                Err(Diagnostic::error(code::UNKNOWN_TARGET, word.span, message)
                    .with_help("put the rules into a chain of your own and jump to that")
                    .refusal("Invalid argument. Run `dmesg' for more information."))
            }
            ChainKind::Missing => {
                if let Some(other) = targets::REGISTRY.iter().find(|spec| spec.name == name)
                    && let Some(only) = other.family
                {
                    let message = format!("{name} is a target of {only} alone");
                    return Err(Diagnostic::error(code::UNKNOWN_TARGET, word.span, message));
                }
                let chains = (self.place.chain_names)();
                let family = self.place.family;
                let targets = ["ACCEPT", "DROP", "RETURN", "QUEUE"].into_iter();
                let targets = targets.chain(targets::of_family(family).map(|spec| spec.name));
                let targets = targets.filter(|_| option == "-j");
                let targets: Vec<&str> = targets.collect();
                let candidates = chains.iter().map(String::as_str).chain(targets);
                let what = if option == "-j" {
                    "verdict, target or chain"
                } else {
                    "chain"
                };
                let message = format!("{:?} is no {what} of this table", word.show());
                let diagnostic = Diagnostic::error(code::UNKNOWN_TARGET, word.span, message);
                let diagnostic = diagnostic.usage(match option {
                    "-j" => missing("target", word),
                    _ => format!("goto '{}' is not a chain", word.show()),
                });
                Err(match names::closest(word.as_bytes(), candidates) {
                    Some(name) => diagnostic.with_help(format!("did you mean {name}?")),
                    None => diagnostic.with_help(format!(
                        "declare the chain above this line: :{} - [0:0]",
                        word.show()
                    )),
                })
            }
        }
    }

    pub(super) fn match_spec(&self, name: &[u8]) -> Option<&'static Spec<Match>> {
        // The names of protocols that are not the names of their matches (libxtables,
        // `xtables_find_match`).
        let name: &[u8] = match name {
            b"icmpv6" | b"ipv6-icmp" => b"icmp6",
            other => other,
        };
        matches::of_family(self.place.family).find(|spec| spec.name.as_bytes() == name)
    }

    pub(super) fn load_match(&mut self, name: &Word) -> Result<()> {
        let family = self.place.family;
        let Some(spec) = self.match_spec(name.as_bytes()) else {
            let message = format!("{:?} is no match of {family}", name.show());
            let diagnostic = Diagnostic::error(code::UNKNOWN_MATCH, name.span, message)
                .usage(missing("match", name));
            let other = match family {
                Family::V4 => Family::V6,
                Family::V6 => Family::V4,
            };
            if matches::of_family(other).any(|it| it.name.as_bytes() == name.as_bytes()) {
                return Err(diagnostic.with_help(format!("only {other} has it")));
            }
            let candidates = matches::of_family(family).map(|spec| spec.name);
            return Err(match names::closest(name.as_bytes(), candidates) {
                Some(name) => diagnostic.with_help(format!("did you mean {name}?")),
                None => diagnostic,
            });
        };
        self.matches.push(Draft::new(spec, name.span));
        Ok(())
    }
}

fn interface(word: &Word, negated: bool, span: Span) -> Result<Negatable<InterfacePattern>> {
    let value = value::interface(word.as_bytes()).map_err(|problem| problem.at(word.span))?;
    Ok(Negatable {
        negated,
        value: Spanned { value, span },
    })
}

/// What iptables says of an extension that it does not find.
fn missing(kind: &str, name: &Word) -> String {
    let name = name.show();
    format!("Couldn't load {kind} `{name}':No such file or directory\n")
}

/// The name behind `-N`, as xshared.c, `parse_chain` checks it.
fn check_new_name(name: &Word) -> Result<()> {
    let bad = |message: &str, usage: &str| {
        let diagnostic = Diagnostic::error(code::BAD_CHAIN, name.span, message);
        Err(diagnostic.usage(usage))
    };
    match name.as_bytes() {
        [first @ (b'-' | b'!'), ..] => bad(
            "chain names do not start with - or !",
            &format!(
                "chain name not allowed to start with `{}'",
                char::from(*first)
            ),
        ),
        _ => Ok(()),
    }
}

/// The seconds behind `-w`.
fn wait_seconds(word: &Word) -> Result<u32> {
    value::word32(word.as_bytes()).ok_or_else(|| {
        let message = format!("{:?} is no number of seconds", word.show());
        Diagnostic::error(code::BAD_VALUE, word.span, message).usage("wait seconds not numeric")
    })
}
