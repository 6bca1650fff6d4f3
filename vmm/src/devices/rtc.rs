//! The clock of the old PC, of which only the time of day exists, in UTC. A Linux that its hypervisor does not tell the time, as
//! on the Windows Hypervisor Platform, reads it at boot; where no clock answers it asks ten thousand times before it gives up,
//! which takes a second. Registers and their numbers are the MC146818's, in binary-coded decimal and 24 hours.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bus::BusDevice;

/// Offset of the port that chooses a register; its highest bit belongs to something else. The other port has the value.
const INDEX: u64 = 0;
const INDEX_BITS: u8 = 0x7f;
/// Register A: the oscillator runs, and no update is in progress, which would make a reader wait.
const STATUS_A: u8 = 0x26;
/// Register B: 24 hours, no interrupts.
const STATUS_B: u8 = 0x02;
/// Register D: the time is valid.
const STATUS_D: u8 = 0x80;
const DAY: u64 = 24 * 60 * 60;

/// The clock; lives at ports 0x70 and 0x71.
#[derive(Default)]
pub struct Rtc {
    index: AtomicU8,
}

impl BusDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let [first] = data
            && offset != INDEX
        {
            // A host's clock before 1970 is as good as none.
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            *first = register(self.index.load(Ordering::Relaxed), now);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        // The time is the host's, and not to be set.
        if let (INDEX, &[index]) = (offset, data) {
            self.index.store(index & INDEX_BITS, Ordering::Relaxed);
        }
    }
}

/// What register `index` has `now` after the beginning of 1970.
fn register(index: u8, now: Duration) -> u8 {
    let (days, second) = (now.as_secs() / DAY, now.as_secs() % DAY);
    let (year, month, day) = date(days);
    match index {
        0 => bcd(second % 60),
        2 => bcd(second / 60 % 60),
        4 => bcd(second / 3600),
        // 1 is a Sunday; 1970 began on a Thursday.
        6 => bcd((days + 4) % 7 + 1),
        7 => bcd(day),
        8 => bcd(month),
        9 => bcd(year % 100),
        0xa => STATUS_A,
        0xb => STATUS_B,
        0xd => STATUS_D,
        // The century, where most firmware has it.
        0x32 => bcd(year / 100),
        _ => 0,
    }
}

/// Two decimal digits.
fn bcd(value: u64) -> u8 {
    (value / 10 % 10 * 16 + value % 10) as u8
}

/// Year, month and day, both from 1, of a day counted from the beginning of 1970.
fn date(mut days: u64) -> (u64, u64, u64) {
    // The calendar repeats every 400 years; so the loops are short whatever the host's clock says.
    const CYCLE: u64 = 400 * 365 + 97;
    let mut year = 1970 + days / CYCLE * 400;
    days %= CYCLE;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(seconds: u64, wanted: [u8; 7]) -> [u8; 7] {
        wanted.map(|index| register(index, Duration::from_secs(seconds)))
    }

    #[test]
    fn the_time_of_day_is_the_hosts() {
        const ALL: [u8; 7] = [0x32, 9, 8, 7, 4, 2, 0];
        assert_eq!(registers(0, ALL), [0x19, 0x70, 1, 1, 0, 0, 0]);
        // The last second of a leap day, and the first after it.
        assert_eq!(registers(1_709_251_199, ALL), [0x20, 0x24, 2, 0x29, 0x23, 0x59, 0x59]);
        assert_eq!(registers(1_709_251_200, ALL), [0x20, 0x24, 3, 1, 0, 0, 0]);
        assert_eq!(registers(951_782_400, ALL), [0x20, 0, 2, 0x29, 0, 0, 0]);
        assert_eq!(registers(4_107_542_400, ALL), [0x21, 0, 3, 1, 0, 0, 0]);
        assert_eq!(register(6, Duration::from_secs(1_709_251_200)), 6, "a Friday");
    }

    #[test]
    fn any_clock_of_a_host_gives_a_date() {
        let (_, month, day) = date(u64::MAX / DAY);
        assert!((1..=12).contains(&month) && (1..=31).contains(&day));
    }

    #[test]
    fn a_reader_never_waits_for_an_update_and_cannot_set_the_time() {
        let clock = Rtc::default();
        let read = |index: u8| {
            clock.write(INDEX, &[index]);
            let mut data = [0xff];
            clock.read(1, &mut data);
            data[0]
        };
        assert_eq!((read(0xa), read(0x8b), read(0xd), read(0x7f)), (0x26, 2, 0x80, 0));
        clock.write(1, &[0xff]);
        assert_eq!(read(0xb), 2);
    }

    #[test]
    fn m1_accesses_of_any_width_are_answered() {
        let clock = Rtc::default();
        for width in (0..=8).filter(|&width| width != 1) {
            let mut data = [0xff; 8];
            clock.write(0, &data[..width]);
            clock.read(1, &mut data[..width]);
            assert!(data[..width].iter().all(|&byte| byte == 0));
        }
    }
}
