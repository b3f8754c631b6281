//! Matches in iptables' words, as regular expressions of what may be drawn.
//!
//! Their constants are few, or ranges are wide, so that drawn packets meet them.

use ipt2bpf_parser::ruleset::Family;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

/// An option that is there or not, inverted or not, with a port or a range of ports.
const SOURCE_PORTS: &str = "(( !)? --sport (53|80|[1-9][0-9]{0,3}:[1-5][0-9]{4}))?";
const DESTINATION_PORTS: &str = "(( !)? --dport (22|443|[1-9][0-9]{0,3}:[1-5][0-9]{4}))?";
const MULTIPORT: &str =
    "-m multiport( !)? --(sports|dports|ports) (22|53|80|[1-9][0-9]{2}:[1-5][0-9]{4})(,443){0,3}";

/// What goes with every protocol.
const ANY: &[&str] = &[
    "-m comment --comment \"[a-z ]{0,9}\"",
    "-m length( !)? --length ([2-5][0-9]:[6-9][0-9]|0:[1-9][0-9]{1,2}|[4-6][0-9])",
    "-m mark( !)? --mark 0x[0-3](/0x[1-7])?",
    "-m pkttype( !)? --pkt-type (unicast|broadcast|multicast)",
    "-m dscp( !)? --dscp 0x[0-3][0-9a-f]",
    "-m tos( !)? --tos 0x[0-9a-f]0/0x([1-9a-f]0|ff|f[0-9a-f])",
    "-m ecn( !)? --ecn-ip-ect [0-3]",
    "-m statistic --mode nth( !)? --every [2-5] --packet [01]",
    "-m mac( !)? --mac-source 02:00:00:00:00:0[23]",
    "-m devgroup( !)? --src-group 0x[01](/0x[1-3])?",
    "-m devgroup( !)? --dst-group 0x[01](/0x[1-3])?",
    "-m physdev( !)? --physdev-(is-(in|out|bridged)|(in|out) eth[01])",
    "-m policy --dir (in|out) --pol none",
    "-m policy --dir (in|out) --pol ipsec( !)? --proto (esp|ah)",
    "-m addrtype( !)? --(src|dst)-type (LOCAL|UNICAST|MULTICAST|BROADCAST)",
    "-m string( !)? --string \"[a-z]{1,6}\" --algo (bm|kmp)( --from [1-5][0-9])? --to [6-9][0-9]( --icase)?",
];

/// What goes with every protocol of IPv4.
const ANY_V4: &[&str] = &[
    "-m ttl( !)? --ttl-eq (0|1|63|64|65)",
    "-m ttl --ttl-(lt|gt) (1|2|63|64|200)",
    "-m iprange( !)? --src-range 10\\.[1-9]\\.0\\.0-(10\\.200|192\\.0)\\.2\\.9",
    "-m iprange( !)? --dst-range 10\\.[1-9]\\.0\\.0-(10\\.200|192\\.0)\\.2\\.9",
];

