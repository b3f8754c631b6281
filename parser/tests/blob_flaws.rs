//! Blobs that are refused: one flaw at a time in a recorded blob, and damage at random.

use ipt2bpf_parser::Counts;
use ipt2bpf_parser::blob::{
    BasePart, Flaw, Listing, Replace, SetNames, decode_entries, decode_replace, encode_entries,
    encode_replace,
};
use ipt2bpf_parser::matches::Match;
use ipt2bpf_parser::ruleset::{Action, Family, NfHook};
use ipt2bpf_parser::targets::Target;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::path::Path;

const SERVER: &[u8] = include_bytes!("../testdata/blobs/server-v4-filter.replace.bin");
const MATCHES: &[u8] = include_bytes!("../testdata/blobs/matches-v4-filter.replace.bin");
const COUNTING: &[u8] = include_bytes!("../testdata/blobs/counting-v4-filter.replace.bin");
const HASHING: &[u8] = include_bytes!("../testdata/blobs/hashing-v4-mangle.replace.bin");
const PREFIXES: &[u8] = include_bytes!("../testdata/blobs/prefixes-v6-mangle.replace.bin");
const LACKING: &[u8] = include_bytes!("../testdata/blobs/lacking-v4-mangle.replace.bin");

/// Offsets in the blob of the server. Entries are named by what they hold.
mod at {
    pub const VALID_HOOKS: usize = 32;
    pub const NUM_ENTRIES: usize = 36;
    pub const SIZE: usize = 40;
    pub const HOOK_ENTRY: usize = 44;
    pub const UNDERFLOW: usize = 64;
    pub const NUM_COUNTERS: usize = 84;
    /// `-i lo -j ACCEPT`
    pub const LO: usize = 96;
    /// `-m state`
    pub const STATE: usize = 248;
    /// The policy of INPUT.
    pub const INPUT_POLICY: usize = 2320;
    /// `-m udp`
    pub const UDP: usize = 3064;
    /// `-m tcp ... -m multiport ... -j LOG`
    pub const LOG: usize = 3264;
    /// `-m icmp ... -m limit`
    pub const LIMIT: usize = 3568;
    /// `-j REJECT`
    pub const REJECT: usize = 3832;
    /// The head of `away`.
    pub const AWAY: usize = 4176;
    /// `-j deep` in `away`.
    pub const AWAY_JUMP: usize = 4656;
    /// The end of `away`.
    pub const AWAY_END: usize = 4808;
    /// The head of `deep`.
    pub const DEEP: usize = 4960;
    /// The last entry.
    pub const END: usize = 5920;
}

/// Offsets in an entry of IPv4.
mod field {
    pub const SOURCE: usize = 0;
    pub const INTERFACE: usize = 16;
    pub const INTERFACE_MASK: usize = 48;
    pub const PROTOCOL: usize = 80;
    pub const FLAGS: usize = 82;
    pub const INVERTED: usize = 83;
    pub const TARGET_OFFSET: usize = 88;
    pub const NEXT_OFFSET: usize = 90;
    /// The size of the first match or of the target.
    pub const FIRST_SIZE: usize = 112;
    pub const FIRST_NAME: usize = 114;
    pub const FIRST_DATA: usize = 144;
}

fn server(family: Family, blob: &[u8]) -> Result<Replace, Flaw> {
    decode_replace(family, blob, &SetNames::default()).map_err(|error| error.flaw)
}

/// The flaw of the server's blob with these bytes at this offset.
fn flaw(at: usize, bytes: impl AsRef<[u8]>) -> Flaw {
    let mut blob = SERVER.to_vec();
    let bytes = bytes.as_ref();
    blob[at..at + bytes.len()].copy_from_slice(bytes);
    server(Family::V4, &blob).expect_err("the blob is flawed")
}

