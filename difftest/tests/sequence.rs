//! Matches that remember: the same packets, at the same times, in netfilter and in the program.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_difftest::compare::Subject;
use ipt2bpf_difftest::forms::{self, packet, ports, v4, v6};
use ipt2bpf_difftest::frame::Frame;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::ipsets::Ipsets;
use ipt2bpf_difftest::netfilter::{CounterKey, Netfilter, Route};
use ipt2bpf_difftest::netns;
use ipt2bpf_difftest::subjects::{self, program::Program};
use ipt2bpf_parser::ruleset::{Counters, Family};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ESP: u8 = 50;
const AH: u8 = 51;

/// A packet and when it comes, in milliseconds from the first.
type Arrival = (u64, Frame);

/// The longest that a packet may take from netfilter to the program. What a rule says must not depend on so
/// little: every time of the sequences is farther from where an answer changes.
const SLIP: Duration = Duration::from_millis(12);
/// How often a sequence is tried on a machine that is too busy.
const TRIES: usize = 5;

/// Sequences go one after the other, so that none disturbs another's times.
static TURN: Mutex<()> = Mutex::new(());

/// What both sides counted for each rule: netfilter, the program.
type Counted = BTreeMap<CounterKey, [Counters; 2]>;

/// Sends a sequence through both; none when a packet took too long.
fn run(family: Family, text: &str, sets: &Ipsets, arrivals: &[Arrival]) -> Result<Option<Counted>> {
    netns::isolated(|| {
        sets.restore()?;
        let host = Host::new(&["eth0".into()], &Routing::AllLocal)?;
        let netfilter = Netfilter::new(&host, family)?;
        let ruleset = subjects::ruleset(family, text)?;
        let mut program = Program::new(&ruleset, Hook::CgroupIngress, &sets.known)?;
        program.fill_sets(&sets.sets)?;
        netfilter.load(text)?;
        let start = Instant::now();
        for (at, frame) in arrivals {
            let due = start + Duration::from_millis(*at);
            sleep(due.saturating_duration_since(Instant::now()));
            host.inject(frame)?;
            program.verdict(frame, &Route::Local)?;
            if Instant::now().saturating_duration_since(due) > SLIP {
                return Ok(None);
            }
        }
        let theirs = netfilter.counters()?;
        let ours = program.counters()?;
        let rules = theirs.into_iter().filter(|it| it.key.rule.is_some());
        Ok(Some(
            rules
                .map(|rule| {
                    let own = ours.get(&rule.key).copied().unwrap_or_default();
                    (rule.key, [rule.counters, own])
                })
                .collect(),
        ))
    })
}

/// Sends a sequence through rules of mangle's PREROUTING and wants each to count the same on both sides.
fn agree(family: Family, rules: &[&str], arrivals: &[Arrival]) {
    agree_with_sets(family, "", rules, arrivals);
}

/// The same where rules ask sets.
fn agree_with_sets(family: Family, sets: &str, rules: &[&str], arrivals: &[Arrival]) {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let lines: String = rules
        .iter()
        .map(|rule| format!("-A PREROUTING {rule}\n"))
        .collect();
    let text = format!("*mangle\n:PREROUTING ACCEPT [0:0]\n{lines}COMMIT\n");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let sets = Ipsets::read(sets).expect("sets");
    let runs = (0..TRIES).map(|_| run(family, &text, &sets, arrivals).expect("runs"));
    let Some(counted) = runs.flatten().next() else {
        eprintln!("skipped: the machine is too busy to keep the times of the packets");
        return;
    };
    let mut hits = 0;
    for (key, [theirs, ours]) in &counted {
        let rule = rules[key.rule.expect("a rule") - 1];
        println!("{:4} {:4} {rule}", theirs.packets, ours.packets);
        hits += theirs.packets;
    }
    for (key, [theirs, ours]) in &counted {
        assert_eq!(theirs, ours, "{}", rules[key.rule.expect("a rule") - 1]);
    }
    assert!(hits > 0, "no rule was hit");
}

