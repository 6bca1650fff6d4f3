//! Numbers that look as if by chance and are the same for the same seed (SplitMix64).

pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`, or 0 when that is 0.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// The same, but one in three lies at the edge of a page, where mistakes are made.
    pub(super) fn crooked(&mut self, limit: usize) -> usize {
        let number = self.below(limit);
        if self.below(3) > 0 {
            return number;
        }
        let edge = number / 4096 * 4096 + self.below(3);
        edge.saturating_sub(1).min(limit.saturating_sub(1))
    }

    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        // None is 0, so that what was written is told from a hole.
        let first = self.below(255);
        (0..len).map(|at| 1 + ((first + at) % 255) as u8).collect()
    }
}
