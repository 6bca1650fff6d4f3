//! All cases, by families: what each file here is about is said at its beginning.

mod folders;
mod links;
mod opening;

use crate::case::Case;

/// Every family's cases.
pub const ALL: &[&[Case]] = &[folders::CASES, links::CASES, opening::CASES];
