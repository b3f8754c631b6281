//! Sets: what each type reads as and prints, what is refused, and the real ipset as the judge of both.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ipset::{self, Parsed, parse};
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Names, Style, render};

fn read(text: impl Into<Vec<u8>>) -> (Sources, Parsed) {
    let mut sources = Sources::default();
    let id = sources.add("sets", text);
    let parsed = parse(&sources, &[id], &Names::default());
    (sources, parsed)
}

fn print(parsed: &Parsed) -> Vec<u8> {
    ipset::print(&parsed.sets)
}

fn messages(text: impl Into<Vec<u8>>) -> String {
    let (sources, parsed) = read(text);
    render(&parsed.diagnostics, &sources, Style::Plain)
}

/// The text of a set `s` and other sets, and what they print as.
const TAKEN: &[(&str, &str)] = &[
    // bitmap:ip
    (
        "create s bitmap:ip range 10.0.0.0/24\nadd s 10.0.0.7\nadd s 10.0.0.1-10.0.0.2\nadd s 10.0.0.8/31\n",
        "create s bitmap:ip range 10.0.0.0-10.0.0.255\nadd s 10.0.0.7\nadd s 10.0.0.1\nadd s 10.0.0.2\nadd s 10.0.0.8\nadd s 10.0.0.9\n",
    ),
    (
        "create s ipmap from 10.0.0.9 to 10.0.0.1 timeout 0\nadd s 10.0.0.3-10.0.0.2\n",
        "create s bitmap:ip range 10.0.0.1-10.0.0.9 timeout 0\nadd s 10.0.0.2 timeout 0\nadd s 10.0.0.3 timeout 0\n",
    ),
    (
        "create s bitmap:ip range 10.0.0.0-10.0.5.7 netmask 24\nadd s 10.0.1.5-10.0.2.0\nadd s 10.0.4.255\n",
        "create s bitmap:ip range 10.0.0.0-10.0.5.255 netmask 24\nadd s 10.0.1.0\nadd s 10.0.4.0\n",
    ),
    (
        "create s bitmap:ip network 10.0.0.5/28\n",
        "create s bitmap:ip range 10.0.0.0-10.0.0.15\n",
    ),
    // bitmap:ip,mac
    (
        "create s bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.1\nadd s 10.0.0.2,1:2:3:a:b:c\nadd s 10.0.0.1,0:0:0:0:0:0\n",
        "create s bitmap:ip,mac range 10.0.0.0-10.0.0.255\nadd s 10.0.0.1,00:00:00:00:00:00\nadd s 10.0.0.2,01:02:03:0A:0B:0C\n",
    ),
    // bitmap:port
    (
        "create s bitmap:port range 9-5\nadd s udp:6\nadd s 8-7\n",
        "create s bitmap:port range 5-9\nadd s 6\nadd s 7\nadd s 8\n",
    ),
    (
        "create s portmap range tcp:0-65535\nadd s ssh\n",
        "create s bitmap:port range 0-65535\nadd s 22\n",
    ),
    // hash:ip
    (
        "create s hash:ip\nadd s 10.0.0.0/30\nadd s 10.9\nadd s 010.1.1\n",
        "create s hash:ip family inet\nadd s 10.0.0.0\nadd s 10.0.0.1\nadd s 10.0.0.2\nadd s 10.0.0.3\nadd s 10.0.0.9\nadd s 8.1.0.1\n",
    ),
    (
        "create s hash:ip hashsize 100 bucketsize 3 initval 1 maxelem 4294967295\n",
        "create s hash:ip family inet hashsize 128 maxelem 4294967295 bucketsize 4 initval 0x00000001\n",
    ),
    (
        "create s hash:ip hashsize 1 bucketsize 30 initval 0xffffffff\n",
        "create s hash:ip family inet hashsize 64 bucketsize 12 initval 0xffffffff\n",
    ),
    (
        "create s iphash -6\nadd s ::1\nadd s ::ffff:1.2.3.4\nadd s ::1.2.3.4\nadd s 2001:DB8::1/128\n",
        "create s hash:ip family inet6\nadd s ::1\nadd s ::ffff:1.2.3.4\nadd s ::1.2.3.4\nadd s 2001:db8::1\n",
    ),
    (
        "create s hash:ip netmask 24\nadd s 1.1.0.7-1.1.2.0\n",
        "create s hash:ip family inet netmask 24\nadd s 1.1.0.0\nadd s 1.1.1.0\nadd s 1.1.2.0\n",
    ),
    (
        "create s hash:ip bitmask 255.0.255.0\nadd s 1.2.3.4\n",
        "create s hash:ip family inet bitmask 255.0.255.0\nadd s 1.0.3.0\n",
    ),
    (
        "create s hash:ip family inet6 bitmask ffff::ff\nadd s 1:2::3ff\n",
        "create s hash:ip family inet6 bitmask ffff::ff\nadd s 1::ff\n",
    ),
    (
        "create s hash:ip --counters --comment skbinfo --timeout 0\nadd s 1.1.1.1 --comment \"x  y\" skbqueue 0 packets 0x10\nadd s 1.1.1.2 skbmark 0x0/0xff skbprio a:b timeout 0\nadd s 1.1.1.3 comment a\"b c\"d\n",
        "create s hash:ip family inet timeout 0 counters comment skbinfo\n\
         add s 1.1.1.1 timeout 0 packets 16 bytes 0 comment \"x  y\"\n\
         add s 1.1.1.2 timeout 0 packets 0 bytes 0 skbmark 0x0/0xff skbprio a:b\n\
         add s 1.1.1.3 timeout 0 packets 0 bytes 0 comment \"ab cd\"\n",
    ),
    (
        "create s hash:ip netmask 32\ncreate t hash:ip bitmask 255.255.255.255\ncreate u bitmap:ip range 10.0.0.0/24 netmask 32\n",
        "create s hash:ip family inet\ncreate t hash:ip family inet\ncreate u bitmap:ip range 10.0.0.0-10.0.0.255\n",
    ),
    // hash:mac
    (
        "create s hash:mac\nadd s 00:16:3E:00:00:01\nadd s 1:2:3:4:5:ff\n",
        "create s hash:mac\nadd s 00:16:3E:00:00:01\nadd s 01:02:03:04:05:FF\n",
    ),
    // hash:ip,mac
    (
        "create s hash:ip,mac\nadd s 10.0.0.1,0:1:2:3:4:5\ncreate t hash:ip,mac -6\nadd t ::1,0:1:2:3:4:5\n",
        "create s hash:ip,mac family inet\nadd s 10.0.0.1,00:01:02:03:04:05\ncreate t hash:ip,mac family inet6\nadd t ::1,00:01:02:03:04:05\n",
    ),
    // hash:ip,mark
    (
        "create s hash:ip,mark markmask 0xff\nadd s 10.0.0.0/31,0x1234\nadd s 0.0.0.0,1\ncreate t hash:ip,mark -6\nadd t ::,0\n",
        "create s hash:ip,mark family inet markmask 0x000000ff\nadd s 10.0.0.0,0x00000034\nadd s 10.0.0.1,0x00000034\nadd s 0.0.0.0,0x00000001\ncreate t hash:ip,mark family inet6\nadd t ::,0x00000000\n",
    ),
    // hash:ip,port
    (
        "create s hash:ip,port\nadd s 10.0.0.0/31,udp:54-53\nadd s 10.0.0.9,http\nadd s 10.0.0.9,6:81\nadd s 10.0.0.9,sctp:1\nadd s 10.0.0.9,udplite:2\n",
        "create s hash:ip,port family inet\nadd s 10.0.0.0,udp:53\nadd s 10.0.0.0,udp:54\nadd s 10.0.0.1,udp:53\nadd s 10.0.0.1,udp:54\n\
         add s 10.0.0.9,tcp:80\nadd s 10.0.0.9,tcp:81\nadd s 10.0.0.9,sctp:1\nadd s 10.0.0.9,udplite:2\n",
    ),
    (
        "create s hash:ip,port\nadd s 10.0.0.1,icmp:ping\nadd s 10.0.0.1,icmp:3/9\nadd s 10.0.0.1,icmp:200/1\nadd s 10.0.0.1,gre:0\nadd s 10.0.0.1,201:0\nadd s 10.0.0.1,icmp:HOST-U\n",
        "create s hash:ip,port family inet\nadd s 10.0.0.1,icmp:echo-request\nadd s 10.0.0.1,icmp:network-prohibited\nadd s 10.0.0.1,icmp:200/1\n\
         add s 10.0.0.1,gre:0\nadd s 10.0.0.1,201:0\nadd s 10.0.0.1,icmp:host-unreachable\n",
    ),
    (
        "create s hash:ip,port -6\nadd s ::1,icmpv6:ping\nadd s ::1/128,ipv6-icmp:1/5\nadd s ::1,53\n",
        "create s hash:ip,port family inet6\nadd s ::1,ipv6-icmp:echo-request\nadd s ::1,ipv6-icmp:1/5\nadd s ::1,tcp:53\n",
    ),
    // hash:ip,port,ip
    (
        "create s hash:ip,port,ip\nadd s 10.0.0.1,80,0.0.0.0\nadd s 0.0.0.0,udp:1-2,10.0.0.2\ncreate t hash:ip,port,ip -6\nadd t ::1,80,::2\n",
        "create s hash:ip,port,ip family inet\nadd s 10.0.0.1,tcp:80,0.0.0.0\nadd s 0.0.0.0,udp:1,10.0.0.2\nadd s 0.0.0.0,udp:2,10.0.0.2\ncreate t hash:ip,port,ip family inet6\nadd t ::1,tcp:80,::2\n",
    ),
    // hash:ip,port,net
    (
        "create s hash:ip,port,net\nadd s 10.0.0.1,80,11.0.0.1-11.0.0.3\nadd s 10.0.0.1-10.0.0.2,81,12.0.0.1/8 nomatch\n",
        "create s hash:ip,port,net family inet\nadd s 10.0.0.1,tcp:80,11.0.0.1\nadd s 10.0.0.1,tcp:80,11.0.0.2/31\nadd s 10.0.0.1,tcp:81,12.0.0.0/8 nomatch\nadd s 10.0.0.2,tcp:81,12.0.0.0/8 nomatch\n",
    ),
    // hash:net
    (
        "create s hash:net\nadd s 10.0.0.3-10.0.0.9\nadd s 10.9.9.9/16 nomatch\nadd s 0.0.0.0\nadd s 128.0.0.1/1\n",
        "create s hash:net family inet\nadd s 10.0.0.3\nadd s 10.0.0.4/30\nadd s 10.0.0.8/31\nadd s 10.9.0.0/16 nomatch\nadd s 0.0.0.0\nadd s 128.0.0.0/1\n",
    ),
    (
        "create s nethash family ipv6\nadd s 2001:db8::1/32\nadd s ::1 nomatch\nadd s ::/1\n",
        "create s hash:net family inet6\nadd s 2001:db8::/32\nadd s ::1 nomatch\nadd s ::/1\n",
    ),
    // hash:net,net
    (
        "create s hash:net,net\nadd s 10.0.0.1-10.0.0.2,11.0.0.1/24\nadd s 0.0.0.0,1.1.1.0/32\ncreate t hash:net,net bitmask 255.255.0.0\nadd t 10.1.2.3,11.2.3.0/24 nomatch\n",
        "create s hash:net,net family inet\nadd s 10.0.0.1,11.0.0.0/24\nadd s 10.0.0.2,11.0.0.0/24\nadd s 0.0.0.0,1.1.1.0\ncreate t hash:net,net family inet bitmask 255.255.0.0\nadd t 10.1.0.0,11.2.0.0/24 nomatch\n",
    ),
    // hash:net,port
    (
        "create s hash:net,port\nadd s 10.0.0.1/24,udp:1-2\nadd s 10.0.1.0-10.0.2.255,80 nomatch\n",
        "create s hash:net,port family inet\nadd s 10.0.0.0/24,udp:1\nadd s 10.0.0.0/24,udp:2\nadd s 10.0.1.0/24,tcp:80 nomatch\nadd s 10.0.2.0/24,tcp:80 nomatch\n",
    ),
    // hash:net,port,net
    (
        "create s hash:net,port,net\nadd s 0.0.0.0/0,80,10.0.0.1-10.0.0.2\ncreate t hash:net,port,net -6\nadd t ::/0,udp:1,2001:db8::/64\n",
        "create s hash:net,port,net family inet\nadd s 0.0.0.0/0,tcp:80,10.0.0.1\nadd s 0.0.0.0/0,tcp:80,10.0.0.2\ncreate t hash:net,port,net family inet6\nadd t ::/0,udp:1,2001:db8::/64\n",
    ),
    // hash:net,iface
    (
        "create s hash:net,iface\nadd s 0.0.0.0/0,eth0\nadd s 10.0.0.1/8,physdev:br wildcard nomatch\nadd s 10.0.0.1/8,br\nadd s 10.0.0.0-10.0.0.1,lo\n",
        "create s hash:net,iface family inet\nadd s 0.0.0.0/0,eth0\nadd s 10.0.0.0/8,physdev:br nomatch wildcard\nadd s 10.0.0.0/8,br\nadd s 10.0.0.0/31,lo\n",
    ),
    // list:set
    (
        "create a hash:ip\ncreate b hash:ip\ncreate c hash:ip\ncreate s list:set size 1\nadd s b\nadd s a before b\nadd s c after a\n",
        "create a hash:ip family inet\ncreate b hash:ip family inet\ncreate c hash:ip family inet\ncreate s list:set size 4\nadd s a\nadd s c\nadd s b\n",
    ),
    // The frame.
    (
        "# comment\n\n \t# another\r\n-N s hash:ip\r\n-A s 1.1.1.1\r\nCOMMIT\r\n--add s \"1.1.1.2\"\nad s 1.1.1.3",
        "create s hash:ip family inet\nadd s 1.1.1.1\nadd s 1.1.1.2\nadd s 1.1.1.3\n",
    ),
    (
        "create s hash:ip timeout 0\nadd s 1.1.1.1\ncreate s hash:ip timeout 0 -exist\nadd s 1.1.1.1\n",
        "create s hash:ip family inet timeout 0\nadd s 1.1.1.1 timeout 0\n",
    ),
];

