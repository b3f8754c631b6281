//! What is to be drawn: rates from two looks at the counters, and what the user has chosen.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use ipt2bpf_parser::protocol_name;
use ipt2bpf_parser::ruleset::TableKind;
use ipt2bpf_runtime::Counter;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::census::Entry;

/// A look at an object.
pub struct Reading {
    /// Where its programs run.
    pub place: String,
    /// Its rules and policies.
    pub entries: Vec<Entry>,
    /// What they have counted.
    pub counters: Vec<Counter>,
}

/// The order of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Those with most packets per second first.
    #[default]
    Rate,
    /// Those with most packets first.
    Packets,
    /// As they stand.
    Rules,
}

impl Sort {
    fn next(self) -> Sort {
        match self {
            Sort::Rate => Sort::Packets,
            Sort::Packets => Sort::Rules,
            Sort::Rules => Sort::Rate,
        }
    }

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Rate => "packets per second",
            Sort::Packets => "packets",
            Sort::Rules => "the order of rules",
        }
    }
}

/// A rule or policy with what it met.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where: family, table, and the rule's number or `policy`.
    pub place: String,
    /// Its text.
    pub text: String,
    /// Packets per second.
    pub rate: f64,
    /// Bytes per second.
    pub byte_rate: f64,
    /// What it has counted.
    pub total: Counter,
}

/// Packets per second by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Verdicts {
    /// Those that rules accepted.
    pub accepted: f64,
    /// Those that rules dropped or rejected.
    pub dropped: f64,
}

/// What a key asks of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing but to draw again.
    Nothing,
    /// To end.
    End,
    /// To set all counters to zero.
    Zero,
}

/// The state of the display.
pub struct Board {
    readings: Vec<Reading>,
    /// Packets and bytes of each counter since the look before, by object.
    gained: Vec<Vec<Counter>>,
    seconds: f64,
    /// The order.
    pub sort: Sort,
    /// Rules must have all of these words.
    pub filter: String,
    /// Whether keys are letters of the filter.
    pub is_typing: bool,
    /// How many rows are scrolled away.
    pub scrolled: usize,
    /// How many rows a page has, as the view tells.
    pub page: usize,
}

impl Board {
    /// The first look, of which no rates are known.
    pub fn new(readings: Vec<Reading>) -> Board {
        let mut board = Board {
            readings: Vec::new(),
            gained: Vec::new(),
            seconds: 1.0,
            sort: Sort::default(),
            filter: String::new(),
            is_typing: false,
            scrolled: 0,
            page: 1,
        };
        board.forget(readings);
        board
    }

    /// Begins again with a look.
    pub fn forget(&mut self, readings: Vec<Reading>) {
        self.gained = readings
            .iter()
            .map(|it| vec![Counter::default(); it.counters.len()])
            .collect();
        self.readings = readings;
    }

    /// A later look, so long after the last. Objects of other rules begin with what they have counted.
    pub fn update(&mut self, readings: Vec<Reading>, passed: Duration) {
        self.seconds = passed.as_secs_f64().max(0.001);
        self.gained = readings
            .iter()
            .map(|now| {
                let before = self
                    .readings
                    .iter()
                    .find(|it| it.place == now.place && it.entries == now.entries);
                let earlier = |index: usize| {
                    let counter = before.and_then(|it| it.counters.get(index).copied());
                    counter.unwrap_or_default()
                };
                now.counters
                    .iter()
                    .enumerate()
                    .map(|(index, &counter)| gained(earlier(index), counter))
                    .collect()
            })
            .collect();
        self.readings = readings;
    }

