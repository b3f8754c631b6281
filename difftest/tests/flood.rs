//! A flood of new connections pushes no established one out of the table.

use ipt2bpf_difftest::{flood, netns};

#[test]
fn established_connections_survive_a_flood() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let report = flood::run(4096, 1000, 20_000).expect("runs");
    println!("{report}");
    assert_eq!(report.survivors, report.established, "{report}");
    let statistics = report.statistics;
    assert_eq!(statistics.inserted, 21_000, "{report}");
    assert_eq!(statistics.insert_failed, 0, "{report}");
    // The ring has 2048 places, of which those of the thousand are passed over.
    assert!(statistics.early_dropped > 16_000, "{report}");
    assert!(report.entries <= 1000 + 2048, "{report}");
}

/// Beyond half the table, established ones count as others do: the least lately used go.
#[test]
fn a_table_full_of_established_connections_forgets_the_least_lately_used() {
    if let Err(reason) = netns::prerequisites() {
        eprintln!("skipped: {reason:#}");
        return;
    }
    let report = flood::run(4096, 6000, 0).expect("runs");
    println!("{report}");
    assert!(report.survivors < report.established, "{report}");
    assert!(report.entries <= 4096, "{report}");
}
