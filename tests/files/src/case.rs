//! What a case is, how it says what it wanted and did not get, and the list of them all.

use std::fmt::Debug;
use std::panic::Location;

use rustix::io::Errno;

/// A named check, run in an empty folder that is the process' current one, as root and with a umask of 022.
pub struct Case {
    /// `family.what_holds`
    pub name: &'static str,
    /// Fails if that is not so.
    pub run: fn() -> Held,
}

/// What is wrong, and at which line of which case that was seen.
#[derive(Debug)]
pub struct Wrong(pub String);

/// Whether something is as it has to be.
pub type Held = Result<(), Wrong>;

impl Wrong {
    /// Says so, with the caller's line.
    #[track_caller]
    pub fn new(what: impl std::fmt::Display) -> Self {
        let at = Location::caller();
        let file = at.file().rsplit(['/', '\\']).next().unwrap_or_default();
        Self(format!("{file}:{}: {what}", at.line()))
    }
}

impl<E: std::error::Error> From<E> for Wrong {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(error)
    }
}

/// The call fails with this error.
#[track_caller]
pub fn fails<T>(wanted: Errno, got: rustix::io::Result<T>) -> Held {
    match got {
        Err(error) if error == wanted => Ok(()),
        Err(error) => Err(Wrong::new(format!("wanted {wanted:?}, got {error:?}"))),
        Ok(_) => Err(Wrong::new(format!("wanted {wanted:?}, and it went well"))),
    }
}

/// These are the same.
#[track_caller]
pub fn equal<T: PartialEq + Debug>(got: T, wanted: T) -> Held {
    if got == wanted { Ok(()) } else { Err(Wrong::new(format!("wanted {wanted:?}, got {got:?}"))) }
}

/// This is so.
#[track_caller]
pub fn holds(so: bool, what: &str) -> Held {
    if so { Ok(()) } else { Err(Wrong::new(format!("not so: {what}"))) }
}

/// A family's list of cases, each function under its own name.
macro_rules! cases {
    ($family:literal: $($name:ident),* $(,)?) => {
        /// The cases of this file.
        pub const CASES: &[crate::case::Case] =
            &[$(crate::case::Case { name: concat!($family, ".", stringify!($name)), run: $name }),*];
    };
}

pub(crate) use cases;

/// The cases whose names contain one of `words`, all when there are none.
pub fn named(words: &[&str]) -> Vec<&'static Case> {
    let wanted = |case: &&Case| words.is_empty() || words.iter().any(|word| case.name.contains(word));
    crate::cases::ALL.iter().flat_map(|family| family.iter()).filter(wanted).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn case_names_are_unique_and_there_are_enough() {
        let mut names: Vec<_> = super::named(&[]).iter().map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "two cases share a name");
        assert!(count >= 220, "{count} cases");
    }
}