#[test]
fn headers_are_checked() {
    assert_eq!(server(Family::V4, &SERVER[..95]), Err(Flaw::TooShort));
    assert_eq!(flaw(0, b"filters"), Flaw::TableName);
    assert_eq!(flaw(0, [b'x'; 32]), Flaw::TableName);
    assert_eq!(flaw(at::VALID_HOOKS, [0x1f]), Flaw::Hooks(0x1f));
    assert_eq!(flaw(at::NUM_ENTRIES, [31]), Flaw::EntryNumber(31));
    assert_eq!(flaw(at::SIZE, [0, 0]), Flaw::Size(0));
    assert_eq!(server(Family::V4, &SERVER[..6000]), Err(Flaw::Size(6000)));
    assert_eq!(flaw(at::NUM_COUNTERS, [0]), Flaw::CounterNumber(0));
    let many = u32::MAX / 16;
    assert_eq!(
        flaw(at::NUM_COUNTERS, many.to_le_bytes()),
        Flaw::CounterNumber(many)
    );
}

#[test]
fn sizes_of_entries_are_checked() {
    let next = |entry: usize, size: u16| flaw(entry + field::NEXT_OFFSET, size.to_le_bytes());
    assert_eq!(next(at::LO, 0), Flaw::TargetOffset(112));
    assert_eq!(next(at::LO, 150), Flaw::NextOffset(150));
    assert_eq!(next(at::LO, 160), Flaw::NextOffset(160));
    assert_eq!(next(at::END, 184), Flaw::EntryOverrun);
    let target = |entry: usize, size: u16| flaw(entry + field::TARGET_OFFSET, size.to_le_bytes());
    assert_eq!(target(at::LO, 0), Flaw::TargetOffset(0));
    assert_eq!(target(at::LO, 104), Flaw::TargetOffset(104));
    assert_eq!(target(at::LO, 160), Flaw::TargetOffset(160));
    assert_eq!(target(at::LO, 152), Flaw::ExtensionSize(0));
    let size = |entry: usize, size: u16| flaw(entry + field::FIRST_SIZE, size.to_le_bytes());
    assert_eq!(size(at::STATE, 0), Flaw::ExtensionSize(0));
    assert_eq!(size(at::STATE, 24), Flaw::ExtensionSize(24));
    assert_eq!(size(at::STATE, 199), Flaw::ExtensionSize(199));
    assert_eq!(size(at::STATE, 208), Flaw::ExtensionSize(208));
    assert_eq!(size(at::LO, 32), Flaw::NextOffset(152));
    // What is left of the match is no match.
    assert_eq!(size(at::STATE, 192), Flaw::ExtensionSize(8));
    let name = at::STATE + field::FIRST_NAME;
    assert_eq!(flaw(name, [b'x'; 29]), Flaw::ExtensionName);
    assert_eq!(flaw(name, b"a/b"), Flaw::ExtensionName);
}

#[test]
fn base_matches_are_checked() {
    let base = |entry: usize, at: usize, byte: u8| flaw(entry + at, [byte]);
    let address = Flaw::Base(BasePart::Address);
    assert_eq!(base(at::LO, field::SOURCE, 1), address);
    let interface = Flaw::Base(BasePart::Interface);
    assert_eq!(base(at::LO, field::INTERFACE + 5, b'x'), interface);
    assert_eq!(base(at::LO, field::INTERFACE_MASK + 4, 0xff), interface);
    assert_eq!(base(at::LO, field::INTERFACE_MASK, 0), interface);
    assert_eq!(
        base(at::LO, field::PROTOCOL + 1, 1),
        Flaw::Base(BasePart::Protocol)
    );
    let flags = Flaw::Base(BasePart::Flags);
    assert_eq!(base(at::LO, field::FLAGS, 0x80), flags);
    assert_eq!(base(at::LO, field::INVERTED, 0x20), flags);
    assert_eq!(base(at::LO, field::INVERTED, 0x40), flags);
    assert_eq!(base(at::LO, field::INVERTED, 0x80), flags);
}

