//! What `lighter.exe` says where it cannot start: each line names cause and cure, and nothing hangs. The stand-in for the Windows
//! hypervisor plays what is missing; where no machine is reached, the same start on a whole one would be next. Used by the
//! suite `windows`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::products;
use crate::rig::wine::Wine;

/// A net for what hangs; each of these takes a second or two.
const DEADLINE: Duration = Duration::from_secs(120);

struct Refusal {
    /// What it protects.
    name: &'static str,
    /// What is wrong.
    env: &'static [(&'static str, &'static str)],
    /// `LIGHTER_HOME`, behind the prefix's own user folder unless it begins with a drive or a server.
    home: &'static str,
    /// What must be in the one line that begins with `error:`.
    says: &'static [&'static str],
}

/// A start that gets as far as the hypervisor, and no further.
const NO_MEMORY: (&str, &str) = ("WHP_STANDIN_FAIL", "WHvMapGpaRange:1:8007000e");
const MEMORY: &[&str] = &["WHvMapGpaRange", "out of memory", "lighter start --memory"];
const ENABLE: &str = "Enable-WindowsOptionalFeature -Online -FeatureName HypervisorPlatform";

const REFUSALS: &[Refusal] = &[
    Refusal {
        name: "c8_platform_off",
        env: &[("WINEDLLOVERRIDES", "winhvplatform=d")],
        home: "off",
        says: &["Platform is off (WinHvPlatform.dll is not there)", ENABLE],
    },
    Refusal {
        name: "c8_emulation_library_missing",
        env: &[("WINEDLLOVERRIDES", "winhvemulation=d")],
        home: "off",
        says: &["Platform is off (WinHvEmulation.dll is not there)", ENABLE],
    },
    Refusal {
        name: "c8_no_hypervisor_or_nested_virtualisation_off",
        env: &[("WHP_STANDIN_ABSENT", "1")],
        home: "absent",
        says: &["no hypervisor is running", "in the firmware", "nested virtualisation must be on", ENABLE],
    },
    Refusal {
        name: "c8_no_partition",
        env: &[("WHP_STANDIN_FAIL", "WHvCreatePartition:1:80070005")],
        home: "partition",
        says: &["WHvCreatePartition failed", "access is denied", ENABLE],
    },
    Refusal {
        name: "c8_properties_are_not_taken",
        env: &[("WHP_STANDIN_FAIL", "WHvSetupPartition:1:80370304")],
        home: "setup",
        says: &["WHvSetupPartition failed", "do not go together", ENABLE],
    },
    Refusal { name: "c2_memory_is_not_mapped", env: &[NO_MEMORY], home: "memory", says: MEMORY },
    Refusal {
        name: "no_virtual_processor",
        env: &[("WHP_STANDIN_FAIL", "WHvCreateVirtualProcessor:1:80370310")],
        home: "processor",
        says: &["WHvCreateVirtualProcessor failed", "the processor is not fit for it"],
    },
    // These get as far as any other home does.
    Refusal { name: "c1_a_name_that_is_not_ascii", env: &[NO_MEMORY], home: "Jürgen Müller 李", says: MEMORY },
    // Not a path of more than 259 characters: Wine 8 does not say what an open folder is called if that is so long.
    Refusal {
        name: "c1_a_name_that_is_too_long",
        env: &[],
        home: TOO_LONG,
        says: &["Cannot use ", "set LIGHTER_HOME to a directory that you can write to"],
    },
    Refusal {
        name: "c1_a_folder_that_cannot_be_written",
        env: &[],
        home: r"z:\proc\lighter",
        says: &[r"Cannot use z:\proc\lighter", "set LIGHTER_HOME to a directory that you can write to"],
    },
    Refusal {
        name: "c1_a_server_that_is_not_there",
        env: &[],
        home: r"\\no-such-server\profiles\me",
        says: &[r"Cannot use \\no-such-server\profiles\me", "set LIGHTER_HOME to a directory that you can write to"],
    },
    Refusal {
        name: "c1_a_file_in_its_place",
        env: &[],
        home: r"c:\windows\system32\kernel32.dll",
        says: &["is not a directory", "move it away, or set LIGHTER_HOME to another directory"],
    },
];

/// Longer than the 255 characters of a name.
const TOO_LONG: &str = concat!(
    "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
    "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
    "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
);

/// Starts in each of these worlds. The guest image has been built.
pub(super) fn run(wine: &Wine) -> Result<()> {
    wine.add_hypervisor()?;
    let image = crate::image::ensure()?;
    let place = wine.prefix().join("drive_c/refusals");
    drop(std::fs::remove_dir_all(&place));
    std::fs::create_dir_all(&place)?;
    std::fs::copy(products::windows_lighter()?, place.join("lighter.exe"))?;
    std::os::unix::fs::symlink(image.parent().context("an image lies among images")?, place.join("image"))?;
    let mut failed = Vec::new();
    for refusal in REFUSALS {
        let result = start(wine, &place, refusal);
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("windows: refusals: {:<46} {verdict}", refusal.name);
        if let Err(error) = result {
            println!("    {error:#}");
            failed.push(refusal.name);
        }
    }
    println!("windows: refusals: {} passed, {} failed", REFUSALS.len() - failed.len(), failed.len());
    ensure!(failed.is_empty(), "{}", failed.join(", "));
    Ok(())
}

fn start(wine: &Wine, place: &Path, refusal: &Refusal) -> Result<()> {
    let apart = refusal.home.starts_with(r"\\") || refusal.home.get(1..2) == Some(":");
    let home = if apart { refusal.home.to_owned() } else { format!(r"c:\refusals\homes\{}", refusal.home) };
    // Not by a pipe: the daemon that is started, and Wine's server, would hold it open.
    let said = place.join("said.txt");
    let words = [r"c:\refusals\lighter.exe", "start", "--cpus", "1", "--memory", "1", "--disk", "1"];
    let mut run = wine.run_into(&said, words).env("LIGHTER_HOME", &home);
    for (name, value) in refusal.env {
        run = run.env(name, value);
    }
    let done = run.within(DEADLINE).finish()?;
    let said = std::fs::read_to_string(&said)?;
    ensure!(done.status.code() == Some(1), "lighter.exe start ended with {}: {said}", done.status);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    ensure!(errors.len() == 1, "it says {said}");
    let missing: Vec<_> = refusal.says.iter().filter(|words| !errors[0].contains(*words)).collect();
    ensure!(missing.is_empty(), "without {missing:?} it says {}", errors[0]);
    Ok(())
}
