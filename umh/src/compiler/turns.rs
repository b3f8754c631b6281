//! Who is next, when there are more jobs than processes: whoever has waited longest.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A number of turns that may be taken at once.
#[derive(Debug)]
pub struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Those who wait, by number.
    queue: VecDeque<u64>,
    next: u64,
}

impl Turns {
    /// So many at once.
    pub fn new(free: usize) -> Turns {
        Turns {
            state: Mutex::new(State {
                free,
                queue: VecDeque::new(),
                next: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for a turn, so long at most; says whether it came.
    pub fn take(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        let mine = state.next;
        state.next += 1;
        state.queue.push_back(mine);
        while state.free == 0 || state.queue.front() != Some(&mine) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.queue.retain(|&other| other != mine);
                drop(state);
                // Another may be the first now.
                self.changed.notify_all();
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.queue.pop_front();
        state.free -= 1;
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Gives a turn back.
    pub fn give(&self) {
        self.lock().free += 1;
        self.changed.notify_all();
    }

    /// Nothing that holds the lock panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_waits_longest_is_next() {
        let turns = Turns::new(1);
        let order = Mutex::new(Vec::new());
        assert!(turns.take(LONG));
        assert!(!turns.take(Duration::from_millis(1)));
        thread::scope(|scope| {
            for number in 0..4 {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    assert!(turns.take(LONG));
                    order.lock().unwrap().push(number);
                    turns.give();
                });
                while turns.lock().queue.len() <= number {
                    thread::yield_now();
                }
            }
            turns.give();
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3]);
        assert!(turns.take(Duration::ZERO));
    }
}
