//! While a folder's name is exchanged with links that lead outside, others walk through it, by every kind of request that takes a
//! name. Nothing outside may be opened, made, changed or removed.
//!
//! ```text
//!   place/outside/{canary,sub/canary}          nobody's business
//!   place/host/in ◄─exchange─► link-absolute | link-relative | link-deep        the share
//!   place/mount/share                          becomes the root of this process, so that links that its own kernel follows
//!                                              end in the share, as they do in a container
//! ```

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::fs::{AtFlags, Dir, Mode, OFlags, RenameFlags, openat, renameat_with, statat};
use rustix::process::chroot;

use super::judge::{BEGIN, END, judge};
use super::mounted::Mounted;

const WALKERS: u64 = 3;
const WITHIN: &str = "within";
const OUTSIDE: &str = "outside";
const FOLDER: &str = "in";
const LINKS: [&str; 3] = ["link-absolute", "link-relative", "link-deep"];
/// So few that the server finds its way anew all the time.
const HELD: &str = "held=4";

/// See the head of this file.
pub fn f6_names_exchanged_under_it_lead_nowhere(rig: &Path, place: &Path, tries: u64) -> Result<()> {
    let (host, outside) = (place.join("host"), place.join("outside"));
    for (folder, content) in [(&outside, OUTSIDE), (&host.join(FOLDER), WITHIN)] {
        fs::create_dir_all(folder.join("sub"))?;
        ["canary", "sub/canary"].iter().try_for_each(|name| fs::write(folder.join(name), content))?;
    }
    let targets = [outside.clone(), "../outside".into(), Path::new("../../../../..").join(outside.strip_prefix("/")?)];
    LINKS.iter().zip(targets).try_for_each(|(link, target)| symlink(target, host.join(link)))?;
    let mut mounted = Mounted::start(rig, place, &[HELD, "threads=2"], true)?;
    let log = mounted.log.take().context("it is traced")?;
    let (judged_share, judged_outside) = (host.clone(), outside.clone());
    let judge = thread::spawn(move || judge(log, &judged_share, &judged_outside));
    let open = |path: &Path| File::open(path).with_context(|| format!("open {}", path.display()));
    let (host, outside) = (open(&host)?, open(&outside)?);
    let before = witness(&outside)?;
    let root = mounted.share.clone();
    chroot(&root).context("make the mounted folder the root")?;
    std::env::set_current_dir("/")?;
    let started = Instant::now();
    let raced = race(&host, tries);
    // What was mounted has no path from here on; its server ends with the namespace.
    let after = witness(&outside)?;
    drop(fs::symlink_metadata(Path::new("/").join(END)));
    mounted.leave()?;
    let verdict = judge.join().map_err(|_| anyhow!("the judge panicked"))??;
    let exchanges = raced?;
    println!(
        "   {tries} tries during {exchanges} exchanges in {} s: {} system calls that name a file, {} gave a descriptor",
        started.elapsed().as_secs(),
        verdict.calls,
        verdict.opened
    );
    ensure!(before == after, "outside something changed: {before:?} became {after:?}");
    ensure!(verdict.wrong.is_empty(), "the server went outside: {:#?}", verdict.wrong);
    ensure!(verdict.opened > 0 && exchanges > 0, "nothing was tried");
    Ok(())
}

/// What there is outside: names, kinds, sizes, times of change and links.
fn witness(folder: &File) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let mut take = |folder: &File| -> Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let of = statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
            if entry.file_name() != c".." {
                let (changed, nanos) = (of.st_ctime, of.st_ctime_nsec);
                let name = entry.file_name().to_string_lossy();
                seen.push(format!("{name} {} {:o} {} {changed}.{nanos}", of.st_ino, of.st_mode, of.st_nlink));
            }
        }
        Ok(())
    };
    take(folder)?;
    take(&openat(folder, "sub", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?.into())?;
    seen.sort();
    Ok(seen)
}

/// Walks `tries` times in all, and exchanges all the while; how often that was.
fn race(host: &File, tries: u64) -> Result<u64> {
    drop(fs::symlink_metadata(Path::new("/").join(BEGIN)));
    let (left, over) = (AtomicU64::new(tries), AtomicBool::new(false));
    thread::scope(|scope| {
        let exchanger = scope.spawn(|| -> Result<u64> {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                // There and back, so that it ends as it began.
                for link in LINKS.iter().flat_map(|link| [link, link]) {
                    renameat_with(host, FOLDER, host, *link, RenameFlags::EXCHANGE)?;
                    count += 1;
                }
            }
            Ok(count)
        });
        let left = &left;
        let walkers: Vec<_> = (0..WALKERS).map(|walker| scope.spawn(move || walk(walker, left))).collect();
        let walked: Vec<_> = walkers.into_iter().map(|walker| walker.join()).collect();
        over.store(true, Ordering::Relaxed);
        let exchanges = exchanger.join().map_err(|_| anyhow!("who exchanges panicked"))?;
        walked.into_iter().try_for_each(|walked| walked.map_err(|_| anyhow!("a walker panicked"))?)?;
        exchanges
    })
}

fn walk(walker: u64, left: &AtomicU64) -> Result<()> {
    let take = |left: u64| left.checked_sub(1);
    while let Ok(turn) = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
        let folder = Path::new("/").join(if turn % 3 == 0 { "in/sub" } else { FOLDER });
        let mine = |name: &str| folder.join(format!("{name}-{walker}"));
        // Whether the folder or a link was there decides each of them; none but what was read is judged here.
        match turn % 13 {
            0 | 1 => reads_what_is_within(&folder)?,
            2 => drop(fs::metadata(folder.join("canary"))),
            3 => drop(fs::write(mine("made"), "made")),
            4 => drop(fs::rename(mine("made"), mine("moved"))),
            5 => drop(fs::remove_file(mine("moved"))),
            6 => drop(fs::create_dir(mine("folder")).and_then(|()| fs::remove_dir(mine("folder")))),
            7 => drop(fs::hard_link(folder.join("canary"), mine("hard"))),
            8 => drop(fs::remove_file(mine("hard"))),
            9 => drop(symlink("nowhere", mine("soft")).and_then(|()| fs::remove_file(mine("soft")))),
            10 => {
                drop(fs::set_permissions(folder.join("canary"), fs::Permissions::from_mode(0o600 | turn as u32 & 0o77)))
            }
            11 => drop(fs::read_dir(&folder).map(Iterator::count)),
            _ => drop(File::options().append(true).open(mine("made")).and_then(|mut file| file.write_all(b"more"))),
        }
        // A name that nobody has asked for yet, so that the kernel has to.
        drop(fs::symlink_metadata(folder.join(format!("none-{turn}"))));
    }
    Ok(())
}

fn reads_what_is_within(folder: &Path) -> Result<()> {
    match fs::read_to_string(folder.join("canary")) {
        Ok(said) => ensure!(said == WITHIN, "`{said}` was read"),
        Err(error) => {
            // No folder, a link that leads nowhere from here, or a folder that moved meanwhile.
            let is_expected = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
                || matches!(error.raw_os_error(), Some(40 | 116));
            ensure!(is_expected, "the folder cannot be read: {error}");
        }
    }
    Ok(())
}