    /// The rules to show, in order.
    pub fn rows(&self) -> Vec<Row> {
        let several = self.readings.len() > 1;
        let words: Vec<&str> = self.filter.split_whitespace().collect();
        let mut rows = Vec::new();
        for (reading, gained) in self.readings.iter().zip(&self.gained) {
            for ((entry, &total), gained) in
                reading.entries.iter().zip(&reading.counters).zip(gained)
            {
                let number = match entry.number {
                    Some(number) => number.to_string(),
                    None => "policy".to_owned(),
                };
                let mut place = format!("{} {} {number}", entry.family, entry.table);
                if several {
                    place = format!("{} {place}", reading.place);
                }
                let shown = format!("{place} {}", entry.text);
                if words.iter().all(|word| shown.contains(word)) {
                    rows.push(Row {
                        place,
                        text: entry.text.clone(),
                        rate: gained.packets as f64 / self.seconds,
                        byte_rate: gained.bytes as f64 / self.seconds,
                        total,
                    });
                }
            }
        }
        match self.sort {
            Sort::Rate => rows.sort_by(|a, b| b.rate.total_cmp(&a.rate)),
            Sort::Packets => rows.sort_by_key(|row| Reverse(row.total.packets)),
            Sort::Rules => {}
        }
        rows
    }

    /// What rules and policies of the filter table decide, by the protocol that they name.
    pub fn verdicts(&self) -> BTreeMap<String, Verdicts> {
        let mut verdicts: BTreeMap<String, Verdicts> = BTreeMap::new();
        for (reading, gained) in self.readings.iter().zip(&self.gained) {
            for (entry, gained) in reading.entries.iter().zip(gained) {
                if entry.table != TableKind::Filter {
                    continue;
                }
                let rate = gained.packets as f64 / self.seconds;
                let protocol = match entry.protocol {
                    Some(number) => protocol_name(number).map_or(number.to_string(), str::to_owned),
                    None => "any".to_owned(),
                };
                match entry.action.as_str() {
                    "ACCEPT" => verdicts.entry(protocol).or_default().accepted += rate,
                    "DROP" | "REJECT" => verdicts.entry(protocol).or_default().dropped += rate,
                    _ => {}
                }
            }
        }
        verdicts
    }

    /// What rules of the filter table drop, in packets per second by the source that they name, most first;
    /// sources of which nothing is dropped are left out.
    pub fn drops(&self) -> Vec<(String, f64)> {
        let mut drops: BTreeMap<String, f64> = BTreeMap::new();
        for (reading, gained) in self.readings.iter().zip(&self.gained) {
            let entries = reading.entries.iter().zip(gained);
            for (entry, gained) in entries.filter(|(_, gained)| gained.packets > 0) {
                let drops_it = matches!(entry.action.as_str(), "DROP" | "REJECT");
                if entry.table == TableKind::Filter && drops_it {
                    let source = entry.source.clone().unwrap_or_else(|| "any".to_owned());
                    *drops.entry(source).or_default() += gained.packets as f64 / self.seconds;
                }
            }
        }
        let mut drops: Vec<(String, f64)> = drops.into_iter().collect();
        drops.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        drops
    }

    /// The user pressed a key.
    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Wish::End;
        }
        if self.is_typing {
            match key.code {
                KeyCode::Enter => self.is_typing = false,
                KeyCode::Esc => {
                    self.is_typing = false;
                    self.filter.clear();
                }
                KeyCode::Backspace => {
                    self.filter.pop();
                }
                KeyCode::Char(letter) => self.filter.push(letter),
                _ => {}
            }
            self.scrolled = 0;
            return Wish::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Wish::End,
            KeyCode::Char('z') => return Wish::Zero,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Down => self.scrolled += 1,
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled += self.page,
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(self.page),
            KeyCode::Home => self.scrolled = 0,
            _ => {}
        }
        Wish::Nothing
    }
}

/// What was counted between two looks. A counter that went back began anew.
fn gained(before: Counter, now: Counter) -> Counter {
    match now.packets < before.packets || now.bytes < before.bytes {
        true => now,
        false => Counter {
            packets: now.packets - before.packets,
            bytes: now.bytes - before.bytes,
        },
    }
}

