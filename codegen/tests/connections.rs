//! Connection tracking: the bytecode and the reference give every packet of a conversation the same
//! state, in both directions, and remember the same connections.

mod support;

use ipt2bpf_codegen::compile::{Compiled, compile};
use ipt2bpf_codegen::evaluate::{Route, evaluate};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::options::Options;
use ipt2bpf_codegen::packet::{Devices, Packet};
use ipt2bpf_codegen::routine::World;
use ipt2bpf_codegen::semantic::Verdict;
use ipt2bpf_codegen::track::timeouts::Timeouts;
use ipt2bpf_codegen::vm::{Context, Machine};
use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestCaseError;
use support::conversation::{PORTS, Sent, conversation};
use support::texts::filter;

/// Rules that count every state, flag and direction, and drop some packets, so that their connections
/// are not remembered.
const RULES: &str = "\
:states - [0:0]
-A INPUT -j states
-A INPUT -p tcp -m tcp --sport 4000 -m conntrack --ctstate NEW -j DROP
-A OUTPUT -j states
-A OUTPUT -p udp -m udp --dport 4000 -m state --state NEW -j DROP
-A states -m conntrack --ctstate INVALID
-A states -m conntrack --ctstate NEW
-A states -m conntrack --ctstate ESTABLISHED
-A states -m conntrack --ctstate RELATED
-A states -m conntrack --ctstate UNTRACKED
-A states -m state ! --state NEW,INVALID
-A states -m conntrack --ctdir REPLY
-A states -m conntrack --ctstate INVALID --ctdir REPLY
-A states -m conntrack --ctstatus SEEN_REPLY
-A states -m conntrack --ctstatus ASSURED
-A states -m conntrack ! --ctstatus CONFIRMED
-A states -m conntrack --ctstatus NONE
-A states -m conntrack --ctproto 6
-A states -m conntrack --ctstate INVALID,NEW --ctproto 17
-A states -m conntrack ! --ctproto 6
-A states -m conntrack --ctproto 132 --ctstate NEW,ESTABLISHED
-A states -m conntrack --ctproto 132 --ctstatus ASSURED
-A states -p sctp -m conntrack --ctstate INVALID
-A states -p sctp -m conntrack --ctexpire 3:9
-A states -p sctp -m conntrack --ctexpire 200:210
-A states -m conntrack --ctorigsrcport 33000
-A states -m conntrack --ctorigdstport 80
-A states -m conntrack ! --ctreplsrcport 1000:65535
-A states -m conntrack --ctrepldstport 1:5000 --ctdir ORIGINAL
-A states -m conntrack --ctexpire 100:130
-A states -m conntrack ! --ctexpire 1:1000
-A states -m connbytes --connbytes 3 --connbytes-mode packets --connbytes-dir both
-A states -m connbytes --connbytes 100:200 --connbytes-mode bytes --connbytes-dir original
-A states -m connbytes ! --connbytes 41:60 --connbytes-mode avgpkt --connbytes-dir reply
-A states -m connbytes --connbytes 0 --connbytes-mode bytes --connbytes-dir reply
-A states -m connmark --mark 0x0
-A states -m connmark ! --mark 0x1/0x1
-A states -m connmark --mark 0x6/0xff
-A states -p tcp -m tcp --tcp-flags PSH PSH -j CONNMARK --set-xmark 0x3/0x7
-A states -m conntrack --ctdir REPLY -j CONNMARK --set-xmark 0x1/0x0 --left-shift-mark 1
-A states -m conntrack --ctstatus ASSURED -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0 --right-shift-mark 1
-A states -m mark --mark 0x5/0xf
-A states -m conntrack --ctstate ESTABLISHED -j CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x7 --left-shift-mark 8
-A states -m mark --mark 0x100/0x100
-A states -m connmark --mark 0x2/0x2
-A states -m helper --helper ftp
-A states -m helper ! --helper ftp
-A states -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdeadbeef
-A states -m cluster --cluster-total-nodes 5 --cluster-local-nodemask 0x15 --cluster-hash-seed 7
-A states -m cluster --cluster-total-nodes 5 ! --cluster-local-node 3 --cluster-hash-seed 0
-A states -m pkttype --pkt-type unicast
";

/// The mark of all packets.
const MARK: u32 = 0x1e5;

/// The addresses of a family's conversations.
fn rules(family: Family) -> String {
    let (here, network) = match family {
        Family::V4 => ("10.0.0.1/32", "10.0.0.0/22"),
        Family::V6 => ("2001:db8::1/128", "2001:db8::/37"),
    };
    format!(
        "{RULES}-A states -m conntrack --ctorigsrc {here}\n\
         -A states -m conntrack ! --ctorigdst {here}\n\
         -A states -m conntrack --ctreplsrc {here}\n\
         -A states -m conntrack --ctstate NEW,INVALID,ESTABLISHED ! --ctrepldst {here}\n\
         -A states -m conntrack --ctorigsrc {network} --ctreplsrc {network}\n\
         -A states -p udp -m connlimit --connlimit-above 1\n\
         -A states -m connlimit --connlimit-upto 2 --connlimit-mask 16 --connlimit-daddr\n\
         -A states -p tcp -m tcp --syn -m connlimit --connlimit-above 1 --connlimit-mask 0\n\
         -A states -p tcp -m connlimit --connlimit-upto 0\n\
         -A states -m connlimit --connlimit-above 3 --connlimit-mask 9\n"
    )
}

