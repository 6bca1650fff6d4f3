//! What `doctor` wants to know of the host: file systems, limits, processes, who listens. Everything is looked at and nothing
//! is touched. Most of it Linux tells in `/proc`; where there is none, the answer is `None`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

/// How long a socket that exists may take to accept.
const PATIENCE: Duration = Duration::from_secs(1);

/// A process that runs a program of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// `LIGHTER_HOME` in its environment.
    pub home: Option<PathBuf>,
}

/// The kind of file system that `path` is on, as `/proc/self/mountinfo` names it.
pub fn file_system(path: &Path) -> Option<String> {
    let path = path.ancestors().find_map(|path| path.canonicalize().ok())?;
    kind_of(&fs::read_to_string("/proc/self/mountinfo").ok()?, &path)
}

fn kind_of(mountinfo: &str, path: &Path) -> Option<String> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        Some((PathBuf::from(point), rest.split(' ').next()?))
    });
    // The last of several on one point hides the others.
    let mount = mounts.filter(|(point, _)| path.starts_with(point)).max_by_key(|(point, _)| point.as_os_str().len());
    mount.map(|(_, kind)| kind.to_owned())
}

/// Open files that a process may have: at first, and at most when it asks. `None` is as many as it likes.
pub fn open_files() -> (Option<u64>, Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current, limit.maximum)
}

/// inotify: watches and instances that one user may have.
pub fn inotify() -> Option<(u64, u64)> {
    let number = |name: &str| fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok();
    Some((number("max_user_watches")?, number("max_user_instances")?))
}

/// Names of the loaded kernel modules.
pub fn kernel_modules() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/modules").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Whether this is Linux inside Windows.
pub fn is_wsl() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().to_lowercase();
    release.contains("microsoft") || release.contains("wsl")
}

/// Whether somebody listens at the socket `path`. Asks the kernel's list first, because a connection may start an engine
/// that sleeps; that list knows nothing of sockets in other network namespaces, so those are connected to.
pub fn listens(path: &Path) -> io::Result<bool> {
    let real = path.canonicalize()?;
    if !fs::metadata(&real)?.file_type().is_socket() {
        return Ok(false);
    }
    if listeners().contains(&real) {
        return Ok(true);
    }
    let (done, answer) = mpsc::channel();
    // If nobody waits any more, nobody wants the answer.
    std::thread::spawn(move || done.send(UnixStream::connect(&real).map(drop)).unwrap_or_default());
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(false),
        Ok(Err(error)) => Err(error),
        // Its queue is full.
        Err(_) => Ok(true),
    }
}

/// Paths that somebody listens at.
fn listeners() -> BTreeSet<PathBuf> {
    listening(&fs::read_to_string("/proc/net/unix").unwrap_or_default())
}

fn listening(table: &str) -> BTreeSet<PathBuf> {
    // Num RefCount Protocol Flags Type St Inode Path; the flag is `__SO_ACCEPTCON`.
    let sockets = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
        (flags & 0x1_0000 != 0).then_some(())?;
        let path = line.find('/')?;
        Path::new(&line[path..]).canonicalize().ok()
    });
    sockets.collect()
}

/// Processes whose program is called `name`.
pub fn processes(name: &str) -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter_map(|pid| process(pid, name)).collect()
}

fn process(pid: u32, name: &str) -> Option<Process> {
    let strings = |file: &str| -> Option<Vec<String>> {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).ok()?;
        Some(bytes.split(|byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned()).collect())
    };
    let arguments = strings("cmdline")?;
    (Path::new(arguments.first()?).file_name()? == name).then_some(())?;
    let environment = strings("environ").unwrap_or_default();
    let home = environment.iter().find_map(|variable| variable.strip_prefix("LIGHTER_HOME=")).map(PathBuf::from);
    Some(Process { pid, arguments, home })
}

/// Whether the file of a process's program has been replaced or removed since it started.
pub fn program_replaced(pid: u32) -> Option<bool> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(program.to_string_lossy().ends_with(" (deleted)"))
}

/// The owner of `path`, if it is another user than us.
pub fn foreign_owner(path: &Path) -> Option<u32> {
    let owner = fs::metadata(path).ok()?.uid();
    (owner != rustix::process::geteuid().as_raw()).then_some(owner)
}

/// Whether this user may write to `path`.
pub fn may_write(path: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Whether `path` is a program that this user may run.
pub fn may_run(path: &Path) -> bool {
    use rustix::fs::{Access, access};
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) && access(path, Access::EXEC_OK).is_ok()
}

/// What a program's file is called.
pub fn program_file(name: &str) -> String {
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c6_the_file_system_is_that_of_the_deepest_mount() {
        let text = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n40 22 0:35 / /home rw shared:1 - nfs4 server:/home rw\n\
                    41 40 0:36 / /home/a\\040b rw - tmpfs tmpfs rw\n";
        for (path, kind) in [("/home/x", "nfs4"), ("/homes", "ext4"), ("/home/a b/c", "tmpfs"), ("/", "ext4")] {
            assert_eq!(kind_of(text, Path::new(path)).as_deref(), Some(kind), "{path}");
        }
        assert_eq!(kind_of("", Path::new("/")), None);
    }

    #[test]
    fn a_socket_that_somebody_listens_at_is_told_from_one_that_was_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b.sock");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(listens(&path).unwrap());
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(listens(&dir.path().join("link")).unwrap());
        drop(listener);
        assert!(!listens(&path).unwrap());
        assert!(listens(&dir.path().join("gone")).is_err());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(!listens(&dir.path().join("file")).unwrap());
    }

    #[test]
    fn only_listening_sockets_with_a_path_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, "").unwrap();
        let header = "Num       RefCount Protocol Flags    Type St Inode Path\n";
        let line = |flags: &str| format!("{header}0000: 00000002 00000000 {flags} 0001 01 7 {}\n", path.display());
        assert_eq!(listening(&line("00010000")).len(), 1);
        assert!(listening(&line("00000000")).is_empty());
        assert!(listening(&format!("{header}0000: 00000002 00000000 00010000 0001 01 7 @abstract\n")).is_empty());
    }
}