#[cfg(test)]
pub mod tests {
    use ipt2bpf_parser::span::Sources;
    use ipt2bpf_parser::{ParseOptions, parse};

    use super::*;
    use crate::census;

    const RULES: &str = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j ACCEPT\n\
                         -A INPUT -s 10.0.0.0/8 -p udp -j DROP\n-A INPUT -j LOG\nCOMMIT\n";

    /// The counters are those of the policy of INPUT, its three rules, and the policies of FORWARD and OUTPUT.
    pub fn reading(packets: [u64; 6]) -> Reading {
        let mut sources = Sources::default();
        let id = sources.add("rules", RULES);
        let rulesets = parse(&sources, id, &ParseOptions::default()).rulesets;
        let counter = |packets| Counter {
            packets,
            bytes: 100 * packets,
        };
        Reading {
            place: "here".to_owned(),
            entries: census::entries(&rulesets),
            counters: packets.map(counter).to_vec(),
        }
    }

    /// A board with rates: 2 packets a second of tcp are accepted, 10 of udp dropped.
    pub fn board() -> Board {
        let mut board = Board::new(vec![reading([0, 1000, 10, 0, 0, 0])]);
        board.update(
            vec![reading([0, 1004, 30, 0, 0, 0])],
            Duration::from_secs(2),
        );
        board
    }

    fn press(board: &mut Board, keys: &[KeyCode]) -> Wish {
        let pressed = keys.iter().map(|&key| board.press(KeyEvent::from(key)));
        pressed.last().expect("a key")
    }

    fn texts(board: &Board) -> Vec<String> {
        board.rows().into_iter().map(|row| row.text).collect()
    }

    #[test]
    fn rates_are_those_between_two_looks() {
        let rows = board().rows();
        assert_eq!(rows[0].text, "-A INPUT -s 10.0.0.0/8 -p udp -j DROP");
        assert_eq!((rows[0].rate, rows[0].byte_rate), (10.0, 1000.0));
        assert_eq!((rows[1].rate, rows[1].total.packets), (2.0, 1004));
        let verdicts = board().verdicts();
        assert_eq!(verdicts["udp"].dropped, 10.0);
        assert_eq!(verdicts["tcp"].accepted, 2.0);
        assert_eq!(verdicts["any"], Verdicts::default());
        assert_eq!(board().drops(), [("10.0.0.0/8".to_owned(), 10.0)]);
    }

    #[test]
    fn counters_that_went_back_began_anew() {
        let mut board = board();
        board.update(vec![reading([0, 5, 30, 0, 0, 0])], Duration::from_secs(1));
        assert_eq!(board.rows()[0].rate, 5.0);
    }

    #[test]
    fn keys_sort_filter_and_scroll() {
        let mut board = board();
        assert_eq!(press(&mut board, &[KeyCode::Char('s')]), Wish::Nothing);
        assert_eq!(texts(&board)[0], "-A INPUT -p tcp -j ACCEPT");
        press(&mut board, &[KeyCode::Char('s')]);
        assert_eq!(texts(&board)[0], "-P INPUT DROP");

        let typed = ['/', 'u', 'd', 'x'].map(KeyCode::Char);
        press(&mut board, &typed);
        assert!(texts(&board).is_empty());
        press(&mut board, &[KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!(texts(&board), ["-A INPUT -s 10.0.0.0/8 -p udp -j DROP"]);
        // Behind Enter, letters are keys again.
        assert_eq!(press(&mut board, &[KeyCode::Char('z')]), Wish::Zero);
        press(&mut board, &[KeyCode::Esc]);
        assert_eq!(texts(&board).len(), 6);

        press(&mut board, &[KeyCode::Down, KeyCode::Down, KeyCode::Up]);
        assert_eq!(board.scrolled, 1);
        assert_eq!(press(&mut board, &[KeyCode::Char('q')]), Wish::End);
    }
}