#[test]
fn verdicts_are_checked() {
    let verdict =
        |entry: usize, verdict: i32| flaw(entry + field::FIRST_DATA, verdict.to_le_bytes());
    for unknown in [0, -3, -6, i32::MIN] {
        assert_eq!(verdict(at::LO, unknown), Flaw::Verdict(unknown));
    }
    // Into the middle of a built-in chain, to the start of one, to a head, past the end.
    for nowhere in [504, 2968, 4080, 6000, i32::MAX] {
        assert_eq!(verdict(at::LO, nowhere), Flaw::Jump(nowhere));
    }
    assert_eq!(flaw(at::LO + field::FLAGS, [2]), Flaw::Goto);
    let away = (at::AWAY + 176 - 96) as i32;
    assert_eq!(
        verdict(at::AWAY_JUMP, away),
        Flaw::Loop("away, away".to_owned())
    );
}

#[test]
fn chains_are_checked() {
    let offset = |at: usize, offset: u32| flaw(at, offset.to_le_bytes());
    let input = at::HOOK_ENTRY + 4;
    assert_eq!(offset(input, 152), Flaw::HookEntry(NfHook::Input));
    let input = at::UNDERFLOW + 4;
    assert_eq!(offset(input, 2225), Flaw::Underflow(NfHook::Input));
    assert_eq!(offset(input, u32::MAX), Flaw::Underflow(NfHook::Input));
    assert_eq!(offset(input, 504), Flaw::Policy(NfHook::Input));
    assert_eq!(offset(input, 1920), Flaw::HookEntry(NfHook::Forward));
    let policy = at::INPUT_POLICY + field::FIRST_DATA;
    assert_eq!(
        flaw(policy, (-5_i32).to_le_bytes()),
        Flaw::Policy(NfHook::Input)
    );
    let policy = at::INPUT_POLICY + field::PROTOCOL;
    assert_eq!(flaw(policy, [6]), Flaw::Policy(NfHook::Input));

    assert_eq!(
        flaw(at::AWAY_END + field::PROTOCOL, [6]),
        Flaw::ChainEnd("away".to_owned())
    );
    assert_eq!(flaw(at::DEEP + field::PROTOCOL, [6]), Flaw::ErrorEntry);
    let name = |entry: usize, name: &[u8]| flaw(entry + field::FIRST_DATA, name);
    assert_eq!(
        name(at::DEEP, b"away\0"),
        Flaw::DuplicateChain("away".to_owned())
    );
    for bad in [
        &b"\0"[..],
        b"-eep",
        b"!eep",
        b"d ep",
        b"DROP",
        b"INPUT\0",
        b"\xff",
        &[b'x'; 30],
        &[b'x'; 29],
    ] {
        assert_eq!(name(at::DEEP, bad), Flaw::ChainName, "{bad:?}");
    }
    assert_eq!(name(at::END, b"ERRORS"), Flaw::TableEnd);
    assert_eq!(flaw(at::END + field::PROTOCOL, [6]), Flaw::TableEnd);
    // Without a head, what stands behind the policy is in no chain.
    assert_eq!(flaw(at::AWAY + field::FIRST_NAME, b"ERR0R"), Flaw::Stray);
}

#[test]
fn data_of_extensions_is_checked() {
    let refused = |at: usize, bytes: &[u8]| match flaw(at, bytes) {
        Flaw::Data { name, .. } | Flaw::DataSize { name, .. } | Flaw::Misplaced(name) => name,
        other => panic!("{other:?}"),
    };
    let udp = at::UDP + field::FIRST_DATA;
    assert_eq!(refused(udp + 8, &[4]), "udp");
    assert_eq!(refused(at::UDP + field::PROTOCOL, &[6]), "udp");
    assert_eq!(refused(at::UDP + field::INVERTED, &[0x40]), "udp");
    let tcp = at::LOG + field::FIRST_DATA;
    assert_eq!(refused(tcp + 11, &[0x10]), "tcp");
    let multiport = tcp + 16 + 32;
    assert_eq!(refused(multiport, &[3]), "multiport");
    assert_eq!(refused(multiport + 1, &[16]), "multiport");
    let log = multiport + 48 + 32;
    assert_eq!(refused(log, &[8]), "LOG");
    assert_eq!(refused(log + 2, &[b'x'; 30]), "LOG");
    let icmp = at::LIMIT + field::FIRST_DATA;
    assert_eq!(refused(icmp + 3, &[2]), "icmp");
    let limit = icmp + 8 + 32;
    assert_eq!(refused(limit + 4, &[0; 4]), "limit");
    assert_eq!(refused(limit, &[0xff; 8]), "limit");
    let reject = at::REJECT + 152 + 32;
    assert_eq!(refused(reject, &[4]), "REJECT");
    assert_eq!(refused(reject, &[7]), "REJECT");
}

