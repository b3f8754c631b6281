//! Connection tracking against the kernel's, packet by packet: conversations pass in both directions, and the
//! same rules count their states in netfilter and in programs.

use ipt2bpf_difftest::forms;
use ipt2bpf_difftest::stateful::aim::runner;
use ipt2bpf_difftest::stateful::conversation::{PORTS, Sent, conversation};
use ipt2bpf_difftest::stateful::{self, Report, Setting, Trial};
use ipt2bpf_difftest::{netns, packets};
use ipt2bpf_parser::ruleset::Family;
use proptest::strategy::{Strategy, ValueTree};

/// How many conversations each family gets; the variable asks for more.
const CONVERSATIONS: u8 = 40;
const VARIABLE: &str = "IPT2BPF_CONVERSATIONS";
/// How many real rulesets are looked at; `ipt2bpf-difftest stateful` looks at more.
const RULESETS: usize = 125;

const RULES: &str = "\
-A states -m conntrack --ctstate INVALID
-A states -m conntrack --ctstate NEW
-A states -m conntrack --ctstate ESTABLISHED
-A states -m conntrack --ctstate RELATED
-A states -m conntrack --ctstate UNTRACKED
-A states -m conntrack --ctdir REPLY
-A states -m conntrack --ctstatus SEEN_REPLY
-A states -m conntrack --ctstatus ASSURED
-A states -m conntrack --ctstatus CONFIRMED
-A states -m conntrack --ctproto 6
-A states -m conntrack --ctstate INVALID,NEW --ctproto 17
-A states -m conntrack ! --ctproto 6
-A states -m conntrack --ctproto 132 --ctstate NEW,ESTABLISHED
-A states -m conntrack --ctproto 132 --ctstatus ASSURED
-A states -p sctp -m conntrack --ctstate INVALID
-A states -p sctp -m conntrack --ctexpire 0:9
-A states -p sctp -m conntrack --ctexpire 20:40
-A states -p sctp -m conntrack --ctexpire 180:215
-A states -m conntrack --ctorigsrcport 33000
-A states -m conntrack --ctorigdstport 80
-A states -m conntrack --ctorigdstport 2048
-A states -m conntrack ! --ctreplsrcport 1000:65535
-A states -m conntrack --ctreplsrcport 7
-A states -m conntrack --ctrepldstport 1:5000 --ctdir ORIGINAL
-A states -m conntrack --ctexpire 100:200
-A states -m conntrack ! --ctexpire 5:1000
-A states -m connbytes --connbytes 3 --connbytes-mode packets --connbytes-dir both
-A states -m connbytes --connbytes 100:200 --connbytes-mode bytes --connbytes-dir original
-A states -m connbytes ! --connbytes 41:60 --connbytes-mode avgpkt --connbytes-dir reply
-A states -m connbytes --connbytes 60:70 --connbytes-mode avgpkt --connbytes-dir both
-A states -m connbytes --connbytes 0 --connbytes-mode bytes --connbytes-dir reply
-A states -m connmark --mark 0x0
-A states -m connmark ! --mark 0x1/0x1
-A states -m connmark --mark 0x6/0xff
-A states -m conntrack --ctstatus ASSURED -j CONNMARK --restore-mark --nfmask 0x1 --ctmask 0xf --left-shift-mark 4
-A states -m mark --mark 0x0
-A states -m mark --mark 0x20/0x20
-A states -p tcp -m tcp --tcp-flags PSH PSH -j CONNMARK --set-xmark 0x3/0x7
-A states -m conntrack --ctdir REPLY -j CONNMARK --set-xmark 0x1/0x0 --left-shift-mark 1
-A states -m conntrack --ctstatus ASSURED -j CONNMARK --save-mark --nfmask 0xff --ctmask 0xf0 --right-shift-mark 1
-A states -m connmark --mark 0x2/0x2
-A states -m helper --helper ftp
-A states -m helper ! --helper ftp
-A states -p tcp -m tcp --sport 4000 -m conntrack --ctstate NEW -j DROP
-A states -p udp -m udp --dport 4000 -m conntrack --ctstate NEW -j DROP
";

/// Nodes of clusters.
const CLUSTERS: &str = "\
-A states -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 0xdeadbeef
-A states -m cluster --cluster-total-nodes 2 --cluster-local-node 2 --cluster-hash-seed 0xdeadbeef
-A states -m cluster --cluster-total-nodes 5 ! --cluster-local-node 3 --cluster-hash-seed 0
-A states -m cluster --cluster-total-nodes 3 --cluster-local-nodemask 0x5 --cluster-hash-seed 77
-A states -m cluster --cluster-total-nodes 5 --cluster-local-nodemask 0x15 --cluster-hash-seed 7
-A states -m cluster --cluster-total-nodes 32 --cluster-local-node 32 --cluster-hash-seed 5
-A states -m cluster --cluster-total-nodes 6 ! --cluster-local-nodemask 0x20 --cluster-hash-seed 0x10000001
";

