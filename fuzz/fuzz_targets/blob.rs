//! Any bytes as a blob: decoding never panics, and a table that comes of it is the same after a way
//! there and back. The first byte tells the family.
#![no_main]

use ipt2bpf_parser::Counts;
use ipt2bpf_parser::blob::{SetNames, decode_replace, encode_replace};
use ipt2bpf_parser::ruleset::Family;
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
    if let Ok(replace) = decode_replace(family, blob, &sets) {
        replace.table.print(Counts::All);
        let again = encode_replace(family, &replace, &sets).expect("it has a binary form");
        assert_eq!(decode_replace(family, &again, &sets), Ok(replace));
    }
});
