//! From rulesets to the semantic IR: which chains a hook runs, what each rule means there, and what
//! cannot be said.

use std::collections::HashMap;

use ipt2bpf_parser::diagnostic::{Diagnostic, Severity};
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::matches::addrtype::Device;
use ipt2bpf_parser::ruleset::{self, Family, NfHook, Policy, Ruleset, Table, TableKind};
use ipt2bpf_parser::span::Span;

use crate::counters::CounterLayout;
use crate::field::Field;
use crate::log::record::{LINE_BYTES, Occasion};
use crate::meaning::nfqueue::to_user_space;
use crate::meaning::tell::Tell;
use crate::meaning::trace::StartTrace;
use crate::meaning::{Context, Refusal, Shared, base_steps, match_meaning, target_meaning};
use crate::module::Hook;
use crate::options::{Options, XdpPath};
use crate::routine::{Place, Routine};
use crate::semantic::{
    Action, Chain, ChainId, CounterId, End, FamilyFilter, Filter, Path, Rule, Stage, Step, Test,
    Verdict,
};
use crate::track::kernel::limits;

/// The built-in chains a hook runs, in order.
fn composition(hook: Hook) -> &'static [(Path, TableKind, NfHook)] {
    use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
    use Path::{All, Local, Transit};
    use TableKind::{Filter, Mangle, Raw, Security};
    match hook {
        Hook::CgroupIngress => &[
            (All, Raw, Prerouting),
            (All, Mangle, Prerouting),
            (All, Mangle, Input),
            (All, Filter, Input),
            (All, Security, Input),
        ],
        Hook::CgroupEgress => &[
            (All, Raw, Output),
            (All, Mangle, Output),
            (All, Filter, Output),
            (All, Security, Output),
            (All, Mangle, Postrouting),
        ],
        Hook::Xdp => &[
            (All, Raw, Prerouting),
            (All, Mangle, Prerouting),
            (Local, Mangle, Input),
            (Local, Filter, Input),
            (Local, Security, Input),
            (Transit, Mangle, Forward),
            (Transit, Filter, Forward),
            (Transit, Security, Forward),
            (Transit, Mangle, Postrouting),
        ],
    }
}

/// What rulesets mean at a hook, and what is to be said about it. The filter is complete when no
/// diagnostic is an error.
pub fn lower(
    rulesets: &[Ruleset],
    counters: &CounterLayout,
    hook: Hook,
    options: &Options,
) -> (Filter, Vec<Diagnostic>) {
    let shared = Shared::of(rulesets);
    let mut diagnostics = Vec::new();
    let mut families = Vec::new();
    for ruleset in rulesets {
        let mut lowering = Lowering {
            family: ruleset.family,
            hook,
            options,
            shared: &shared,
            counters,
            chains: Vec::new(),
            numbers: Vec::new(),
            diagnostics: &mut diagnostics,
        };
        let stages = lowering.stages(ruleset);
        lowering.trace();
        let chains = lowering.chains;
        let filter = FamilyFilter {
            family: ruleset.family,
            chains,
            stages,
            tracking: None,
        };
        diagnostics.extend(vlan_diagnostic(ruleset, &filter, hook));
        diagnostics.extend(gro_diagnostic(&filter, hook));
        diagnostics.extend(limits(&filter, hook, options));
        families.push(filter);
        diagnostics.extend(nat_diagnostics(ruleset, hook, options));
        diagnostics.extend(link_local_diagnostic(ruleset, hook, options));
    }
    (Filter { hook, families }, diagnostics)
}

struct Lowering<'a> {
    family: Family,
    hook: Hook,
    options: &'a Options,
    shared: &'a Shared<'a>,
    counters: &'a CounterLayout,
    chains: Vec<Chain>,
    /// The chains' numbers in traces.
    numbers: Vec<u32>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