/// Bursts and pauses, from some hosts, of which each sends its own sizes.
fn bursts(family: Family) -> Vec<Arrival> {
    let bursts: [(u64, &[u8]); 14] = [
        (0, &[1, 1, 1, 1, 2, 1]),
        (170, &[1, 2, 3]),
        (640, &[1, 1, 2, 2, 2]),
        (810, &[3]),
        (1230, &[1, 1, 1]),
        (1330, &[2, 1]),
        (1820, &[1, 3, 3]),
        (2390, &[1, 1, 1, 1, 1, 2, 2, 2]),
        (2640, &[1]),
        (3140, &[1, 2, 3]),
        (3280, &[2, 2]),
        (3680, &[1, 3]),
        (4150, &[1, 1, 2]),
        (4610, &[3, 1]),
    ];
    let mut arrivals = Vec::new();
    for (number, (at, hosts)) in bursts.into_iter().enumerate() {
        for &host in hosts {
            let ttl = 60 + (number % 2) as u8;
            let size = 8 + 100 * usize::from(host) + 40 * number;
            let payload = ports(1000 + u16::from(host), 50 + (number % 3) as u16, size);
            arrivals.push((at, packet(family, host, ttl, UDP, &payload)));
        }
    }
    arrivals
}

/// Gives each packet two milliseconds of its own.
fn spread(arrivals: &mut [Arrival]) {
    for ((at, _), time) in arrivals.iter_mut().zip((0u64..).step_by(2)) {
        *at = time;
    }
}

#[test]
fn limits_and_counts() {
    let rules = [
        "-m limit --limit 2/sec --limit-burst 3",
        "-m limit --limit 1/sec --limit-burst 1",
        "-m limit --limit 100/sec",
        "-m limit --limit 7/min --limit-burst 4",
        "-m statistic --mode nth --every 3 --packet 0 -m limit --limit 2/sec --limit-burst 2",
        "-m statistic --mode nth --every 3 --packet 0",
        "-m statistic --mode nth ! --every 3 --packet 2",
        "-m statistic --mode nth --every 1 --packet 0",
        "-m statistic --mode nth --every 7 --packet 6",
        "-m statistic --mode random --probability 0",
        "-m statistic --mode random ! --probability 0",
        "-m statistic --mode random --probability 1",
        "-m quota --quota 1000",
        "-m quota ! --quota 1500",
        "-m quota --quota 100000",
        "-m quota --quota 0",
    ];
    for family in [Family::V4, Family::V6] {
        agree(family, &rules, &bursts(family));
    }
}

/// Buckets are not used again soon after they have expired: it is chance whether the kernel has dropped them
/// by then.
#[test]
fn hashlimits() {
    let rules = [
        "-m hashlimit --hashlimit-upto 2/sec --hashlimit-burst 3 --hashlimit-name all",
        "-m hashlimit --hashlimit-above 1/sec --hashlimit-burst 1 --hashlimit-mode srcip --hashlimit-name src",
        "-m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 9 --hashlimit-name src",
        "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 2 --hashlimit-mode srcip,dstip,srcport,dstport --hashlimit-name flow --hashlimit-htable-expire 60000",
        "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 2 --hashlimit-mode dstport --hashlimit-name port --hashlimit-htable-expire 60000",
        "-m hashlimit --hashlimit-upto 2/sec --hashlimit-burst 2 --hashlimit-mode srcip --hashlimit-srcmask 31 --hashlimit-name net",
        "-m hashlimit --hashlimit-upto 1kb/s --hashlimit-mode srcip --hashlimit-name bytes",
        "-m hashlimit --hashlimit-above 1kb/s --hashlimit-burst 3kb --hashlimit-name burst",
        "-m hashlimit --hashlimit-upto 200b/s --hashlimit-burst 1kb --hashlimit-mode srcip --hashlimit-name slow",
        "-m hashlimit --hashlimit-upto 3/sec --hashlimit-burst 1 --hashlimit-rate-match --hashlimit-mode srcip --hashlimit-name window",
        "-m hashlimit --hashlimit-above 2kb/s --hashlimit-rate-match --hashlimit-rate-interval 2 --hashlimit-name bwindow",
    ];
    for family in [Family::V4, Family::V6] {
        agree(family, &rules, &bursts(family));
    }
}

