//! The reference: a list as the kernel keeps it.

use std::collections::VecDeque;

use ipt2bpf_parser::matches::recent::Check;

use super::{ADDRESSES, Recall};

/// Addresses, the least lately updated first.
#[derive(Default)]
pub struct Entries(VecDeque<Entry>);

struct Entry {
    address: u128,
    ttl: u8,
    /// The stamps, the last the latest.
    stamps: VecDeque<u64>,
}

impl Entries {
    /// Does what a rule says and gives the answer before the rule's `!`.
    pub fn ask(&mut self, rule: &Recall, address: u128, ttl: u8, now: u64) -> bool {
        let fits = |entry: &Entry| {
            let same_ttl = !rule.ttl || ttl == entry.ttl || ttl == 0 || entry.ttl == 0;
            entry.address == address && same_ttl
        };
        let found = self.0.iter().position(fits);
        match (rule.check, found) {
            (Check::Set, None) => {
                if self.0.len() >= ADDRESSES {
                    self.0.pop_front();
                }
                self.0.push_back(Entry {
                    address,
                    ttl,
                    stamps: VecDeque::from([now]),
                });
                true
            }
            (_, None) => false,
            (Check::Set, Some(at)) => {
                self.update(at, rule, ttl, now);
                true
            }
            (Check::Remove, Some(at)) => {
                self.0.remove(at);
                true
            }
            (Check::Rcheck | Check::Update, Some(at)) => {
                let is_stale = |&stamp: &u64| {
                    let oldest = now.wrapping_sub(rule.ticks.unwrap_or(0).into());
                    rule.ticks.is_some() && stamp.wrapping_sub(oldest).cast_signed() < 0
                };
                let stamps = self.0[at].stamps.iter();
                let hits = stamps.filter(|stamp| !is_stale(stamp)).count();
                let holds = hits >= rule.hits as usize;
                let mut kept = Some(at);
                if rule.reap
                    && (self.0.front()).is_some_and(|it| it.stamps.back().is_some_and(is_stale))
                {
                    self.0.pop_front();
                    kept = at.checked_sub(1);
                }
                if let (Check::Update, true, Some(at)) = (rule.check, holds != rule.negated, kept) {
                    self.update(at, rule, ttl, now);
                }
                holds
            }
        }
    }

    fn update(&mut self, at: usize, rule: &Recall, ttl: u8, now: u64) {
        if let Some(mut entry) = self.0.remove(at) {
            if entry.stamps.len() >= rule.stamps as usize {
                entry.stamps.pop_front();
            }
            entry.stamps.push_back(now);
            entry.ttl = ttl;
            self.0.push_back(entry);
        }
    }
}
