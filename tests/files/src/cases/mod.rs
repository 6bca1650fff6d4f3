//! All cases, by families: what each file here is about is said at its beginning.

mod access;
mod attributes;
mod content;
mod folders;
mod length;
mod links;
mod lists;
mod locks;
mod modes;
mod names;
mod nodes;
mod opening;
mod orphans;
mod owners;
mod renames;
mod times;

use crate::case::Case;

/// Every family's cases.
pub const ALL: &[&[Case]] = &[
    access::CASES,
    attributes::CASES,
    content::CASES,
    folders::CASES,
    length::CASES,
    links::CASES,
    lists::CASES,
    locks::CASES,
    modes::CASES,
    names::CASES,
    nodes::CASES,
    opening::CASES,
    orphans::CASES,
    owners::CASES,
    renames::CASES,
    times::CASES,
];