#[test]
fn recent_lists() {
    let rules = [
        "-m recent --rcheck --name a",
        "-m recent ! --rcheck --name a --rdest",
        "-m recent --rcheck --seconds 1 --name a",
        "-m recent --rcheck --seconds 1 --hitcount 3 --name a",
        "-m recent --rcheck --hitcount 9 --name a",
        "-m recent --rcheck --rttl --name a",
        "-m recent --set --name a",
        "-m recent --update --seconds 1 --hitcount 2 --name b",
        "-m recent ! --update --seconds 1 --name b",
        "-m recent --set --name b -m statistic --mode nth --every 4 --packet 1",
        "-m statistic --mode nth --every 3 --packet 0 -m recent --set --name c",
        "-m statistic --mode nth --every 7 --packet 5 -m recent --remove --name c",
        "-m recent --rcheck --seconds 1 --reap --name c",
        "-m recent --update --hitcount 2 --rttl --name c",
        "-m recent ! --remove --name d",
        "-m recent ! --set --name d",
    ];
    for family in [Family::V4, Family::V6] {
        agree(family, &rules, &bursts(family));
        let mask = match family {
            Family::V4 => "255.255.255.254",
            Family::V6 => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe",
        };
        let first = format!("-m recent --rcheck --seconds 1 --name m --mask {mask} --rsource");
        let rules = [first.as_str(), "-m recent --set --name m"];
        agree(family, &rules, &bursts(family));
    }
}

#[test]
fn a_recent_list_forgets_the_least_lately_updated_of_a_hundred() {
    let rules = [
        "-m recent --rcheck --name full",
        "-m recent --rcheck --hitcount 2 --name full",
        "-m recent --set --name full",
    ];
    for family in [Family::V4, Family::V6] {
        let hosts = (1..=99u8).chain([1, 5, 100, 101, 102, 2, 1, 5, 3, 103, 104, 1, 7, 98]);
        let again = (50..=250u8).chain(150..=250).chain([1, 5, 148, 149, 150]);
        let packets = hosts
            .chain(again)
            .map(|host| packet(family, host, 64, UDP, &ports(1, 2, 8)));
        // No rule asks for the time; two milliseconds are enough for each.
        let arrivals: Vec<Arrival> = (0u64..).step_by(2).zip(packets).collect();
        agree(family, &rules, &arrivals);
    }
}

