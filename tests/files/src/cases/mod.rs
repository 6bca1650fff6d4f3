//! All cases, by families: what each file here is about is said at its beginning.

mod folders;
mod links;
mod names;
mod opening;
mod renames;

use crate::case::Case;

/// Every family's cases.
pub const ALL: &[&[Case]] = &[folders::CASES, links::CASES, names::CASES, opening::CASES, renames::CASES];
