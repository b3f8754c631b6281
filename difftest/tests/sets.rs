//! `-m set` against netfilter with ipset's own sets, of every type that this kernel has.

use ipt2bpf_difftest::ipsets::Ipsets;
use ipt2bpf_difftest::trials::{self, Outcome};
use ipt2bpf_difftest::{netns, packets};
use ipt2bpf_parser::ruleset::Family;

const FRAMES: usize = 1500;

/// The sets of a family: its addresses come from three, of two networks.
fn sets(family: Family) -> String {
    let (name, [a, b, c], [wide, middle, narrow], icmp) = match family {
        Family::V4 => (
            "inet",
            ["192.0.2.1", "192.0.2.77", "198.51.100.9"],
            [8, 24, 30],
            "icmp:8/0",
        ),
        Family::V6 => (
            "inet6",
            ["2001:db8::1", "2001:db8::77", "2001:db8:1::9"],
            [16, 64, 126],
            "icmpv6:128/0",
        ),
    };
    format!(
        "create ip hash:ip family {name}
add ip {a}
add ip {c}
create masked hash:ip family {name} netmask {middle}
add masked {b}
create net hash:net family {name}
add net {a}/{wide}
add net {b}/{middle} nomatch
add net {b}/{narrow}
add net {b} nomatch
create ipport hash:ip,port family {name}
add ipport {a},tcp:80
add ipport {b},udp:53
add ipport {c},{icmp}
add ipport {a},sctp:22
add ipport {b},udplite:80
add ipport {c},47:0
add ipport {a},50:0
create netport hash:net,port family {name}
add netport {a}/{wide},tcp:22
add netport {b}/{middle},tcp:22 nomatch
add netport {b}/{middle},udp:53
create ipportip hash:ip,port,ip family {name}
add ipportip {a},tcp:80,{b}
add ipportip {b},udp:53,{c}
create ipportnet hash:ip,port,net family {name}
add ipportnet {a},tcp:80,{b}/{middle}
add ipportnet {a},tcp:80,{a}/{wide} nomatch
add ipportnet {b},47:0,{c}/{wide}
create netiface hash:net,iface family {name}
add netiface {a}/{wide},eth0
add netiface {b}/{middle},eth1
add netiface {b}/{middle},wan wildcard nomatch
add netiface {c}/{narrow},eth1 wildcard
create ports bitmap:port range 0-1023
add ports 22
add ports 53
add ports 80
create all list:set
add all ipport
add all netport
add all ports
create nets list:set
add nets net
add nets ip
"
    )
}

const RULES: &str = "*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:ask - [0:0]
-A INPUT -j ask
-A FORWARD -j ask
-A OUTPUT -j ask
-A ask -i eth0
-A ask -i eth1
-A ask -i wan0
-A ask -m set --match-set ip src
-A ask -m set ! --match-set ip dst
-A ask -m set --match-set masked src
-A ask -m set --match-set net src
-A ask -m set ! --match-set net dst --return-nomatch
-A ask -m set --match-set net dst --return-nomatch
-A ask -m set --match-set ipport src,dst
-A ask -m set ! --match-set ipport dst,src
-A ask -m set --match-set ipport src
-A ask -m set ! --match-set ipport src
-A ask -m set --match-set netport src,dst
-A ask -m set --match-set netport dst,dst --return-nomatch
-A ask -m set --match-set ipportip src,dst,dst
-A ask -m set ! --match-set ipportip dst,dst,src
-A ask -m set --match-set ipportnet src,dst,dst
-A ask -m set --match-set ipportnet src,dst,dst --return-nomatch
-A ask -m set ! --match-set ipportnet dst,src,src
-A ask -m set --match-set netiface src,src
-A ask -m set ! --match-set netiface src,src
-A ask -m set --match-set netiface src,dst
-A ask -m set --match-set netiface dst,src --return-nomatch
-A ask -m set --match-set ports src
-A ask -m set ! --match-set ports dst
-A ask -m set --match-set all src,dst
-A ask -m set ! --match-set all dst,dst --return-nomatch
-A ask -m set --match-set all dst
-A ask -m set --match-set nets src
-A ask -m set --match-set nets src --return-nomatch
-A ask -m set --match-set nets dst,src,src -j DROP
COMMIT
";

#[test]
fn sets_hold_what_ipset_says_they_hold() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let seed = packets::seed().expect("a seed");
    for family in [Family::V4, Family::V6] {
        let sets = Ipsets::read(&sets(family)).expect("sets");
        let name = format!("sets of {family}");
        let outcomes = trials::run(&name, family, RULES, &sets, FRAMES, seed).expect("a trial");
        for outcome in &outcomes {
            match outcome {
                Outcome::Tried(_, report) => assert!(report.is_clean(), "seed {seed}: {report}"),
                Outcome::Skipped(reason) => panic!("{reason}"),
            }
        }
        assert!(!outcomes.is_empty());
    }
}
