//! What the backends for Linux and macOS say alike: how a file is opened, and what a listing calls an entry.

use rustix::fs::{FileType, OFlags};

use crate::virtio::fs::host::{Access, Kind};

/// How a file is opened for this; emptying it and making writes durable is each system's own affair.
pub(super) fn flags(access: Access) -> OFlags {
    let mut flags = match (access.read, access.write) {
        (_, false) => OFlags::RDONLY,
        (false, true) => OFlags::WRONLY,
        (true, true) => OFlags::RDWR,
    };
    // Emptying needs the right to write, whatever else was asked for.
    if access.truncate && !access.write {
        flags = OFlags::RDWR;
    }
    flags.set(OFlags::APPEND, access.append);
    flags
}

/// What an entry is, where the listing says so.
pub(super) fn kind(file_type: FileType) -> Option<Kind> {
    Some(match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Character,
        FileType::BlockDevice => Kind::Block,
        FileType::Unknown => return None,
    })
}