/// Texts that are refused, with the code of the diagnostic.
const REFUSED: &[(&str, &str)] = &[
    ("create s hash:ip\ncreate s hash:ip\n", "duplicate-set"),
    (
        "create s hash:ip\ncreate s hash:net -exist\n",
        "duplicate-set",
    ),
    ("create s hash:pi\n", "unknown-set-type"),
    ("create s\n", "missing-option"),
    ("create s hash:ip foo\n", "unknown-option"),
    ("create s hash:net netmask 24\n", "unknown-option"),
    ("create s hash:ip maxelem\n", "missing-option"),
    ("create s hash:ip maxelem 1 maxelem 2\n", "repeated-option"),
    ("create s hash:ip maxelem x\n", "bad-value"),
    ("create s hash:ip maxelem 4294967296\n", "bad-value"),
    ("create s hash:ip timeout 2147484\n", "bad-value"),
    ("create s hash:ip family any\n", "bad-value"),
    ("create s hash:ip family inet -6\n", "repeated-option"),
    ("create s hash:ip netmask 0\n", "bad-value"),
    ("create s hash:ip netmask 33\n", "bad-value"),
    ("create s hash:ip bitmask 0.0.0.0\n", "bad-value"),
    ("create s hash:ip bitmask ffff::\n", "bad-value"),
    (
        "create s hash:ip netmask 8 bitmask 255.0.0.0\n",
        "repeated-option",
    ),
    ("create s hash:ip,mark markmask 0\n", "bad-value"),
    ("create s bitmap:ip\n", "missing-option"),
    ("create s bitmap:ip from 10.0.0.1\n", "missing-option"),
    ("create s bitmap:ip range 10.0.0.1\n", "bad-value"),
    ("create s bitmap:ip range 10.0.0.1/32\n", "bad-value"),
    ("create s bitmap:ip range 10.0.0.0/15\n", "bad-value"),
    (
        "create s bitmap:ip range 10.0.0.0/16 netmask 16\n",
        "bad-value",
    ),
    (
        "create s bitmap:ip range 10.0.0.0/8 from 10.0.0.0 to 10.0.0.1\n",
        "repeated-option",
    ),
    (
        "create s bitmap:ip family inet range 10.0.0.0/24\n",
        "unknown-option",
    ),
    ("create s bitmap:port range 5\n", "bad-value"),
    ("create s bitmap:port range 1-65536\n", "bad-value"),
    (
        "create 0123456789012345678901234567890x hash:ip\n",
        "bad-value",
    ),
    ("add s 1.1.1.1\n", "unknown-set"),
    ("create s hash:ip\nadd s\n", "missing-option"),
    (
        "create s hash:ip\nadd s 1.1.1.1\nadd s 1.1.1.1\n",
        "duplicate-entry",
    ),
    (
        "create s hash:ip\nadd s 1.1.1.1-1.1.1.4\nadd s 1.1.1.3\n",
        "duplicate-entry",
    ),
    ("create s hash:ip\nadd s 0.0.0.0\n", "bad-value"),
    ("create s hash:ip netmask 8\nadd s 0.1.2.3\n", "bad-value"),
    ("create s hash:ip -6\nadd s ::\n", "bad-value"),
    ("create s hash:ip\nadd s ::1\n", "bad-value"),
    ("create s hash:ip -6\nadd s 1.1.1.1\n", "bad-value"),
    ("create s hash:ip -6\nadd s ::1-::2\n", "bad-value"),
    ("create s hash:ip -6\nadd s ::1/64\n", "bad-value"),
    ("create s hash:ip\nadd s 1.1.1.256\n", "bad-value"),
    ("create s hash:ip\nadd s 0x0b000001\n", "bad-value"),
    ("create s hash:ip\nadd s 1.1.1.1/33\n", "bad-value"),
    ("create s hash:ip\nadd s 1.1.1.1/0\n", "bad-value"),
    ("create s hash:ip\nadd s 1.1.1.1,80\n", "bad-value"),
    (
        "create s hash:ip maxelem 2\nadd s 1.1.1.1-1.1.1.3\n",
        "set-full",
    ),
    ("create s hash:ip\nadd s 1.1.1.1 timeout 5\n", "misplaced"),
    ("create s hash:ip\nadd s 1.1.1.1 packets 5\n", "misplaced"),
    ("create s hash:ip\nadd s 1.1.1.1 comment x\n", "misplaced"),
    ("create s hash:ip\nadd s 1.1.1.1 skbmark 0x1\n", "misplaced"),
    (
        "create s hash:ip\nadd s 1.1.1.1 nomatch\n",
        "unknown-option",
    ),
    (
        "create s hash:ip comment\nadd s 1.1.1.1 comment \"\"\n",
        "missing-option",
    ),
    (
        "create s hash:ip comment\nadd s 1.1.1.1 comment \"x\n",
        "bad-argument",
    ),
    (
        "create s hash:ip skbinfo\nadd s 1.1.1.1 skbmark 16\n",
        "bad-value",
    ),
    (
        "create s hash:ip skbinfo\nadd s 1.1.1.1 skbprio 1\n",
        "bad-value",
    ),
    (
        "create s hash:ip skbinfo\nadd s 1.1.1.1 skbqueue 65536\n",
        "bad-value",
    ),
    (
        "create s hash:ip counters\nadd s 1.1.1.1 packets 18446744073709551615\n",
        "bad-value",
    ),
    (
        "create s bitmap:ip range 10.0.0.5-10.0.0.9\nadd s 10.0.0.4\n",
        "bad-value",
    ),
    (
        "create s bitmap:ip range 10.0.0.5-10.0.0.9\nadd s 10.0.0.8-10.0.0.10\n",
        "bad-value",
    ),
    (
        "create s bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.2/32\n",
        "bad-value",
    ),
    (
        "create s bitmap:ip,mac range 10.0.0.0/24\nadd s 10.0.0.2,1:2:3:4:5:6\nadd s 10.0.0.2,1:2:3:4:5:7\n",
        "duplicate-entry",
    ),
    ("create s bitmap:port range 5-9\nadd s 9-10\n", "bad-value"),
    (
        "create s bitmap:port range 5-9\nadd s sctp:6\n",
        "bad-value",
    ),
    ("create s hash:mac\nadd s 0:0:0:0:0:0\n", "bad-value"),
    ("create s hash:mac\nadd s 1:2:3:4:5\n", "bad-value"),
    ("create s hash:ip,mac\nadd s 1.1.1.1\n", "bad-value"),
    (
        "create s hash:ip,mac\nadd s 1.1.1.1/32,1:2:3:4:5:6\n",
        "bad-value",
    ),
    ("create s hash:ip,mark\nadd s 0.0.0.0,0\n", "bad-value"),
    ("create s hash:ip,port\nadd s 0.0.0.0,80\n", "bad-value"),
    ("create s hash:ip,port\nadd s 1.1.1.1\n", "bad-value"),
    ("create s hash:ip,port\nadd s 1.1.1.1,0:0\n", "bad-value"),
    ("create s hash:ip,port\nadd s 1.1.1.1,gre:5\n", "bad-value"),
    (
        "create s hash:ip,port\nadd s 1.1.1.1,icmpv6:1/1\n",
        "bad-value",
    ),
    ("create s hash:ip,port\nadd s 1.1.1.1,icmp:x\n", "bad-value"),
    (
        "create s hash:ip,port\nadd s 1.1.1.1,80-90-100\n",
        "bad-value",
    ),
    (
        "create s hash:ip,port -6\nadd s ::1,icmp:8/0\n",
        "bad-value",
    ),
    ("create s hash:ip,port,ip\nadd s 1.1.1.1,80\n", "bad-value"),
    (
        "create s hash:ip,port,ip\nadd s 1.1.1.1,80,1.1.1.2,3\n",
        "bad-value",
    ),
    (
        "create s hash:ip,port,net\nadd s 1.1.1.1,80,0.0.0.0/0\n",
        "bad-value",
    ),
    ("create s hash:net\nadd s 0.0.0.0/0\n", "bad-value"),
    ("create s hash:net -6\nadd s ::/0\n", "bad-value"),
    ("create s hash:net -6\nadd s ::1-::2\n", "bad-value"),
    (
        "create s hash:net\nadd s 0.0.0.0-255.255.255.255\n",
        "bad-value",
    ),
    (
        "create s hash:net\nadd s 10.0.0.1/8\nadd s 10.0.0.2/8 nomatch\n",
        "duplicate-entry",
    ),
    (
        "create s hash:net,net\nadd s 0.0.0.0/0,10.0.0.0/8\n",
        "bad-value",
    ),
    (
        "create s hash:net,iface\nadd s 10.0.0.0/8,0123456789abcdef\n",
        "bad-value",
    ),
    (
        "create s hash:net,iface\nadd s 10.0.0.0/8,eth wildcard\nadd s 10.0.0.0/8,eth0\n",
        "duplicate-entry",
    ),
    ("create s list:set\nadd s t\n", "unknown-set"),
    (
        "create s list:set\ncreate t list:set\nadd s t\n",
        "misplaced",
    ),
    (
        "create s list:set\ncreate t hash:ip\nadd s t\nadd s t\n",
        "duplicate-entry",
    ),
    (
        "create s list:set\ncreate t hash:ip\nadd s t before t\n",
        "unknown-set",
    ),
    (
        "create s list:set\ncreate t hash:ip\nadd s t timeout 4\n",
        "misplaced",
    ),
    ("foo s\n", "bad-command"),
    (
        "create s hash:ip a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5\n",
        "too-long",
    ),
];

