//! Connection tracking against the kernel's, packet by packet: conversations pass a router in both
//! directions, and the same rules count their states in FORWARD and in the program at XDP.

#[path = "../../codegen/tests/support/conversation.rs"]
mod conversation;

use anyhow::{Context, Result, ensure};
use conversation::{PORTS, Sent, conversation};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::constants::Constants;
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{self, Route};
use ipt2bpf_difftest::scene::Scene;
use ipt2bpf_difftest::{netns, packets, reach, subjects, trials};
use ipt2bpf_parser::Counts;
use ipt2bpf_parser::ruleset::{Family, TableKind};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many conversations each family gets; the variable asks for more.
const CONVERSATIONS: u8 = 40;
const VARIABLE: &str = "IPT2BPF_CONVERSATIONS";
/// How many real rulesets are looked at; the variable asks for more.
const RULESETS: usize = 250;
const RULESETS_VARIABLE: &str = "IPT2BPF_RULESETS";

const RULES: &str = "\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m conntrack --ctstate INVALID
-A FORWARD -m conntrack --ctstate NEW
-A FORWARD -m conntrack --ctstate ESTABLISHED
-A FORWARD -m conntrack --ctstate RELATED
-A FORWARD -m conntrack --ctstate UNTRACKED
-A FORWARD -m conntrack --ctdir REPLY
-A FORWARD -m conntrack --ctstatus SEEN_REPLY
-A FORWARD -m conntrack --ctstatus ASSURED
-A FORWARD -m conntrack --ctstatus CONFIRMED
-A FORWARD -m conntrack --ctproto 6
-A FORWARD -m conntrack --ctstate INVALID,NEW --ctproto 17
-A FORWARD -m conntrack ! --ctproto 6
-A FORWARD -m conntrack --ctorigsrcport 33000
-A FORWARD -m conntrack --ctorigdstport 80
-A FORWARD -m conntrack --ctorigdstport 2048
-A FORWARD -m conntrack ! --ctreplsrcport 1000:65535
-A FORWARD -m conntrack --ctreplsrcport 7
-A FORWARD -m conntrack --ctrepldstport 1:5000 --ctdir ORIGINAL
-A FORWARD -m conntrack --ctexpire 100:200
-A FORWARD -m conntrack ! --ctexpire 5:1000
-A FORWARD -m connbytes --connbytes 3 --connbytes-mode packets --connbytes-dir both
-A FORWARD -m connbytes --connbytes 100:200 --connbytes-mode bytes --connbytes-dir original
-A FORWARD -m connbytes ! --connbytes 41:60 --connbytes-mode avgpkt --connbytes-dir reply
-A FORWARD -m connbytes --connbytes 60:70 --connbytes-mode avgpkt --connbytes-dir both
-A FORWARD -m connbytes --connbytes 0 --connbytes-mode bytes --connbytes-dir reply
-A FORWARD -m connmark --mark 0x0
-A FORWARD -m connmark ! --mark 0x1/0x1
-A FORWARD -m connmark --mark 0x6/0xff
-A FORWARD -m conntrack --ctstatus ASSURED -j CONNMARK --restore-mark --nfmask 0x1 --ctmask 0xf --left-shift-mark 4
-A FORWARD -m mark --mark 0x0
-A FORWARD -m mark --mark 0x20/0x20
-A FORWARD -p tcp -m tcp --tcp-flags PSH PSH -j CONNMARK --set-xmark 0x3/0x7
-A FORWARD -m conntrack --ctdir REPLY -j CONNMARK --set-xmark 0x1/0x0 --left-shift-mark 1
-A FORWARD -m conntrack --ctstatus ASSURED -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0 --right-shift-mark 1
-A FORWARD -m connmark --mark 0x2/0x2
-A FORWARD -m helper --helper ftp
-A FORWARD -m helper ! --helper ftp
-A FORWARD -p tcp -m tcp --sport 4000 -m conntrack --ctstate NEW -j DROP
-A FORWARD -p udp -m udp --dport 4000 -m conntrack --ctstate NEW -j DROP
COMMIT
";