/// The chains of one table, and those of them that have been reached.
struct TableChains<'r> {
    kind: TableKind,
    by_name: HashMap<&'r str, &'r ruleset::Chain>,
    ids: HashMap<&'r str, ChainId>,
    /// Chains with an id whose rules are still to be lowered.
    pending: Vec<(ChainId, &'r ruleset::Chain)>,
}

impl Lowering<'_> {
    fn stages(&mut self, ruleset: &Ruleset) -> Vec<Stage> {
        let mut tables: Vec<TableChains<'_>> = ruleset
            .tables
            .iter()
            .filter(|table| !is_idle(table))
            .map(TableChains::new)
            .collect();
        let mut stages = Vec::new();
        for &(path, kind, nf_hook) in composition(self.hook) {
            let wanted = match (path, self.options.xdp_path) {
                (Path::Local, XdpPath::Forward) | (Path::Transit, XdpPath::Input) => false,
                (Path::All | Path::Local | Path::Transit, _) => true,
            };
            let table = tables.iter_mut().find(|table| table.kind == kind);
            let Some(table) = table.filter(|_| wanted) else {
                continue;
            };
            let Some(builtin) = table.builtin(nf_hook) else {
                continue;
            };
            let chain = self.id_of(table, builtin);
            while let Some((id, chain)) = table.pending.pop() {
                self.chains[id.0 as usize] = self.chain(table, chain);
            }
            stages.push(Stage {
                path,
                table: kind,
                nf_hook,
                chain,
            });
        }
        stages
    }

    /// The id of a chain; a new one stands empty until it is lowered.
    fn id_of<'r>(&mut self, table: &mut TableChains<'r>, chain: &'r ruleset::Chain) -> ChainId {
        let fresh = ChainId(self.chains.len() as u32);
        let id = *table.ids.entry(&chain.name).or_insert(fresh);
        if id == fresh {
            table.pending.push((id, chain));
            self.chains.push(Chain {
                name: chain.name.clone(),
                rules: Vec::new(),
                end: End::Return,
                effects: Vec::new(),
            });
            let counters = self.counters;
            self.numbers
                .push(counters.chain_number(self.family, table.kind, &chain.name));
        }
        id
    }

    fn chain<'r>(&mut self, table: &mut TableChains<'r>, chain: &'r ruleset::Chain) -> Chain {
        let end = match (
            chain.builtin,
            self.counters.policy(self.family, table.kind, &chain.name),
        ) {
            (Some(builtin), Some(counter)) => {
                let verdict = match builtin.policy {
                    Policy::Accept => Verdict::Accept,
                    Policy::Drop => Verdict::Drop,
                };
                End::Policy(verdict, counter)
            }
            _ => End::Return,
        };
        let counters = self.counters.rules(self.family, table.kind, &chain.name);
        let rules = chain.rules.iter().zip(counters);
        let rules =
            rules.filter_map(|(rule, counter)| self.rule(table, chain, rule, CounterId(counter)));
        Chain {
            name: chain.name.clone(),
            rules: rules.collect(),
            end,
            effects: Vec::new(),
        }
    }

    /// Lets every rule, policy and end of a user chain tell of traced packets, where a rule traces any.
    fn trace(&mut self) {
        let start = Routine::from(StartTrace);
        let mut rules = self.chains.iter().flat_map(|chain| &chain.rules);
        if !rules.any(|rule| rule.effects.contains(&start)) {
            return;
        }
        let tell = |occasion, number| {
            Routine::from(Tell {
                occasion,
                number,
                bytes: LINE_BYTES,
                owner: false,
            })
        };
        for (chain, &number) in self.chains.iter_mut().zip(&self.numbers) {
            for rule in &mut chain.rules {
                let told = tell(Occasion::TracedRule, rule.counter.0);
                rule.effects.insert(0, told);
            }
            match chain.end {
                End::Policy(_, counter) => {
                    chain.effects = vec![tell(Occasion::TracedPolicy, counter.0)];
                }
                End::Return => chain.rules.push(Rule {
                    steps: Vec::new(),
                    counter: CounterId::NONE,
                    effects: vec![tell(Occasion::TracedReturn, number)],
                    action: Action::Continue,
                    text: format!("(end of {})", chain.name),
                    span: Span::default(),
                }),
            }
        }
    }

    /// None when the rule is refused.
    fn rule<'r>(
        &mut self,
        table: &mut TableChains<'r>,
        chain: &ruleset::Chain,
        rule: &'r ruleset::Rule,
        counter: CounterId,
    ) -> Option<Rule> {
        let (family, hook, options, shared) = (self.family, self.hook, self.options, self.shared);
        let protocol = rule.base.protocol.as_ref();
        let protocol = protocol.filter(|it| !it.negated).map(|it| it.value.value);
        let context = |index: usize| Context {
            family,
            hook,
            place: Place {
                rule: counter,
                index: index as u16,
            },
            protocol,
            options,
            shared,
        };
        let (effects, action) = self.action(table, rule, context(rule.matches.len()))?;
        let mut steps = base_steps(&rule.base, self.family);
        let mut decidable = true;
        for (index, extension) in rule.matches.iter().enumerate() {
            let name = || format!("-m {}", extension.value.name());
            let meaning = match_meaning(&extension.value);
            match meaning.steps(context(index)) {
                Ok(more) => {
                    steps.extend(more);
                    if let Some(note) = meaning.note(context(index)) {
                        self.warn(&name(), note, extension.span);
                    }
                }
                Err(refusal) => {
                    decidable = false;
                    let approximated =
                        self.options.approximate && may_approximate(&effects, action);
                    self.refuse(&name(), refusal, extension.span, approximated);
                    if !approximated {
                        return None;
                    }
                }
            }
        }
        if !decidable && action != Action::Verdict(Verdict::Drop) {
            // The rule must not match, but its other tests may still drop short packets.
            steps.push(Step::require(Test::Any(Vec::new())));
        }
        Some(Rule {
            steps,
            counter,
            effects,
            action,
            text: text(rule.print(chain)),
            span: rule.span.0,
        })
    }

    fn action<'r>(
        &mut self,
        table: &mut TableChains<'r>,
        rule: &'r ruleset::Rule,
        context: Context<'_>,
    ) -> Option<(Vec<Routine>, Action)> {
        use ruleset::Verdict as Word;
        let action = match &rule.action {
            ruleset::Action::Continue => Action::Continue,
            ruleset::Action::Verdict(Word::Accept) => Action::Verdict(Verdict::Accept),
            ruleset::Action::Verdict(Word::Drop) => Action::Verdict(Verdict::Drop),
            ruleset::Action::Verdict(Word::Return) => Action::Return,
            ruleset::Action::Verdict(Word::Queue) => {
                let approximated = self.options.approximate;
                self.refuse("-j QUEUE", to_user_space(), rule.span.0, approximated);
                if !approximated {
                    return None;
                }
                Action::Verdict(Verdict::Drop)
            }
            ruleset::Action::Jump(target) => Action::Jump(self.target_chain(table, target)?),
            ruleset::Action::Goto(target) => Action::Goto(self.target_chain(table, target)?),
            ruleset::Action::Target(target) => {
                let name = || format!("-j {}", target.value.name());
                match target_meaning(&target.value).action(context) {
                    Ok(meaning) => {
                        if let Some(note) = meaning.note {
                            self.warn(&name(), note, target.span);
                        }
                        return Some((meaning.effects, meaning.action));
                    }
                    Err(refusal) => {
                        let meaning = target_meaning(&target.value);
                        let instead = meaning.approximation();
                        let instead = instead.filter(|_| self.options.approximate);
                        self.refuse(&name(), refusal, target.span, instead.is_some());
                        instead?
                    }
                }
            }
        };
        Some((Vec::new(), action))
    }

    /// None for a name that is no chain of the table, which the parser has reported.
    fn target_chain<'r>(
        &mut self,
        table: &mut TableChains<'r>,
        target: &ruleset::ChainRef,
    ) -> Option<ChainId> {
        let chain = *table.by_name.get(target.value.as_str())?;
        Some(self.id_of(table, chain))
    }

    fn refuse(&mut self, name: &str, refusal: Refusal, span: Span, approximated: bool) {
        let hook = self.hook;
        let (severity, doing) = match approximated {
            true => (Severity::Warning, "is approximated towards dropping"),
            false => (Severity::Error, "cannot be translated"),
        };
        self.diagnostics.push(Diagnostic {
            severity,
            ..Diagnostic::error(
                refusal.code,
                span,
                format!("`{name}` {doing} at {hook}: it {}", refusal.reason),
            )
            .with_help(refusal.help)
        });
    }

    fn warn(&mut self, name: &str, note: String, span: Span) {
        self.diagnostics.push(Diagnostic::warning(
            "effect",
            span,
            format!("`{name}` at {}: {note}", self.hook),
        ));
    }
}

