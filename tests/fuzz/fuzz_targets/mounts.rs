//! Bodies in which paths of the host may stand, and targets that lead to them. What is read must be JSON; rewriting the
//! paths must be seen by the next reader, leave the body's bytes alone if there is nothing to do, and change nothing else.
//! And paths: what is read as one is read the same again, and where nothing is shared none means anything but the machine's own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lighter::docker::mounts::{Kind, MountError, find, rewrite, route};
use lighter::shares::{Shares, disk::Disk, spelling::HostKind};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};

/// A disk without anything.
struct Empty;

impl Disk for Empty {
    fn real(&self, _: &Path) -> io::Result<PathBuf> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn is_folder(&self, _: &Path) -> bool {
        false
    }

    fn is_ours_to_list(&self, _: &Path) -> bool {
        false
    }
}

fn path(text: &str) {
    for kind in [HostKind::Unix, HostKind::Windows] {
        let Ok(spelled) = kind.read(text) else { continue };
        assert!(kind.read(&spelled.to_string()).is_ok_and(|again| again.is(&spelled)));
    }
    if let Ok(Some(meant)) = Shares::none().translate(text, &[], &Empty) {
        let own =
            ["/proc", "/sys", "/dev", "/run", "/var/run", "/var/lib/docker", "/var/lib/containerd", "/lib/modules"];
        let within =
            |folder: &&str| meant.strip_prefix(*folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        assert!(meant == "/" || own.iter().any(|folder| within(&folder)));
        assert!(!format!("{meant}/").contains("/../"));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = route("POST", bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        path(text);
    }
    for kind in [Kind::Container, Kind::Service, Kind::Volume] {
        let Ok(found) = find(kind, bytes) else { continue };
        let same = rewrite::<MountError>(bytes, &found, |_| Ok(None)).expect("nothing to refuse");
        assert_eq!(same, bytes);
        let new = |path: &str| format!("/s/{}", path.replace(':', "_"));
        let rewritten = rewrite::<MountError>(bytes, &found, |found| Ok(Some(new(&found.path)))).expect("no colon");
        let again = find(kind, &rewritten).expect("still a body");
        assert!(found.iter().map(|path| new(&path.path)).eq(again.iter().map(|path| path.path.clone())));
        if found.iter().all(|path| !path.path.contains(':')) {
            let mut old = found.iter().map(|path| path.path.clone());
            let restored = rewrite::<MountError>(&rewritten, &again, |_| Ok(old.next())).expect("no colon");
            let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
            assert_eq!(value(&restored), value(bytes));
        }
    }
});