/// The rules of a family, those with its addresses among them.
fn rules(family: Family) -> String {
    let [one, all] = match family {
        Family::V4 => ["10.0.0.1/32", "10.0.0.0/20"],
        Family::V6 => ["2001:db8::1/128", "2001:db8::/37"],
    };
    let tests = [
        format!("--ctorigsrc {one}"),
        format!("! --ctorigdst {one}"),
        format!("--ctreplsrc {one}"),
        format!("--ctstate NEW,INVALID,ESTABLISHED ! --ctrepldst {one}"),
        format!("--ctorigsrc {all} --ctreplsrc {all}"),
    ];
    let lines = tests.map(|test| format!("-A FORWARD -m conntrack {test}\n"));
    let (head, drops) = RULES.split_at(RULES.find("-A FORWARD -p tcp -m tcp --sport").unwrap_or(0));
    head.to_owned() + &lines.concat() + drops
}

/// What raw may give a packet before it is tracked.
const RAW: &str = "\
*raw
-A PREROUTING -p udp -m udp --dport 4000 -j NOTRACK
-A PREROUTING -p udp -m udp --sport 4000 -j CT --notrack
-A PREROUTING -p tcp -m tcp --dport 4000 -j CT --ctevents new
-A PREROUTING -m conntrack --ctstate NEW
-A PREROUTING -m conntrack --ctstate UNTRACKED
-A PREROUTING -m conntrack --ctstate INVALID
COMMIT
";