impl<'r> TableChains<'r> {
    fn new(table: &'r Table) -> Self {
        TableChains {
            kind: table.kind,
            by_name: table
                .chains
                .iter()
                .map(|chain| (chain.name.as_str(), chain))
                .collect(),
            ids: HashMap::new(),
            pending: Vec::new(),
        }
    }

    fn builtin(&self, hook: NfHook) -> Option<&'r ruleset::Chain> {
        self.by_name
            .values()
            .copied()
            .find(|chain| chain.builtin.is_some_and(|builtin| builtin.hook == hook))
    }
}

/// A text of bytes; those that are not UTF-8 are replaced.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Whether a rule that cannot be decided may stand for an exact one without letting anything through:
/// an ACCEPT that never matches, a DROP that its other tests decide, a rule that changes nothing. A
/// jump or RETURN leads to what may drop or accept, so it may not.
fn may_approximate(effects: &[Routine], action: Action) -> bool {
    match action {
        Action::Verdict(_) => true,
        Action::Continue => effects.iter().all(|effect| effect.work().only_tells()),
        Action::Return | Action::Jump(_) | Action::Goto(_) => false,
    }
}

/// A table without a rule and with only ACCEPT policies decides nothing and costs nothing; its policies
/// are not counted.
fn is_idle(table: &Table) -> bool {
    table.chains.iter().all(|chain| {
        let accepts = chain
            .builtin
            .is_none_or(|builtin| builtin.policy == Policy::Accept);
        accepts && chain.rules.is_empty()
    })
}

