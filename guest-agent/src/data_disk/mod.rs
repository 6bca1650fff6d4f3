//! The data disk: everything that a user keeps is on it. Found blank it is formatted; found with the file system that this
//! agent makes it is mounted, repaired first if it says that it has errors; found in any other state it is left as it is
//! and the boot fails with cause and cure. Called by `boot`.
//!
//! ```text
//!   probe ──▶ decide ──▶ Format ──▶ mount
//!                ├─────▶ Mount ───▶ mount ──(fails)──▶ check ──▶ mount
//!                ├─────▶ Check ───▶ check ──▶ mount
//!                └─────▶ Refuse: nothing is written
//! ```

use std::convert::Infallible;
use std::ffi::CStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::mount::{MountFlags, mount};

use crate::reaper::{Exit, Reaper};
use crate::sys;

/// What to do with what was found: a pure function.
pub mod decide;
/// Makes the file system, so that a crash in between is recognised.
pub mod format;
/// Reads what is on the disk and writes nothing.
pub mod probe;

pub use decide::{Decision, Refusal, decide};
pub use probe::{Content, Facts, Superblock, probe};

/// The data disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDiskError {
    /// It must not be touched.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A read or a write failed.
    #[error("Data disk failed while {doing}: the host's disk may be full or broken")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// mke2fs failed.
    #[error("Data disk could not be formatted ({exit}: {output})")]
    Format {
        /// How it ended.
        exit: Exit,
        /// What it said.
        output: String,
    },
    /// The file system has damage that a repair without questions cannot undo.
    #[error(
        "Data disk has errors that need a decision ({exit}: {output}). It was not formatted. Copy the disk image first, then \
         repair the copy with `e2fsck -f`, or restore it from a backup"
    )]
    Damaged {
        /// How e2fsck ended.
        exit: Exit,
        /// Its last words.
        output: String,
    },
    /// It does not mount although e2fsck finds nothing wrong.
    #[error("Data disk does not mount. It was not formatted; the kernel log names the cause (`lighter logs`)")]
    Mount(#[source] io::Error),
}

impl DataDiskError {
    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// How often the host hears that a check goes on; its patience is a multiple of that.
const BEAT: Duration = Duration::from_secs(5);

/// Who runs the programs that this needs.
#[derive(Clone, Copy)]
pub struct Keeper<'a> {
    /// Waits for them.
    pub reaper: &'a Reaper,
    /// Called when a long one begins and every [`BEAT`] as long as it runs: a check of a large disk takes longer than any stage
    /// of a boot may.
    pub busy: &'a (dyn Fn() + Sync),
}

impl Keeper<'_> {
    /// Runs a program that may take hours.
    fn run_long(self, command: &mut Command) -> io::Result<(Exit, String)> {
        let (running, ended) = mpsc::channel::<Infallible>();
        let busy = self.busy;
        thread::scope(|scope| {
            scope.spawn(move || {
                busy();
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                    busy();
                }
            });
            let result = format::run(self.reaper, command);
            drop(running);
            result
        })
    }
}

/// Formats or repairs the disk at `device` as needed and mounts it on `target`. `known_blank` is the host's word that its
/// file holds no data; `staging` is a folder in memory.
pub fn open(
    keeper: Keeper<'_>,
    device: &Path,
    target: &Path,
    known_blank: bool,
    staging: &Path,
) -> Result<(), DataDiskError> {
    let mut checked = prepare(keeper, device, known_blank, staging)?;
    loop {
        match mount_ext4(device, target) {
            Ok(()) => break,
            Err(error) if checked => return Err(DataDiskError::Mount(error)),
            Err(error) => {
                tracing::warn!(%error, "data disk does not mount, checking it");
                check(keeper, device)?;
                checked = true;
            }
        }
    }
    if let Err(error) = grow(device, target) {
        tracing::warn!(%error, "data disk could not be grown to its new size");
    }
    Ok(())
}

/// All that comes before mounting. `true` if the file system is fresh from mke2fs or e2fsck.
pub fn prepare(keeper: Keeper<'_>, device: &Path, known_blank: bool, staging: &Path) -> Result<bool, DataDiskError> {
    let mut disk = File::open(device).map_err(DataDiskError::io("opening it"))?;
    let facts = probe(&mut disk, known_blank).map_err(DataDiskError::io("reading it"))?;
    drop(disk);
    let decision = decide(&facts);
    if facts.marked && matches!(decision, Decision::Mount | Decision::Check) {
        // Left by a torn write of the first block. With it there, a superblock lost one day would look like an interrupted
        // format, and the disk would be formatted.
        format::unmark(&writable(device)?)?;
    }
    match decision {
        Decision::Format => {
            tracing::info!(bytes = facts.size, "formatting the blank data disk");
            let mut disk = writable(device)?;
            if facts.content == Content::InterruptedFormat {
                format::clear(&mut disk, facts.size)?;
            }
            format::format(keeper.reaper, &disk, facts.size, staging)?;
            Ok(true)
        }
        Decision::Check => {
            tracing::warn!("data disk says that it has errors, checking it");
            check(keeper, device)?;
            Ok(true)
        }
        Decision::Mount => Ok(false),
        Decision::Refuse(refusal) => Err(refusal.into()),
    }
}

/// Opens it for writing, if it is in use nowhere else in this guest.
fn writable(device: &Path) -> Result<File, DataDiskError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(OFlags::EXCL.bits().cast_signed());
    options.open(device).map_err(DataDiskError::io("opening it for writing"))
}

/// Repairs what can be repaired without a question (`e2fsck -p`).
pub fn check(keeper: Keeper<'_>, device: &Path) -> Result<(), DataDiskError> {
    let mut command = Command::new("e2fsck");
    command.arg("-p").arg(device);
    let (exit, output) = keeper.run_long(&mut command).map_err(DataDiskError::io("starting e2fsck"))?;
    tracing::warn!(%exit, %output, "data disk checked");
    // e2fsck(8): 1 corrected, 2 corrected and the machine should restart if it was mounted, which it was not.
    if exit.0 & !3 == 0 { Ok(()) } else { Err(DataDiskError::Damaged { exit, output }) }
}

fn mount_ext4(device: &Path, target: &Path) -> io::Result<()> {
    // `noatime` and `lazytime` keep reads from becoming writes.
    const OPTIONS: &CStr = c"errors=remount-ro";
    Ok(mount(device, target, "ext4", MountFlags::NOATIME | MountFlags::LAZYTIME, OPTIONS)?)
}

/// The host may have made the image larger since.
fn grow(device: &Path, target: &Path) -> io::Result<()> {
    let mut disk = File::open(device)?;
    let facts = probe::superblock_of(&mut disk)?;
    let Some((size, superblock)) = facts else { return Ok(()) };
    let blocks = size / superblock.block_size;
    // Less than one block group is not worth the work; mke2fs itself leaves such a rest.
    if blocks.saturating_sub(superblock.blocks) < probe::GROUP_BLOCKS {
        return Ok(());
    }
    tracing::info!(from = superblock.blocks, to = blocks, "growing the data disk");
    sys::ext4::grow(fs::File::open(target)?, blocks)
}
