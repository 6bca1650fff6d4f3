//! Keeps the window that a guest has offered from shrinking. Linux says that its window is closed when it had to drop, for
//! want of memory, what it had promised to take. smoltcp believes it: what is on its way counts as sent, is not repeated as
//! long as there is no window for it, and no probe asks for one, so the connection stands still for minutes. With the
//! offer held it is repeated after its usual time, which asks too. Called by `stack` with every segment of the guest.

const SYN: u8 = 2;
const ACK: u8 = 16;
/// RFC 7323 §2.3: more counts as this.
const MOST_SHIFT: u8 = 14;

/// How far a guest has offered to take bytes.
#[derive(Debug, Default)]
pub struct Offer {
    /// Of its window scale option.
    shift: u8,
    /// The sequence number behind the last byte that it ever offered to take.
    edge: Option<u32>,
}

impl Offer {
    /// Raises the window in a TCP segment to what was offered before, if it is less.
    pub fn hold(&mut self, segment: &mut [u8]) {
        let Some(header) = segment.first_chunk::<20>() else { return };
        if header[13] & SYN != 0 {
            let options = segment.get(20..usize::from(header[12] >> 4) * 4).unwrap_or_default();
            *self = Self { shift: shift(options).unwrap_or(0).min(MOST_SHIFT), edge: None };
            return;
        }
        if header[13] & ACK == 0 {
            return;
        }
        let acknowledged = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let window = u32::from(u16::from_be_bytes([header[14], header[15]])) << self.shift;
        let edge = acknowledged.wrapping_add(window);
        match self.edge {
            Some(furthest) if furthest.wrapping_sub(edge) as i32 > 0 => {
                // Not less than was offered: a rest of a few bytes would have no window again.
                let units = furthest.wrapping_sub(acknowledged).div_ceil(1 << self.shift);
                // More than fits was never offered to this acknowledgement.
                if let Ok(units) = u16::try_from(units) {
                    segment[14..16].copy_from_slice(&units.to_be_bytes());
                }
            }
            _ => self.edge = Some(edge),
        }
    }
}

/// The window scale option's value.
fn shift(mut options: &[u8]) -> Option<u8> {
    loop {
        match *options {
            [] | [0, ..] => return None,
            [1, ref rest @ ..] => options = rest,
            [3, 3, shift, ..] => return Some(shift),
            [_, length, ..] if length >= 2 => options = options.get(usize::from(length)..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(flags: u8, acknowledged: u32, window: u16, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[8..12].copy_from_slice(&acknowledged.to_be_bytes());
        bytes[12] = (((20 + options.len()) / 4) as u8) << 4;
        bytes[13] = flags;
        bytes[14..16].copy_from_slice(&window.to_be_bytes());
        bytes.extend_from_slice(options);
        bytes
    }

    fn window(offer: &mut Offer, flags: u8, acknowledged: u32, said: u16) -> u16 {
        let mut bytes = segment(flags, acknowledged, said, &[]);
        offer.hold(&mut bytes);
        u16::from_be_bytes([bytes[14], bytes[15]])
    }

    #[test]
    fn what_was_offered_stays_offered_until_it_is_used() {
        let mut offer = Offer::default();
        offer.hold(&mut segment(SYN, 0, 9, &[2, 4, 5, 180, 1, 3, 3, 7]));
        let near_the_end = u32::MAX - 1000;
        assert_eq!(window(&mut offer, ACK, near_the_end, 100), 100);
        // Closed over all of it, over a part, and over a rest of less than a unit.
        assert_eq!(window(&mut offer, ACK, near_the_end, 0), 100);
        assert_eq!(window(&mut offer, ACK, near_the_end.wrapping_add(6400), 0), 50);
        assert_eq!(window(&mut offer, ACK, near_the_end.wrapping_add(12_799), 0), 1);
        // Closed because it is used, opened, and a reset.
        assert_eq!(window(&mut offer, ACK, near_the_end.wrapping_add(12_800), 0), 0);
        assert_eq!(window(&mut offer, ACK, near_the_end.wrapping_add(12_800), 3), 3);
        assert_eq!(window(&mut offer, 4, 7, 0), 0);
        // An acknowledgement from long ago.
        assert_eq!(window(&mut offer, ACK, near_the_end.wrapping_sub(1 << 30), 5), 5);
    }

    #[test]
    fn options_are_read_as_they_come() {
        for (options, want) in [
            (&[1, 1, 3, 3, 9][..], Some(9)),
            (&[4, 2, 3, 3, 200], Some(200)),
            (&[2, 4, 0, 1, 0, 3, 3, 9], None),
            (&[8, 10, 3, 3, 9], None),
            (&[5, 0, 3, 3, 9], None),
            (&[3], None),
        ] {
            assert_eq!(shift(options), want, "{options:?}");
        }
    }

    proptest! {
        #[test]
        fn n9_any_bytes_are_read_without_panic_and_only_the_window_changes(
            segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..20)
        ) {
            let mut offer = Offer::default();
            for mut bytes in segments {
                let before = bytes.clone();
                offer.hold(&mut bytes);
                prop_assert_eq!(bytes.len(), before.len());
                prop_assert!(bytes.iter().zip(&before).enumerate().all(|(at, (a, b))| a == b || (14..16).contains(&at)));
            }
        }
    }
}