/// What goes with every protocol of IPv6.
const ANY_V6: &[&str] = &[
    "-m hl( !)? --hl-eq (0|1|63|64|65)",
    "-m hl --hl-(lt|gt) (1|2|63|64|200)",
    "-m iprange( !)? --src-range 2001:db8::[1-9]-2001:db8:([1-9]::|f000::9)",
    "-m iprange( !)? --dst-range 2001:db8::[1-9]-2001:db8:([1-9]::|f000::9)",
    "-m eui64",
    "-m ah( !)? --ahspi ([0-9]{1,4}|[0-9]{1,4}:[1-3][0-9]{9})(( !)? --ahlen (8|12|16|20|24))?( --ahres)?",
    "-m frag( !)? --fragid ([0-9]{1,4}|[0-9]{1,4}:[1-3][0-9]{9})( --fragres)?( --fragfirst)?( --fragmore| --fraglast)?",
    "-m frag( --fragres)?( --fragfirst| --fragmore| --fraglast)",
    "-m (hbh( !)? --hbh-len (8|16)|hbh( --hbh-len 8)? --hbh-opts (1:4|5:2|1,0|194))",
    "-m (dst( !)? --dst-len (8|16|24)|dst( --dst-len 8)? --dst-opts (1:4|1|5:2,1|4:1))",
    "-m rt(( !)? --rt-type [0234])?(( !)? --rt-segsleft ([01]|0:[1-9]))?(( !)? --rt-len (8|16|24))?",
    "-m rt --rt-type 0(( !)? --rt-segsleft [01])?( --rt-0-res)?( --rt-0-addrs 2001:db8::[1-3](,2001:db8::9)?( --rt-0-not-strict)?)?",
    "-m srh(( !)? --srh-next-hdr (6|17|60))?(( !)? --srh-hdr-len-(eq|gt|lt) [2-5])?(( !)? --srh-segs-left-(eq|gt|lt) [01])?(( !)? --srh-last-entry-(eq|gt|lt) [01])?(( !)? --srh-tag [0-9]{1,5})?",
    "-m srh(( !)? --srh-psid 2001:db8::[1-3]/64)?(( !)? --srh-nsid 2001:db8::[1-3]/64)?(( !)? --srh-lsid 2001:db8::[1-3]/128)?",
    "-m ipv6header --soft( !)? --header (hop-by-hop|ipv6-opts|ipv6-route|ipv6-frag|ah|esp|ipv6-nonxt)(,protocol)?",
    "-m ipv6header( !)? --header (hop-by-hop|ipv6-opts|ipv6-route|ipv6-frag)(,protocol)?",
];

/// What needs a protocol: its name, and matches that go with it.
fn of_protocols(family: Family) -> Vec<(&'static str, Vec<String>)> {
    let ports =
        |name: &str, more: &str| format!("-m {name}{SOURCE_PORTS}{DESTINATION_PORTS}{more}");
    let tcp = vec![
        ports(
            "tcp",
            "(( !)? --tcp-flags (SYN,RST,ACK|FIN,SYN|FIN,SYN,RST,PSH,ACK,URG) (NONE|SYN|FIN,SYN))?",
        ),
        ports("tcp", "( !)? --tcp-option (2|3|5|8|30)"),
        "-m tcpmss( !)? --mss [1-9][0-9]{1,3}(:[1-5][0-9]{4})?".to_owned(),
        "-m ecn( !)? --ecn-tcp-(cwr|ece)".to_owned(),
        MULTIPORT.to_owned(),
    ];
    let types = "(REQUEST|RESPONSE|DATA|ACK|DATAACK|CLOSE|RESET|SYNC|SYNCACK|INVALID)";
    let dccp = vec![
        ports(
            "dccp",
            &format!("(( !)? --dccp-types {types}(,{types}){{0,3}})?"),
        ),
        ports("dccp", "( !)? --dccp-option ([1-4]|32)"),
        MULTIPORT.to_owned(),
    ];
    let chunk = "(DATA(:[ube]|:[UBE])?|INIT|INIT_ACK|SACK|ABORT(:[Tt])?|SHUTDOWN_COMPLETE)";
    let sctp = vec![
        ports(
            "sctp",
            &format!("(( !)? --chunk-types (all|any|only) {chunk})?"),
        ),
        ports(
            "sctp",
            "( !)? --chunk-types (all|any|only) (DATA,INIT|DATA:Be,SACK|INIT_ACK,SACK|ASCONF,DATA)",
        ),
        MULTIPORT.to_owned(),
    ];
    let spi = "([0-9]{1,4}|[0-9]{1,4}:[1-3][0-9]{9})";
    let mut protocols = vec![
        ("tcp", tcp),
        ("udp", vec![ports("udp", ""), MULTIPORT.to_owned()]),
        ("dccp", dccp),
        ("sctp", sctp),
        ("udplite", vec![MULTIPORT.to_owned()]),
        ("esp", vec![format!("-m esp( !)? --espspi {spi}")]),
        (
            "ipcomp",
            vec![
                "-m ipcomp( !)? --ipcompspi ([0-9]{1,3}|[0-9]{1,3}:[1-5][0-9]{4})( --compres)?"
                    .to_owned(),
            ],
        ),
    ];
    match family {
        Family::V4 => protocols.extend([
            ("ah", vec![format!("-m ah( !)? --ahspi {spi}")]),
            (
                "icmp",
                vec!["-m icmp( !)? --icmp-type (any|(0|3|4|8|11|13)(/[0-3])?)".to_owned()],
            ),
        ]),
        Family::V6 => protocols.extend([
            (
                "ipv6-mh",
                vec!["-m mh( !)? --mh-type [0-9](:1[0-9])?".to_owned()],
            ),
            (
                "ipv6-icmp",
                vec![
                    "-m icmp6( !)? --icmpv6-type (1|2|3|4|128|129|133|135|136)(/[0-3])?".to_owned(),
                ],
            ),
        ]),
    }
    protocols
}

