//! The lists under `rootfs/` that say what the guest's root is made of: packages with the files wanted of them, the
//! skeleton, busybox's commands. Parsed here, carried out by `rootfs`.

use crate::{
    archive::{Entry, Kind},
    error::BuildError,
};

const PACKAGES: &str = include_str!("../rootfs/packages.list");
const LAYOUT: &str = include_str!("../rootfs/layout.list");
const APPLETS: &str = include_str!("../rootfs/applets.list");
/// Files that the layout names, by their path in the root.
const FILES: [(&str, &str); 5] = [
    ("etc/passwd", include_str!("../rootfs/etc/passwd")),
    ("etc/group", include_str!("../rootfs/etc/group")),
    ("etc/nsswitch.conf", include_str!("../rootfs/etc/nsswitch.conf")),
    ("etc/profile", include_str!("../rootfs/etc/profile")),
    ("usr/lib/os-release", include_str!("../rootfs/usr/lib/os-release")),
];

/// What is wanted of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The package's name.
    pub package: String,
    /// Files, as a pattern and the path in the root if it differs.
    pub files: Vec<(String, Option<String>)>,
    /// Its shared libraries are taken when a chosen program needs them.
    pub libraries: bool,
    /// Its root certificates are joined into the bundle.
    pub certificates: bool,
    /// It is used to build, not taken into the root.
    pub tool: bool,
}

/// The list of packages; `triplet` is the multiarch directory, for example `x86_64-linux-gnu`.
pub fn packages(triplet: &str) -> Result<Vec<Wanted>, BuildError> {
    let mut packages: Vec<String> = Vec::new();
    for line in PACKAGES.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        match packages.last_mut() {
            Some(last) if line.starts_with(' ') => last.push_str(line),
            _ => packages.push(line.to_owned()),
        }
    }
    packages.iter().map(|line| package(line, triplet)).collect()
}

fn package(line: &str, triplet: &str) -> Result<Wanted, BuildError> {
    let mut words = line.split_whitespace();
    let package = words.next().unwrap_or_default().to_owned();
    let mut wanted = Wanted { package, files: Vec::new(), libraries: false, certificates: false, tool: false };
    for word in words {
        match word.strip_prefix('@') {
            Some("lib") => wanted.libraries = true,
            Some("certificates") => wanted.certificates = true,
            Some("tool") => wanted.tool = true,
            Some(_) => return Err(BuildError::Recipe { file: "packages.list", line: line.to_owned() }),
            None => {
                let word = word.replace("{triplet}", triplet);
                let (pattern, name) = match word.split_once('=') {
                    Some((pattern, name)) => (pattern.to_owned(), Some(name.to_owned())),
                    None => (word, None),
                };
                wanted.files.push((pattern, name));
            }
        }
    }
    Ok(wanted)
}

/// The skeleton and busybox's names, in order.
pub fn layout() -> Result<Vec<Entry>, BuildError> {
    let skeleton = lines(LAYOUT).map(layout_line);
    let applets = lines(APPLETS)
        .flat_map(str::split_whitespace)
        .map(|name| Ok(Entry { path: format!("usr/bin/{name}"), mode: 0o777, kind: Kind::Link("busybox".to_owned()) }));
    skeleton.chain(applets).collect()
}

fn layout_line(line: &str) -> Result<Entry, BuildError> {
    let parse = || {
        let words: Vec<_> = line.split_whitespace().collect();
        let octal = |mode| u32::from_str_radix(mode, 8).ok();
        let (path, mode, kind) = match words[..] {
            ["dir", mode, path] => (path, octal(mode)?, Kind::Directory),
            ["link", path, target] => (path, 0o777, Kind::Link(target.to_owned())),
            ["file", mode, path] => {
                let content = FILES.iter().find(|(name, _)| *name == path)?.1;
                (path, octal(mode)?, Kind::File(content.as_bytes().to_vec()))
            }
            _ => return None,
        };
        Some(Entry { path: path.to_owned(), mode, kind })
    };
    parse().ok_or_else(|| BuildError::Recipe { file: "layout.list", line: line.to_owned() })
}

