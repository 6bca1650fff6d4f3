//! Debian packages that a command needs: probes first, so that a prepared machine needs neither root nor network, then
//! installs what is missing with apt, or prints the one line that does.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Result, bail};

use crate::process::Run;

/// A package and how to see that it is there.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// Debian's name.
    pub name: &'static str,
    /// A program on the PATH, or an absolute path that exists.
    pub probe: &'static str,
}

/// For building programs and starting the machine.
pub const RUN: &[Package] =
    &[Package { name: "gcc", probe: "cc" }, Package { name: "qemu-system-x86", probe: "qemu-system-x86_64" }];

/// For the guest rigs.
pub const RIGS: &[Package] = &[Package { name: "e2fsprogs", probe: "e2fsck" }];

/// For the suites.
pub const TEST: &[Package] = &[
    Package { name: "busybox-static", probe: "/bin/busybox" },
    Package { name: "cpio", probe: "cpio" },
    Package { name: "xz-utils", probe: "xz" },
    Package { name: "e2fsprogs", probe: "mkfs.ext4" },
    Package { name: "parted", probe: "parted" },
    Package { name: "cryptsetup-bin", probe: "cryptsetup" },
    Package { name: "util-linux", probe: "mkswap" },
    Package { name: "gcc-mingw-w64-x86-64", probe: "x86_64-w64-mingw32-gcc" },
];

/// For the suite `windows`.
pub const WINDOWS: &[Package] = &[
    Package { name: "gcc-mingw-w64-x86-64", probe: "x86_64-w64-mingw32-gcc" },
    Package { name: "wine64", probe: "/usr/lib/wine/wine64" },
    Package { name: "wine", probe: "wine" },
];

/// For the network rig's namespaces.
pub const NETWORK_RIG: &[Package] = &[Package { name: "iproute2", probe: "ip" }];

/// For measuring the API proxy: what it is compared with, and what counts its system calls.
pub const PROXY_BENCH: &[Package] =
    &[Package { name: "socat", probe: "socat" }, Package { name: "strace", probe: "strace" }];

/// For measuring the network's stack: what it is compared with, and what counts system calls.
pub const NETWORK_BENCH: &[Package] = &[
    Package { name: "iproute2", probe: "ip" },
    Package { name: "passt", probe: "pasta" },
    Package { name: "slirp4netns", probe: "slirp4netns" },
    Package { name: "strace", probe: "strace" },
];

/// For measuring shared folders: what they are compared with is part of QEMU's package.
pub const FILES_BENCH: &[Package] = &[
    Package { name: "qemu-system-x86", probe: "qemu-system-x86_64" },
    Package { name: "qemu-system-common", probe: "/usr/lib/qemu/virtiofsd" },
    Package { name: "cpio", probe: "cpio" },
];

/// The docker CLI, under the names that releases give it.
const DOCKER_CLI: &[&str] = &["docker-cli", "docker.io"];

/// Installs those of `packages` that are not there.
pub fn ensure(packages: &[Package]) -> Result<()> {
    let _turn = TURN.lock();
    let mut missing: Vec<&str> =
        packages.iter().filter(|package| !there(package.probe)).map(|package| package.name).collect();
    missing.dedup();
    fetch(&missing)
}

/// apt runs once at a time, and who waited for it may find what it wanted.
static TURN: Mutex<()> = Mutex::new(());

/// Installs a docker CLI if there is none. Where only the package with an engine exists, the engine is not started.
pub fn ensure_docker_cli() -> Result<()> {
    let _turn = TURN.lock();
    if there("docker") {
        return Ok(());
    }
    update()?;
    for name in DOCKER_CLI {
        if Run::new("apt-cache").args(["show", name]).finish()?.status.success() {
            return fetch(&[name]);
        }
    }
    bail!(
        "no docker CLI on the PATH and none among apt's packages; install one (https://docs.docker.com/engine/install) and try again"
    )
}

/// Whether a program is on the PATH (or in the places of administrators' programs), or a path exists.
pub fn there(probe: &str) -> bool {
    if probe.starts_with('/') {
        return Path::new(probe).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(probe).is_file())
}

fn update() -> Result<()> {
    match as_root(&["apt-get", "update", "-qq"]) {
        Some(run) => run.within(std::time::Duration::from_secs(300)).show(),
        None => Ok(()),
    }
}

/// Installs packages by name; none is fine.
pub fn install(missing: &[&str]) -> Result<()> {
    let _turn = TURN.lock();
    fetch(missing)
}

fn fetch(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        .into_iter()
        .chain(missing.iter().copied())
        .collect();
    let Some(run) = as_root(&words) else {
        bail!(
            "these packages are missing and neither root nor sudo is here to install them; run\n    sudo apt-get install -y --no-install-recommends {}",
            missing.join(" ")
        );
    };
    eprintln!("installing {}", missing.join(", "));
    update()?;
    run.env("DEBIAN_FRONTEND", "noninteractive").within(std::time::Duration::from_secs(900)).show()
}

/// The command as root: directly, or by sudo when that needs no typed password or there is a person at a terminal.
fn as_root(words: &[&str]) -> Option<Run> {
    if rustix::process::geteuid().is_root() {
        let (program, args) = words.split_first()?;
        return Some(Run::new(program).args(args));
    }
    let quiet = Run::new("sudo").args(["-n", "true"]).finish().is_ok_and(|done| done.status.success());
    let person = rustix::termios::isatty(rustix::stdio::stdin()) && there("sudo");
    (quiet || person).then(|| Run::new("sudo").args(words))
}