#[test]
fn every_type_prints_what_ipset_save_prints() {
    for (text, expected) in TAKEN {
        assert_eq!(messages(*text), "", "{text}");
        let (_, parsed) = read(*text);
        assert_eq!(
            String::from_utf8_lossy(&print(&parsed)),
            *expected,
            "{text}"
        );
        let (_, again) = read(*expected);
        assert_eq!(again.sets, parsed.sets, "{text}");
    }
}

#[test]
fn what_is_refused_is_told_once_and_by_its_code() {
    for (text, expected) in REFUSED {
        let (_, parsed) = read(*text);
        let codes: Vec<&str> = parsed.diagnostics.iter().map(|it| it.code).collect();
        assert_eq!(codes, [*expected], "{text}");
    }
}

/// What the real tool does with a text: what it saves afterwards, or what it says against it. None
/// when there is no tool, no right to make a namespace, or no such type in the kernel.
fn real_ipset(text: &str) -> Option<Result<String, String>> {
    let mut child = Command::new("unshare")
        .args(["--net", "sh", "-c", "ipset restore && ipset save"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    // The tool ends before it has read all when it refuses a line.
    let _ = child.stdin.take()?.write_all(text.as_bytes());
    let output = child.wait_with_output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let unable = [
        "set type not supported",
        "unshare failed",
        "not found",
        "Operation not permitted",
    ];
    if unable.iter().any(|words| said.contains(words)) {
        return None;
    }
    Some(match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(said),
    })
}

/// Lines in no order, and without options that the text left to the kernel.
fn comparable(text: &str, said: &str) -> BTreeSet<String> {
    let chosen = [
        "hashsize",
        "maxelem",
        "bucketsize",
        "initval",
        "markmask",
        "size",
    ];
    let is_said = |option: &str| said.split_whitespace().any(|word| word == option);
    let lines = text.lines().map(|line| {
        let mut words: Vec<&str> = Vec::new();
        let mut rest = line.split(' ');
        while let Some(word) = rest.next() {
            if line.starts_with("create") && chosen.contains(&word) && !is_said(word) {
                rest.next();
            } else {
                words.push(word);
            }
        }
        words.join(" ")
    });
    lines.collect()
}

#[test]
fn the_real_ipset_agrees() {
    let mut judged = 0;
    for (text, expected) in TAKEN {
        let Some(answer) = real_ipset(text) else {
            continue;
        };
        judged += 1;
        let saved = answer.unwrap_or_else(|said| panic!("ipset refuses\n{text}{said}"));
        assert_eq!(
            comparable(&saved, expected),
            comparable(expected, expected),
            "{text}"
        );
    }
    for (text, _) in REFUSED {
        if let Some(answer) = real_ipset(text) {
            judged += 1;
            assert!(answer.is_err(), "ipset takes\n{text}");
        }
    }
    let all = TAKEN.len() + REFUSED.len();
    if judged < all {
        println!(
            "{} of {all} texts have no judge on this kernel",
            all - judged
        );
    }
}

fn assert_prints_back(path: &Path) {
    let text = std::fs::read(path).expect("a save file can be read");
    assert_eq!(messages(text.clone()), "", "{}", path.display());
    let (_, parsed) = read(text.clone());
    let (text, printed) = (String::from_utf8_lossy(&text), print(&parsed));
    let printed = String::from_utf8_lossy(&printed);
    for (ours, theirs) in printed.lines().zip(text.lines()) {
        assert_eq!(ours, theirs, "{}", path.display());
    }
    assert_eq!(printed.len(), text.len(), "{}", path.display());
}

fn files(directory: &Path, suffix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the directory can be listed");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    paths.sort();
    paths
}

#[test]
fn saves_print_back() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/ipset");
    let files = files(&directory, ".ipset");
    assert_eq!(files.len(), 4);
    for path in files {
        assert_prints_back(&path);
    }
}

