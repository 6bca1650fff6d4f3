//! Holding by place, on whatever file system the tests run on: NTFS is taken for one that opens nothing by number.

use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA};
use windows_sys::Win32::System::Ioctl::FSCTL_SET_REPARSE_POINT;

use super::node::Way;
use super::place::{self, At, Entry, Place};
use super::volume::{By, Powers};
use super::*;

const MAKER: Maker = Maker { mode: 0o640, uid: 5, gid: 6 };
const BOTH: Access =
    Access { read: true, write: true, append: false, truncate: false, durable: false, exclusive: false };

struct Share {
    host: WindowsFs,
    root: Node,
    place: tempfile::TempDir,
}

/// A share of the folder `shared`, on a volume that can do nothing but what all can.
fn share() -> Share {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("shared")).unwrap();
    let host = WindowsFs::default();
    host.nodes.assume(place.path(), Powers { by: By::Place { births: false }, streams: false, reparse: false });
    let root = host.root(&place.path().join("shared")).unwrap();
    assert!(matches!(root.0.way, Way::Place(_)));
    Share { host, root, place }
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

impl Share {
    fn path(&self, entry: &str) -> PathBuf {
        self.place.path().join("shared").join(entry)
    }

    fn folder(&self, above: &Node, entry: &str) -> Node {
        self.host.make_folder(above, name(entry), MAKER).unwrap();
        self.host.hold(above, name(entry)).unwrap()
    }

    /// Makes a file that says `text`.
    fn file(&self, folder: &Node, entry: &str, text: &str) -> Node {
        let (_, file) = self.host.create(folder, name(entry), BOTH, MAKER).unwrap();
        let mut text = text.as_bytes().to_vec();
        self.host.write(&file, 0, &[VolatileSlice::from(&mut text[..])]).unwrap();
        self.host.hold(folder, name(entry)).unwrap()
    }

    fn text(&self, node: &Node) -> Outcome<String> {
        let file = self.host.open(node, Access { read: true, ..Access::default() })?;
        let mut text = [0; 64];
        let len = self.host.read(&file, 0, &[VolatileSlice::from(&mut text[..])])?;
        Ok(String::from_utf8(text[..len].to_vec()).unwrap())
    }

    fn rename(&self, from: (&Node, &str), to: (&Node, &str)) {
        assert_eq!(self.host.rename((from.0, name(from.1)), (to.0, name(to.1)), Rename::Replace), Ok(()));
    }
}

#[test]
fn what_the_guest_renames_is_found_and_all_that_is_in_it() {
    let share = share();
    let (above, other) = (share.folder(&share.root, "above"), share.folder(&share.root, "other"));
    let below = share.folder(&above, "below");
    let file = share.file(&below, "file", "text");
    let before = share.host.attributes(&file).unwrap();
    share.rename((&share.root, "above"), (&other, "elsewhere"));
    assert_eq!(share.text(&file).as_deref(), Ok("text"));
    assert_eq!(share.host.attributes(&file).map(|now| (now.identity, now.mode)), Ok((before.identity, 0o640)));
    share.rename((&below, "file"), (&share.root, "moved"));
    share.rename((&other, "elsewhere"), (&share.root, "above"));
    assert_eq!(share.text(&file).as_deref(), Ok("text"));
    // It is the same one by its new name, and its old one is free.
    let found = share.host.look_up(&share.root, name("moved")).unwrap();
    assert_eq!(found.identity, before.identity);
    let second = share.file(&below, "file", "second");
    assert_ne!(share.host.attributes(&second).unwrap().identity, before.identity);
    assert_eq!(share.text(&file).as_deref(), Ok("text"));
    // One takes another's place.
    share.rename((&below, "file"), (&share.root, "moved"));
    assert_eq!(share.text(&second).as_deref(), Ok("second"));
    assert_ne!(share.text(&file).as_deref(), Ok("second"));
}

#[test]
fn a_folder_cannot_be_put_below_itself() {
    let share = share();
    let above = share.folder(&share.root, "above");
    let below = share.folder(&above, "below");
    let into = share.host.rename((&share.root, name("above")), (&below, name("x")), Rename::Replace);
    assert!(into.is_err());
    assert!(share.host.attributes(&below).is_ok() && share.host.attributes(&above).is_ok());
}