/// What no option gives is kept as it is, so that nobody takes it for something else.
#[test]
fn data_without_an_option_is_unknown() {
    let mut blob = SERVER.to_vec();
    blob[at::UDP + field::FIRST_DATA + 9] = 1;
    let replace = server(Family::V4, &blob).expect("padding is no flaw");
    let text = replace.table.print(Counts::Chains);
    let text = String::from_utf8(text).expect("the text is UTF-8");
    assert!(
        text.contains("-A OUTPUT -p udp -m udp -j ACCEPT\n"),
        "{text}"
    );
    let again = encode_replace(Family::V4, &replace, &SetNames::default());
    assert_eq!(again, Ok(blob));
}

/// A recorded blob with these bytes in the data of the first extension of this name.
fn damaged(original: &[u8], name: &str, at: usize, bytes: &[u8]) -> Result<Replace, Flaw> {
    let mut field = name.as_bytes().to_vec();
    field.resize(29, 0);
    let header = original
        .windows(29)
        .position(|window| window == field)
        .expect("the blob has the extension");
    let at = header + 30 + at;
    let mut blob = original.to_vec();
    blob[at..at + bytes.len()].copy_from_slice(bytes);
    let family = match original == PREFIXES {
        true => Family::V6,
        false => Family::V4,
    };
    server(family, &blob)
}

#[test]
fn data_that_the_kernel_refuses_is_a_flaw() {
    let refused = |original: &[u8], name: &str, at: usize, bytes: &[u8]| {
        let flaw = damaged(original, name, at, bytes).expect_err(name);
        assert!(
            matches!(flaw, Flaw::Data { name: it, .. } if it == name),
            "{flaw:?}"
        );
    };
    refused(COUNTING, "rateest", 32, &[0]);
    refused(COUNTING, "rateest", 32, &[0x16]);
    refused(COUNTING, "rateest", 32, &[0x02]);
    refused(COUNTING, "rateest", 34, &[0]);
    refused(COUNTING, "rateest", 0, &[b'x'; 16]);
    refused(COUNTING, "RATEEST", 16, &[4]);
    refused(COUNTING, "RATEEST", 16, &[0xfd]);
    refused(COUNTING, "RATEEST", 17, &[0]);
    refused(COUNTING, "RATEEST", 17, &[31]);
    refused(COUNTING, "RATEEST", 0, &[b'x'; 16]);
    refused(COUNTING, "IDLETIMER", 0, &[0]);
    refused(COUNTING, "IDLETIMER", 0, &2_147_483_u32.to_le_bytes());
    refused(COUNTING, "IDLETIMER", 4, b"power\0");
    refused(COUNTING, "IDLETIMER", 4, b"\0");
    refused(COUNTING, "IDLETIMER", 4, b"a/b");
    refused(COUNTING, "IDLETIMER", 32, &[1]);
    refused(COUNTING, "IDLETIMER", 33, &[2]);
    refused(HASHING, "ECN", 0, &[0x32]);
    refused(HASHING, "ECN", 1, &[4]);
    refused(HASHING, "HMARK", 52, &[0; 4]);
    refused(HASHING, "HMARK", 40, &[0x4f]);
    refused(HASHING, "HMARK", 40, &[0x67]);
    refused(HASHING, "HMARK", 40, &[0x63, 0x2f]);
    refused(PREFIXES, "DNPT", 32, &[65]);
    refused(PREFIXES, "DNPT", 32, &[47]);
    refused(PREFIXES, "SNPT", 20, &[1]);
    refused(PREFIXES, "srh", 105, &[0x40]);
    refused(PREFIXES, "srh", 107, &[0x80]);
    refused(LACKING, "CLUSTERIP", 48, &[3]);
    refused(LACKING, "CLUSTERIP", 12, &[17]);
    refused(LACKING, "LED", 0, &[0]);
    refused(LACKING, "SECMARK", 0, &[2]);
    refused(LACKING, "ULOG", 16, &[51]);
    refused(LACKING, "ULOG", 24, &[b'x'; 32]);
}

