//! Builds the guest image by hand: `build-image --agent PATH --demo PATH [--refresh]`. The image's directory goes to standard
//! output, progress to standard error. `cargo xtask image` does the same after building agent and demo.

use std::{io, path::PathBuf};

use anyhow::{Context, bail};
use lighter_image::{BuildOptions, PlainLines, build, cache};

const USAGE: &str = "usage: build-image --agent PATH --demo PATH [--refresh]";

fn main() -> anyhow::Result<()> {
    let (mut agent, mut demo, mut refresh) = (None, None, false);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--agent") => agent = arguments.next(),
            Some("--demo") => demo = arguments.next(),
            Some("--refresh") => refresh = true,
            _ => bail!(USAGE),
        }
    }
    let (agent, demo) = (PathBuf::from(agent.context(USAGE)?), PathBuf::from(demo.context(USAGE)?));
    let cache = cache::default_dir().context("There is no home directory; set LIGHTER_CACHE")?;
    let image = build(&BuildOptions { cache, agent, demo, refresh }, &mut PlainLines::new(io::stderr()))?;
    println!("{}", image.dir().display());
    Ok(())
}
