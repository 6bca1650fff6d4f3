//! Formatting, lints, and that the portable crates compile for every host.

use anyhow::Result;

use crate::packages;
use crate::products::{GUEST_TARGET, cargo, ensure_target};

/// Hosts that lighter is for and that are not this one.
const HOSTS: &[&str] = &["x86_64-pc-windows-gnu", "aarch64-apple-darwin", "aarch64-unknown-linux-musl"];

/// Crates that must compile on every host.
const PORTABLE: &[&str] = &["lighter-protocol", "lighter-vmm", "lighter-image", "lighter"];

pub(super) fn run() -> Result<()> {
    packages::ensure(packages::TEST)?;
    cargo(["fmt", "--all", "--check"]).show()?;
    cargo(["fmt", "--check", "--manifest-path", "tests/clients/rust/Cargo.toml"]).show()?;
    cargo(["fmt", "--check", "--manifest-path", "tests/clients/pipes/Cargo.toml"]).show()?;
    cargo(["fmt", "--all", "--check", "--manifest-path", "tests/whp-standin/Cargo.toml"]).show()?;
    cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]).show()?;
    for host in HOSTS {
        ensure_target(host)?;
        let packages = PORTABLE.iter().flat_map(|name| ["-p", name]);
        cargo(["check", "--quiet", "--locked", "--target", host].into_iter().chain(packages)).show()?;
        println!("   compiles for {host}: {}", PORTABLE.join(", "));
    }
    ensure_target(GUEST_TARGET)?;
    cargo(["check", "--quiet", "--locked", "--target", GUEST_TARGET, "-p", "lighter-agent"]).show()
}