#[test]
fn what_somebody_renames_on_the_host_is_stale_until_it_is_looked_up() {
    let share = share();
    let above = share.folder(&share.root, "above");
    let file = share.file(&above, "file", "text");
    std::fs::rename(share.path("above"), share.path("elsewhere")).unwrap();
    for node in [&above, &file] {
        assert_eq!(share.host.attributes(node), Err(Errno::STALE));
    }
    assert_eq!(share.text(&file), Err(Errno::STALE));
    assert_eq!(share.host.look_up(&above, name("file")), Err(Errno::STALE));
    assert_eq!(share.host.create(&above, name("new"), BOTH, MAKER).map(drop), Err(Errno::STALE));
    // By its new name it is the same one, and so all that is in it is found again.
    share.host.hold(&share.root, name("elsewhere")).unwrap();
    assert_eq!(share.text(&file).as_deref(), Ok("text"));
}

#[test]
fn another_one_in_its_place_is_never_taken_for_it() {
    let share = share();
    let file = share.file(&share.root, "file", "first");
    let folder = share.folder(&share.root, "folder");
    std::fs::write(share.path("other"), "other").unwrap();
    std::fs::rename(share.path("other"), share.path("file")).unwrap();
    assert_eq!(share.text(&file), Err(Errno::STALE));
    assert_eq!(share.host.change(&file, None, &Change { size: Some(0), ..Change::default() }), Err(Errno::STALE));
    assert_eq!(std::fs::read(share.path("file")).unwrap(), b"other");
    // A file where there was a folder.
    std::fs::rename(share.path("folder"), share.path("away")).unwrap();
    std::fs::write(share.path("folder"), "").unwrap();
    assert_eq!(share.host.look_up(&folder, name("x")), Err(Errno::STALE));
    assert_eq!(share.host.open_folder(&folder).map(drop), Err(Errno::STALE));
}

#[test]
fn what_the_guest_makes_by_a_name_that_it_removed_is_another_one() {
    let share = share();
    let mut seen = Vec::new();
    for round in 0..5 {
        let node = share.file(&share.root, "file", &round.to_string());
        let identity = share.host.attributes(&node).unwrap().identity;
        assert!(!seen.contains(&identity), "round {round}");
        seen.push(identity);
        assert_eq!(share.host.remove(&share.root, name("file")), Ok(()));
        assert_eq!(share.host.look_up(&share.root, name("file")), Err(Errno::NOENT));
        let next = share.file(&share.root, "file", "next");
        assert_ne!(share.text(&node).as_deref(), Ok("next"));
        drop(next);
        assert_eq!(share.host.remove(&share.root, name("file")), Ok(()));
    }
    let folder = share.folder(&share.root, "folder");
    assert_eq!(share.host.remove_folder(&share.root, name("folder")), Ok(()));
    share.file(&share.root, "folder", "");
    assert!(share.host.look_up(&folder, name("x")).is_err());
    assert!(share.host.create(&folder, name("x"), BOTH, MAKER).is_err());
}

