//! Tests of the portable crates that cannot run under Wine 8, with what it lacks; on Windows they are to run. Used by the suite
//! `windows`, which prints them.

/// Tests that have the same thing missing.
pub(super) struct Cannot {
    pub package: &'static str,
    pub why: &'static str,
    /// Full names.
    pub tests: &'static [&'static str],
}

pub(super) const CANNOT: &[Cannot] = &[];
