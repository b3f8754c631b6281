//! A perfect hash by hashing and displacing (Belazzougui, Botelho and Dietzfelbinger, "Hash, displace, and
//! compress", 2009): keys fall into small buckets, and each bucket has a number that sends all its keys to
//! free slots. A look-up reads the number of the bucket, then the only slot that can hold the key.

/// Odd numbers whose products spread bits; programs multiply by them, too.
pub const DIGEST_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// See [`slot`].
pub const DISPLACEMENT_FACTOR: u32 = 0x85eb_ca6b;
/// See [`slot`].
pub const SLOT_FACTOR: u32 = 0xc2b2_ae35;

/// Keys for one bucket, on average.
const BUCKET_KEYS: usize = 4;
/// How many salts are tried before a set of keys is given up.
const SALTS: u32 = 64;

/// A table that finds each of its keys at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerfectHash {
    /// What the digests are mixed with.
    pub salt: u32,
    /// One number for each bucket.
    pub displacements: Vec<u16>,
    /// Which key lies in each slot, by its index.
    pub slots: Vec<Option<usize>>,
}

/// The digest of a key of several words that is looked up as number so and so of several.
pub fn digest(salt: u32, number: u32, words: impl IntoIterator<Item = u64>) -> u64 {
    let mixed = u64::from(salt).wrapping_add(number.into());
    let mut digest = mixed.wrapping_mul(DIGEST_FACTOR);
    for word in words {
        digest = (digest ^ word).wrapping_mul(DIGEST_FACTOR);
        digest ^= digest >> 32;
    }
    digest
}

/// The bucket of a digest.
pub fn bucket(digest: u64, buckets: usize) -> usize {
    scaled(digest as u32, buckets)
}

/// The slot of a digest whose bucket has this number.
pub fn slot(digest: u64, displacement: u16, slots: usize) -> usize {
    let moved = u32::from(displacement).wrapping_mul(DISPLACEMENT_FACTOR);
    let stirred = ((digest >> 32) as u32 ^ moved).wrapping_mul(SLOT_FACTOR);
    scaled(stirred, slots)
}

/// From all numbers of 32 bits to those below a bound, evenly.
fn scaled(number: u32, bound: usize) -> usize {
    ((u64::from(number) * bound as u64) >> 32) as usize
}

impl PerfectHash {
    /// A table for some keys, of which `digest` gives the digest under a salt. None when no salt that is
    /// tried tells them apart.
    pub fn new(keys: usize, digest: impl Fn(u32, usize) -> u64) -> Option<Self> {
        (1..=SALTS).find_map(|salt| {
            let digests: Vec<u64> = (0..keys).map(|key| digest(salt, key)).collect();
            Self::with_salt(salt, &digests)
        })
    }

    fn with_salt(salt: u32, digests: &[u64]) -> Option<Self> {
        let buckets = digests.len() / BUCKET_KEYS + 1;
        let slot_count = digests.len() + digests.len() / 4 + 1;
        let mut members = vec![Vec::new(); buckets];
        for (key, &digest) in digests.iter().enumerate() {
            members[bucket(digest, buckets)].push(key);
        }
        let mut order: Vec<usize> = (0..buckets).collect();
        order.sort_by_key(|&bucket| std::cmp::Reverse(members[bucket].len()));
        let mut table = PerfectHash {
            salt,
            displacements: vec![0; buckets],
            slots: vec![None; slot_count],
        };
        for bucket in order {
            let keys = &members[bucket];
            let displacement = (0..=u16::MAX).find(|&it| table.place(keys, digests, it))?;
            table.displacements[bucket] = displacement;
        }
        Some(table)
    }

    /// Puts keys where a displacement sends them, if all those places are free.
    fn place(&mut self, keys: &[usize], digests: &[u64], displacement: u16) -> bool {
        for (count, &key) in keys.iter().enumerate() {
            let at = slot(digests[key], displacement, self.slots.len());
            if self.slots[at].is_some() {
                for &placed in &keys[..count] {
                    let at = slot(digests[placed], displacement, self.slots.len());
                    self.slots[at] = None;
                }
                return false;
            }
            self.slots[at] = Some(key);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_where_its_digest_says() {
        for count in [0, 1, 2, 100, 20_000] {
            let of = |salt, key: usize| digest(salt, 1, [key as u64 * 256]);
            let table = PerfectHash::new(count, of).expect("a table");
            for key in 0..count {
                let digest = of(table.salt, key);
                let displacement = table.displacements[bucket(digest, table.displacements.len())];
                let at = slot(digest, displacement, table.slots.len());
                assert_eq!(table.slots[at], Some(key));
            }
        }
    }

    #[test]
    fn keys_of_one_digest_are_given_up() {
        assert_eq!(PerfectHash::new(2, |_, _| 7), None);
    }
}