/// Has `at` lead to `to`, a folder beside `shared`: by a junction, or where this is no Windows, as its host has links.
fn lead(at: &Path, to: &str) {
    let above = at.parent().unwrap();
    let target = std::path::absolute(above.join("..").join(to)).unwrap();
    std::fs::create_dir(at).unwrap();
    let how = nt::How { access: LOOK.access | FILE_WRITE_ATTRIBUTES | FILE_WRITE_DATA, ..LOOK };
    let parent = std::fs::OpenOptions::new().read(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(above).unwrap();
    let entry: Vec<u16> = at.file_name().unwrap().encode_wide().collect();
    let open = nt::open(&parent.into(), nt::Target::Name(&entry), how).unwrap();
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let kernel = wide(&format!(r"\??\{}", target.display()));
    let lens = [0, kernel.len() as u16, kernel.len() as u16 + 2, 0].map(u16::to_le_bytes).concat();
    let body = [lens, kernel, vec![0; 4]].concat();
    let data = [&0xa000_0003_u32.to_le_bytes()[..], &(body.len() as u16).to_le_bytes(), &[0; 2], &body].concat();
    if nt::control(&open, FSCTL_SET_REPARSE_POINT, &data, &mut [0_u8; 0]).is_ok() {
        return;
    }
    drop(open);
    std::fs::remove_dir(at).unwrap();
    let mut made = Command::new(r"Z:\bin\ln");
    made.args(["-s", &format!("../{to}")]).arg(at.file_name().unwrap()).current_dir(above);
    // It is no process of this system, so nobody says when it is over.
    drop(made.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn());
    let until = Instant::now() + Duration::from_secs(20);
    while !at.join("file").exists() {
        assert!(Instant::now() < until, "no link was made");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_link_in_a_folders_place_leads_nowhere() {
    let share = share();
    std::fs::create_dir(share.place.path().join("outside")).unwrap();
    std::fs::write(share.place.path().join("outside/file"), "secret").unwrap();
    let folder = share.folder(&share.root, "folder");
    let inner = share.folder(&folder, "inner");
    let file = share.file(&folder, "file", "text");
    let deep = share.file(&inner, "file", "deep");
    std::fs::rename(share.path("folder"), share.path("away")).unwrap();
    lead(&share.path("folder"), "outside");
    assert_eq!(std::fs::read(share.path("folder/file")).unwrap(), b"secret", "it does lead there");

    for node in [&folder, &inner, &file, &deep] {
        assert_eq!(share.host.attributes(node), Err(Errno::STALE));
    }
    assert_eq!(share.text(&file), Err(Errno::STALE));
    assert_eq!(share.host.look_up(&folder, name("file")), Err(Errno::STALE));
    assert_eq!(share.host.open_folder(&folder).map(drop), Err(Errno::STALE));
    assert_eq!(share.host.create(&folder, name("new"), BOTH, MAKER).map(drop), Err(Errno::STALE));
    assert_eq!(share.host.make_folder(&folder, name("new"), MAKER), Err(Errno::STALE));
    assert_eq!(share.host.remove(&folder, name("file")), Err(Errno::STALE));
    let out = share.host.rename((&share.root, name("away")), (&folder, name("new")), Rename::Keep);
    assert_eq!(out, Err(Errno::STALE));
    assert_eq!(share.host.link(&file, &folder, name("new")), Err(Errno::STALE));
    // Nor by looking it up anew: it is a link that nobody follows, or if the system does, nothing.
    match share.host.hold(&share.root, name("folder")) {
        Ok(link) => {
            assert_eq!(share.host.attributes(&link).map(|link| link.kind), Ok(Kind::Link));
            assert_eq!(share.host.look_up(&link, name("file")), Err(Errno::NOTDIR));
        }
        Err(error) => assert_eq!(error, Errno::LOOP),
    }
    let removed = share.host.remove_folder(&share.root, name("folder"));
    assert!(matches!(removed, Err(Errno::NOTDIR | Errno::LOOP)), "{removed:?}");
    assert_eq!(share.host.make_folder(&share.root, name("folder"), MAKER), Err(Errno::EXIST));
    let mut left: Vec<_> = std::fs::read_dir(share.place.path().join("outside")).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left.remove(0).unwrap().file_name(), "file");
}

#[test]
fn names_that_differ_in_case_are_one() {
    let share = share();
    let folder = share.folder(&share.root, "Folder");
    let file = share.file(&folder, "Makefile", "text");
    let identity = share.host.attributes(&file).unwrap().identity;
    let again = share.host.hold(&share.root, name("FOLDER")).unwrap();
    let found = share.host.look_up(&again, name("makefile"));
    assert_eq!(found.map(|found| found.identity), Ok(identity));
    let exclusive = Access { exclusive: true, ..BOTH };
    assert_eq!(share.host.create(&folder, name("MAKEFILE"), exclusive, MAKER).map(drop), Err(Errno::EXIST));
    share.rename((&again, "makefile"), (&folder, "MakeFile"));
    assert_eq!(share.text(&file).as_deref(), Ok("text"));
    assert_eq!(share.host.remove(&folder, name("MAKEFILE")), Ok(()));
    assert_eq!(share.host.look_up(&folder, name("Makefile")), Err(Errno::NOENT));
    let next = share.file(&folder, "makefile", "next");
    assert_ne!(share.host.attributes(&next).unwrap().identity, identity);
}

#[test]
fn ten_thousand_nodes_keep_no_handle() {
    let share = share();
    let above = share.folder(&share.root, "above");
    let mut nodes = Vec::new();
    for number in 0..10_000 {
        // Not all in one, in which each new one would have to be looked for among all.
        let folder = format!("folder-{}", number / 100);
        if number % 100 == 0 {
            std::fs::create_dir(share.path("above").join(&folder)).unwrap();
        }
        let entry = format!("entry-{number}");
        std::fs::write(share.path("above").join(&folder).join(&entry), "").unwrap();
        let folder = share.host.hold(&above, name(&folder)).unwrap();
        nodes.push(share.host.hold(&folder, name(&entry)).unwrap());
    }
    // Handles are numbered in fours, the lowest free one first.
    let next = std::fs::File::open(share.path("above/folder-0/entry-0")).unwrap();
    assert!((next.as_raw_handle() as usize) / 4 < 5000, "{:?}", next.as_raw_handle());
    drop(next);
    for node in nodes.iter().step_by(97) {
        assert_eq!(share.text(node).as_deref(), Ok(""));
    }
    // Nor does what is held keep anybody from renaming the folder.
    std::fs::rename(share.path("above"), share.path("other")).unwrap();
    assert_eq!(share.host.attributes(&nodes[0]), Err(Errno::STALE));
}

#[test]
fn owner_and_mode_are_remembered_where_they_cannot_be_written() {
    let share = share();
    let node = share.file(&share.root, "file", "text");
    let folder = share.folder(&share.root, "folder");
    for (node, kind) in [(&node, Kind::File), (&folder, Kind::Folder)] {
        let seen = share.host.attributes(node).unwrap();
        assert_eq!((seen.uid, seen.gid, seen.mode, seen.kind), (5, 6, 0o640, kind));
        let change = Change { mode: Some(0o4711), uid: Some(1000), ..Change::default() };
        let changed = share.host.change(node, None, &change).unwrap();
        assert_eq!((changed.uid, changed.gid, changed.mode), (1000, 6, 0o4711));
    }
    share.rename((&share.root, "file"), (&folder, "moved"));
    let moved = share.host.look_up(&folder, name("moved")).unwrap();
    assert_eq!((moved.uid, moved.mode), (1000, 0o4711));
    assert_eq!(share.host.remove(&folder, name("moved")), Ok(()));
    std::fs::write(share.path("folder/moved"), "").unwrap();
    assert_eq!(share.host.look_up(&folder, name("moved")).map(|seen| (seen.uid, seen.mode)), Ok((0, 0o777)));
    // What would be a file on the host and nothing else anywhere is not made.
    let device = share.host.make_node(&share.root, name("device"), Kind::Character, 0x103, MAKER);
    assert_eq!(device, Err(Errno::PERM));
    assert_eq!(share.host.look_up(&share.root, name("device")), Err(Errno::NOENT));
    // Nor is an attribute written into another file.
    let node = share.host.hold(&share.root, name("folder")).unwrap();
    assert_eq!(share.host.set_extended(&node, b"user.a", b"1", Setting::Any), Err(Errno::OPNOTSUPP));
    assert_eq!(share.host.list_extended(&node), Ok(Vec::new()));
    let mut names: Vec<_> =
        std::fs::read_dir(share.path("folder")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["moved"]);
}

#[test]
fn a_node_as_deep_as_a_guest_likes_is_refused_and_dropped() {
    let share = share();
    let host = share.root.real().unwrap().host;
    let mut at = share.root.clone();
    for _ in 0..200_000 {
        let entry = Entry { folder: Arc::clone(&at.0), name: vec![u16::from(b'x')], host };
        let (volume, way) = (Arc::clone(&at.0.volume), Way::Place(Place::new(At::Entry(entry))));
        let held = node::Held { volume, way, identity: host, kind: Kind::Folder, last: std::sync::OnceLock::new() };
        at = Node(Arc::new(held));
    }
    assert_eq!(share.host.attributes(&at), Err(Errno::NAMETOOLONG));
    assert!(place::lies_in(&at.0, &share.root.0));
    drop(at);
    assert!(share.host.attributes(&share.root).is_ok());
}

#[test]
fn what_is_held_is_found_while_the_guest_renames_what_is_above_it() {
    let share = share();
    let folder = share.folder(&share.root, "one");
    let inner = share.folder(&folder, "inner");
    let file = share.file(&inner, "file", "text");
    let rename = |from, to| share.host.rename((&share.root, name(from)), (&share.root, name(to)), Rename::Replace);
    std::thread::scope(|threads| {
        let renaming = threads.spawn(|| {
            let mut at = ["one", "two"];
            for _ in 0..200 {
                // Windows renames no folder while something in it is open.
                match rename(at[0], at[1]) {
                    Ok(()) => at.swap(0, 1),
                    Err(error) => assert!(matches!(error, Errno::ACCES | Errno::BUSY), "{error:?}"),
                }
            }
        });
        while !renaming.is_finished() {
            assert_eq!(share.host.attributes(&file).map(|now| now.size), Ok(4));
            assert_eq!(share.host.look_up(&inner, name("file")).map(|found| found.size), Ok(4));
        }
    });
    assert_eq!(share.text(&file).as_deref(), Ok("text"));
}

#[test]
fn two_shares_of_one_folder_hold_what_is_in_it_each_for_itself() {
    let share = share();
    let file = share.file(&share.root, "file", "text");
    let again = share.host.root(&share.path("")).unwrap();
    let other = share.host.hold(&again, name("file")).unwrap();
    assert_eq!(share.host.attributes(&other).map(|it| it.identity), share.host.attributes(&file).map(|it| it.identity));
    share.rename((&share.root, "file"), (&share.root, "moved"));
    assert_eq!(share.text(&file).as_deref(), Ok("text"));
    assert_eq!(share.text(&other), Err(Errno::STALE));
    share.host.hold(&again, name("moved")).unwrap();
    assert_eq!(share.text(&other).as_deref(), Ok("text"));
}
