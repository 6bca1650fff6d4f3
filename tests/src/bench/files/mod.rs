//! `bench files`: what lighter's shared folders cost beside those of two virtiofsd, QEMU's of old in C and the one in Rust, in
//! one emulated guest that has all of them at the same time.
//!
//! ```text
//!   guest: lighter-meter as PID 1 ── /lighter ───── vhost-user ── fs_vhost (our device and server)
//!            │                    ├─ /virtiofsd ── vhost-user ── virtiofsd of QEMU
//!            │                    ├─ /9p ───────── QEMU itself, if that is asked for
//!   lines on the console          └─ /virtiofsd-rs ─ vhost-user ── virtiofsd in Rust, if there is one
//!            │
//!   here ────┴── lighter-meter on the host's own folder, for reference
//! ```
//! Each has its own copy of one tree. One line asks for one measure, so that servers can be asked what it cost them.

mod guest;
mod measures;
mod servers;
mod table;
mod tree;

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use super::microvm;
use crate::{image, packages, products};

/// What only this bench is told.
#[derive(clap::Args, Debug)]
pub struct Asked {
    /// Of files: a virtiofsd in Rust, if it is not on the PATH.
    #[arg(long)]
    virtiofsd: Option<PathBuf>,
    /// Of files: list a folder of 100 000 entries, not 10 000.
    #[arg(long)]
    large: bool,
    /// Of files: a 9p mount as well, for which a kernel with 9p is built at the first time.
    #[arg(long = "with-9p")]
    ninep: bool,
}

/// Runs the comparison and returns its figures. Needs root, for the device node of the guest's console and for virtiofsd.
pub fn run(rounds: u32, asked: &Asked) -> Result<Value> {
    packages::ensure(packages::FILES_BENCH)?;
    let (program, meter) = (products::fs_vhost()?, products::meter()?);
    // Of the image, only the kernel is wanted, which seldom changes: any is new enough.
    let kernel = if asked.ninep {
        image::bench_kernel()?
    } else {
        microvm::current_image(&image::cache()?).or_else(|_| image::ensure())?.join("vmlinux")
    };
    // Not in /tmp, which may be memory: beside what cargo builds is a disk.
    let dir = tempfile::Builder::new().prefix("lf").tempdir_in(products::target_dir()?)?;
    let rust = asked.virtiofsd.clone().or_else(servers::on_path);
    let mut servers = servers::start(dir.path(), &program, rust.as_deref(), asked.large, asked.ninep)?;
    let mut guest = guest::boot(dir.path(), &kernel, &meter, &servers)?;
    let mut host = guest::native(dir.path(), &meter, asked.large)?;
    let rounds = measures::run(&mut servers, &mut guest, &mut host, rounds)?;
    Ok(table::show(&servers, &rounds))
}
