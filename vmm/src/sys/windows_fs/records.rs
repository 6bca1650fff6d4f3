//! Extended attributes, each a stream of its file: the record of what a container sees of it ([`Record`]), and those that a
//! container sets itself. A power cut while one is written can leave it short; a record that makes no sense is none.

use std::fs::File;
use std::io::{Read, Write};
use std::os::windows::io::OwnedHandle;

use windows_sys::Wdk::Storage::FileSystem::{FILE_CREATE, FILE_OPEN, FILE_OPEN_IF};
use windows_sys::Win32::Storage::FileSystem::{
    DELETE, FILE_BASIC_INFO, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA,
    FileStreamInfo,
};

use super::attributes::WRITABLE;
use super::node::{LOOK, Node};
use super::nt::{self, How, Target, io_errno};
use super::{Outcome, WindowsFs};
use crate::sys::owners;
use crate::virtio::fs::Errno;
use crate::virtio::fs::foreign::{attribute_name, stream_name, streams};
use crate::virtio::fs::host::{Attributes, Kind, Setting};
use crate::virtio::fs::ownership::{ATTRIBUTE, Record, kept};

/// Longest value that Linux takes, and longest list of names (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const LONGEST: u64 = 64 << 10;
/// Words of 8 bytes for a list of streams: at first, and at most.
const FIRST_LIST: usize = 512;
const LONGEST_LIST: usize = 128 << 10;
/// `ERROR_MORE_DATA`, `ERROR_HANDLE_EOF`
const MORE_DATA: i32 = 234;
const NONE: i32 = 38;

/// What a container sees because of a record. Windows has no mode that somebody could have changed since.
pub(super) fn applied(record: &Record, real: &Attributes) -> Attributes {
    let as_left = Attributes { mode: kept(real.kind, record.mode), ..*real };
    let mut seen = record.applied(&as_left);
    if real.mode & WRITABLE == 0 {
        seen.mode &= !WRITABLE;
    }
    seen
}

impl WindowsFs {
    /// What a container sees of an object.
    pub(super) fn shown(&self, node: &Node, real: Attributes) -> Attributes {
        self.record(node, &real).map_or(real, |record| applied(&record, &real))
    }

    pub(super) fn record(&self, node: &Node, real: &Attributes) -> Option<Record> {
        match read(node, ATTRIBUTE.as_bytes()) {
            Ok(value) => Record::parse(&value),
            Err(_) => self.remembered.get(&real.identity),
        }
    }

    /// Puts the record of an object beside it; none, if the host already has it as it is to be seen.
    pub(super) fn keep_record(&self, node: &Node, real: &Attributes, record: Record) -> Outcome<()> {
        let plain = owners::is_plain(&record, real);
        let kept = if plain {
            match erase(node, ATTRIBUTE.as_bytes()) {
                Err(Errno::NODATA) => Ok(()),
                other => other,
            }
        } else {
            write(node, ATTRIBUTE.as_bytes(), record.value().as_bytes(), Setting::Any)
        };
        match kept {
            Ok(()) => {
                self.remembered.set(real.identity, None);
                Ok(())
            }
            // No streams on this file system, or not on what is marked as read only or has lost its name.
            Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::ACCES | Errno::PERM | Errno::NODATA | Errno::STALE) => {
                // What is no file on the host is not made to be one by what is remembered.
                self.remembered.set(real.identity, (!plain).then_some(record));
                if record.kind.is_some() { Err(Errno::PERM) } else { Ok(()) }
            }
            Err(other) => Err(other),
        }
    }
}

/// Opens an attribute of what is held.
fn open(node: &Node, attribute: &[u8], access: u32, disposition: u32) -> Outcome<OwnedHandle> {
    // Not to be tried: some take the name for a file's.
    if !node.has_streams() {
        return Err(Errno::OPNOTSUPP);
    }
    let name = stream_name(attribute)?;
    let how = How { access, disposition, ..LOOK };
    match nt::open(&node.open(LOOK)?, Target::Name(&name), how) {
        Err(Errno::NOENT) => Err(Errno::NODATA),
        other => other,
    }
}

