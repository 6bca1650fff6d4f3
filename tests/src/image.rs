//! The guest image as this tool sees it: packages for building it, the programs that go into it, progress on the terminal.

use std::path::PathBuf;

use anyhow::{Context, Result};
use lighter_image::{BuildOptions, PlainLines, build, host_packages};

use crate::{packages, products};

/// The cache directory.
pub fn cache() -> Result<PathBuf> {
    lighter_image::cache::default_dir().context("there is no home directory; set LIGHTER_CACHE")
}

/// The kernel of benches, built if need be.
pub fn bench_kernel() -> Result<PathBuf> {
    Ok(lighter_image::bench_kernel(&options()?, &mut PlainLines::new(std::io::stderr()))?)
}

/// Builds the guest image if anything that it is made of has changed, and returns its folder.
pub fn ensure() -> Result<PathBuf> {
    let image = build(&options()?, &mut PlainLines::new(std::io::stderr()))?;
    Ok(image.dir().to_owned())
}

fn options() -> Result<BuildOptions> {
    let missing = host_packages().iter().filter(|package| !package.is_present()).map(|package| package.package);
    packages::install(&missing.collect::<Vec<_>>())?;
    let (agent, demo) = (products::agent()?, products::demo()?);
    Ok(BuildOptions { cache: cache()?, agent, demo, refresh: false })
}
