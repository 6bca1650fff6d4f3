//! From the list of shared folders to the machine's device for them, and to what its agent is told. Called by `boot` and
//! `lifecycle`.

use std::path::Path;
use std::sync::Arc;

use lighter_protocol::{SharedFolder, paths};
use lighter_vmm::dax;
use lighter_vmm::virtio::fs::{Errno, Fs, Limits, Name, NativeFs, Server};

use crate::settings::Settings;
use crate::shares::Shares;
use crate::sys::process;

/// What the guest may hold and have open where the system sets no limit that is lower.
const MOST: Limits = Limits { held: 16_384, open: 65_536 };

/// Bytes of large files that the guest sees at the same time with `map_files`. Addresses on the host, but 16 MiB of the guest's RAM.
const WINDOW: u64 = 1 << 30;

/// A folder that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "The folder {path} cannot be shared with containers ({errno:?}): take it out of `mounts` in config.toml or `--mount`"
)]
pub struct FolderError {
    path: String,
    errno: Errno,
}

/// The device with all folders in it; `None` if there are none. `$LIGHTER_HOME` is in none of them.
pub fn device(shares: &Shares, lighter_home: &Path, settings: &Settings) -> Result<Option<Fs<NativeFs>>, FolderError> {
    if shares.iter().next().is_none() {
        return Ok(None);
    }
    let limits = limits(process::file_limit());
    let server = Arc::new(Server::new(NativeFs::default(), limits));
    // The machine's own disk and the engine's socket are in it.
    server.hide(lighter_home).map_err(|errno| FolderError { path: lighter_home.display().to_string(), errno })?;
    for share in shares.iter() {
        let failed = |errno| FolderError { path: share.host().display().to_string(), errno };
        let name = Name::new(share.name().as_bytes()).map_err(failed)?;
        server.share(name, share.host(), share.writable()).map_err(failed)?;
    }
    let device = Fs::new(paths::FOLDERS_TAG, settings.cpus, server);
    let mapped = settings.map_files && can_map(limits);
    if settings.map_files && !mapped {
        tracing::warn!("map_files has no effect: this process may have too few files open (`ulimit -n`)");
    }
    Ok(Some(if mapped { device.with_window(WINDOW) } else { device }))
}

/// Most of the descriptors that this process may have are the guest's; connections need the rest.
fn limits(files: Option<u64>) -> Limits {
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    Limits { held: MOST.held.min(files / 4), open: MOST.open.min(files / 4) }
}

/// Whether there are descriptors for files that are mapped, beside those that are open and held: one for each of what a window
/// has room for, and as many again in the hands of a guest that makes the most of it.
fn can_map(limits: Limits) -> bool {
    limits.open >= dax::MOST / 2
}

/// What the agent is told.
pub fn welcome(shares: &Shares) -> Vec<SharedFolder> {
    let told = |share: &crate::shares::Share| SharedFolder {
        name: share.name().to_owned(),
        at: share.at().to_owned(),
        writable: share.writable(),
    };
    shares.iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c8_a_low_limit_on_files_leaves_room_for_connections() {
        let few = limits(Some(256));
        assert_eq!((few.held, few.open), (64, 64));
        assert!(!can_map(few) && !can_map(limits(Some(4095))) && can_map(limits(Some(4096))));
        assert_eq!(limits(None).open, MOST.open);
        assert_eq!(limits(Some(u64::MAX)).held, MOST.held);
    }
}
