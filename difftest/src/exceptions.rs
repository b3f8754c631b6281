//! What an XDP program cannot know or does not repeat, and is documented not to: such frames are left
//! out, and counted as such, instead of being called differences.

use ipt2bpf_parser::ruleset::Family;

use crate::frame::Frame;
use crate::netfilter::{CountedRule, Route};

/// An IPv6 packet to a link-local address of another host. `bpf_fib_lookup` calls every link-local
/// destination "not forwarded" (`bpf_ipv6_fib_lookup`, net/core/filter.c), so that the program runs INPUT
/// where the kernel would send the packet back to the link. The compiler warns.
pub fn is_unknowable(frame: &Frame, route: &Route) -> bool {
    let destination = frame.untrimmed().get(24..26);
    let link_local = destination.is_some_and(|it| it[0] == 0xfe && it[1] & 0xc0 == 0x80);
    frame.family == Family::V6 && link_local && matches!(route, Route::Via(_))
}

/// An IPv6 packet that begins with hop-by-hop options. The IP layer drops it when these are malformed or
/// ask for that (`ip6_parse_tlv`, net/ipv6/exthdrs.c); the program passes or drops it like any other, and
/// counts it.
pub fn may_be_counted_unseen(frame: &Frame) -> bool {
    frame.family == Family::V6 && frame.untrimmed().get(6) == Some(&0)
}

/// Whether a rule that packets have met can make them longer: TCPMSS adds an option of four bytes to a SYN
/// that has none, which programs at cgroup_skb do not. The compiler says so; bytes are then not compared.
pub fn may_grow(rules: &[CountedRule]) -> bool {
    let mut met = rules.iter().filter(|rule| rule.counters.packets > 0);
    met.any(|rule| rule.text.contains(" -j TCPMSS "))
}

/// Whether the kernel writes into the packet between PREROUTING and the chains behind routing: its address or
/// the time into IPv4 options that ask for it, zeros behind the end of the options (`__ip_options_compile`,
/// net/ipv4/ip_options.c). Programs are shown the frame as it came; the compiler says so where a rule may read
/// those bytes.
pub fn is_written_into(frame: &Frame) -> bool {
    const RECORD_ROUTE: u8 = 7;
    const TIMESTAMP: u8 = 68;
    let packet = frame.untrimmed();
    let header = packet
        .first()
        .map_or(0, |first| usize::from(first & 0xf) * 4);
    let mut options = packet.get(20..header).unwrap_or_default();
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest) {
            (RECORD_ROUTE | TIMESTAMP, _) => return true,
            (0, _) => return rest.iter().any(|&byte| byte != 0),
            (1, _) => rest,
            (_, [length, ..]) => options
                .get(usize::from(*length).max(2)..)
                .unwrap_or_default(),
            _ => break,
        };
    }
    false
}

/// Whether a rule of a save text may read any byte of a packet.
pub fn reads_raw_bytes(text: &str) -> bool {
    [" -m u32 ", " -m string ", " -m bpf "]
        .iter()
        .any(|name| text.contains(name))
}