#[test]
fn real_saves_print_back() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    if !corpus.exists() {
        println!("skipped: there is no {}", corpus.display());
        return;
    }
    let mut count = 0;
    for part in ["rulesets", "generated"] {
        for path in files(&corpus.join(part), ".ipset-save.saved") {
            assert_prints_back(&path);
            count += 1;
        }
        // What the rulesets need, in no order.
        for path in files(&corpus.join(part), ".ipset") {
            let text = std::fs::read_to_string(&path).expect("a save file can be read");
            assert_eq!(messages(text.clone()), "", "{}", path.display());
            let printed = print(&read(text.clone()).1);
            let printed = String::from_utf8_lossy(&printed);
            let (ours, theirs) = (comparable(&printed, &text), comparable(&text, &text));
            assert_eq!(ours, theirs, "{}", path.display());
            count += 1;
        }
        // Written by hand: read as what ipset saves afterwards, which has another order.
        for path in files(&corpus.join(part), ".ipset-save") {
            let text = std::fs::read_to_string(&path).expect("a save file can be read");
            let saved = std::fs::read_to_string(format!("{}.saved", path.display()));
            assert_eq!(messages(text.clone()), "", "{}", path.display());
            let printed = print(&read(text.clone()).1);
            let printed = String::from_utf8_lossy(&printed);
            let saved = saved.expect("a save file can be read");
            let (ours, theirs) = (comparable(&printed, &text), comparable(&saved, &text));
            assert_eq!(ours, theirs, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 25, "only {count} files");
}

#[test]
fn mistakes_are_explained() {
    insta::assert_snapshot!(messages(MISTAKES));
}

/// One mistake a line, except for the lines that create what the others need.
const MISTAKES: &[u8] = b"\
create web hash:ip,port timeout 300\n\
create block hash:net comment\n\
create lan bitmap:ip range 192.168.0.0/24\n\
create v6 hash:ip family inet6\n\
create all list:set\n\
craete more hash:ip\n\
flush web\n\
create web hash:ip,port timeout 300\n\
create block hash:ip\n\
create ports hash:port\n\
add ports 80\n\
create ports bitmap:port\n\
create big hash:ip maxelm 100000\n\
create cut hash:ip netmask 24 bitmask 255.255.255.0\n\
create wide bitmap:ip range 10.0.0.0/8\n\
add wbe 10.0.0.1,80\n\
add web 10.0.0.1\n\
add web 10.0.0.1,tpc:80\n\
add web 10.0.0.1,icmp:echo-requst\n\
add web 10.0.0.1,gre:1\n\
add web 10.0.0.1,80 timeout 99999999\n\
add web 10.0.0.1,80 packets 4\n\
add block 0.0.0.0/0\n\
add block 10.0.0.0/33\n\
add block example.org\n\
add block 2001:db8::/32\n\
add block 10.0.0.0/8\n\
add block 10.1.2.3/8 nomatch\n\
add block 10.0.0.1 comment \"not closed\n\
add block 10.0.0.1 comment \"\xff bytes\" nomach\n\
add lan 192.168.1.0\n\
add v6 2001:db8::/64\n\
add v6 10.0.0.1\n\
add all block\n\
add all all\n\
add all v7\n\
add all v6 before lan\n";

#[test]
fn sets_are_written_as_json() {
    let (_, parsed) = read("create s hash:ip,port\nadd s 10.0.0.1,udp:53\n");
    let json = serde_json::to_value(&parsed.sets[0]).expect("a set is a tree");
    assert_eq!(json["kind"], "hash:ip,port");
    assert_eq!(json["options"]["family"], "v4");
    let parts = &json["entries"][0]["value"]["parts"];
    assert_eq!(parts[0]["address"], "10.0.0.1");
    assert_eq!(
        parts[1]["protocol_port"],
        serde_json::json!({"protocol": 17, "port": 53})
    );
}

#[test]
fn several_texts_are_restored_one_after_the_other() {
    let mut sources = Sources::default();
    let first = sources.add("first", "create l list:set\ncreate a hash:ip\n");
    let second = sources.add("second", "add l a\nadd a 10.0.0.1\ncreate a hash:ip\n");
    let parsed = parse(&sources, &[first, second], &Names::default());
    let text = print(&parsed);
    assert_eq!(
        String::from_utf8_lossy(&text),
        "create a hash:ip family inet\nadd a 10.0.0.1\ncreate l list:set\nadd l a\n"
    );
    let errors: Vec<_> = parsed
        .diagnostics
        .iter()
        .map(|it| (it.code, it.span.source))
        .collect();
    assert_eq!(errors, [("duplicate-set", second)]);
}

/// The kernel counts the timeout down, so it cannot be asked for the seconds themselves.
#[test]
fn an_ethernet_address_completes_an_entry() {
    let start = "create s bitmap:ip,mac range 10.0.0.0/24 timeout 5 comment\n\
                 add s 10.0.0.1 timeout 900 comment \"a\"\n"
        .to_owned();
    let lines = [
        (
            "add s 10.0.0.1,1:2:3:4:5:6\n",
            "10.0.0.1,01:02:03:04:05:06 timeout 900",
        ),
        (
            "add s 10.0.0.1,1:2:3:4:5:6 timeout 7\n",
            "10.0.0.1,01:02:03:04:05:06 timeout 7",
        ),
    ];
    for (line, expected) in lines {
        let (_, parsed) = read(start.clone() + line);
        assert_eq!(parsed.diagnostics, []);
        let text = String::from_utf8(print(&parsed)).expect("plain text");
        assert_eq!(
            text.lines().nth(1),
            Some(format!("add s {expected}").as_str())
        );
    }
}

#[test]
fn hostile_texts_cost_little() {
    let start = std::time::Instant::now();
    let text = "create s hash:net,port maxelem 4294967295\n".to_owned()
        + &"add s 0.0.0.1-255.255.255.254,0-65535\n".repeat(1_000);
    let (_, parsed) = read(text);
    assert_eq!(
        parsed.diagnostics.last().map(|it| it.code),
        Some("too-many-errors")
    );
    let (_, parsed) = read("nonsense\n".repeat(100_000));
    assert_eq!(parsed.diagnostics.len(), 101);
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn ranges_are_not_taken_where_the_kernel_forgets_to_mask_them() {
    for text in [
        "create s hash:ip bitmask 255.0.255.0\nadd s 10.0.0.1-10.0.0.2\n",
        "create s hash:ip,port netmask 24\nadd s 10.0.0.0/31,80\n",
        "create s hash:net,net netmask 24\nadd s 10.0.0.0-10.0.0.8,10.0.0.0/8\n",
    ] {
        let (_, parsed) = read(text);
        let messages: Vec<_> = parsed
            .diagnostics
            .iter()
            .map(|it| it.message.as_str())
            .collect();
        assert!(
            matches!(messages[..], [message] if message.contains("with a mask")),
            "{text}"
        );
    }
}

#[test]
fn warnings_of_old_options() {
    let (_, parsed) = read("create s hash:ip probes 4 resize 50\n");
    let found: Vec<_> = parsed.diagnostics.iter().map(|it| it.severity).collect();
    assert_eq!(found, [Severity::Warning; 2]);
    assert_eq!(print(&parsed), b"create s hash:ip family inet\n");
}
