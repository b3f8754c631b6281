//! Sets subjects beside netfilter: the same frames, then verdict by verdict and counter by counter.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::Result;
use ipt2bpf_parser::ruleset::{Counters, TableKind};

use crate::exceptions;
use crate::frame::Frame;
use crate::netfilter::{CountedRule, CounterKey, Judgement, Netfilter, Path, Route, Verdict};
use crate::words;

/// Something that judges packets by a ruleset as netfilter does: a compiled program under
/// `BPF_PROG_TEST_RUN`, the reference evaluator.
pub trait Subject {
    /// What messages call it.
    fn name(&self) -> &str;

    /// Whether it sees frames before the IP layer has checked them, as XDP does. Then it is also
    /// shown those that the IP layer drops, and must not count them.
    fn sees_all_frames(&self) -> bool;

    /// Judges one frame that the kernel sends this way: [`Route::Local`], [`Route::Via`], [`Route::Out`],
    /// or [`Route::Unseen`] if it sees all frames. [`Frame::packet`] is what a hook behind the IP layer
    /// sees.
    ///
    /// # Errors
    /// When it cannot be asked; a difference is no error.
    fn verdict(&mut self, frame: &Frame, route: &Route) -> Result<Verdict>;

    /// All that it has counted so far. A rule that is not in the map has counted nothing; a policy that
    /// is not in the map is not compared, because a text need not declare the chains it does not use.
    /// Policies of tables that have no rule and accept everything need not be counted.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn counters(&mut self) -> Result<BTreeMap<CounterKey, Counters>>;
}

/// One ruleset and the frames to try on it.
pub struct Trial<'a> {
    /// What the report calls the ruleset.
    pub name: &'a str,
    /// The save text that netfilter loads.
    pub text: &'a str,
    /// With unique ids.
    pub frames: &'a [Frame],
    /// Frames on other paths are left out.
    pub paths: &'a [Path],
}

/// What a trial showed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The ruleset.
    pub name: String,
    /// How many frames there were.
    pub frames: usize,
    /// How many of them netfilter accepted.
    pub accepted: usize,
    /// And dropped.
    pub dropped: usize,
    /// Left out because they never reached a table.
    pub unseen: usize,
    /// Left out because the kernel refused to send them.
    pub refused: usize,
    /// Left out because routing dropped them.
    pub unrouted: usize,
    /// Left out because they wait for reassembly.
    pub held: usize,
    /// Left out because no program can know their route, or is shown what the kernel writes into them.
    pub excepted: usize,
    /// Left out because they took a path that was not asked for.
    pub elsewhere: usize,
    /// How many rules counted a packet in netfilter.
    pub rules_hit: usize,
    /// Of how many.
    pub rules: usize,
    /// The same for the rules with each extension, by its name.
    pub extensions: BTreeMap<String, Hits>,
    /// How many verdicts differed, of all subjects.
    pub differences: usize,
    /// The first difference of each subject.
    pub first: Vec<Difference>,
    /// Counters that differed after all frames.
    pub counters: Vec<CounterDifference>,
    /// The first frame of each subject that it counts and no table sees.
    pub miscounts: Vec<Miscount>,
}

/// How many rules some packet hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Of all these rules.
    pub rules: usize,
    /// How many counted a packet in netfilter.
    pub hit: usize,
}

/// A frame that the IP layer drops and a subject counts.
#[derive(Clone, Debug)]
pub struct Miscount {
    /// The subject.
    pub subject: String,
    /// The packet in words, and its bytes.
    pub packet: String,
    /// The rules and policies that count it.
    pub steps: Vec<String>,
}

/// A packet that netfilter and a subject judge differently.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The subject.
    pub subject: String,
    /// The packet in words, and its bytes.
    pub packet: String,
    /// Where it goes.
    pub route: Route,
    /// What netfilter said.
    pub netfilter: Verdict,
    /// What the subject said.
    pub verdict: Verdict,
    /// The rules and policies that count this packet in netfilter when it comes alone and first.
    pub netfilter_steps: Vec<String>,
    /// Those that count it in the subject when it comes once more.
    pub subject_steps: Vec<String>,
}

/// A rule or policy that counted differently.
#[derive(Clone, Debug)]
pub struct CounterDifference {
    /// The subject.
    pub subject: String,
    /// The rule in iptables' words, or its place when netfilter has no such rule.
    pub rule: String,
    /// What netfilter counted.
    pub netfilter: Counters,
    /// What the subject counted.
    pub counted: Counters,
}

/// The frames of a trial by where they go.
#[derive(Default)]
struct Selection<'a> {
    /// On the wanted paths.
    frames: Vec<&'a Frame>,
    /// Where each of them goes.
    routes: Vec<Route>,
    /// Dropped before any table.
    unseen: Vec<&'a Frame>,
}

