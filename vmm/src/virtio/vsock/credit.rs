//! Flow control of one connection in both directions (virtio 1.2 §5.10.6.3): counters modulo 2^32, and peers that lie about
//! theirs. Pure arithmetic, used by `connection`.

/// Our receive buffer per connection in bytes, told to the guest as `buf_alloc`.
pub const WINDOW: u32 = 256 * 1024;

/// What the guest may send us: at most [`WINDOW`] bytes that the host side has not taken yet.
#[derive(Debug, Default)]
pub struct Window {
    held: u32,
    forwarded: u32,
    advertised: u32,
}

impl Window {
    /// Whether `len` more bytes keep the promise; counts them if so.
    pub fn admit(&mut self, len: u32) -> bool {
        let fits = len <= WINDOW - self.held;
        if fits {
            self.held += len;
        }
        fits
    }

    /// Counts `len` bytes as taken by the host side; `true` when the guest should be told, that is when half of the window has
    /// been taken since it was told last. What it is not told is less than half, so it is never without credit meanwhile.
    pub fn forward(&mut self, len: u32) -> bool {
        self.held -= len;
        self.forwarded = self.forwarded.wrapping_add(len);
        self.forwarded.wrapping_sub(self.advertised) >= WINDOW / 2
    }

    /// `(buf_alloc, fwd_cnt)` for a packet that is sent now.
    pub fn advertise(&mut self) -> (u32, u32) {
        self.advertised = self.forwarded;
        (WINDOW, self.forwarded)
    }
}

/// What we may send to the guest, by its own words.
#[derive(Debug, Default)]
pub struct Allowance {
    buf_alloc: u32,
    forwarded: u32,
    sent: u32,
}

impl Allowance {
    /// Takes note of a packet's `buf_alloc` and `fwd_cnt`. A `fwd_cnt` that goes back or ahead of what was sent is a lie and
    /// changes nothing; a smaller `buf_alloc` is the guest's right.
    pub fn learn(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.buf_alloc = buf_alloc;
        if fwd_cnt.wrapping_sub(self.forwarded) <= self.in_flight() {
            self.forwarded = fwd_cnt;
        }
    }

    /// Bytes that may be sent now.
    pub fn available(&self) -> u32 {
        self.buf_alloc.saturating_sub(self.in_flight())
    }

    /// Counts `len` bytes as sent; callers stay within [`available`](Self::available).
    pub fn spend(&mut self, len: u32) {
        self.sent = self.sent.wrapping_add(len);
    }

    fn in_flight(&self) -> u32 {
        self.sent.wrapping_sub(self.forwarded)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn v7_counters_wrap_at_two_to_the_32() {
        let mut allowance = Allowance { buf_alloc: 1000, forwarded: u32::MAX - 99, sent: u32::MAX - 99 };
        allowance.spend(600);
        assert_eq!(allowance.available(), 400);
        allowance.learn(1000, 300);
        assert_eq!(allowance.available(), 800, "400 of the 600 bytes were taken");

        let mut window = Window { held: 0, forwarded: u32::MAX - 9, advertised: u32::MAX - 9 };
        assert!(window.admit(WINDOW));
        assert!(!window.admit(1));
        assert!(!window.forward(WINDOW / 2 - 1));
        assert!(window.forward(1), "half the window is worth telling, across the wrap too");
        assert_eq!(window.advertise(), (WINDOW, WINDOW / 2 - 10));
    }

    proptest! {
        /// Against a model in 64 bits: never more in flight than the guest's last buffer size allowed when it was sent.
        #[test]
        fn v7_lying_counters_never_yield_credit_out_of_nothing(
            start in any::<u32>(),
            steps in prop::collection::vec((any::<u32>(), any::<u32>(), 0u32..200_000), 1..100),
        ) {
            let mut allowance = Allowance { buf_alloc: 0, forwarded: start, sent: start };
            let (mut sent, mut taken) = (0u64, 0u64);
            for (buf_alloc, fwd_cnt, want) in steps {
                allowance.learn(buf_alloc, fwd_cnt);
                let ahead = u64::from(fwd_cnt.wrapping_sub(start.wrapping_add(taken as u32)));
                if taken + ahead <= sent {
                    taken += ahead;
                }
                prop_assert_eq!(u64::from(allowance.available()), u64::from(buf_alloc).saturating_sub(sent - taken));
                let now = want.min(allowance.available());
                allowance.spend(now);
                sent += u64::from(now);
            }
        }
    }
}