#[test]
fn hashlimit_drops_what_finds_no_bucket() {
    let full = "-m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 2 --hashlimit-mode srcip \
                --hashlimit-name full --hashlimit-htable-size 1 --hashlimit-htable-max 3 \
                --hashlimit-htable-expire 300000 --hashlimit-htable-gcinterval 300000";
    for family in [Family::V4, Family::V6] {
        let hosts = [1, 2, 3, 4, 1, 5, 2, 4, 3, 1, 6];
        let arrivals: Vec<Arrival> = hosts
            .into_iter()
            .map(|host| (0, packet(family, host, 64, UDP, &ports(1, 2, 8))))
            .collect();
        agree(family, &[full, "-p udp"], &arrivals);
    }
    let by_port = "-m hashlimit --hashlimit-upto 1/min --hashlimit-burst 1 --hashlimit-mode srcport,dstport \
                   --hashlimit-name ports";
    // Spent buckets tell which packets have the same key.
    let mut arrivals = Vec::new();
    for protocol in [1, TCP, UDP, 33, ESP, AH, 132, 136, 47] {
        for payload in [
            ports(7, 8, 20),
            ports(7, 9, 20),
            ports(7, 8, 20),
            ports(7, 8, 4),
            ports(7, 8, 3),
            Vec::new(),
            [ports(0, 0, 4), ports(7, 9, 8)].concat(),
        ] {
            arrivals.push((0, v4(1, 64, protocol, 0, &payload)));
        }
    }
    // Later fragments, whose first bytes count as ports.
    arrivals.push((0, v4(2, 64, UDP, 0x0010, &ports(7, 8, 8))));
    arrivals.push((0, v4(2, 64, UDP, 0x0010, &ports(11, 12, 8))));
    arrivals.push((0, v4(2, 64, UDP, 0x0010, &[0, 1])));
    spread(&mut arrivals);
    agree(Family::V4, &[by_port, "-s 10.0.0.0/8"], &arrivals);

    let udp = ports(7, 8, 16);
    let mut arrivals = Vec::new();
    let headers: [(u8, Vec<u8>); 16] = [
        (UDP, udp.clone()),
        (UDP, ports(7, 8, 3)),
        (58, vec![128, 0, 0, 0, 0, 0, 0, 0]),
        (59, Vec::new()),
        (60, [&[59, 0, 1, 4, 0, 0, 0, 0][..], &udp].concat()),
        (
            60,
            [&[UDP, 0, 1, 4, 0, 0, 0, 0][..], &ports(9, 9, 8)].concat(),
        ),
        (60, vec![UDP]),
        (
            43,
            [&[UDP, 0, 253, 0, 0, 0, 0, 0][..], &ports(9, 10, 8)].concat(),
        ),
        (43, vec![58, 0]),
        (43, vec![UDP, 0]),
        (
            44,
            [&[UDP, 0, 0, 1, 0, 0, 0, 1][..], &ports(9, 11, 8)].concat(),
        ),
        (
            44,
            [&[UDP, 0, 0, 9, 0, 0, 0, 1][..], &ports(9, 12, 8)].concat(),
        ),
        (
            44,
            [&[60, 0, 0, 9, 0, 0, 0, 1][..], &ports(9, 12, 8)].concat(),
        ),
        (44, vec![UDP, 0, 0]),
        (
            AH,
            [
                &[UDP, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2][..],
                &ports(9, 13, 8),
            ]
            .concat(),
        ),
        (
            60,
            [
                &[60, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
                &[UDP, 0, 1, 4, 0, 0, 0, 0],
                &ports(9, 14, 8),
            ]
            .concat(),
        ),
    ];
    for (next, payload) in headers {
        // The second of each finds the bucket spent.
        for _ in 0..2 {
            arrivals.push((0, v6(1, 64, next, &payload)));
        }
    }
    spread(&mut arrivals);
    agree(Family::V6, &[by_port, "-s 2001:db8::/32"], &arrivals);
}

#[test]
fn times() {
    let mut rules: Vec<String> = Vec::new();
    for option in ["", "! "] {
        for day in 1..=7 {
            rules.push(format!("-m time {option}--weekdays {day}"));
            rules.push(format!(
                "-m time {option}--weekdays {day} --timestart 23:59:59 --timestop 23:59:58 --contiguous"
            ));
        }
        for day in 1..=31 {
            rules.push(format!("-m time {option}--monthdays {day}"));
        }
    }
    for hour in 0..24 {
        rules.push(format!(
            "-m time --timestart {hour}:00 --timestop {hour}:59:59"
        ));
        rules.push(format!(
            "-m time --timestart {hour}:00 --timestop {hour}:59:59 --kerneltz"
        ));
        rules.push(format!(
            "-m time --timestart {hour}:30 --timestop {hour}:29:59"
        ));
    }
    rules.push("-m time --datestart 2020-01-01".into());
    rules.push("-m time --datestop 2020-01-01".into());
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    agree(Family::V4, &rules, &bursts(Family::V4)[..4]);
}

/// Packets of every form from some hosts, in bursts so far from each other that no second ends near one.
fn bursts_of_forms(family: Family) -> Vec<Arrival> {
    let bursts: [&[u8]; 15] = [
        &[1, 1, 2, 1],
        &[1, 2, 3],
        &[1, 1, 4, 2, 0],
        &[3, 0],
        &[],
        &[1, 5, 4],
        &[2, 1],
        &[],
        &[1, 3, 3, 0],
        &[1, 1, 5, 2, 2],
        &[1],
        &[1, 2, 3, 4],
        &[2, 2],
        &[],
        &[1, 5, 3],
    ];
    let mut arrivals = Vec::new();
    for (at, hosts) in (0..).step_by(300).zip(bursts) {
        for (number, &host) in hosts.iter().enumerate() {
            let destination = 50 + (number % 3) as u16;
            let payload = ports(1000 + u16::from(host), destination, 30);
            let forms = forms::of(family, host, &payload);
            arrivals.extend(forms.into_iter().map(|frame| (at, frame)));
        }
    }
    arrivals
}

#[test]
fn sets_that_rules_change() {
    for family in [Family::V4, Family::V6] {
        let (name, length, host, other) = match family {
            Family::V4 => ("inet", 31, "10.0.0.3", "192.0.2.1"),
            Family::V6 => ("inet6", 127, "2001:db8::3", "2001:db8:1::1"),
        };
        let mut sets = format!(
            "create seen hash:ip family {name} timeout 1\n\
             create renewed hash:ip family {name} timeout 7\n\
             create stay hash:ip family {name} timeout 1\n\
             create few hash:ip family {name} maxelem 2 timeout 1\n\
             create full hash:ip family {name} maxelem 2\n\
             create pairs hash:ip,port family {name}\n\
             create triples hash:ip,port,ip family {name} timeout 0\n\
             add triples {host},udp:50,{other} timeout 2\n\
             add triples {host},tcp:51,{other}\n\
             create masked hash:ip family {name} netmask {length} timeout 0\n\
             create ports bitmap:port range 50-51 timeout 1\n\
             create begun hash:ip family {name}\n\
             add begun {host}\n\
             create any list:set\nadd any pairs\nadd any few\nadd any begun\n",
        );
        let mut rules = vec![
            "-m set --match-set seen src",
            "-m set ! --match-set seen src",
            "-j SET --add-set seen src",
            "-m set --match-set seen src",
            "-m set --match-set renewed src",
            "-j SET --add-set renewed src --exist --timeout 1",
            "-m set --match-set stay src",
            "-m statistic --mode nth --every 5 --packet 2 -j SET --add-set stay src --timeout 0",
            "-m statistic --mode nth --every 3 --packet 0 -j SET --add-set stay src",
            "-m statistic --mode nth --every 11 --packet 5 -j SET --del-set stay src",
            "-m set --match-set few src",
            "-m set ! --match-set few dst",
            "-j SET --add-set few src --exist",
            "-m set --match-set few src",
            "-m set --match-set full src",
            "-j SET --add-set full src --timeout 1",
            "-m set --match-set full src",
            "-m statistic --mode nth --every 9 --packet 8 -j SET --del-set full src",
            "-m set --match-set pairs src,dst",
            "-m set ! --match-set pairs src,src",
            "-j SET --add-set pairs src,dst",
            "-j SET --add-set pairs src",
            "-m set --match-set pairs src,dst",
            "-m set ! --match-set pairs dst,dst",
            "-m statistic --mode nth --every 4 --packet 3 -j SET --del-set pairs src,dst",
            "-m set --match-set triples src,dst,dst",
            "-m set ! --match-set triples src,dst,dst",
            "-j SET --add-set triples src,dst,dst --timeout 2 --del-set triples src,src,dst",
            "-m set --match-set masked src",
            "-p udp -j SET --add-set masked src --timeout 1 --exist",
            "-m set ! --match-set ports dst",
            "-m set --match-set ports dst",
            "-j SET --add-set ports dst",
            "-m set --match-set ports dst",
            "-j SET --del-set begun src",
            "-m statistic --mode nth --every 6 --packet 0 -j SET --add-set begun src",
            "-m set --match-set any src,dst",
            "-m set ! --match-set any src,dst",
        ];
        if family == Family::V4 {
            sets += "create range bitmap:ip range 10.0.0.1-10.0.0.2\n\
                     create nets bitmap:ip range 10.0.0.0-10.0.0.3 netmask 31 timeout 1\n";
            rules.extend([
                "-m set ! --match-set range src",
                "-j SET --add-set range src",
                "-m set --match-set range src",
                "-m set --match-set nets src",
                "-j SET --add-set nets src",
                "-m set --match-set nets src",
            ]);
        }
        agree_with_sets(family, &sets, &rules, &bursts_of_forms(family));
    }
}