/// The code that carries the lists out, by module: a change of any of it may change the root.
const CODE: [(&str, &str); 8] = [
    ("recipe", include_str!("recipe.rs")),
    ("rootfs", include_str!("rootfs.rs")),
    ("archive", include_str!("archive.rs")),
    ("architecture", include_str!("architecture.rs")),
    ("elf", include_str!("elf.rs")),
    ("erofs", include_str!("erofs.rs")),
    ("demo", include_str!("demo.rs")),
    ("unexport", include_str!("unexport.rs")),
];

/// All that the root depends on besides packages and the demo image: the lists, and the code that carries them out.
pub fn fingerprint() -> String {
    let files = FILES.iter().flat_map(|(name, content)| [*name, *content]);
    let code = CODE.iter().map(|(_, code)| *code);
    let all: Vec<_> = [PACKAGES, LAYOUT, APPLETS].into_iter().chain(files).chain(code).collect();
    crate::digest::of_bytes(all.join("\0").as_bytes())
}

/// Whether `path` is matched by `pattern`, in which each `*` stands for any text without `/`.
pub fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((head, tail)) => path.strip_prefix(head).is_some_and(|rest| {
            let reach = rest.find('/').unwrap_or(rest.len());
            (0..=reach).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

fn lines(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn lists_parse_and_name_nothing_twice() {
        let packages = packages("x86_64-linux-gnu").unwrap();
        let keys: HashSet<_> = packages.iter().map(|wanted| (&wanted.package, wanted.tool)).collect();
        assert_eq!(keys.len(), packages.len());
        let layout = layout().unwrap();
        let paths: HashSet<_> = layout.iter().map(|entry| &entry.path).collect();
        assert_eq!(paths.len(), layout.len());
    }

    #[test]
    fn every_module_that_makes_the_root_is_part_of_its_fingerprint() {
        // These run programs and word errors; what a program makes depends on its arguments, which are in the others.
        const APART: [&str; 2] = ["command", "error"];
        let names: HashSet<_> = CODE.iter().map(|(name, _)| *name).collect();
        for (user, code) in CODE.iter().filter(|(name, _)| !matches!(*name, "demo" | "elf")) {
            let code = code.split("#[cfg(test)]").next().unwrap();
            let used = code.split("use crate::").skip(1).map(|rest| rest.split(';').next().unwrap());
            let words = used.flat_map(|list| list.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')));
            let modules = words.map(|word| word.split("::").next().unwrap());
            for module in modules.filter(|word| word.starts_with(|c: char| c.is_lowercase()) && *word != "self") {
                assert!(names.contains(module) || APART.contains(&module), "{user} uses {module}");
            }
        }
    }

    #[test]
    fn every_part_of_a_path_has_its_place_in_order() {
        // Parents come first or are plain directories that packing makes; none is a link.
        let layout = layout().unwrap();
        let links: HashSet<_> =
            layout.iter().filter(|e| matches!(e.kind, Kind::Link(_))).map(|e| e.path.as_str()).collect();
        for entry in &layout {
            let mut parent = entry.path.as_str();
            while let Some((head, _)) = parent.rsplit_once('/') {
                assert!(!links.contains(head), "{} lies behind the link {head}", entry.path);
                parent = head;
            }
        }
    }

    #[test]
    fn patterns_stay_within_a_directory() {
        assert!(matches("usr/lib/libxt_*.so", "usr/lib/libxt_tcp.so"));
        assert!(!matches("usr/lib/libxt_*.so", "usr/lib/libxt_a/b.so"));
        assert!(!matches("usr/lib/*", "usr/lib/a/b"));
        assert!(matches("a*b*c", "axbxbc") && matches("a", "a") && !matches("a", "ab"));
    }

    #[test]
    fn unknown_words_are_refused() {
        assert!(package("libc6 @all", "x").is_err());
        assert!(layout_line("file 0644 etc/unknown").is_err());
        assert!(layout_line("dir 0999 etc").is_err());
        assert!(layout_line("socket etc").is_err());
    }
}
