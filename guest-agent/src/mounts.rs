//! What is mounted where, in order: kernel file systems, the root in place of the initramfs, then what must be writable.
//! Nothing here removes or moves files: a mount that fails ends the boot. Called by `boot`.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::Path;

use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_move, unmount,
};
use rustix::process::{chdir, chroot};

/// Something could not be mounted.
#[derive(Debug, thiserror::Error)]
#[error("Could not mount {what} on {target}")]
pub struct MountError {
    what: String,
    target: String,
    source: io::Error,
}

const PRIVATE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
/// Where the engine mounts things.
const ENGINE: [&str; 3] = ["/var/lib/docker", "/var/lib/containerd", "/run/docker"];
/// Where the root waits until it takes the initramfs' place.
const NEW_ROOT: &str = "/root";
/// Where the image is mounted in the initramfs until its folders are in the root.
const IMAGE: &str = "/image";

/// What the kernel offers, inside the initramfs.
pub fn kernel() -> Result<(), MountError> {
    fresh("proc", "/proc", PRIVATE, None)?;
    fresh("sysfs", "/sys", PRIVATE, None)?;
    fresh("devtmpfs", "/dev", MountFlags::NOSUID, Some(c"mode=0755"))
}

/// Makes a root of the read-only image on `device`, and that `/`. The initramfs stays below it, with nothing but this running
/// program in it.
///
/// The root itself is a file system in memory, with the image's folders mounted in it: so there can be a place for a folder of
/// the host whatever its path begins with, and still nothing of the image can be written to.
pub fn switch_root(device: &Path) -> Result<(), MountError> {
    let error = |source| MountError { what: device.display().to_string(), target: "/".into(), source };
    make_directory(IMAGE)?;
    mount(device, IMAGE, "erofs", MountFlags::RDONLY | MountFlags::NOATIME, None::<&CStr>)
        .map_err(|errno| error(errno.into()))?;
    fresh("tmpfs", NEW_ROOT, MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755,size=4m,nr_inodes=4096"))?;
    furnish(Path::new(IMAGE), Path::new(NEW_ROOT))?;
    unmount(IMAGE, UnmountFlags::DETACH).map_err(|errno| error(errno.into()))?;
    for kernel in ["proc", "sys", "dev"] {
        mount_move(format!("/{kernel}"), format!("{NEW_ROOT}/{kernel}")).map_err(|errno| error(errno.into()))?;
    }
    let enter = || {
        chdir(NEW_ROOT)?;
        mount_move(".", "/")?;
        chroot(".")?;
        chdir("/")?;
        // As on other distributions: `docker run -v …:shared` needs a root that shares its mounts.
        mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)
    };
    enter().map_err(|errno: rustix::io::Errno| error(errno.into()))
}

/// Puts everything of the image's top level into the root: links as they are, folders as mounts, and those in which there is
/// nothing as folders, in which something will be mounted.
fn furnish(image: &Path, root: &Path) -> Result<(), MountError> {
    let error = |target: &Path| {
        let target = target.display().to_string();
        move |source| MountError { what: "the image's top level".into(), target, source }
    };
    for entry in fs::read_dir(image).map_err(error(image))? {
        let entry = entry.map_err(error(image))?;
        let (from, to) = (entry.path(), root.join(entry.file_name()));
        let metadata = entry.metadata().map_err(error(&from))?;
        if metadata.is_symlink() {
            let target = fs::read_link(&from).map_err(error(&from))?;
            std::os::unix::fs::symlink(target, &to).map_err(error(&to))?;
            continue;
        }
        fs::create_dir(&to).map_err(error(&to))?;
        fs::set_permissions(&to, metadata.permissions()).map_err(error(&to))?;
        if fs::read_dir(&from).map_err(error(&from))?.next().is_some() {
            mount_bind(&from, &to).map_err(|errno| error(&to)(errno.into()))?;
        }
    }
    Ok(())
}

/// File systems in memory, and what programs expect under `/dev` and `/sys`.
pub fn memory() -> Result<(), MountError> {
    fresh("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))?;
    fresh("tmpfs", "/tmp", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=1777"))?;
    fresh("devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"mode=0620,gid=5,ptmxmode=0666"))?;
    fresh("tmpfs", "/dev/shm", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=1777"))?;
    fresh("mqueue", "/dev/mqueue", PRIVATE, None)?;
    for (link, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")]
    {
        let link = Path::new("/dev").join(link);
        // The kernel's own /dev/ptmx works as well.
        if let Err(error) = std::os::unix::fs::symlink(target, &link)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            tracing::warn!(?link, %error, "no link");
        }
    }
    // eBPF programs that outlive their loader; a kernel without eBPF file system runs containers as well.
    if let Err(error) = mount("bpf", "/sys/fs/bpf", "bpf", PRIVATE, None::<&CStr>) {
        tracing::info!(%error, "no bpf file system");
    }
    // Where AppArmor takes its profiles; without it dockerd runs containers unconfined.
    if let Err(error) = mount("securityfs", "/sys/kernel/security", "securityfs", PRIVATE, None::<&CStr>) {
        tracing::info!(%error, "no security file system");
    }
    for folder in [crate::paths::LOGS, "/run/lock", "/run/lighter", "/run/containerd", "/run/docker"] {
        make_directory(folder)?;
    }
    Ok(())
}

/// Makes the engine's folders on the mounted data disk at `data` appear where the engine expects them.
pub fn engine_folders(data: &Path) -> Result<(), MountError> {
    for (folder, target) in [("docker", "/var/lib/docker"), ("containerd", "/var/lib/containerd")] {
        let source = data.join(folder);
        make_directory(&source)?;
        mount_bind(&source, target).map_err(|errno| MountError {
            what: source.display().to_string(),
            target: target.into(),
            source: errno.into(),
        })?;
    }
    make_directory(data.join("lighter"))
}

/// Unmounts the data disk and whatever containers that were killed have left mounted; if something still holds it, makes it
/// read-only, which flushes it as well.
pub fn release(data: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let of_engine = |target: &&str| ENGINE.iter().any(|folder| target.starts_with(folder));
    let held: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(of_engine).collect();
    // What was mounted last first. A lazy unmount would only hide what is still in use.
    let in_use = held.iter().rev().filter(|target| unmount(**target, UnmountFlags::NOFOLLOW).is_err()).count();
    if in_use == 0 && unmount(data, UnmountFlags::NOFOLLOW).is_ok() {
        return Ok(());
    }
    tracing::warn!("data disk is still in use, making it read-only");
    Ok(rustix::mount::mount_remount(data, MountFlags::RDONLY, "")?)
}

fn fresh(kind: &str, target: &str, flags: MountFlags, options: Option<&CStr>) -> Result<(), MountError> {
    let error = |source| MountError { what: kind.into(), target: target.into(), source };
    // Only /dev/pts and its like, and the initramfs' own, have to be made; the root has all mount points.
    if !Path::new(target).is_dir() {
        fs::create_dir(target).map_err(error)?;
    }
    mount(kind, target, kind, flags, options).map_err(|errno| error(errno.into()))
}

fn make_directory(path: impl AsRef<Path>) -> Result<(), MountError> {
    let path = path.as_ref();
    let error = |source| MountError { what: "a folder".into(), target: path.display().to_string(), source };
    fs::create_dir_all(path).map_err(error)
}
