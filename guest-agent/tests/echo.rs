//! What the agent does when it is told what happened on the host, in a folder that nobody answers for.

use std::fs;
use std::os::unix::fs::MetadataExt;

use lighter_agent::echo::repeat;
use lighter_protocol::{Outdated, Raise};
use rustix::fs::{Mode, OFlags};

/// Whatever is there or not, and wherever a name leads.
#[test]
fn to_look_at_what_is_outdated_changes_nothing_and_ends_at_nothing() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("root");
    fs::create_dir_all(root.join("share/sub")).unwrap();
    fs::write(root.join("share/sub/file"), "text").unwrap();
    std::os::unix::fs::symlink("/", root.join("share/link")).unwrap();
    let changed =
        |path: &str| fs::symlink_metadata(root.join(path)).map(|about| (about.ctime(), about.ctime_nsec())).unwrap();
    let all = ["share", "share/sub", "share/sub/file", "share/link"];
    let before = all.map(changed);
    let outdated = |folder: &str, entries: &[&str]| Outdated {
        folder: folder.to_owned(),
        entries: entries.iter().copied().map(str::to_owned).collect(),
    };
    let folders = vec![
        outdated("share/gone", &["file"]),
        outdated("share/link", &["etc"]),
        outdated("../root/share", &["file"]),
        outdated("share/sub", &["gone", "..", "a/b", "", "file"]),
        outdated("share", &["link", "sub"]),
    ];
    let root_file = rustix::fs::open(&root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
    assert_eq!(repeat(&root_file, &Raise::Outdated { folders }), Ok(()));
    assert_eq!(all.map(changed), before);
    assert_eq!(fs::read_dir(root.join("share")).unwrap().count(), 2);
}
