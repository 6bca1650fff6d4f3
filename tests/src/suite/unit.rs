//! The native tests of every crate, house rules included. No guest is booted here.

use anyhow::Result;

use crate::packages;
use crate::products::cargo;

pub(super) fn run() -> Result<()> {
    packages::ensure(packages::RUN)?;
    packages::ensure(packages::TEST)?;
    let kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm");
    let cargo = |words: &[&str]| match &kvm {
        Ok(_) => cargo(words),
        Err(_) => cargo(words).env("LIGHTER_TESTS_WITHOUT_KVM", "1"),
    };
    if let Err(error) = &kvm {
        println!("unit: SKIPPED: the tests of the KVM engine (hv::kvm), because /dev/kvm cannot be opened: {error}");
    }
    // Some tests count this process's descriptors and threads, so no two may share a process at the same time: nextest gives
    // each its own; without it they run one after the other.
    if cargo(&["nextest", "--version"]).finish().is_ok_and(|done| done.status.success()) {
        let words = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast", "--status-level", "fail"];
        return cargo(&words).show();
    }
    cargo(&["test", "--quiet", "--workspace", "--locked", "--no-fail-fast", "--", "--test-threads=1"]).show()
}