/// Makes the packet one that a router forwards: checksums right.
fn finished(sent: &Sent, number: u16) -> Vec<u8> {
    let mut bytes = sent.bytes.clone();
    let (header, protocol) = match sent.family {
        Family::V4 => (20, bytes[9]),
        Family::V6 => (40, bytes[6]),
    };
    let pseudo = match sent.family {
        Family::V4 => bytes[12..20].to_vec(),
        Family::V6 => bytes[8..40].to_vec(),
    };
    let length = (bytes.len() - header) as u16;
    let place = match (sent.family, protocol) {
        (_, 6) => Some(16),
        (_, 17) => Some(6),
        (Family::V4, 1) | (Family::V6, 58) => Some(2),
        _ => None,
    };
    if let Some(place) = place.map(|place| header + place) {
        let mut covered = match (sent.family, protocol) {
            (Family::V4, 1) => Vec::new(),
            _ => [&pseudo[..], &length.to_be_bytes(), &[0, protocol]].concat(),
        };
        bytes[place..place + 2].fill(0);
        covered.extend(&bytes[header..]);
        let sum = checksum(&covered);
        bytes[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    }
    if sent.family == Family::V4 {
        bytes[4..6].copy_from_slice(&number.to_be_bytes());
        bytes[10..12].fill(0);
        let sum = checksum(&bytes[..20]);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    bytes
}

/// SCTP has no machine of ours.
fn is_sctp(sent: &Sent) -> bool {
    match sent.family {
        Family::V4 => sent.bytes[9] == 132,
        Family::V6 => sent.bytes[6] == 132,
    }
}

/// Passes conversations through both; says where the counters part.
fn compare(
    family: Family,
    interface: &str,
    rules: &str,
    conversations: &[Vec<Sent>],
) -> Result<usize> {
    let interface = interface.to_owned();
    let host = Host::new(std::slice::from_ref(&interface), &Routing::transit())?;
    let ruleset = subjects::ruleset(family, rules)?;
    let tables = ruleset.tables.iter();
    let ruled: Vec<TableKind> = tables
        .filter(|table| table.chains.iter().any(|chain| !chain.rules.is_empty()))
        .map(|table| table.kind)
        .collect();
    let mut subjects = subjects::all(&ruleset, &[Hook::Xdp])?;
    // No taps: they end a packet's way before its connection is remembered.
    netfilter::load(family, rules)?;
    let mut packets = 0;
    for conversation in conversations {
        let compared = conversation.iter().filter(|sent| !is_sctp(sent));
        for (number, sent) in compared.enumerate() {
            let frame = Frame::received(family, &interface, &finished(sent, packets as u16));
            host.inject(&frame)?;
            packets += 1;
            let counted = netfilter::counters(family)?;
            // What the router itself sends in the meantime is no part of it.
            let own = ["INPUT", "OUTPUT", "POSTROUTING"];
            // A table without rules is none of the program's.
            let passing = counted.iter().filter(|it| {
                !own.contains(&it.key.chain.as_str()) && ruled.contains(&it.key.table)
            });
            for subject in &mut subjects {
                subject.verdict(&frame, &Route::Via(interface.clone()))?;
                let counters = subject.counters()?;
                for theirs in passing.clone() {
                    let ours = counters.get(&theirs.key).context("a counter of ours")?;
                    ensure!(
                        *ours == theirs.counters,
                        "{sent:?}\npacket {number}: {} counts {ours:?}, netfilter {:?} at {}\n{conversation:#?}",
                        subject.name(),
                        theirs.counters,
                        theirs.text,
                    );
                }
            }
        }
    }
    Ok(packets)
}

fn runner() -> TestRunner {
    let seed = packets::seed().expect("a seed");
    let bytes: [u8; 32] = std::array::from_fn(|index| seed.to_le_bytes()[index % 8]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config::default(), rng)
}

fn conversations(
    count: u8,
    family: Family,
    ports: &[u16],
    runner: &mut TestRunner,
) -> Vec<Vec<Sent>> {
    (0..count)
        .map(|number| conversation(number, family, ports))
        .map(|it| it.new_tree(runner).expect("a conversation").current())
        .collect()
}

/// A ruleset whose INPUT stands in FORWARD, when its rules track connections there and iptables loads it:
/// its text, its interface and the ports that it is about.
fn tracking(family: Family, text: &str) -> Option<(String, String, Vec<u16>)> {
    const SCENE: Scene = Scene::Mirror;
    let mut ruleset = subjects::ruleset(family, text).ok()?;
    ruleset.tables.retain(|table| table.kind != TableKind::Nat);
    let ruleset = reach::within(&SCENE.stage(&ruleset), SCENE.chains());
    let text = String::from_utf8_lossy(&ruleset.print(Counts::Chains)).into_owned();
    // Chance is not the same on both sides.
    if !trials::tracks_connections(&ruleset) || text.contains("--mode random") {
        return None;
    }
    let ruleset = trials::loadable(family, &text, &Default::default(), SCENE.hooks()).ok()?;
    let constants = Constants::of(&ruleset, SCENE.direction());
    let aims = constants.aims.iter();
    let mut ports: Vec<u16> = aims
        .flat_map(|aim| aim.destination_ports.iter().map(|range| range.low))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports.push(PORTS[0]);
    Some((text, constants.interfaces.first()?.clone(), ports))
}

#[test]
fn real_rulesets_count_conversations_as_netfilter_does() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/rulesets");
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("skipped: there is no {folder}");
        return;
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let wanted = std::env::var(RULESETS_VARIABLE).ok();
    let wanted = wanted.and_then(|it| it.parse().ok()).unwrap_or(RULESETS);
    let mut runner = runner();
    let step = (files.len() / wanted).max(1);
    let (mut tried, mut packets, mut failures) = (0, 0, Vec::new());
    for path in files.iter().step_by(step) {
        let family = match path.extension().and_then(|it| it.to_str()) {
            Some("v4") => Family::V4,
            Some("v6") => Family::V6,
            _ => continue,
        };
        let bytes = std::fs::read(path).expect("a readable file");
        let text = String::from_utf8_lossy(&bytes);
        let Some((rules, interface, ports)) = tracking(family, &text) else {
            continue;
        };
        let conversations = conversations(6, family, &ports, &mut runner);
        match netns::isolated(|| compare(family, &interface, &rules, &conversations)) {
            Ok(count) => (tried, packets) = (tried + 1, packets + count),
            Err(error) => failures.push(format!("{}: {error:#}", path.display())),
        }
    }
    println!("{packets} packets met {tried} rulesets that track connections");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(tried > 0, "no ruleset of {folder} could be tried");
}

#[test]
fn every_packet_has_the_state_that_the_kernel_gives_it() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let wanted = std::env::var(VARIABLE).ok().and_then(|it| it.parse().ok());
    let count = wanted.unwrap_or(CONVERSATIONS);
    let seed = packets::seed().expect("a seed");
    let mut runner = runner();
    for family in [Family::V4, Family::V6] {
        let conversations = conversations(count, family, &PORTS, &mut runner);
        for rules in [rules(family), RAW.to_owned() + &rules(family)] {
            let packets = netns::isolated(|| compare(family, "eth0", &rules, &conversations));
            match packets {
                Ok(packets) => println!("{packets} packets of {family:?} in {count} conversations"),
                Err(error) => panic!("{}={seed}: {error:#}", packets::SEED_VARIABLE),
            }
        }
    }
}
