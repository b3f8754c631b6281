//! Answers that were given before, found by the content of the request. What was used longest ago goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::compiler::job::Answer;

/// What stands for a request: SHA-256 of its method and parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// That of a request.
    pub fn new(method: &str, parameters: &str) -> Key {
        let mut hash = Sha256::new();
        hash.update(method.as_bytes());
        hash.update([0]);
        hash.update(parameters.as_bytes());
        Key(hash.finalize().into())
    }
}

/// Answers, up to a number of bytes.
#[derive(Debug)]
pub struct Cache {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<Key, Entry>,
    bytes: usize,
    /// How often anything was used.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    answer: Arc<Answer>,
    size: usize,
    used: u64,
}

impl Cache {
    /// An empty one.
    pub fn new(limit: usize) -> Cache {
        Cache {
            limit,
            state: Mutex::default(),
        }
    }

    /// The answer to a request.
    pub fn get(&self, key: Key) -> Option<Arc<Answer>> {
        let mut state = self.lock();
        state.clock += 1;
        let clock = state.clock;
        let entry = state.answers.get_mut(&key)?;
        entry.used = clock;
        Some(Arc::clone(&entry.answer))
    }

    /// Keeps an answer whose JSON has so many bytes, unless it would take most of the room.
    pub fn put(&self, key: Key, answer: &Arc<Answer>, text: usize) {
        let size = answer.bytes.len() + text + size_of::<Entry>() + size_of::<Key>();
        if size > self.limit / 2 {
            return;
        }
        let mut state = self.lock();
        state.clock += 1;
        let entry = Entry {
            answer: Arc::clone(answer),
            size,
            used: state.clock,
        };
        state.bytes += size;
        if let Some(before) = state.answers.insert(key, entry) {
            state.bytes -= before.size;
        }
        while state.bytes > self.limit {
            let oldest = state.answers.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                break;
            };
            if let Some(gone) = state.answers.remove(&oldest) {
                state.bytes -= gone.size;
            }
        }
    }

    /// Nothing that holds the lock panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(size: usize) -> Arc<Answer> {
        Arc::new(Answer::new((), vec![0; size]))
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let cache = Cache::new(10_000);
        let key = |number: u32| Key::new("method", &number.to_string());
        for number in 0..3 {
            cache.put(key(number), &answer(3000), 0);
        }
        assert!(cache.get(key(0)).is_some());
        cache.put(key(3), &answer(3000), 0);
        assert!(cache.get(key(0)).is_some());
        assert!(cache.get(key(1)).is_none());
        cache.put(key(4), &answer(6000), 0);
        assert!(cache.get(key(4)).is_none(), "too large to be kept");
        assert_ne!(Key::new("a", "b"), Key::new("ab", ""));
    }
}
