//! The kernel's configuration fragments under `kernel/`: which ones an architecture merges, and the proof that the final
//! configuration has every option that they asked for. Used by `kernel`.

use crate::{digest, manifest::Part};

/// One fragment: its file name and text.
pub type Fragment = (&'static str, &'static str);

const EVERYWHERE: [Fragment; 5] = [
    ("base.config", include_str!("../kernel/base.config")),
    ("security.config", include_str!("../kernel/security.config")),
    ("storage.config", include_str!("../kernel/storage.config")),
    ("virtio.config", include_str!("../kernel/virtio.config")),
    ("network.config", include_str!("../kernel/network.config")),
];
const X86_64: Fragment = ("x86_64.config", include_str!("../kernel/x86_64.config"));
const AARCH64: Fragment = ("aarch64.config", include_str!("../kernel/aarch64.config"));

/// What only a bench wants on top.
pub const BENCH: Fragment = ("bench.config", include_str!("../kernel/bench.config"));

/// The fragments of an architecture, in the order of merging.
pub fn of(architecture: &str) -> Vec<Fragment> {
    let own = if architecture == "aarch64" { AARCH64 } else { X86_64 };
    EVERYWHERE.into_iter().chain([own]).collect()
}

/// The lines that matter, without comments: what the kernel's cache key depends on, so that a better comment does not
/// cost a build.
pub fn merged(fragments: &[Fragment]) -> String {
    let lines = fragments.iter().flat_map(|(_, text)| text.lines()).map(str::trim);
    lines.filter(|line| is_option(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Options that `fragments` ask for, or ask to be off, and that `config` (a finished `.config`) has otherwise.
pub fn dropped(fragments: &[Fragment], config: &str) -> Vec<String> {
    let has: std::collections::HashSet<_> = config.lines().collect();
    let lines = fragments.iter().flat_map(|(_, text)| text.lines()).map(str::trim);
    let lacks = |line: &&str| match off(line) {
        Some(name) => config.lines().any(|l| l.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))),
        None => !has.contains(*line),
    };
    lines.filter(|line| is_option(line)).filter(lacks).map(str::to_owned).collect()
}

/// The fragments as parts of the manifest.
pub fn parts(fragments: &[Fragment]) -> Vec<Part> {
    let part = |(file, text): &Fragment| Part {
        file: (*file).to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        size: text.len() as u64,
        sha256: digest::of_bytes(text.as_bytes()),
    };
    fragments.iter().map(part).collect()
}

fn is_option(line: &str) -> bool {
    off(line).is_some() || (line.starts_with("CONFIG_") && line.contains('='))
}

fn off(line: &str) -> Option<&str> {
    line.strip_prefix("# ")?.strip_suffix(" is not set").filter(|name| name.starts_with("CONFIG_"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn all() -> [Vec<Fragment>; 3] {
        [of("x86_64"), of("aarch64"), of("x86_64").into_iter().chain([BENCH]).collect()]
    }

    #[test]
    fn no_fragment_opens_a_forbidden_door() {
        let forbidden = [
            "MODULES",
            "IA32_EMULATION",
            "COMPAT",
            "X86_X32_ABI",
            "X86_X32",
            "VSOCKETS_LOOPBACK",
            "CRYPTO_USER_API",
            "CRYPTO_USER_API_HASH",
            "CRYPTO_USER_API_SKCIPHER",
            "CRYPTO_USER_API_AEAD",
            "CRYPTO_USER_API_RNG",
            "DEVMEM",
            "UEVENT_HELPER",
            "PCI",
            "KEXEC",
        ];
        for fragments in all() {
            let merged = merged(&fragments);
            for name in forbidden {
                assert!(!merged.lines().any(|line| line.starts_with(&format!("CONFIG_{name}="))), "{name} is on");
            }
            for name in ["MODULES", "VSOCKETS_LOOPBACK", "CRYPTO_USER_API_SKCIPHER"] {
                assert!(
                    merged.lines().any(|line| line == format!("# CONFIG_{name} is not set")),
                    "{name} is not closed"
                );
            }
        }
        assert!(
            merged(&of("x86_64")).contains("# CONFIG_IA32_EMULATION is not set\n# CONFIG_X86_X32_ABI is not set\n")
        );
        assert!(merged(&of("aarch64")).contains("# CONFIG_COMPAT is not set\n"));
    }

    #[test]
    fn every_line_is_a_comment_or_an_option_and_none_is_said_twice() {
        for fragments in all() {
            let mut seen = HashMap::new();
            for (file, text) in &fragments {
                for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                    assert!(line.starts_with('#') || is_option(line), "{file}: {line}");
                    let name =
                        off(line).or_else(|| line.split_once('=').map(|(name, _)| name)).filter(|_| is_option(line));
                    if let Some(name) = name {
                        assert_eq!(seen.insert(name, *file), None, "{name} is in {file} again");
                    }
                    assert!(!line.ends_with("=m"), "{file}: {line}: there are no modules");
                }
                assert!(text.starts_with("# "), "{file} does not say what it is for");
            }
        }
    }

    #[test]
    fn dropped_options_are_named_exactly() {
        let fragments =
            [("x", "# why\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\nCONFIG_E=\"a b\"\n")];
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_E=\"a b\"\nCONFIG_DD=y\n";
        assert_eq!(dropped(&fragments, config), ["CONFIG_B=y", "# CONFIG_C is not set"]);
    }

    #[test]
    fn comments_do_not_change_what_is_built() {
        assert_eq!(merged(&[("x", "# one\n\nCONFIG_A=y\n")]), merged(&[("x", "CONFIG_A=y\n# two\n")]));
    }
}