impl Report {
    /// Whether every verdict and counter was the same.
    pub fn is_clean(&self) -> bool {
        self.differences == 0 && self.counters.is_empty() && self.miscounts.is_empty()
    }
}

impl Trial<'_> {
    /// Runs the trial in a namespace where no rules are loaded yet; afterwards this trial's are.
    ///
    /// Only the frames that reach a verdict are injected while the rules are loaded, so that the
    /// counters of both sides are about the same packets.
    ///
    /// # Errors
    /// When netfilter refuses the text, or netfilter or a subject cannot be asked.
    pub fn run(
        &self,
        netfilter: &Netfilter<'_>,
        subjects: &mut [&mut dyn Subject],
    ) -> Result<Report> {
        let mut report = Report {
            name: self.name.to_owned(),
            frames: self.frames.len(),
            ..Report::default()
        };
        let Selection {
            frames,
            routes,
            unseen,
        } = self.select(netfilter, &mut report)?;
        netfilter.load(self.text)?;
        let judged = netfilter.judge(&frames, &routes)?;
        let rules = netfilter.counters()?;
        report.rules = rules.iter().filter(|rule| rule.key.rule.is_some()).count();
        report.rules_hit = rules
            .iter()
            .filter(|rule| rule.key.rule.is_some() && rule.counters.packets > 0)
            .count();
        for rule in rules.iter().filter(|rule| rule.key.rule.is_some()) {
            let is_chain = |name: &&str| self.text.contains(&format!("\n:{name} "));
            for name in extensions(&rule.text)
                .into_iter()
                .filter(|it| !is_chain(it))
            {
                let hits = report.extensions.entry(name.to_owned()).or_default();
                hits.rules += 1;
                hits.hit += usize::from(rule.counters.packets > 0);
            }
        }

        let mut decided = Vec::new();
        for ((frame, route), judgement) in frames.into_iter().zip(&routes).zip(judged) {
            match judgement {
                Judgement::Decided(_, verdict) => {
                    match verdict {
                        Verdict::Accept => report.accepted += 1,
                        Verdict::Drop => report.dropped += 1,
                    }
                    decided.push((frame, route, verdict));
                }
                _ => report.unseen += 1,
            }
        }

        for subject in subjects {
            let mut first = None;
            for &(frame, route, expected) in &decided {
                let verdict = subject.verdict(frame, route)?;
                if verdict != expected {
                    report.differences += 1;
                    first.get_or_insert((frame, route, expected, verdict));
                }
            }
            let counted = subject.counters()?;
            report
                .counters
                .extend(counter_differences(subject.name(), &rules, &counted));
            if let Some((frame, route, expected, verdict)) = first {
                subject.verdict(frame, route)?;
                report.first.push(Difference {
                    subject: subject.name().to_owned(),
                    packet: words::describe(frame),
                    route: route.clone(),
                    netfilter: expected,
                    verdict,
                    netfilter_steps: self.steps(netfilter, frame)?,
                    subject_steps: grown(&rules, &counted, &subject.counters()?),
                });
            }
            if subject.sees_all_frames() {
                report
                    .miscounts
                    .extend(first_miscount(*subject, &unseen, &rules)?);
            }
        }
        Ok(report)
    }

    /// Sorts the frames by their routes; those that are left out are counted in the report.
    fn select(&self, netfilter: &Netfilter<'_>, report: &mut Report) -> Result<Selection<'_>> {
        let all: Vec<&Frame> = self.frames.iter().collect();
        let routes = netfilter.route(&all)?;
        let raw = exceptions::reads_raw_bytes(self.text);
        let mut selection = Selection::default();
        for (frame, route) in all.into_iter().zip(routes) {
            match &route {
                route if exceptions::is_unknowable(frame, route) => report.excepted += 1,
                _ if raw && exceptions::is_written_into(frame) => report.excepted += 1,
                Route::Unseen => {
                    report.unseen += 1;
                    if !exceptions::may_be_counted_unseen(frame) {
                        selection.unseen.push(frame);
                    }
                }
                Route::Refused => report.refused += 1,
                Route::Unrouted => report.unrouted += 1,
                Route::Held => report.held += 1,
                Route::Local | Route::Via(_) | Route::Out(_) => {
                    if route.path().is_some_and(|path| self.paths.contains(&path)) {
                        selection.frames.push(frame);
                        selection.routes.push(route);
                    } else {
                        report.elsewhere += 1;
                    }
                }
            }
        }
        Ok(selection)
    }

    /// The rules that count a packet which comes alone.
    fn steps(&self, netfilter: &Netfilter<'_>, frame: &Frame) -> Result<Vec<String>> {
        netfilter.load(self.text)?;
        netfilter.judge(&[frame], &[Route::Local])?;
        let rules = netfilter.counters()?;
        Ok(rules
            .iter()
            .filter(|rule| rule.counters.packets > 0)
            .map(ToString::to_string)
            .collect())
    }
}

