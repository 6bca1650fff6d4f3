//! The cases, one file for each family of the API. Those that need a swarm come last, so that it is made once.

mod archive;
mod attach;
mod build;
mod bulk;
mod containers;
mod create;
mod errors;
mod exec;
mod framing;
mod images;
mod mounts;
mod networks;
mod registry;
mod streams;
mod swarm;
mod system;
mod versions;
mod volumes;

use crate::case::Case;

/// Every family, in the order in which they run.
pub const ALL: &[&[Case]] = &[
    versions::CASES,
    versions::each::CASES,
    errors::CASES,
    framing::CASES,
    system::CASES,
    volumes::CASES,
    networks::CASES,
    images::CASES,
    registry::CASES,
    create::CASES,
    mounts::CASES,
    containers::CASES,
    attach::CASES,
    exec::CASES,
    archive::CASES,
    streams::CASES,
    build::CASES,
    bulk::CASES,
    swarm::outside::CASES,
    swarm::CASES,
];