/// Of each extension what the kernel takes, and no option says.
#[test]
fn data_that_cannot_be_written_is_unknown() {
    let unknown = |original: &[u8], name: &str, at: usize, bytes: &[u8]| {
        let replace = damaged(original, name, at, bytes).expect(name);
        let rules = replace.table.chains.iter().flat_map(|chain| &chain.rules);
        let mut names = rules.flat_map(|rule| {
            let matches = rule.matches.iter().filter_map(|it| match &it.value {
                Match::Unknown(unknown) => Some(&unknown.name),
                _ => None,
            });
            let target = match &rule.action {
                Action::Target(target) => match &target.value {
                    Target::Unknown(unknown) => Some(&unknown.name),
                    _ => None,
                },
                _ => None,
            };
            matches.chain(target)
        });
        assert_eq!(names.next().map(String::as_str), Some(name));
    };
    unknown(COUNTING, "osf", 0, b"\0");
    unknown(COUNTING, "osf", 44, &[3]);
    unknown(COUNTING, "nfacct", 0, &[0; 4]);
    unknown(COUNTING, "rateest", 36, &[1]);
    unknown(COUNTING, "rateest", 16, b"fast");
    unknown(COUNTING, "RATEEST", 17, &[30]);
    unknown(COUNTING, "SYNPROXY", 0, &[0x3f]);
    unknown(COUNTING, "SYNPROXY", 0, &[0x1d]);
    unknown(HASHING, "ECN", 0, &[0]);
    unknown(HASHING, "ECN", 2, &[4]);
    unknown(HASHING, "HMARK", 2, &[1]);
    unknown(HASHING, "HMARK", 41, &[0x0d]);
    unknown(PREFIXES, "srh", 104, &[0x21]);
    unknown(LACKING, "CLUSTERIP", 4, &[2]);
    unknown(LACKING, "CLUSTERIP", 10, &[17]);
    unknown(LACKING, "CLUSTERIP", 14, &[0]);
    unknown(LACKING, "CLUSTERIP", 16, &[1]);
    unknown(LACKING, "LED", 0, b"NETFILTER-");
    unknown(LACKING, "LED", 27, &[2]);
    unknown(LACKING, "SECMARK", 1, &[b'x'; 256]);
    unknown(LACKING, "ULOG", 0, &[1]);
    unknown(LACKING, "ULOG", 16, &[0]);
}

/// libxt_policy keeps the number as it is written, in host order. That the kernel takes it for one in
/// network order is no matter of this form.
#[test]
fn the_spi_of_a_policy_is_in_host_order() {
    let element = 64;
    let replace = damaged(MATCHES, "policy", element, &0x1234_5678_u32.to_le_bytes());
    let text = replace
        .expect("the blob is sound")
        .table
        .print(Counts::Chains);
    let text = String::from_utf8(text).expect("the text is UTF-8");
    assert!(
        text.contains("--reqid 4 --spi 0x12345678 --proto esp"),
        "{text}"
    );
}