/// netfilter sees a frame with a VLAN id on the VLAN's interface; XDP, which runs below it, knows neither
/// that interface's name nor its group.
fn vlan_diagnostic(ruleset: &Ruleset, filter: &FamilyFilter, hook: Hook) -> Option<Diagnostic> {
    let mut asks = false;
    filter.leaves(&mut |leaf| {
        asks |= matches!(
            leaf,
            Test::Masked { field, mask, .. }
                if *mask != 0 && Field::OF_RECEIVING_INTERFACE.contains(field)
        );
    });
    asks |= filter.routines().any(|routine| {
        let mut reads = routine.work().reads().into_iter();
        reads.any(|field| Field::OF_RECEIVING_INTERFACE.contains(&field))
    });
    let tables = ruleset
        .tables
        .iter()
        .filter(|table| table.kind != TableKind::Nat);
    let mut rules = tables
        .flat_map(|table| &table.chains)
        .flat_map(|chain| &chain.rules);
    let asking = rules.find_map(|rule| {
        let interface = rule.base.in_interface.as_ref().map(|it| it.value.span);
        let mut matches = rule.matches.iter();
        let by_number = matches.find(|it| match &it.value {
            Match::Devgroup(_) | Match::Set(_) | Match::Socket(_) => true,
            Match::Addrtype(addrtype) => addrtype.device == Some(Device::In),
            _ => false,
        });
        interface.or(by_number.map(|it| it.span))
    })?;
    let message = format!(
        "at {hook}, frames with a VLAN id are dropped, because rules ask for the interface and the \
         VLAN's is not known there"
    );
    let help = "attach to interfaces without VLANs, or ask for none of `-i`, `--src-group`, `--limit-iface-in` \
                and `-m socket` in what runs at xdp";
    (asks && hook == Hook::Xdp)
        .then(|| Diagnostic::warning("vlan", asking, message).with_help(help))
}

