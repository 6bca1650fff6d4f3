//! All cases, by families: what each file here is about is said at its beginning.

mod access;
mod content;
mod folders;
mod length;
mod links;
mod modes;
mod names;
mod opening;
mod owners;
mod renames;
mod times;

use crate::case::Case;

/// Every family's cases.
pub const ALL: &[&[Case]] = &[
    access::CASES,
    content::CASES,
    folders::CASES,
    length::CASES,
    links::CASES,
    modes::CASES,
    names::CASES,
    opening::CASES,
    owners::CASES,
    renames::CASES,
    times::CASES,
];