/// Programs for what arrives at sockets and what they send.
fn both_directions() -> Options {
    Options {
        hooks: vec![Hook::CgroupIngress, Hook::CgroupEgress],
        ..Options::default()
    }
}

/// Runs the packets one after the other; gives an error at the first on which the two sides differ.
fn judge(compiled: &Compiled, sent: &[Sent], timeouts: Timeouts) -> Result<(), TestCaseError> {
    let fail = |reason: String| TestCaseError::fail(reason);
    let mut machine = Machine::new(&compiled.module).map_err(|error| fail(error.to_string()))?;
    let mut world = World::default();
    world.timeouts = timeouts;
    for (number, packet) in sent.iter().enumerate() {
        world.jiffies = packet.jiffies;
        let hook = match packet.leaves {
            true => Hook::CgroupEgress,
            false => Hook::CgroupIngress,
        };
        let filter = compiled.filters.iter().find(|filter| filter.hook == hook);
        let filter = filter.expect("a filter per hook");
        let rules = filter.families.iter().find(|it| it.family == packet.family);
        let rules = rules.expect("both families");
        let mut read = Packet::new(packet.family, &packet.bytes, &Devices::default());
        read.iter_mut().for_each(|it| it.set_mark(MARK));
        let before = machine.counters();
        let outcome = evaluate(rules, &read.expect("a header"), Route::Local, &mut world);
        let mut context = Context::new(&packet.bytes);
        context.jiffies = packet.jiffies;
        context.mark = MARK;
        context.protocol = match packet.family {
            Family::V4 => 0x0800,
            Family::V6 => 0x86dd,
        };
        let returned = machine.run(hook, &context);
        let returned = returned.map_err(|fault| fail(format!("{number}: {fault}")))?;
        let texts: Vec<&str> = counted(compiled, &before, &machine.counters(), rules);
        let mut expected: Vec<&str> = Vec::new();
        for (counter, _) in outcome.counters(rules) {
            let chains = rules.chains.iter().flat_map(|chain| &chain.rules);
            expected.extend(
                chains
                    .filter(|rule| rule.counter == counter)
                    .map(|rule| rule.text.as_str()),
            );
        }
        expected.sort_unstable();
        prop_assert_eq!(texts, expected, "packet {}: {:?}", number, packet);
        prop_assert_eq!(
            returned == 1,
            outcome.verdict == Verdict::Accept,
            "packet {}",
            number
        );
    }
    Ok(())
}

/// The rules whose counters a packet has moved.
fn counted<'a>(
    _: &'a Compiled,
    before: &[(u64, u64)],
    after: &[(u64, u64)],
    rules: &'a ipt2bpf_codegen::semantic::FamilyFilter,
) -> Vec<&'a str> {
    let chains = rules.chains.iter().flat_map(|chain| &chain.rules);
    let moved = chains.filter(|rule| {
        let index = rule.counter.0 as usize;
        before[index] != after[index]
    });
    let mut texts: Vec<&str> = moved.map(|rule| rule.text.as_str()).collect();
    texts.sort_unstable();
    texts
}

