//! Connection tracking against the kernel's, packet by packet: conversations pass a router in both
//! directions, and the same rules count their states in FORWARD and in the program at XDP.

#[path = "../../codegen/tests/support/conversation.rs"]
mod conversation;

use anyhow::{Context, Result, ensure};
use conversation::{Sent, conversation};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_difftest::checksum::checksum;
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{self, Route};
use ipt2bpf_difftest::{netns, packets, subjects};
use ipt2bpf_parser::ruleset::Family;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many conversations each family gets; the variable asks for more.
const CONVERSATIONS: u8 = 40;
const VARIABLE: &str = "IPT2BPF_CONVERSATIONS";

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
-A FORWARD -p tcp -m tcp --sport 4000 -m conntrack --ctstate NEW -j DROP
-A FORWARD -p udp -m udp --dport 4000 -m conntrack --ctstate NEW -j DROP
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
fn compare(family: Family, conversations: &[Vec<Sent>]) -> Result<usize> {
    let interface = "eth0".to_owned();
    let host = Host::new(std::slice::from_ref(&interface), &Routing::transit())?;
    let ruleset = subjects::ruleset(family, RULES)?;
    let mut subjects = subjects::all(&ruleset, &[Hook::Xdp])?;
    // No taps: they end a packet's way before its connection is remembered.
    netfilter::load(family, RULES)?;
    let mut packets = 0;
    for conversation in conversations {
        let compared = conversation.iter().filter(|sent| !is_sctp(sent));
        for (number, sent) in compared.enumerate() {
            let frame = Frame::received(family, &interface, &finished(sent, packets as u16));
            host.inject(&frame)?;
            packets += 1;
            let counted = netfilter::counters(family)?;
            for subject in &mut subjects {
                subject.verdict(&frame, &Route::Via(interface.clone()))?;
                let counters = subject.counters()?;
                for theirs in &counted {
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

#[test]
fn every_packet_has_the_state_that_the_kernel_gives_it() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let wanted = std::env::var(VARIABLE).ok().and_then(|it| it.parse().ok());
    let count = wanted.unwrap_or(CONVERSATIONS);
    let seed = packets::seed().expect("a seed");
    let bytes: [u8; 32] = std::array::from_fn(|index| seed.to_le_bytes()[index % 8]);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    for family in [Family::V4, Family::V6] {
        let conversations: Vec<Vec<Sent>> = (0..count)
            .map(|number| conversation(number, family))
            .map(|it| it.new_tree(&mut runner).expect("a conversation").current())
            .collect();
        let packets = netns::isolated(|| compare(family, &conversations));
        match packets {
            Ok(packets) => println!("{packets} packets of {family:?} in {count} conversations"),
            Err(error) => panic!("{}={seed}: {error:#}", packets::SEED_VARIABLE),
        }
    }
}