fn read(node: &Node, attribute: &[u8]) -> Outcome<Vec<u8>> {
    let stream = File::from(open(node, attribute, FILE_READ_DATA | FILE_READ_ATTRIBUTES, FILE_OPEN)?);
    let mut value = Vec::new();
    stream.take(LONGEST + 1).read_to_end(&mut value).map_err(|error| io_errno(&error))?;
    // A stream that was not made by a guest may be as long as it likes.
    if value.len() as u64 > LONGEST { Err(Errno::TOOBIG) } else { Ok(value) }
}

fn write(node: &Node, attribute: &[u8], value: &[u8], setting: Setting) -> Outcome<()> {
    let disposition = match setting {
        Setting::Any => FILE_OPEN_IF,
        Setting::New => FILE_CREATE,
        Setting::Old => FILE_OPEN,
    };
    let access = FILE_WRITE_DATA | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
    let stream = open(node, attribute, access, disposition)?;
    // Its time is the file's, whose content does not change: what goes through this handle is not to set it.
    let times = FILE_BASIC_INFO { LastAccessTime: -1, LastWriteTime: -1, ..FILE_BASIC_INFO::default() };
    nt::set_basic(&stream, &times)?;
    let mut stream = File::from(stream);
    let written = stream.write_all(value).and_then(|()| stream.set_len(value.len() as u64));
    written.map_err(|error| io_errno(&error))
}

fn erase(node: &Node, attribute: &[u8]) -> Outcome<()> {
    nt::remove(&open(node, attribute, DELETE | FILE_READ_ATTRIBUTES, FILE_OPEN)?, None)
}

/// Names with which a container could change what others see of a file.
fn reserved(name: &[u8]) -> bool {
    name == ATTRIBUTE.as_bytes()
}

/// Linux gives attributes of users to files and folders only.
fn has_any(node: &Node) -> Outcome<bool> {
    Ok(matches!(node.real()?.shown.kind, Kind::File | Kind::Folder))
}

pub(super) fn extended(node: &Node, name: &[u8]) -> Outcome<Vec<u8>> {
    if reserved(name) || !has_any(node)? {
        return Err(Errno::NODATA);
    }
    read(node, name)
}

pub(super) fn list(node: &Node) -> Outcome<Vec<u8>> {
    if !has_any(node)? || !node.has_streams() {
        return Ok(Vec::new());
    }
    let open = node.open(LOOK)?;
    let mut buffer = vec![0; FIRST_LIST];
    loop {
        match nt::list(&open, FileStreamInfo, &mut buffer) {
            Ok(()) => break,
            // A folder has no stream but such as are attributes.
            Err(error) if error.raw_os_error() == Some(NONE) => return Ok(Vec::new()),
            Err(error) if error.raw_os_error() == Some(MORE_DATA) && buffer.len() < LONGEST_LIST => {
                buffer = vec![0; 2 * buffer.len()];
            }
            Err(error) => return Err(io_errno(&error)),
        }
    }
    let answer = nt::bytes(&buffer);
    let names = streams(&answer).filter_map(|stream| attribute_name(&stream));
    let ours = names.filter(|name| name.starts_with(b"user.") && !reserved(name));
    Ok(ours.flat_map(|name| [name, vec![0]].concat()).collect())
}

pub(super) fn set(node: &Node, name: &[u8], value: &[u8], setting: Setting) -> Outcome<()> {
    if reserved(name) || !has_any(node)? {
        return Err(Errno::PERM);
    }
    write(node, name, value, setting)
}

pub(super) fn remove(node: &Node, name: &[u8]) -> Outcome<()> {
    if reserved(name) || !has_any(node)? {
        return Err(Errno::NODATA);
    }
    erase(node, name)
}