/// The usual times, or some that conversations outlast.
fn timeouts() -> impl Strategy<Value = Timeouts> {
    const NAMES: [&str; 9] = [
        "tcp_timeout_syn_sent",
        "tcp_timeout_established",
        "tcp_timeout_unacknowledged",
        "tcp_timeout_close",
        "sctp_timeout_established",
        "udp_timeout",
        "udp_timeout_stream",
        "icmp_timeout",
        "generic_timeout",
    ];
    vec((proptest::sample::select(&NAMES[..]), 1..20u32), 0..4).prop_map(|chosen| {
        let mut timeouts = Timeouts::default();
        for (name, seconds) in chosen {
            timeouts.set(name, seconds).expect("a name");
        }
        timeouts
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_has_the_same_state(
        conversations in vec(prop_oneof![conversation(0, Family::V4, &PORTS), conversation(0, Family::V6, &PORTS)], 1..3),
        timeouts in timeouts(),
    ) {
        let mut rulesets = filter(Family::V4, &rules(Family::V4));
        rulesets.extend(filter(Family::V6, &rules(Family::V6)));
        let options = Options { timeouts, ..both_directions() };
        let compiled = compile(&rulesets, &options).expect("compiles");
        let sent: Vec<Sent> = conversations.concat();
        judge(&compiled, &sent, timeouts)?;
    }
}

/// A UDP datagram over IPv4 that says it is 100 bytes long and brings 9 of them.
fn truncated(more_fragments: bool) -> Sent {
    let mut bytes = vec![0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17, 0, 0];
    bytes[6] = if more_fragments { 0x20 } else { 0 };
    bytes.extend([10, 0, 0, 2, 10, 0, 0, 1]);
    bytes.extend([0, 53, 0x13, 0x88, 0, 100, 0, 0, 7]);
    Sent {
        leaves: false,
        family: Family::V4,
        bytes,
        jiffies: 1,
    }
}

#[test]
fn a_first_fragment_may_say_that_it_is_longer() {
    let rulesets = filter(Family::V4, &rules(Family::V4));
    let compiled = compile(&rulesets, &both_directions()).expect("compiles");
    for (more_fragments, state) in [(true, "NEW"), (false, "INVALID")] {
        let sent = truncated(more_fragments);
        judge(&compiled, std::slice::from_ref(&sent), Timeouts::default())
            .expect("both sides agree");
        let filters = compiled.filters.iter();
        let arriving = filters
            .flat_map(|filter| &filter.families)
            .next()
            .expect("a filter");
        let packet = Packet::new(sent.family, &sent.bytes, &Devices::default()).expect("a header");
        let outcome = evaluate(arriving, &packet, Route::Local, &mut World::default());
        let counted: Vec<_> = outcome.counters(arriving).collect();
        let mut rules = arriving.chains.iter().flat_map(|chain| &chain.rules);
        let rule = rules
            .find(|rule| rule.text == format!("-A states -m conntrack --ctstate {state}"))
            .expect("a rule for the state");
        assert!(
            counted.iter().any(|(counter, _)| *counter == rule.counter),
            "{state}: {counted:?}"
        );
    }
}

#[test]
fn a_connection_lasts_as_long_as_was_chosen() {
    let rulesets = filter(Family::V4, &rules(Family::V4));
    let rate = u64::from(Options::default().tick_rate);
    let mut question = truncated(false);
    question.bytes[25] = 9;
    let mut answer = question.clone();
    answer.leaves = true;
    answer.jiffies += 6 * rate;
    answer.bytes[12..20].rotate_left(4);
    answer.bytes[20..24].rotate_left(2);
    let sent = [question, answer];
    let mut short = Timeouts::default();
    short.set("udp_timeout", 5).expect("a name");
    for (timeouts, state) in [(Timeouts::default(), "ESTABLISHED"), (short, "NEW")] {
        let options = Options {
            timeouts,
            ..both_directions()
        };
        let compiled = compile(&rulesets, &options).expect("compiles");
        judge(&compiled, &sent, timeouts).expect("both sides agree");
        let mut machine = Machine::new(&compiled.module).expect("a machine");
        for (packet, hook) in sent.iter().zip(&options.hooks) {
            let mut context = Context::new(&packet.bytes);
            context.jiffies = packet.jiffies;
            context.protocol = 0x0800;
            machine.run(*hook, &context).expect("runs");
        }
        let leaving = compiled
            .filters
            .iter()
            .find(|it| it.hook == Hook::CgroupEgress);
        let chains = leaving.expect("a filter").families[0].chains.iter();
        let mut rules = chains.flat_map(|chain| &chain.rules);
        let text = format!("-A states -m conntrack --ctstate {state}");
        let counter = rules
            .find(|rule| rule.text == text)
            .expect("a rule for the state")
            .counter;
        assert_eq!(
            machine.counters()[counter.0 as usize].0,
            1 + u64::from(state == "NEW")
        );
    }
}

#[test]
fn nothing_that_a_map_may_hold_makes_the_reference_panic() {
    use ipt2bpf_codegen::track::value::SIZE;
    use ipt2bpf_codegen::track::{Flow, Key};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let compiled =
        compile(&filter(Family::V4, &rules(Family::V4)), &both_directions()).expect("compiles");
    let drawn = conversation(0, Family::V4, &PORTS);
    let any_value = vec(any::<u8>(), SIZE);
    let mut tree = |_| {
        let sent = drawn
            .new_tree(&mut runner)
            .expect("a conversation")
            .current();
        let bytes = any_value.new_tree(&mut runner).expect("bytes").current();
        (sent, bytes)
    };
    for (sent, bytes) in (0..200).map(&mut tree) {
        let mut world = World::default();
        let bytes: [u8; SIZE] = bytes.try_into().expect("as many");
        for (number, packet) in sent.iter().enumerate() {
            world.jiffies = packet.jiffies;
            let keys: Vec<Key> = world.flows.keys().copied().collect();
            for key in keys {
                let mut flow = Flow::from_bytes(bytes);
                flow.expires = packet.jiffies as u32 + 1;
                flow.packets[number % 2] = u64::MAX;
                world.flows.insert(key, flow);
            }
            let read = Packet::new(packet.family, &packet.bytes, &Devices::default());
            let rules = &compiled.filters[usize::from(packet.leaves)].families[0];
            evaluate(rules, &read.expect("a header"), Route::Local, &mut world);
        }
    }
}
