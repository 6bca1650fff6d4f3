//! What a case is, and the list of them all in the order in which they run.

use anyhow::Result;

use crate::lab::Lab;

/// A named check.
pub struct Case {
    /// `family.what_it_does`.
    pub name: &'static str,
    /// Asks, and records what came; fails if that is not what the API promises.
    pub run: fn(&mut Lab) -> Result<()>,
}

/// A family's list of cases, each function under its own name.
macro_rules! cases {
    ($family:literal: $($name:ident),* $(,)?) => {
        /// The cases of this file.
        pub const CASES: &[crate::case::Case] =
            &[$(crate::case::Case { name: concat!($family, ".", stringify!($name)), run: $name }),*];
    };
}

/// A family of single questions: name, method, path, body, expected status. `IMAGE` stands for the image that the rig imported.
macro_rules! questions {
    ($family:literal: $($name:ident $method:ident $path:literal $(with $body:literal)? => $status:literal),* $(,)?) => {
        /// The cases of this file.
        pub const CASES: &[crate::case::Case] = &[$(crate::case::Case {
            name: concat!($family, ".", stringify!($name)),
            run: |lab| {
                let image = lab.image();
                let ask = lab.ask(stringify!($method), &$path.replace("IMAGE", &image));
                $(let ask = ask.text(&$body.replace("IMAGE", &image));)?
                ask.expect($status).map(drop)
            },
        }),*];
    };
}

pub(crate) use {cases, questions};

/// The cases whose names contain one of `words`, all when there are none.
pub fn named(words: &[String]) -> Vec<&'static Case> {
    let wanted = |case: &&Case| words.is_empty() || words.iter().any(|word| case.name.contains(word.as_str()));
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
        assert!(count >= 380, "{count} cases");
    }
}
