//! A cpio archive in the "newc" format that Linux unpacks as its initramfs. Called by the daemon, which packs the agent and
//! the boot secret with it, in memory only.
//!
//! Layout: Linux' Documentation/driver-api/early-userspace/buffer-format.rst. Each member is a 110-byte header of ASCII
//! hexadecimal fields, the NUL-terminated name and the data, the last two padded to four bytes.

use std::collections::BTreeSet;

const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;
/// Major and minor number of `/dev/console`, which Linux opens as PID 1's standard streams.
const CONSOLE: (u32, u32) = (5, 1);

/// A regular file in the archive, owned by root.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Where it appears in the guest; a leading slash makes no difference. Directories on the way are made (0755).
    pub path: &'a str,
    /// Permission bits, such as `0o755`.
    pub mode: u32,
    /// What it contains.
    pub data: &'a [u8],
}

/// Packs `entries`, the directories that they need, and `/dev/console`.
///
/// # Panics
/// If a file is 4 GiB or larger, which the format cannot say.
pub fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let content: usize = entries.iter().map(|entry| entry.data.len() + entry.path.len() + 256).sum();
    let mut writer = Writer { bytes: Vec::with_capacity(content + 1024), inode: 0 };
    let names: Vec<&str> = entries.iter().map(|entry| entry.path.trim_matches('/')).collect();
    let mut directories = BTreeSet::from(["dev"]);
    for name in &names {
        directories.extend(name.match_indices('/').map(|(at, _)| &name[..at]));
    }
    // A parent sorts before its children, and Linux needs them in this order.
    for directory in directories {
        writer.member(directory, S_IFDIR | 0o755, (0, 0), &[]);
    }
    writer.member("dev/console", S_IFCHR | 0o600, CONSOLE, &[]);
    for (name, entry) in names.iter().zip(entries) {
        writer.member(name, S_IFREG | (entry.mode & 0o7777), (0, 0), entry.data);
    }
    writer.member("TRAILER!!!", 0, (0, 0), &[]);
    writer.bytes
}

struct Writer {
    bytes: Vec<u8>,
    inode: u32,
}

impl Writer {
    fn member(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.inode += 1;
        let size = u32::try_from(data.len()).expect("a file of the initramfs is smaller than 4 GiB");
        let name_size = u32::try_from(name.len() + 1).expect("a path is smaller than 4 GiB");
        // ino, mode, uid, gid, nlink, mtime, filesize, dev major and minor, rdev major and minor, namesize, check
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode, device, data.
    type Member = (String, u32, (u32, u32), Vec<u8>);

    /// What a reader of the format finds, in order.
    fn members(mut bytes: &[u8]) -> Vec<Member> {
        let mut found = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * n..14 + 8 * n]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let name_end = 110 + field(11) as usize;
            let data_start = name_end.next_multiple_of(4);
            let data_end = data_start + field(6) as usize;
            let name = std::str::from_utf8(&bytes[110..name_end - 1]).unwrap().to_owned();
            assert_eq!(bytes[name_end - 1], 0);
            if name == "TRAILER!!!" {
                assert_eq!(bytes.len(), data_start);
                return found;
            }
            found.push((name, field(1), (field(9), field(10)), bytes[data_start..data_end].to_vec()));
            bytes = &bytes[data_end.next_multiple_of(4)..];
        }
    }

    #[test]
    fn files_come_after_their_directories_and_the_console_exists() {
        let entries = [
            Entry { path: "/init", mode: 0o755, data: b"agent" },
            Entry { path: "/run/lighter/secret", mode: 0o400, data: &[7; 32] },
        ];
        let expected = [
            ("dev", 0o040_755, (0, 0), &b""[..]),
            ("run", 0o040_755, (0, 0), b""),
            ("run/lighter", 0o040_755, (0, 0), b""),
            ("dev/console", 0o020_600, (5, 1), b""),
            ("init", 0o100_755, (0, 0), b"agent"),
            ("run/lighter/secret", 0o100_400, (0, 0), &[7; 32]),
        ];
        let found = members(&archive(&entries));
        let expected: Vec<_> =
            expected.map(|(name, mode, dev, data)| (name.to_owned(), mode, dev, data.to_vec())).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_length_of_name_and_data_keeps_the_padding() {
        for name_len in 1..9 {
            for data_len in 0..9 {
                let (path, data) = ("n".repeat(name_len), vec![0xa5; data_len]);
                let bytes = archive(&[Entry { path: &path, mode: 0o644, data: &data }]);
                let last = members(&bytes).pop().unwrap();
                assert_eq!(last, (path, 0o100_644, (0, 0), data));
            }
        }
    }
}
