//! The device status register (virtio 1.2 §2.1): which writes of the driver count.
//!
//! ```text
//!   0 ──► ACKNOWLEDGE ──► DRIVER ──► FEATURES_OK ──► DRIVER_OK         each step needs all those before it;
//!   ▲                      features      queues         in service     a write may take several, never take one back
//!   └────── write of 0 from anywhere = reset             FAILED: may be added anywhere
//! ```
//! NEEDS_RESET is the device's own bit; the driver cannot write it.

/// The driver has seen the device.
pub const ACKNOWLEDGE: u32 = 1;
/// The driver knows how to drive it.
pub const DRIVER: u32 = 2;
/// The driver may use queues.
pub const DRIVER_OK: u32 = 4;
/// Feature negotiation is over.
pub const FEATURES_OK: u32 = 8;
/// The device is broken until reset.
pub const NEEDS_RESET: u32 = 0x40;
/// The driver gave up.
pub const FAILED: u32 = 0x80;

const ORDER: [u32; 4] = [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK];

/// What a write of the status register means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Back to the beginning.
    Reset,
    /// These bits are new, in an allowed order.
    Add(u32),
    /// Against the rules; nothing changes.
    Ignore,
}

/// Judges a write of `new` while the driver's bits are `old`.
pub fn judge(old: u32, new: u32) -> Write {
    if new == 0 {
        return Write::Reset;
    }
    let new = new & !NEEDS_RESET;
    let known = FAILED | ORDER.iter().fold(0, |all, bit| all | bit);
    if new & old != old || new & !known != 0 {
        return Write::Ignore;
    }
    // The steps taken must be the first ones, without a gap.
    let steps = ORDER.iter().take_while(|&&bit| new & bit != 0).fold(0, |all, bit| all | bit);
    if new & !FAILED != steps { Write::Ignore } else { Write::Add(new & !old) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q17_steps_out_of_order_or_backwards_do_not_count() {
        assert_eq!(judge(0, DRIVER), Write::Ignore);
        assert_eq!(judge(ACKNOWLEDGE, ACKNOWLEDGE | FEATURES_OK), Write::Ignore);
        assert_eq!(judge(ACKNOWLEDGE | DRIVER, ACKNOWLEDGE | DRIVER | DRIVER_OK), Write::Ignore);
        assert_eq!(judge(ACKNOWLEDGE | DRIVER, ACKNOWLEDGE), Write::Ignore);
        assert_eq!(judge(ACKNOWLEDGE, ACKNOWLEDGE | 0x10), Write::Ignore);
        assert_eq!(judge(ACKNOWLEDGE | FAILED, ACKNOWLEDGE | DRIVER), Write::Ignore);
    }

    #[test]
    fn steps_in_order_count_and_zero_resets_from_anywhere() {
        assert_eq!(judge(0, ACKNOWLEDGE), Write::Add(ACKNOWLEDGE));
        assert_eq!(judge(ACKNOWLEDGE, ACKNOWLEDGE | DRIVER), Write::Add(DRIVER));
        assert_eq!(judge(0, 15), Write::Add(15));
        assert_eq!(judge(3, 3 | FAILED), Write::Add(FAILED));
        assert_eq!(judge(15, 15 | NEEDS_RESET), Write::Add(0));
        for old in 0..=255 {
            assert_eq!(judge(old, 0), Write::Reset);
        }
    }
}
