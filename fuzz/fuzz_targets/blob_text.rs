//! Any bytes as a blob: the text of its table parses without a panic, and a table that comes of the
//! text has a binary form that leads back to it. The first byte tells the family.
#![no_main]

use ipt2bpf_parser::blob::{
    EncodeError, OldCounters, Replace, SetNames, decode_replace, encode_replace,
};
use ipt2bpf_parser::diagnostic::Severity;
use ipt2bpf_parser::ruleset::Family;
use ipt2bpf_parser::span::Sources;
use ipt2bpf_parser::{Counts, ParseOptions, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((first, blob)) = input.split_first() else {
        return;
    };
    let family = if first & 1 == 0 {
        Family::V4
    } else {
        Family::V6
    };
    let sets = SetNames::from_iter([(0, "zero".to_owned()), (1, "one".to_owned())]);
    let Ok(replace) = decode_replace(family, blob, &sets) else {
        return;
    };
    let mut sources = Sources::default();
    let id = sources.add("printed", replace.table.print(Counts::All));
    let options = ParseOptions {
        family: Some(family),
        ..ParseOptions::default()
    };
    let parsed = parse(&sources, id, &options);
    // A text cannot hold all that a blob can: a name with a newline, or data without an option.
    let is_error = |severity| severity == Severity::Error;
    if parsed.diagnostics.iter().any(|it| is_error(it.severity)) {
        return;
    }
    for table in parsed.rulesets.into_iter().flat_map(|it| it.tables) {
        let printed = table.print(Counts::All);
        let replace = Replace {
            table,
            old_counters: OldCounters {
                number: 1,
                address: 0,
            },
        };
        let again = match encode_replace(family, &replace, &sets) {
            Ok(again) => again,
            // Extensions with a name only, and names of sets that lost a byte.
            Err(EncodeError::Extension(_)) => return,
            Err(error) => panic!("{error}"),
        };
        let again = decode_replace(family, &again, &sets).expect("it has been encoded");
        assert_eq!(again.table.print(Counts::All), printed);
    }
});
