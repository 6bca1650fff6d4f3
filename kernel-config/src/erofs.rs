//! Packs the root's archive into a file system with trixie's mkfs.erofs, unpacked beside it and run by its own dynamic
//! loader: nothing is installed, and the host's own version, if it has one, does not matter. Called by `rootfs`.

use std::path::Path;

use crate::{architecture::Architecture, archive, command, error::BuildError};

/// How the root is packed; README.md has the measurements.
const PACKING: [&str; 3] = ["-Eztailpacking", "-zzstd,level=6", "-C262144"];
/// Fixed, for the same input to give the same bytes.
const UUID: &str = "6c696768-7465-7200-0000-726f6f740001";

/// Packs the archive `tar` into the file `out`, with the tool that the packages `tools` hold; `work` has room for it.
pub fn pack(
    architecture: &Architecture,
    tools: &[&Path],
    tar: &Path,
    work: &Path,
    out: &Path,
) -> Result<(), BuildError> {
    let tool = work.join("tool");
    for deb in tools {
        let cure = "Remove the download and build again";
        command::output(command::command("dpkg-deb").arg("-x").arg(deb).arg(&tool), cure)?;
    }
    let mut mkfs = command::command(tool.join("usr/lib").join(architecture.triplet).join(loader_name(architecture)));
    mkfs.arg("--library-path").arg(tool.join("usr/lib").join(architecture.triplet));
    mkfs.arg(tool.join("usr/bin/mkfs.erofs")).args(["--quiet", "--tar=f", "--all-root", "-x-1", "-U", UUID]);
    mkfs.arg(format!("-T{}", archive::EPOCH)).args(PACKING).arg(out).arg(tar);
    command::output(&mut mkfs, "If the disk is full, free some and build again").map(drop)
}

fn loader_name(architecture: &Architecture) -> &'static str {
    architecture.loader.rsplit_once('/').map_or(architecture.loader, |(_, name)| name)
}