/// The rules of a family, those with its addresses among them, met in these chains.
fn rules(family: Family, chains: &[&str]) -> String {
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
    let lines = tests.map(|test| format!("-A states -m conntrack {test}\n"));
    // XDP programs do not take them.
    let clusters = match chains.contains(&"OUTPUT") {
        true => CLUSTERS,
        false => "",
    };
    let (head, drops) = RULES.split_at(RULES.find("-A states -p tcp -m tcp --sport").unwrap_or(0));
    filter(
        chains,
        &(head.to_owned() + &lines.concat() + clusters + drops),
    )
}

/// A filter table whose chains go to the rules of `states`.
fn filter(chains: &[&str], states: &str) -> String {
    let jumps: String = chains
        .iter()
        .map(|chain| format!("-A {chain} -j states\n"))
        .collect();
    format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:states - [0:0]\n\
         {jumps}{states}COMMIT\n"
    )
}

/// The chains of the filter table that a setting's packets meet.
fn chains(setting: Setting) -> &'static [&'static str] {
    match setting {
        Setting::Router | Setting::KernelTable => &["FORWARD"],
        Setting::Cgroup => &["INPUT", "OUTPUT"],
        Setting::Xdp => &["INPUT"],
    }
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
-A OUTPUT -m conntrack --ctstate INVALID
COMMIT
";

/// Why these tests cannot run, if they cannot.
fn skipped() -> bool {
    match netns::prerequisites() {
        Ok(()) => false,
        Err(reason) => {
            eprintln!("skipped: {reason:#}");
            true
        }
    }
}

/// Drawn conversations on one interface.
fn conversations(count: u8, family: Family) -> Vec<(String, Vec<Sent>)> {
    let mut runner = runner(packets::seed().expect("a seed"));
    let drawn = (0..count).map(|number| conversation(number, family, &PORTS));
    let drawn = drawn.map(|it| it.new_tree(&mut runner).expect("a conversation").current());
    drawn
        .map(|conversation| ("eth0".to_owned(), conversation))
        .collect()
}

/// Wants no difference.
fn agree(setting: Setting, family: Family, text: String, count: u8) -> Report {
    let trial = Trial {
        setting,
        text,
        family,
        conversations: conversations(count, family),
    };
    let report = trial.run().expect("runs");
    println!("{family:?} {setting:?}: {report}");
    let seed = packets::seed().expect("a seed");
    assert!(
        report.difference.is_none(),
        "{}={seed}: {setting:?} {report}",
        packets::SEED_VARIABLE
    );
    report
}

#[test]
fn every_packet_has_the_state_that_the_kernel_gives_it() {
    if skipped() {
        return;
    }
    let wanted = std::env::var(VARIABLE).ok().and_then(|it| it.parse().ok());
    let count = wanted.unwrap_or(CONVERSATIONS);
    for family in [Family::V4, Family::V6] {
        for setting in Setting::ALL {
            let rules = rules(family, chains(setting));
            agree(setting, family, rules.clone(), count);
            if setting != Setting::Xdp {
                agree(setting, family, RAW.to_owned() + &rules, count);
            }
        }
    }
}

/// What a program at XDP is told of the kernel's connections. The mark is changed by netfilter alone, behind
/// what the program sees of it.
const LOOKED_UP: &str = "\
-A states -p tcp -m conntrack --ctstate INVALID
-A states -p tcp -m conntrack --ctstate NEW
-A states -p tcp -m conntrack --ctstate ESTABLISHED
-A states -p tcp -m conntrack --ctstate RELATED,UNTRACKED
-A states -p tcp -m conntrack --ctdir REPLY
-A states -p tcp -m conntrack --ctstatus SEEN_REPLY
-A states -p tcp -m conntrack --ctstatus ASSURED
-A states -p tcp -m conntrack --ctstatus CONFIRMED
-A states -p tcp -m connmark --mark 0x0
-A states -p udp -m state --state INVALID
-A states -p udp -m state --state NEW
-A states -p udp -m state --state ESTABLISHED
-A states -p udp -m conntrack --ctdir ORIGINAL
-A states -p udp -m conntrack --ctstatus ASSURED,EXPECTED
";

#[test]
fn packets_are_what_the_kernel_will_say_of_them() {
    if skipped() {
        return;
    }
    if ipt2bpf_runtime::kernel::device_access().is_none() {
        eprintln!("skipped: programs cannot look into this kernel");
        return;
    }
    let wanted = std::env::var(VARIABLE).ok().and_then(|it| it.parse().ok());
    let setting = Setting::KernelTable;
    for family in [Family::V4, Family::V6] {
        let rules = filter(chains(setting), LOOKED_UP);
        let report = agree(setting, family, rules, wanted.unwrap_or(CONVERSATIONS));
        let [rules, hit] = report.rules;
        assert!(hit > 2 * rules / 3, "{report}");
    }
}

/// Connections as addresses have them, one, some and none of them over the limit.
const LIMITS: &str = "\
-A states -p udp -m connlimit --connlimit-above 1
-A states -m connlimit --connlimit-upto 2 --connlimit-mask 16 --connlimit-daddr
-A states -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m connlimit --connlimit-above 2 --connlimit-mask 0
-A states -p tcp -m connlimit --connlimit-upto 0 --connlimit-mask 9
-A states -p tcp -m tcp --dport 4000 -m connlimit --connlimit-above 1 --connlimit-mask 9 -j DROP
-A states -m connlimit --connlimit-above 3 --connlimit-mask 9
-A states -m connlimit --connlimit-above 4 --connlimit-mask 0 --connlimit-daddr
";

#[test]
fn connections_are_counted_as_the_kernel_counts_them() {
    if skipped() {
        return;
    }
    for family in [Family::V4, Family::V6] {
        for setting in [Setting::Router, Setting::Cgroup] {
            let report = agree(setting, family, filter(chains(setting), LIMITS), 10);
            let [rules, hit] = report.rules;
            assert!(hit > rules / 2, "{report}");
        }
    }
}

/// The first packets of connections from some hosts: whole, too short to have ports, with options, and of a
/// protocol without ports.
fn every_form(family: Family) -> Vec<Sent> {
    let mut frames = Vec::new();
    for host in [1, 2, 1, 3, 3, 4, 5, 1, 2] {
        let number = 1000 + frames.len() as u16;
        let mut udp = forms::ports(number, 53, 20);
        udp[5] = 20;
        let mut tcp = forms::ports(number, 22, 20);
        tcp[12..15].copy_from_slice(&[0x50, 2, 0x20]);
        let esp = [7; 24];
        for (protocol, payload) in [
            (17, &udp[..]),
            (17, &udp[..7]),
            (6, &tcp),
            (6, &tcp[..3]),
            (50, &esp),
        ] {
            frames.push(forms::packet(family, host, 64, protocol, payload));
        }
        match family {
            Family::V4 => frames.extend([
                forms::with_options(host, 17, &udp),
                forms::with_options(host, 6, &tcp),
                forms::with_options(host, 6, &tcp[..2]),
            ]),
            Family::V6 => {
                let options = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
                frames.extend([
                    forms::v6(host, 64, 60, &[&options(50)[..], &esp].concat()),
                    forms::v6(host, 64, 60, &[&options(6)[..], &tcp[..3]].concat()),
                    forms::v6(host, 64, 60, &options(6)[..3]),
                ]);
            }
        }
    }
    let sent = frames.into_iter().map(|frame| Sent {
        leaves: false,
        family,
        bytes: frame.packet().to_vec(),
        jiffies: 0,
    });
    sent.collect()
}

/// Inverted, for all protocols, and where a rule before looks at ports.
const LIMITS_OF_FORMS: &str = "\
-A states -m connlimit --connlimit-above 3
-A states -m connlimit ! --connlimit-above 3
-A states -p esp -m connlimit --connlimit-above 0
-A states -p udp -m connlimit --connlimit-upto 1 --connlimit-mask 0
-A states -p udp -m udp --dport 53 -m connlimit --connlimit-above 2 --connlimit-daddr
-A states -p tcp -m connlimit ! --connlimit-upto 1 --connlimit-mask 8
-A states -m mark --mark 0x0
";

#[test]
fn packets_of_every_form_are_counted_as_connections() {
    if skipped() {
        return;
    }
    for family in [Family::V4, Family::V6] {
        for setting in [Setting::Router, Setting::Cgroup] {
            let trial = Trial {
                setting,
                text: filter(chains(setting), LIMITS_OF_FORMS),
                family,
                conversations: vec![("eth0".to_owned(), every_form(family))],
            };
            let report = trial.run().expect("runs");
            println!("{family:?} {setting:?}: {report}");
            assert!(report.difference.is_none(), "{setting:?} {report}");
            assert!(report.rules[1] >= 7, "{report}");
        }
    }
}

#[test]
fn real_rulesets_count_conversations_as_netfilter_does() {
    if skipped() {
        return;
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpus/rulesets");
    let Ok(entries) = std::fs::read_dir(folder) else {
        eprintln!("skipped: there is no {folder}");
        return;
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let seed = packets::seed().expect("a seed");
    let step = (files.len() / RULESETS).max(1);
    let (mut tried, mut packets, mut failures) = (0, 0, Vec::new());
    for (number, path) in files.iter().step_by(step).enumerate() {
        let family = match path.extension().and_then(|it| it.to_str()) {
            Some("v4") => Family::V4,
            Some("v6") => Family::V6,
            _ => continue,
        };
        let bytes = std::fs::read(path).expect("a readable file");
        let text = String::from_utf8_lossy(&bytes);
        let setting = Setting::ALL[number % Setting::ALL.len()];
        match stateful::run(setting, family, &text, 6, seed).expect("runs") {
            Err(_) => {}
            Ok(report) if report.difference.is_some() => {
                failures.push(format!("{} ({setting:?}): {report}", path.display()));
            }
            Ok(report) => (tried, packets) = (tried + 1, packets + report.packets),
        }
    }
    println!("{packets} packets met {tried} rulesets that track connections");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(tried > 0, "no ruleset of {folder} could be tried");
}
