//! The file server under this host's own kernel, without a guest: what holds on the file system under the shared folder has to
//! hold on the mount of it too, case by case.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts in a mount namespace of its own, which ends with it, so that nothing is left on the host whatever goes wrong.
const MOUNTED: &str = r#"
"$1" "$2" "$3" $6 > "$5" &
turns=0
until mountpoint -q "$3"; do
    turns=$((turns + 1))
    [ $turns -lt 600 ] || exit 3
    sleep 0.05
done
case "$6" in
agent) "$4" edits "$2" "$3/share" "$5" ;;
*) "$4" posix "$3/share" ;;
esac
outcome=$?
umount "$3" && wait
exit $outcome
"#;

#[test]
fn f2_f6_f7_f8_f11_the_mounted_folder_does_what_posix_says() {
    if let Err(why) = can_mount() {
        eprintln!("SKIPPED: the mounted folder: {why}");
        return;
    }
    let judge = Path::new(env!("CARGO_BIN_EXE_lighter-files"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuse-{}", std::process::id()));
    let [plain, host, mount] = ["plain", "host", "mount"].map(|name| place.join(name));
    for folder in [&plain, &host, &mount] {
        std::fs::create_dir_all(folder).expect("a folder is made");
    }
    let (tried, excused) = outcome(Command::new(judge).arg("posix").arg(&plain));
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", MOUNTED, "sh"]).arg(rig(judge)).args([&host, &mount]).arg(judge);
    unshare.args(["/dev/null", ""]);
    let (tried_mounted, failed) = outcome(&mut unshare);
    // Nothing but empty folders, unless a case failed in the middle.
    let _ = std::fs::remove_dir_all(&place);
    assert_eq!(tried_mounted, tried, "not all cases were tried on the mount");
    let wrong: Vec<_> = failed.iter().filter(|(name, _)| !excused.iter().any(|(other, _)| other == name)).collect();
    assert!(wrong.is_empty(), "these hold on the host's file system only: {wrong:#?}");
    // A file system that is itself no judge of much would excuse all.
    assert!(excused.len() * 10 < tried, "too much does not hold on the host's file system either: {excused:#?}");
}

#[test]
fn an_edit_that_was_told_is_seen_at_once_though_all_was_known_for_long() {
    if let Err(why) = can_mount() {
        eprintln!("SKIPPED: the mounted folder: {why}");
        return;
    }
    let judge = Path::new(env!("CARGO_BIN_EXE_lighter-files"));
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("edits-{}", std::process::id()));
    let [host, mount, lines] = ["host", "mount", "lines"].map(|name| place.join(name));
    for folder in [&host, &mount] {
        std::fs::create_dir_all(folder).expect("a folder is made");
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", MOUNTED, "sh"]).arg(rig(judge)).args([&host, &mount]).arg(judge);
    unshare.arg(&lines).arg("agent");
    let (tried, failed) = outcome(&mut unshare);
    let told = std::fs::read_to_string(&lines).unwrap_or_default();
    std::fs::remove_dir_all(&place).expect("only what was made here");
    assert!(failed.is_empty(), "{failed:#?}, and told was: {told}");
    assert_eq!(tried, 10, "told was: {told}");
}

fn can_mount() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root mounts, and plays other users".into());
    }
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    device.map_err(|error| format!("/dev/fuse cannot be opened: {error}"))?;
    // A root of a container may lack the capability.
    let unshared = Command::new("unshare").args(["--mount", "true"]).status();
    match unshared {
        Ok(status) if status.success() => Ok(()),
        _ => Err("no mount namespace can be made".into()),
    }
}

/// Builds the server's rig beside the judge, whom cargo has built already, and returns its path.
fn rig(judge: &Path) -> PathBuf {
    let built = judge.parent().expect("it lies in a profile's folder");
    let target = built.parent().expect("the profile's folder lies in cargo's");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--locked", "-p", "lighter-vmm", "--example", "fuse_rig", "--target-dir"])
        .arg(target);
    assert!(cargo.status().expect("cargo runs").success(), "the rig cannot be built");
    target.join("debug/examples/fuse_rig")
}

/// How many cases there were, and which of them failed, and why.
fn outcome(command: &mut Command) -> (usize, BTreeSet<(String, String)>) {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let failed: BTreeSet<_> = said
        .lines()
        .filter_map(|line| line.strip_prefix("FAILED ")?.split_once(": "))
        .map(|(name, why)| (name.to_owned(), why.to_owned()))
        .collect();
    let held = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(held > 0, "no case was tried: {said}{}", String::from_utf8_lossy(&output.stderr));
    (held + failed.len(), failed)
}