/// A protocol or none, then matches that go with it.
pub(super) fn matches(family: Family) -> impl Strategy<Value = String> {
    let of_protocol = of_protocols(family).into_iter().map(|(name, own)| {
        let own = own.into_iter().map(|pattern| text(&pattern));
        let matches = (
            vec(Union::new(own), 0..=2),
            vec(any_protocol(family), 0..=1),
        );
        let words = matches.prop_map(move |(own, any)| {
            let protocol = format!("-p {name}");
            [vec![protocol], own, any].concat().join(" ")
        });
        (
            if ["tcp", "udp"].contains(&name) { 3 } else { 1 },
            words.boxed(),
        )
    });
    let without = vec(any_protocol(family), 1..=2).prop_map(|any| any.join(" "));
    let inverted = select(vec!["! -p tcp", "! -p udp", "-p 47"]);
    let others = [
        (8, without.boxed()),
        (1, inverted.prop_map(str::to_owned).boxed()),
    ];
    Union::new_weighted(of_protocol.chain(others).collect())
}

fn any_protocol(family: Family) -> BoxedStrategy<String> {
    let of_family = match family {
        Family::V4 => ANY_V4,
        Family::V6 => ANY_V6,
    };
    let mut patterns: Vec<_> = ANY.iter().chain(of_family).map(|it| text(it)).collect();
    patterns.extend([words().boxed(), bytecode().boxed()]);
    Union::new(patterns).boxed()
}

/// `-m u32`, with tests of few bits of words that most packets have, at times beyond a header.
fn words() -> impl Strategy<Value = String> {
    let test = "(0>>(22|20|16)&0x3c@)?([0-9]|[1-4][0-9])(>>[0-9]|<<[0-9]|>>24)?&0x(1|3|5|f)=0x[0-3](:0xf)?(,0x7)?";
    text(&format!("-m u32( !)? --u32 \"{test}(&&{test})?\""))
}

/// `-m bpf` with a classic program: load, compute, compare, return.
fn bytecode() -> impl Strategy<Value = String> {
    // Of words, halves and bytes, at a fixed place and, behind `ldx`, at one that the packet tells
    // (linux/filter.h).
    let load = text("(0 0 0 0,)?(32|40|48) 0 0 ([0-9]|[1-5][0-9])|177 0 0 0,(64|72|80) 0 0 [0-9]");
    // add, sub, mul, div, or, and, lsh, rsh, mod, xor of a constant; neg.
    let compute = text("(4|20|36|52|68|84|100|116|148|164) 0 0 ([1-9]|1[0-9])|132 0 0 0");
    // Some low bits, so that they can be met; then jeq, jgt, jge, jset of a constant, over the one or the
    // other return.
    let compare = text("84 0 0 (1|3|7|15),(21|37|53|69) 0 1 [0-3]");
    let program = (
        load,
        vec(compute, 0..4),
        compare,
        select(vec![(1, 0), (0, 65535)]),
    );
    program.prop_map(|(load, compute, compare, (then, other))| {
        let returns = [format!("6 0 0 {then}"), format!("6 0 0 {other}")];
        let parts = [vec![load], compute, vec![compare], returns.to_vec()].concat();
        let instructions = parts.join(",");
        let count = instructions.split(',').count();
        format!("-m bpf --bytecode \"{count},{instructions}\"")
    })
}

/// Text of a form.
pub(super) fn text(pattern: &str) -> BoxedStrategy<String> {
    let form = proptest::string::string_regex(pattern);
    form.expect("a regular expression").boxed()
}