/// XDP sees the segments of a stream before the kernel joins them (GRO), which netfilter sees as one packet.
fn gro_diagnostic(filter: &FamilyFilter, hook: Hook) -> Option<Diagnostic> {
    let counts = |step: &Step| match step {
        Step::Ask(routine) => routine.work().counts_packets(),
        Step::Check { .. } | Step::Doom(_) => false,
    };
    let mut rules = filter.chains.iter().flat_map(|chain| &chain.rules);
    let counting = rules.find(|rule| rule.steps.iter().any(counts))?;
    let message = format!(
        "at {hook}, rules that count packets see each segment of a TCP stream, where iptables sees those \
         that the kernel has joined (GRO) as one packet"
    );
    let help =
        "count at cgroup_skb/ingress, behind GRO, or only what is never joined, such as `--syn`";
    (hook == Hook::Xdp).then(|| Diagnostic::warning("gro", counting.span, message).with_help(help))
}

/// `bpf_fib_lookup` answers "not forwarded" for every link-local address, this host's or not, where the
/// kernel forwards to a neighbour. To be said where FORWARD could have dropped such a packet.
fn link_local_diagnostic(ruleset: &Ruleset, hook: Hook, options: &Options) -> Option<Diagnostic> {
    if ruleset.family != Family::V6 || hook != Hook::Xdp || options.xdp_path != XdpPath::Auto {
        return None;
    }
    let chains = ruleset
        .tables
        .iter()
        .filter(|table| table.kind != TableKind::Nat);
    let mut chains = chains.flat_map(|table| &table.chains);
    let forward = chains.find(|chain| {
        chain.builtin.is_some_and(|builtin| {
            builtin.hook == NfHook::Forward
                && (builtin.policy == Policy::Drop || !chain.rules.is_empty())
        })
    })?;
    let message = format!(
        "at {hook}, IPv6 packets to a link-local address go through INPUT, also where the kernel would \
         forward them to a neighbour"
    );
    let said = Diagnostic::warning("link-local", forward.span, message);
    Some(said.with_help("keep the FORWARD rules for link-local destinations in ip6tables as well"))
}

/// The names of targets that change what INPUT and FORWARD rules see.
const DESTINATION_NAT: [&str; 3] = ["DNAT", "REDIRECT", "NETMAP"];

/// What is to be said about the nat table, which is not translated.
fn nat_diagnostics(ruleset: &Ruleset, hook: Hook, options: &Options) -> Vec<Diagnostic> {
    let tables = ruleset.tables.iter();
    let rules = tables
        .filter(|table| table.kind == TableKind::Nat)
        .flat_map(|table| &table.chains)
        .flat_map(|chain| chain.rules.iter().map(|rule| (chain.name.as_str(), rule)));
    let mut diagnostics = Vec::new();
    for (chain, rule) in rules {
        let target = match &rule.action {
            ruleset::Action::Target(target) => target.value.name(),
            _ => continue,
        };
        let changes = hook == Hook::Xdp && DESTINATION_NAT.contains(&target);
        // OUTPUT's translation concerns packets of this host, which XDP does not see.
        let refused = changes && chain != NfHook::Output.to_string() && !options.ignore_nat;
        let span = rule.span.0;
        diagnostics.push(match refused {
            true => {
                let message = format!(
                    "`-j {target}` cannot be translated at {hook}: it changes the addresses that later \
                     rules see"
                );
                let help = "leave the nat rules out with --ignore-nat, or use cgroup_skb";
                Diagnostic::error("nat", span, message).with_help(help)
            }
            false => {
                let message =
                    format!("`-j {target}` is left out at {hook}: nat rules are not translated");
                Diagnostic::warning("nat", span, message)
            }
        });
    }
    diagnostics
}