#[test]
fn the_answers_of_the_kernel_belong_together() {
    let sets = SetNames::default();
    let replace = server(Family::V4, SERVER).expect("the blob is sound");
    let listing = encode_entries(Family::V4, &replace.table, &sets).expect("it has a binary form");
    assert_eq!(
        decode_entries(Family::V4, &listing, &sets),
        Ok(replace.table.clone())
    );
    let flaw = |change: fn(&mut Listing)| {
        let mut listing = listing.clone();
        change(&mut listing);
        let decoded = decode_entries(Family::V4, &listing, &sets);
        decoded.expect_err("the answers are flawed").flaw
    };
    assert_eq!(flaw(|it| it.info.truncate(83)), Flaw::TooShort);
    assert_eq!(flaw(|it| it.entries.truncate(39)), Flaw::TooShort);
    assert_eq!(flaw(|it| it.entries[0] = b'x'), Flaw::TableName);
    assert_eq!(flaw(|it| it.entries[32] += 8), Flaw::Size(6008));
    assert_eq!(flaw(|it| it.entries.truncate(6000)), Flaw::Size(6000));
}

/// Every recorded blob.
fn recorded() -> Vec<(Family, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/blobs");
    let directories = [directory.join("loose"), directory];
    let files = directories
        .iter()
        .flat_map(|it| std::fs::read_dir(it).expect("it is there"));
    let files = files.map(|it| it.expect("an entry").path().to_string_lossy().into_owned());
    let mut files: Vec<String> = files.filter(|it| it.ends_with(".replace.bin")).collect();
    files.sort();
    let read = |path: String| {
        let family = match path.contains("-v6-") {
            true => Family::V6,
            false => Family::V4,
        };
        (family, std::fs::read(path).expect("it can be read"))
    };
    files.into_iter().map(read).collect()
}

/// One way to damage a blob.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Word(Index, u16),
    /// A number taken from elsewhere in the blob.
    Copy(Index, Index),
    Truncate(Index),
    /// Bytes lost, with the size in the header made to fit.
    Lose(Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        4 => (any::<Index>(), 0..512_u16).prop_map(|(at, word)| Damage::Word(at, word & !7)),
        4 => (any::<Index>(), any::<Index>()).prop_map(|(to, from)| Damage::Copy(to, from)),
        1 => any::<Index>().prop_map(Damage::Truncate),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, count)| Damage::Lose(at, count)),
    ]
}

impl Damage {
    fn to(&self, blob: &mut Vec<u8>) {
        let length = blob.len();
        // Offsets of words, as most fields stand at such.
        let word = |at: &Index| at.index(length / 4) * 4;
        match self {
            Damage::Byte(at, byte) => blob[at.index(length)] = *byte,
            Damage::Word(at, word) => {
                let at = at.index(length - 1);
                blob[at..at + 2].copy_from_slice(&word.to_le_bytes());
            }
            Damage::Copy(to, from) => {
                let (to, from) = (word(to), word(from));
                blob.copy_within(from..from + 4, to);
            }
            Damage::Truncate(at) => blob.truncate(at.index(length).max(100)),
            Damage::Lose(at, count) => {
                let at = 96 + word(at) % (length - 96);
                let end = (at + usize::from(*count) * 8).min(length);
                blob.drain(at..end);
                let size = (blob.len().max(100) - 96) as u32;
                blob.resize(blob.len().max(100), 0);
                blob[40..44].copy_from_slice(&size.to_le_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// A damaged blob is refused, or is one that iptables could have made: its table has no more
    /// rules than fit, prints, and is the same after a way there and back.
    #[test]
    fn damaged_blobs_never_panic(
        (family, original) in select(recorded()),
        damages in proptest::collection::vec(damage(), 1..4),
    ) {
        let mut blob = original;
        for damage in &damages {
            damage.to(&mut blob);
        }
        let sets = SetNames::default();
        if let Ok(replace) = decode_replace(family, &blob, &sets) {
            let rules: usize = replace.table.chains.iter().map(|chain| chain.rules.len()).sum();
            prop_assert!(rules <= blob.len() / 152);
            replace.table.print(Counts::All);
            let again = encode_replace(family, &replace, &sets).expect("it has a binary form");
            prop_assert_eq!(decode_replace(family, &again, &sets), Ok(replace));
        }
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let sets = SetNames::default();
        prop_assert!(decode_replace(Family::V4, &bytes, &sets).is_err());
        let listing = Listing { info: bytes.clone(), entries: bytes };
        prop_assert!(decode_entries(Family::V6, &listing, &sets).is_err());
    }
}
