//! Tests of the Linux backend.

use std::time::{Duration, SystemTime};

use rustix::fs::{XattrFlags, setxattr};

use super::*;
use crate::virtio::fs::ownership::ATTRIBUTE;

#[test]
fn f8_a_record_that_somebody_puts_beside_a_file_without_one_is_seen() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("file");
    std::fs::write(&path, "").unwrap();
    let (host, name) = (LinuxFs::default(), Name::new(b"file").unwrap());
    let folder = host.root(place.path()).unwrap();
    let before = host.look_up(&folder, name).unwrap();
    // As if the file had been there for long.
    host.recordless.note(&before, SystemTime::now() + Duration::from_secs(3600));
    assert!(host.recordless.knows(&before));
    assert_eq!(host.look_up(&folder, name).unwrap(), before);
    // Until the file system's clock has ticked, which for a file that has been there for long it has.
    loop {
        let record = format!("7:8:0{:o}", before.mode);
        if let Err(error) = setxattr(&path, ATTRIBUTE, record.as_bytes(), XattrFlags::empty()) {
            println!("skipped: no extended attributes: {error}");
            return;
        }
        let held = host.hold(&folder, name).unwrap();
        if host.real(&held).unwrap().changed != before.changed {
            break;
        }
    }
    let after = host.look_up(&folder, name).unwrap();
    assert_eq!((after.uid, after.gid, after.mode), (7, 8, before.mode));
}
