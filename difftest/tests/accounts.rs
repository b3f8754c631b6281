//! `-m nfacct` against the kernel's own objects, whose counters a dump over netlink tells.

use anyhow::{Context, Result, ensure};
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_codegen::sets::Sets;
use ipt2bpf_difftest::compare::Subject;
use ipt2bpf_difftest::forms;
use ipt2bpf_difftest::host::{Host, Routing};
use ipt2bpf_difftest::netfilter::{Netfilter, Route};
use ipt2bpf_difftest::subjects::{self, program::Program};
use ipt2bpf_difftest::{netns, tool};
use ipt2bpf_parser::ruleset::Family;

const NAMES: [&str; 5] = [
    "all",
    "udp",
    "port",
    "others",
    "a-name-of-thirty-one-characters",
];

const RULES: &str = "*raw
-A PREROUTING -m nfacct --nfacct-name all
-A PREROUTING -p udp -m nfacct --nfacct-name udp
-A PREROUTING ! -p udp -m nfacct --nfacct-name others
-A PREROUTING -m nfacct --nfacct-name a-name-of-thirty-one-characters -m length --length 50:60
-A PREROUTING -p udp -m udp ! --dport 51 -m nfacct --nfacct-name port
-A PREROUTING -p udp -m nfacct --nfacct-name udp
COMMIT
";

/// Makes objects of these names, or prints what all have counted (include/uapi/linux/netfilter/nfnetlink_acct.h).
const SCRIPT: &str = r#"
import socket, struct, sys
NETLINK_NETFILTER, ACCOUNTING = 12, 7 << 8
NEW, GET, DONE, ERROR = 0, 1, 3, 2
REQUEST, ACK, DUMP, CREATE = 1, 4, 0x300, 0x400
NAME, PACKETS, BYTES = 1, 2, 3

channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)

def messages(kind, flags, attributes):
    body = struct.pack('BBH', 0, 0, 0) + attributes
    channel.send(struct.pack('IHHII', 16 + len(body), ACCOUNTING | kind, REQUEST | flags, 1, 0) + body)
    while True:
        data = channel.recv(1 << 16)
        while data:
            length, kind = struct.unpack_from('IH', data)
            if kind == ERROR and struct.unpack_from('i', data, 16)[0] != 0:
                sys.exit('netlink error %d' % struct.unpack_from('i', data, 16)[0])
            if kind in (DONE, ERROR):
                return
            yield data[20:length]
            data = data[length + 3 & ~3:]

if sys.argv[1:]:
    for name in sys.argv[1:]:
        value = name.encode() + b'\0'
        attribute = struct.pack('HH', 4 + len(value), NAME) + value
        list(messages(NEW, ACK | CREATE, attribute + bytes(-len(attribute) % 4)))
else:
    for message in messages(GET, DUMP, b''):
        found = {}
        while message:
            length, kind = struct.unpack_from('HH', message)
            found[kind] = message[4:length]
            message = message[length + 3 & ~3:]
        number = lambda kind: struct.unpack('>Q', found[kind])[0]
        print(found[NAME].rstrip(b'\0').decode(), number(PACKETS), number(BYTES))
"#;

/// Sends packets of every form through both; gives how many packets were counted under names.
fn compare(family: Family) -> Result<u64> {
    netns::isolated(|| {
        let host = Host::new(&["eth0".into()], &Routing::AllLocal)?;
        let netfilter = Netfilter::new(&host, family)?;
        tool::run("python3", &[&["-c", SCRIPT], &NAMES[..]].concat(), "")?;
        netfilter.load(RULES)?;
        let ruleset = subjects::ruleset(family, RULES)?;
        let mut program = Program::new(&ruleset, Hook::CgroupIngress, &Sets::default())?;
        for number in 0..40 {
            let payload = forms::ports(1000, 50 + u16::from(number % 3), 24 + usize::from(number));
            for frame in forms::of(family, number, &payload) {
                host.inject(&frame)?;
                program.verdict(&frame, &Route::Local)?;
            }
        }
        let mut ours: Vec<String> = program.accounts()?;
        let listed = tool::run("python3", &["-c", SCRIPT], "")?;
        let mut theirs: Vec<String> = listed.lines().map(str::to_owned).collect();
        ours.sort();
        theirs.sort();
        ensure!(
            ours == theirs,
            "netfilter counts {theirs:#?}, the program {ours:#?}"
        );
        ensure!(theirs.len() == NAMES.len(), "{theirs:?}");
        let packets = theirs.iter().map(|line| {
            let number = line.split(' ').nth(1).context("a number")?;
            Ok(number.parse::<u64>()?)
        });
        packets.sum()
    })
}

#[test]
fn names_have_counted_what_the_kernels_objects_have() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    for family in [Family::V4, Family::V6] {
        let packets = compare(family).expect("the same counters");
        assert!(packets > 500, "{packets}");
    }
}
