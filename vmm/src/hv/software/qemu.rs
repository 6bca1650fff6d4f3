//! Finding a QEMU that can be our CPU. Called by the engine, and by the choice of engines through [`probe`].

use std::ffi::OsStr;
use std::fmt::Display;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::config::EngineKind;
use crate::hv::Unusable;

const PROGRAM: &str = "qemu-system-x86_64";
const CURE: &str = "install it: apt install qemu-system-x86";
/// How long it may take to list its devices: 0.1 s, and more on an overloaded host.
const PATIENCE: Duration = Duration::from_secs(10);
/// What we ask of QEMU, as `-device help` names it.
const DEVICES: &[&str] = &[
    "vhost-user-blk",
    "vhost-user-vsock-device",
    "vhost-user-rng",
    "vhost-user-fs-device",
    "virtio-serial-device",
    "virtconsole",
    "virtio-balloon-device",
];

/// Says whether the software engine can run here: QEMU is installed and has the devices that we need. Takes about 0.1 s.
pub fn probe() -> Result<(), Unusable> {
    let program = find()?;
    check_devices(&program, &list_devices(&program, PATIENCE)?)
}

/// What QEMU says that it can show to a guest.
fn list_devices(program: &Path, patience: Duration) -> Result<String, Unusable> {
    let cannot_run = |why: &dyn Display| unusable(format!("{} cannot be run ({why})", program.display()));
    let listed = run(program, &["-machine", "microvm", "-device", "help"], patience).map_err(|why| cannot_run(&why))?;
    if !listed.status.success() {
        let words = String::from_utf8_lossy(&listed.stderr);
        let first = words.lines().next().unwrap_or("it says nothing");
        return Err(cannot_run(&format_args!("{}: {first}", listed.status)));
    }
    Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
}

/// Runs `program` to its end, which it must reach within `patience`.
fn run(program: &Path, arguments: &[&str], patience: Duration) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn()?;
    let killer = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let (done, outcome) = mpsc::channel();
    // If nobody waits any more, nobody wants the answer.
    std::thread::Builder::new()
        .name("qemu-probe".into())
        .spawn(move || done.send(child.wait_with_output()).unwrap_or_default())?;
    outcome.recv_timeout(patience).unwrap_or_else(|_| {
        // Fails only if it has ended just now.
        let _ = pidfd_send_signal(killer, Signal::KILL);
        let text = format!("it had not listed its devices after {} s", patience.as_secs());
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    })
}

/// The QEMU in `PATH`.
pub fn find() -> Result<PathBuf, Unusable> {
    if std::env::consts::ARCH != "x86_64" {
        let reason = format!("The software engine runs on x86-64 so far, not on {}", std::env::consts::ARCH);
        return Err(Unusable { engine: EngineKind::Software, reason, cure: "use an x86-64 machine".into() });
    }
    find_in(&std::env::var_os("PATH").unwrap_or_default())
}

fn find_in(path: &OsStr) -> Result<PathBuf, Unusable> {
    std::env::split_paths(path)
        .map(|directory| directory.join(PROGRAM))
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| unusable(format!("{PROGRAM} is not in PATH")))
}

fn is_executable(candidate: &Path) -> bool {
    candidate.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn check_devices(program: &Path, help: &str) -> Result<(), Unusable> {
    let missing = DEVICES.iter().find(|device| !help.contains(&format!("name \"{device}\"")));
    missing.map_or(Ok(()), |device| {
        let reason = format!("{} has no device {device} for its machine microvm (version 7.2 has)", program.display());
        Err(unusable(reason))
    })
}

fn unusable(reason: String) -> Unusable {
    Unusable { engine: EngineKind::Software, reason, cure: CURE.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn c8_a_missing_qemu_is_named_with_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        fs::create_dir(empty.path().join(PROGRAM)).unwrap();
        let error = find_in(empty.path().as_os_str()).unwrap_err().to_string();
        assert!(error.contains(PROGRAM) && error.contains("apt install qemu-system-x86"), "{error}");
    }

    #[test]
    fn c8_a_qemu_that_fails_is_not_said_to_lack_a_device() {
        let error = list_devices(Path::new("/bin/false"), PATIENCE).unwrap_err().to_string();
        assert!(error.contains("/bin/false cannot be run (exit status: 1: it says nothing)"), "{error}");
    }

    #[test]
    fn c8_a_qemu_that_hangs_is_given_up() {
        let outcome = run(Path::new("/bin/sleep"), &["1000"], Duration::ZERO);
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn the_first_executable_in_the_path_is_taken() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for (directory, mode) in directories.iter().zip([0o644, 0o755]) {
            let file = directory.path().join(PROGRAM);
            fs::write(&file, "").unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        }
        let path = std::env::join_paths(directories.iter().map(tempfile::TempDir::path)).unwrap();
        assert_eq!(find_in(&path).unwrap(), directories[1].path().join(PROGRAM));
    }

    #[test]
    fn a_qemu_without_one_of_the_devices_is_refused_by_name() {
        let program = Path::new("/usr/bin/qemu-system-x86_64");
        let help = |devices: &[&str]| {
            devices.iter().map(|name| format!("name \"{name}\", bus virtio-bus\n")).collect::<String>()
        };
        check_devices(program, &help(DEVICES)).unwrap();
        let error = check_devices(program, &help(&DEVICES[1..])).unwrap_err().to_string();
        assert!(error.contains("no device vhost-user-blk"), "{error}");
    }
}