/// The names of the matches and the target in a rule's words.
fn extensions(rule: &str) -> BTreeSet<&str> {
    let words: Vec<&str> = rule.split(' ').collect();
    let pairs = words
        .windows(2)
        .filter(|pair| ["-m", "-j"].contains(&pair[0]));
    pairs.map(|pair| pair[1]).collect()
}

/// The first of the frames that the IP layer drops which a subject counts. Whether it drops them is
/// all the same.
fn first_miscount(
    subject: &mut dyn Subject,
    unseen: &[&Frame],
    rules: &[CountedRule],
) -> Result<Option<Miscount>> {
    let before = subject.counters()?;
    for frame in unseen {
        subject.verdict(frame, &Route::Unseen)?;
    }
    let mut before = match subject.counters()? {
        after if after == before => return Ok(None),
        after => after,
    };
    // Some frame was counted; once more, to find it.
    for frame in unseen {
        subject.verdict(frame, &Route::Unseen)?;
        let after = subject.counters()?;
        if after != before {
            return Ok(Some(Miscount {
                subject: subject.name().to_owned(),
                packet: words::describe(frame),
                steps: grown(rules, &before, &after),
            }));
        }
        before = after;
    }
    Ok(None)
}

/// The rules whose counters grew from one reading to the next.
fn grown(
    rules: &[CountedRule],
    before: &BTreeMap<CounterKey, Counters>,
    after: &BTreeMap<CounterKey, Counters>,
) -> Vec<String> {
    rules
        .iter()
        .filter(|rule| before.get(&rule.key) != after.get(&rule.key))
        .map(ToString::to_string)
        .collect()
}

fn counter_differences(
    subject: &str,
    rules: &[CountedRule],
    counted: &BTreeMap<CounterKey, Counters>,
) -> Vec<CounterDifference> {
    let mut unknown = counted.clone();
    let mut differences = Vec::new();
    let compared = |rule: &&CountedRule| {
        let known = rule.key.rule.is_some() || counted.contains_key(&rule.key);
        known && !is_idle(rules, rule.key.table)
    };
    for rule in rules.iter().filter(compared) {
        let counted = unknown.remove(&rule.key).unwrap_or_default();
        let same = counted == rule.counters
            || (counted.packets == rule.counters.packets && exceptions::may_grow(rules));
        if !same {
            differences.push(CounterDifference {
                subject: subject.to_owned(),
                rule: rule.to_string(),
                netfilter: rule.counters,
                counted,
            });
        }
    }
    unknown.retain(|key, _| !is_idle(rules, key.table));
    for (key, counted) in unknown {
        if counted != Counters::default() {
            differences.push(CounterDifference {
                subject: subject.to_owned(),
                rule: format!("{key:?}"),
                netfilter: Counters::default(),
                counted,
            });
        }
    }
    differences
}

/// Whether a table has no rule and accepts everything.
fn is_idle(rules: &[CountedRule], table: TableKind) -> bool {
    rules
        .iter()
        .filter(|rule| rule.key.table == table)
        .all(|rule| rule.key.rule.is_none() && rule.text.ends_with(" ACCEPT"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} frames: {} accepted, {} dropped, {} unseen, {} refused, {} unrouted, {} held, \
             {} excepted, {} on another path; {} of {} rules hit; {} verdicts and {} counters differ",
            self.name,
            self.frames,
            self.accepted,
            self.dropped,
            self.unseen,
            self.refused,
            self.unrouted,
            self.held,
            self.excepted,
            self.elsewhere,
            self.rules_hit,
            self.rules,
            self.differences,
            self.counters.len()
        )?;
        for difference in &self.first {
            write!(f, "\n{difference}")?;
        }
        for difference in &self.counters {
            write!(f, "\n{difference}")?;
        }
        for miscount in &self.miscounts {
            write!(f, "\n{miscount}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.packet)?;
        writeln!(f, "  on its way {}:", self.route)?;
        for (who, verdict, steps) in [
            ("netfilter", self.netfilter, &self.netfilter_steps),
            (&self.subject, self.verdict, &self.subject_steps),
        ] {
            write!(f, "  {verdict} by {who}")?;
            match steps.is_empty() {
                true => writeln!(f, ", counted nowhere")?,
                false => writeln!(f, ", counted by")?,
            }
            for step in steps {
                writeln!(f, "    {step}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Miscount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.packet)?;
        write!(
            f,
            "  is dropped by the IP layer, but {} counts it in",
            self.subject
        )?;
        for step in &self.steps {
            write!(f, "\n    {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for CounterDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: netfilter counted [{}:{}], {} [{}:{}]",
            self.rule,
            self.netfilter.packets,
            self.netfilter.bytes,
            self.subject,
            self.counted.packets,
            self.counted.bytes
        )
    }
}
