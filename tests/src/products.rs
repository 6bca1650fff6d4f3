//! What the other parts of this tool run: the agent, the `lighter` binary and the guest image, built by cargo and by the
//! image builder. Nothing is rebuilt that is up to date.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Run;
use crate::rig::wine::TARGET;

/// Where this program was when it began.
static THIS_PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// This program, for its inner halves. The first call must come before anything is built: cargo may put a new one in its
/// place, and the system would then name the old one, which is deleted.
pub fn this_program() -> Result<PathBuf> {
    if let Some(path) = THIS_PROGRAM.get() {
        return Ok(path.clone());
    }
    let path = std::env::current_exe().context("where this program is")?;
    Ok(THIS_PROGRAM.get_or_init(|| path).clone())
}

/// The target of everything that runs in the guest.
pub const GUEST_TARGET: &str = "x86_64-unknown-linux-musl";

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is one level below the root").to_owned()
}

/// cargo, in the workspace.
pub fn cargo<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Run::new(cargo).args(args).dir(root()).within(Duration::from_secs(3600))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = cargo(["metadata", "--format-version", "1", "--no-deps"]).ok()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    Ok(PathBuf::from(metadata["target_directory"].as_str().context("cargo metadata names no target directory")?))
}

/// Adds a compilation target to the toolchain unless it is there.
pub fn ensure_target(target: &str) -> Result<()> {
    let libdir = Run::new("rustc").args(["--print", "target-libdir", "--target", target]).dir(root()).ok()?.text();
    if Path::new(&libdir).is_dir() {
        return Ok(());
    }
    Run::new("rustup").args(["target", "add", target]).dir(root()).within(Duration::from_secs(600)).show()
}

/// Builds the guest's PID 1 and returns its path.
pub fn agent() -> Result<PathBuf> {
    guest_program("lighter-agent")
}

/// Builds the demo container's program and returns its path.
pub fn demo() -> Result<PathBuf> {
    guest_program("lighter-demo")
}

/// Builds the measuring client for a container and returns its path.
pub fn meter() -> Result<PathBuf> {
    guest_program("lighter-meter")
}

/// Builds the proxy's rig and returns its path.
pub fn proxy_rig() -> Result<PathBuf> {
    native_rig("proxy_rig")
}

/// Builds the network's rig and returns its path.
pub fn net_rig() -> Result<PathBuf> {
    native_rig("net_rig")
}

/// Builds the device of shared folders for a QEMU by hand and returns its path.
pub fn fs_vhost() -> Result<PathBuf> {
    example("lighter-vmm", "fs_vhost")
}

/// Builds the server of shared folders for this host's own kernel and returns its path.
pub fn fuse_rig() -> Result<PathBuf> {
    example("lighter-vmm", "fuse_rig")
}

/// Builds a program around parts of the product, optimised as the product is.
fn native_rig(name: &str) -> Result<PathBuf> {
    example("lighter", name)
}

fn example(package: &str, name: &str) -> Result<PathBuf> {
    cargo(["build", "--quiet", "--release", "-p", package, "--example", name]).show()?;
    let path = target_dir()?.join("release/examples").join(name);
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// Builds the example that boots a machine without the daemon around it, for Windows, and returns its path.
pub fn windows_boot() -> Result<PathBuf> {
    cargo(["build", "--quiet", "--locked", "--target", TARGET, "-p", "lighter-vmm", "--example", "boot"]).show()?;
    let path = target_dir()?.join(TARGET).join("debug/examples/boot.exe");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// Builds the `lighter` binary for Windows, optimised, and returns its path.
pub fn windows_lighter() -> Result<PathBuf> {
    cargo(["build", "--quiet", "--locked", "--release", "--target", TARGET, "-p", "lighter"]).show()?;
    let path = target_dir()?.join(TARGET).join("release/lighter.exe");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// Builds the conformance suite, which runs on this host and in a container, and returns its path.
pub fn conformance() -> Result<PathBuf> {
    guest_program("lighter-conformance")
}

fn guest_program(name: &str) -> Result<PathBuf> {
    ensure_target(GUEST_TARGET)?;
    cargo(["build", "--quiet", "-p", name, "--profile", "agent", "--target", GUEST_TARGET]).show()?;
    let path = target_dir()?.join(GUEST_TARGET).join("agent").join(name);
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// Builds the `lighter` binary, optimised, and returns its path.
pub fn lighter() -> Result<PathBuf> {
    cargo(["build", "--quiet", "--release", "-p", "lighter"]).show()?;
    let path = target_dir()?.join("release/lighter");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}
