//! Exchanges the names of a folder and of links, one after the other and back, as fast as it goes: whoever walks through the
//! folder meanwhile must not get anywhere by it.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Goes on for so many seconds, leaves all as it was, and prints how often it exchanged.
///
/// # Errors
/// When names cannot be exchanged, or nobody listens.
pub fn run(seconds: u64, folder: &str, links: &[&str]) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut count = 0u64;
    while Instant::now() < end {
        for link in links {
            for _ in 0..2 {
                renameat_with(CWD, folder, CWD, *link, RenameFlags::EXCHANGE)?;
                count += 1;
            }
        }
    }
    writeln!(io::stdout(), "{count}")
}
