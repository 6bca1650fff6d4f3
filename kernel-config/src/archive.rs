//! tar archives (POSIX.1-1988 ustar with GNU long names), as much as packages, the root and the demo image need. Written
//! ones are reproducible: owner root, one time stamp, the caller's order. Debian's are read whole in memory.

use std::fmt::Write as _;

const BLOCK: usize = 512;
/// Time stamp of everything that we pack: 2026-01-01 00:00:00 UTC.
pub const EPOCH: u64 = 1_767_225_600;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with this content.
    File(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(String),
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative path without a leading `./` or a trailing `/`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    pub kind: Kind,
}

/// Packs `entries` in their order, all owned by root. Paths are at most 100 bytes; `None` names none that is longer.
pub fn write(entries: &[Entry]) -> Option<Vec<u8>> {
    let mut archive = Vec::new();
    for entry in entries {
        archive.extend_from_slice(&header(entry)?);
        if let Kind::File(content) = &entry.kind {
            archive.extend_from_slice(content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    Some(archive)
}

fn header(entry: &Entry) -> Option<[u8; BLOCK]> {
    let (flag, size, target) = match &entry.kind {
        Kind::File(content) => (b'0', content.len(), ""),
        Kind::Link(target) => (b'2', 0, target.as_str()),
        Kind::Directory => (b'5', 0, ""),
    };
    let mut block = [0; BLOCK];
    let mut put = |at: usize, length: usize, text: &str| {
        let fits = text.len() <= length;
        if fits {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        fits.then_some(())
    };
    put(0, 100, &entry.path)?;
    put(100, 8, &format!("{:07o}", entry.mode))?;
    put(108, 8, "0000000")?;
    put(116, 8, "0000000")?;
    put(124, 12, &format!("{size:011o}"))?;
    put(136, 12, &format!("{EPOCH:011o}"))?;
    put(148, 8, "        ")?;
    put(157, 100, target)?;
    put(257, 8, "ustar\x0000")?;
    block[156] = flag;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    let mut text = String::new();
    write!(text, "{sum:06o}\0 ").expect("a string takes everything");
    block[148..156].copy_from_slice(text.as_bytes());
    Some(block)
}

/// Unpacks an archive. Hard links, devices and the like are left out: no package of ours has them. `None` if malformed.
pub fn read(archive: &[u8]) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = archive;
    let (mut long_path, mut long_target) = (None, None);
    while let Some(block) = rest.get(..BLOCK) {
        if block.iter().all(|byte| *byte == 0) {
            return Some(entries);
        }
        let size = octal(&block[124..136])?;
        let content = rest.get(BLOCK..BLOCK.checked_add(size)?)?;
        match block[156] {
            b'L' => long_path = Some(text(content)?),
            b'K' => long_target = Some(text(content)?),
            flag => {
                let path = match long_path.take() {
                    Some(path) => path,
                    None => text(&block[..100])?,
                };
                let target = match long_target.take() {
                    Some(target) => target,
                    None => text(&block[157..257])?,
                };
                let kind = match flag {
                    b'0' | 0 => Some(Kind::File(content.to_vec())),
                    b'2' => Some(Kind::Link(target)),
                    b'5' => Some(Kind::Directory),
                    _ => None,
                };
                let path = path.trim_start_matches("./").trim_matches('/').to_owned();
                let mode = octal(&block[100..108])? as u32 & 0o7777;
                entries.extend(kind.map(|kind| Entry { path, mode, kind }));
            }
        }
        rest = rest.get(BLOCK.checked_add(size.checked_next_multiple_of(BLOCK)?)?..)?;
    }
    rest.is_empty().then_some(entries)
}

fn text(field: &[u8]) -> Option<String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    std::str::from_utf8(&field[..end]).ok().map(str::to_owned)
}

fn octal(field: &[u8]) -> Option<usize> {
    let digits = std::str::from_utf8(field).ok()?.trim_matches(|c| c == '\0' || c == ' ');
    if digits.is_empty() { Some(0) } else { usize::from_str_radix(digits, 8).ok() }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, process::Stdio};

    use super::*;

    fn sample() -> Vec<Entry> {
        vec![
            Entry { path: "etc".into(), mode: 0o755, kind: Kind::Directory },
            Entry { path: "etc/empty".into(), mode: 0o644, kind: Kind::File(Vec::new()) },
            Entry { path: "etc/program".into(), mode: 0o755, kind: Kind::File(vec![7; 513]) },
            Entry { path: "etc/link".into(), mode: 0o777, kind: Kind::Link("program".into()) },
        ]
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(read(&write(&sample()).unwrap()).unwrap(), sample());
    }

    #[test]
    fn gnu_tar_agrees_with_what_is_written() {
        let mut tar = crate::command::command("tar");
        let child = tar.args(["tvf", "-", "--full-time", "--utc"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&write(&sample()).unwrap()).unwrap();
        let listing = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert_eq!(listing.lines().count(), 4, "{listing}");
        assert!(listing.contains("-rwxr-xr-x 0/0             513 2026-01-01 00:00:00 etc/program"), "{listing}");
        assert!(listing.contains("etc/link -> program"), "{listing}");
    }

    #[test]
    fn long_names_of_gnu_tar_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let long = "d".repeat(90) + "/" + &"f".repeat(90);
        std::fs::create_dir(dir.path().join("d".repeat(90))).unwrap();
        std::fs::write(dir.path().join(&long), "x").unwrap();
        let mut tar = crate::command::command("tar");
        let archive = crate::command::output(tar.args(["--format=gnu", "-cC"]).arg(dir.path()).arg("."), "").unwrap();
        assert!(read(&archive).unwrap().iter().any(|entry| entry.path == long));
    }

    #[test]
    fn cut_archives_are_refused() {
        let archive = write(&sample()).unwrap();
        for length in (1..archive.len() - 2 * BLOCK).filter(|length| length % BLOCK != 0) {
            assert_eq!(read(&archive[..length]), None, "{length}");
        }
    }
}
