//! Memory that all clients share for what is large: requests that arrive, replies that leave.

use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that may be held at once.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<usize>>);

/// A part of it, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    size: usize,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Mutex::new(bytes)))
    }

    /// A share of nothing, which may grow.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            size: 0,
        }
    }

    fn change(&self, change: impl FnOnce(&mut usize) -> bool) -> bool {
        let Budget(left) = self;
        change(&mut left.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Share {
    /// Takes what is missing to so many bytes; says whether there is so much.
    pub fn grow_to(&mut self, size: usize) -> bool {
        let more = size.saturating_sub(self.size);
        let granted = self.budget.change(|left| match left.checked_sub(more) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        });
        if granted {
            self.size += more;
        }
        granted
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.change(|left| {
            *left += self.size;
            true
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(100);
        let mut one = budget.share();
        let mut two = budget.share();
        assert!(one.grow_to(60) && one.grow_to(50));
        assert!(!two.grow_to(41) && two.grow_to(40));
        drop(one);
        assert!(two.grow_to(100));
    }
}
