//! The rules of the house that a test can check: where platform code lives, how long a file may be, that each says what it is
//! for, where `unsafe` is allowed, and that every id of the bad-input catalogue has a test.

use std::path::{Path, PathBuf};
use std::process::Command;

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The part before the inline tests.
    fn product(&self) -> &str {
        // What is tried on some systems only is a test all the same.
        let tests = ["\n#[cfg(test)]\nmod ", "\n#[cfg(test)]\n#[cfg(unix)]\nmod "];
        let end = tests.iter().filter_map(|begin| self.text.find(begin)).min();
        &self.text[..end.unwrap_or(self.text.len())]
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/")
            || self.path.contains("/tests/")
            || self.path.contains("/benches/")
            || self.path.ends_with("/tests.rs")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is one level below the root");
    let listed =
        Command::new("git").args(["ls-files", "*.rs"]).current_dir(root).output().expect("git lists the sources");
    let names = String::from_utf8(listed.stdout).expect("our file names are ASCII");
    let read = |name: &str| std::fs::read_to_string(root.join(PathBuf::from(name))).ok();
    let found: Vec<Source> =
        names.lines().filter_map(|name| Some(Source { path: name.to_owned(), text: read(name)? })).collect();
    assert!(found.len() > 20, "the list of sources is too short to be true");
    found
}

fn refuse(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn platform_code_lives_in_sys_and_hv_only() {
    let allowed =
        |path: &str| path.ends_with("sys/mod.rs") || path.ends_with("hv/mod.rs") || path.starts_with("kernel-config/");
    let platform = |line: &str| {
        line.contains("cfg")
            && ["target_os", "(unix", "(windows", "not(unix", "not(windows"].iter().any(|word| line.contains(word))
    };
    let mut offenders = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test() && !allowed(&source.path)) {
        for (number, line) in source.product().lines().enumerate().filter(|(_, line)| platform(line)) {
            offenders.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
        }
    }
    refuse("cfg for an operating system belongs in sys/mod.rs or hv/mod.rs", offenders);
}

#[test]
fn architecture_is_chosen_in_one_place() {
    let allowed = |path: &str| path.ends_with("arch/mod.rs") || path.contains("/hv/") || path.ends_with("sys/mod.rs");
    let mut offenders = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test() && !allowed(&source.path)) {
        for (number, line) in source
            .product()
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains("cfg") && line.contains("target_arch"))
        {
            offenders.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
        }
    }
    refuse("cfg(target_arch) belongs in arch/mod.rs or inside a backend", offenders);
}

#[test]
fn no_file_is_longer_than_400_lines_before_its_tests() {
    let long = |source: &Source| {
        let lines = source.product().lines().count();
        (!source.is_test() && lines > 400).then(|| format!("{}: {lines} lines", source.path))
    };
    refuse("one file, one idea: split by idea", sources().iter().filter_map(long).collect());
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |source: &Source| (!source.text.starts_with("//!")).then(|| source.path.clone());
    refuse("a file begins with a comment that says which idea it holds", sources().iter().filter_map(silent).collect());
}

#[test]
fn unsafe_code_is_opted_into_in_hv_sys_and_memory_only() {
    let allowed = |path: &str| path.contains("/hv/") || path.contains("/sys/") || path.contains("memory");
    let offender = |source: &Source| {
        let opts_in =
            source.product().contains("allow(unsafe_code)") || source.product().contains("expect(unsafe_code)");
        (opts_in && !source.is_test() && !allowed(&source.path)).then(|| source.path.clone())
    };
    refuse("unsafe code belongs in hv, sys or memory", sources().iter().filter_map(offender).collect());
}

#[test]
fn names_say_what_a_thing_is() {
    let vague = ["util", "utils", "common", "helper", "helpers", "manager", "misc"];
    let offender = |source: &Source| {
        let stem =
            Path::new(&source.path).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        vague.contains(&stem.as_str()).then(|| source.path.clone())
    };
    refuse("a file is named after its idea", sources().iter().filter_map(offender).collect());
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["todo!(", "unimplemented!(", "#[ignore"];
    let mut offenders = Vec::new();
    for source in sources().iter().filter(|source| !source.path.ends_with("house_rules.rs")) {
        for (number, _) in
            source.text.lines().enumerate().filter(|(_, line)| marks.iter().any(|mark| line.contains(mark)))
        {
            offenders.push(format!("{}:{}", source.path, number + 1));
        }
    }
    refuse("stubs and ignored tests", offenders);
}

#[test]
fn every_catalogue_id_has_a_test() {
    let families: &[(char, std::ops::RangeInclusive<u32>)] = &[
        ('q', 1..=18),
        ('m', 1..=10),
        ('v', 1..=16),
        ('b', 1..=6),
        ('a', 1..=4),
        ('h', 1..=12),
        ('c', 1..=8),
        ('x', 1..=3),
        ('x', 8..=8),
    ];
    let all: String = sources()
        .iter()
        .filter(|source| !source.path.ends_with("house_rules.rs"))
        .map(|source| source.text.as_str())
        .collect();
    let missing = families.iter().flat_map(|(family, ids)| ids.clone().map(move |id| format!("{family}{id}_")));
    let missing = missing.filter(|id| !all.contains(&format!("fn {id}")));
    refuse("ids of the bad-input catalogue without a test", missing.collect());
}

/// `cargo update` and a new dependency like to undo it: vm-memory's own default features do not compile for Windows, so all
/// but the crate that re-exports it, and vhost, which is built for Linux only, must resolve to that crate.
#[test]
fn only_the_portable_vm_memory_leads_to_the_real_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is one level below the root");
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).expect("the lock file is part of the tree");
    let packages: Vec<&str> = lock.split("[[package]]").collect();
    let named = |package: &&&str, name: &str| package.contains(&format!("\nname = \"{name}\"\n"));
    let real: Vec<&str> = packages
        .iter()
        .filter(|package| named(package, "vm-memory") && package.contains("\nsource = "))
        .filter_map(|package| package.lines().find_map(|line| line.strip_prefix("version = \"")))
        .map(|version| version.trim_end_matches('"'))
        .collect();
    assert_eq!(real.len(), 1, "one release of vm-memory: {real:?}");
    let uses = format!(" \"vm-memory {}\",", real[0]);
    let offenders = packages
        .iter()
        .filter(|package| package.contains(&uses) && !named(package, "vm-memory") && !named(package, "vhost"))
        .filter_map(|package| package.lines().find_map(|line| line.strip_prefix("name = ")).map(str::to_owned))
        .collect();
    refuse("these must resolve to vmm/portable/vm-memory (edit Cargo.lock)", offenders);
}
