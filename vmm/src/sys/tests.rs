//! What every system's backend of `HostFs` must do alike, on a folder of the system that the tests run on.

use std::collections::BTreeSet;

use vm_memory::VolatileSlice;

use super::NativeFs;
use crate::virtio::fs::host::{
    Access, Allocation, Attributes, Change, HostFs, Kind, Maker, NewTime, Rename, Seek, Setting, Time,
};
use crate::virtio::fs::ownership::ATTRIBUTE;
use crate::virtio::fs::{Errno, Name};

type Node = <NativeFs as HostFs>::Node;
type File = <NativeFs as HostFs>::File;

const BOTH: Access =
    Access { read: true, write: true, append: false, truncate: false, durable: false, exclusive: false };
const MAKER: Maker = Maker { mode: 0o640, uid: 5, gid: 6 };

struct Share {
    host: NativeFs,
    root: Node,
    folder: tempfile::TempDir,
}

impl Share {
    fn new() -> Self {
        let (host, folder) = (NativeFs::default(), tempfile::tempdir().expect("a folder"));
        let root = host.root(folder.path()).expect("it is there");
        Self { host, root, folder }
    }

    fn create(&self, at: &str) -> (Attributes, File) {
        self.host.create(&self.root, name(at), BOTH, MAKER).expect("made")
    }

    fn hold(&self, at: &str) -> Node {
        self.host.hold(&self.root, name(at)).expect("there")
    }

    fn write(&self, file: &File, offset: u64, text: &str) {
        let mut text = text.as_bytes().to_vec();
        let len = text.len();
        assert_eq!(self.host.write(file, offset, &[VolatileSlice::from(&mut text[..])]), Ok(len));
    }

    fn text(&self, file: &File) -> String {
        let mut text = [0; 64];
        let parts = VolatileSlice::from(&mut text[..]);
        let (first, rest) = (parts.subslice(0, 3).expect("within"), parts.subslice(3, 61).expect("within"));
        let len = self.host.read(file, 0, &[first, rest]).expect("read");
        String::from_utf8(text[..len].to_vec()).expect("text")
    }

    fn names(&self) -> BTreeSet<Vec<u8>> {
        let mut names = BTreeSet::new();
        let mut folder = self.host.open_folder(&self.root).expect("a folder");
        let mut from = 0;
        loop {
            // One at a time, as a guest with little room would.
            let mut one = None;
            let mut take = |entry: crate::virtio::fs::host::Entry| {
                let first = one.is_none();
                if first {
                    one = Some((entry.name.to_vec(), entry.next));
                }
                first
            };
            self.host.list(&mut folder, from, &mut take).expect("listed");
            let Some((name, next)) = one else { return names };
            assert!(names.insert(name), "none twice");
            from = next;
        }
    }
}

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).expect("a name")
}

#[test]
fn f2_names_of_all_kinds_are_made_found_and_listed() {
    let share = Share::new();
    let names = ["plain", "a:b", "CON", "nul.txt", "trailing.", " spaces ", "q?*<>|\"", "back\\slash", "Grüße 😀"];
    for at in names {
        let made = share.create(at).0;
        assert_eq!(share.host.look_up(&share.root, name(at)), Ok(made), "{at:?}");
        let exclusive = Access { exclusive: true, ..BOTH };
        let again = share.host.create(&share.root, name(at), exclusive, MAKER).map(drop);
        assert_eq!(again, Err(Errno::EXIST), "{at:?}");
    }
    let expected = names.into_iter().chain([".", ".."]).map(|name| name.as_bytes().to_vec()).collect();
    assert_eq!(share.names(), expected);
    assert_eq!(std::fs::read_dir(share.folder.path()).expect("a folder").count(), names.len());
    assert_eq!(share.host.look_up(&share.root, name("absent")), Err(Errno::NOENT));
}

#[test]
fn content_is_written_read_appended_and_cut() {
    let share = Share::new();
    let (_, file) = share.create("file");
    share.write(&file, 0, "content");
    assert_eq!(share.text(&file), "content");
    let node = share.hold("file");
    let append = share.host.open(&node, Access { append: true, ..BOTH }).expect("a file");
    share.write(&append, 7, " and more");
    assert_eq!(share.text(&file), "content and more");
    let cut = Change { size: Some(4), ..Change::default() };
    assert_eq!(share.host.change(&node, Some(&file), &cut).map(|now| now.size), Ok(4));
    assert_eq!(share.text(&append), "cont");
    let emptied = share.host.open(&node, Access { truncate: true, write: false, ..BOTH }).expect("a file");
    assert_eq!(share.text(&emptied), "");
    for file in [&file, &emptied] {
        assert_eq!(share.host.sync(file, false), Ok(()), "also what is only read");
        assert_eq!(share.host.flush(file), Ok(()));
    }
    let folder = share.host.open_folder(&share.root).expect("a folder");
    assert_eq!(share.host.sync_folder(&folder), Ok(()));
    assert!(share.host.space(&share.root).is_ok_and(|space| space.unit > 0 && space.blocks >= space.free));
}

#[test]
fn f8_owner_and_mode_are_as_the_guest_set_them() {
    let share = Share::new();
    let made = share.create("file").0;
    assert_eq!((made.uid, made.gid, made.mode, made.kind), (5, 6, 0o640, Kind::File));
    let node = share.hold("file");
    let change = Change { mode: Some(0o4000), uid: Some(1000), ..Change::default() };
    let changed = share.host.change(&node, None, &change).expect("changed");
    assert_eq!((changed.uid, changed.gid, changed.mode), (1000, 6, 0o4000));
    assert_eq!(share.host.look_up(&share.root, name("file")).map(|seen| seen.mode), Ok(0o4000));
    assert!(share.host.open(&node, BOTH).is_ok(), "we are not kept out");

    let shared = Maker { mode: 0o2770, ..MAKER };
    share.host.make_folder(&share.root, name("folder"), shared).expect("made");
    let folder = share.hold("folder");
    let other = Maker { mode: 0o755, uid: 9, gid: 9 };
    let inner = share.host.make_folder(&folder, name("inner"), other).expect("made");
    assert_eq!((inner.uid, inner.gid, inner.mode, inner.kind), (9, 6, 0o2755, Kind::Folder));
}

#[test]
fn f8_a_device_is_one_for_the_guest_only() {
    let share = Share::new();
    let device = share.host.make_node(&share.root, name("device"), Kind::Character, 0x103, MAKER).expect("made");
    assert_eq!((device.kind, device.device), (Kind::Character, 0x103));
    assert!(share.folder.path().join("device").metadata().is_ok_and(|real| real.is_file()), "a file on the host");
}

#[test]
fn f6_links_say_what_they_were_told_and_are_not_followed() {
    let share = Share::new();
    share.create("file");
    for (at, target) in [("absolute", "/etc/passwd"), ("up", "../../..//x"), ("beside", "file"), ("odd", "a\\b:c ")] {
        let made = share.host.make_link(&share.root, name(at), target.as_bytes(), MAKER).expect("made");
        assert_eq!((made.kind, made.size, made.mode), (Kind::Link, target.len() as u64, 0o777), "{at}");
        let link = share.hold(at);
        assert_eq!(share.host.read_link(&link).as_deref(), Ok(target.as_bytes()));
        assert_eq!(share.host.open(&link, BOTH).map(drop), Err(Errno::LOOP));
        assert!(share.host.hold(&link, name("x")).is_err());
        assert!(share.host.open_folder(&link).is_err());
    }
    let link = share.hold("beside");
    let moved = share.host.rename((&share.root, name("beside")), (&share.root, name("moved")), Rename::Replace);
    assert_eq!((moved, share.host.read_link(&link).as_deref()), (Ok(()), Ok(&b"file"[..])));
}

#[test]
fn what_is_held_stays_the_same_one_whatever_the_guest_calls_it() {
    let share = Share::new();
    share.write(&share.create("one").1, 0, "one");
    share.write(&share.create("two").1, 0, "two");
    let (one, two) = (share.hold("one"), share.hold("two"));
    share.host.make_folder(&share.root, name("folder"), MAKER).expect("made");
    let folder = share.hold("folder");
    let reads = |node: &Node| share.text(&share.host.open(node, BOTH).expect("a file"));

    assert_eq!(share.host.rename((&share.root, name("one")), (&folder, name("inner")), Rename::Keep), Ok(()));
    assert_eq!(reads(&one), "one");
    assert_eq!(share.host.rename((&share.root, name("two")), (&share.root, name("2")), Rename::Keep), Ok(()));
    assert_eq!(share.host.rename((&share.root, name("folder")), (&share.root, name("x")), Rename::Keep), Ok(()));
    assert_eq!((reads(&one), reads(&two)), ("one".into(), "two".into()));

    let (link, inner) = (share.host.link(&one, &share.root, name("link")).expect("linked"), name("inner"));
    assert_eq!(Ok(link), share.host.look_up(&folder, inner));
    assert_eq!(link.links, 2);
    let kept = share.host.rename((&folder, inner), (&share.root, name("2")), Rename::Keep);
    assert_eq!(kept, Err(Errno::EXIST));
    assert_eq!(share.host.rename((&folder, inner), (&share.root, name("2")), Rename::Replace), Ok(()));
    assert_eq!(reads(&share.hold("2")), "one");
}

#[test]
fn what_is_held_stays_the_same_one_whatever_the_host_calls_it() {
    let share = Share::new();
    share.host.make_folder(&share.root, name("folder"), MAKER).expect("made");
    let folder = share.hold("folder");
    share.write(&share.host.create(&folder, name("one"), BOTH, MAKER).expect("made").1, 0, "one");
    share.write(&share.create("two").1, 0, "two");
    let (one, two) = (share.host.hold(&folder, name("one")).expect("there"), share.hold("two"));
    let reads = |node: &Node| share.text(&share.host.open(node, BOTH).expect("a file"));
    // What is held, and the folder above it.
    std::fs::rename(share.folder.path().join("two"), share.folder.path().join("2")).expect("renamed");
    std::fs::rename(share.folder.path().join("folder"), share.folder.path().join("elsewhere")).expect("renamed");
    assert_eq!((reads(&one), reads(&two)), ("one".into(), "two".into()));
    assert_eq!(share.host.rename((&folder, name("one")), (&share.root, name("2")), Rename::Replace), Ok(()));
    assert_eq!(reads(&share.hold("2")), "one");
}

#[test]
fn removing_says_what_linux_says() {
    let share = Share::new();
    share.create("file");
    share.host.make_folder(&share.root, name("folder"), MAKER).expect("made");
    let folder = share.hold("folder");
    share.host.create(&folder, name("inner"), BOTH, MAKER).expect("made");
    assert_eq!(share.host.remove(&share.root, name("folder")), Err(Errno::ISDIR));
    assert_eq!(share.host.remove_folder(&share.root, name("file")), Err(Errno::NOTDIR));
    assert_eq!(share.host.remove_folder(&share.root, name("folder")), Err(Errno::NOTEMPTY));
    assert_eq!(share.host.remove(&folder, name("inner")), Ok(()));
    assert_eq!(share.host.remove_folder(&share.root, name("folder")), Ok(()));
    assert_eq!(share.host.remove(&share.root, name("file")), Ok(()));
    assert_eq!(share.host.remove(&share.root, name("file")), Err(Errno::NOENT));
    share.create("file");
    assert_eq!(share.names().len(), 3);
}

#[test]
fn what_has_lost_its_name_goes_on_for_those_who_have_it() {
    let share = Share::new();
    let file = share.create("file").1;
    let node = share.hold("file");
    assert_eq!(share.host.remove(&share.root, name("file")), Ok(()));
    assert_eq!(share.host.look_up(&share.root, name("file")), Err(Errno::NOENT));
    share.write(&file, 0, "still");
    let removed = share.host.attributes(&node).expect("held");
    assert_eq!(removed.size, 5);
    share.create("file");
    assert_eq!(share.names().len(), 3);
    // And for those who only hold it.
    let replaced = share.hold("file");
    let other = share.create("other").0;
    assert_eq!(share.host.rename((&share.root, name("other")), (&share.root, name("file")), Rename::Replace), Ok(()));
    let replaced = share.host.attributes(&replaced).expect("held");
    assert!(![other.identity, removed.identity].contains(&replaced.identity));
}

#[test]
fn f8_attributes_of_the_guest_are_kept_and_ours_are_not_among_them() {
    let share = Share::new();
    share.create("file");
    let node = share.hold("file");
    let set = |name: &str, value: &[u8], how| share.host.set_extended(&node, name.as_bytes(), value, how);
    assert_eq!(set("user.a", b"1", Setting::Old), Err(Errno::NODATA));
    assert_eq!(set("user.a", b"longer than before", Setting::New), Ok(()));
    assert_eq!(set("user.a", b"2", Setting::New), Err(Errno::EXIST));
    assert_eq!(set("user.a", b"", Setting::Old), Ok(()));
    assert_eq!(set("user.A b", &[7; 3000], Setting::Any), Ok(()));
    assert_eq!(share.host.extended(&node, b"user.a"), Ok(Vec::new()));
    assert_eq!(share.host.extended(&node, b"user.A b"), Ok(vec![7; 3000]));
    let listed = share.host.list_extended(&node).expect("listed");
    let listed: BTreeSet<&[u8]> = listed.split_terminator_nul().collect();
    assert_eq!(listed, [&b"user.a"[..], b"user.A b"].into());
    assert_eq!(share.host.remove_extended(&node, b"user.a"), Ok(()));
    assert_eq!(share.host.remove_extended(&node, b"user.a"), Err(Errno::NODATA));
    assert_eq!(share.host.extended(&node, ATTRIBUTE.as_bytes()), Err(Errno::NODATA));
    assert_eq!(set(ATTRIBUTE, b"0:0:0777", Setting::Any), Err(Errno::PERM));
    // They are not its content.
    let old = Time { seconds: 1_000_000_000, nanos: 0 };
    let change = Change { modified: Some(NewTime::At(old)), ..Change::default() };
    share.host.change(&node, None, &change).expect("changed");
    assert_eq!(set("user.a", b"1", Setting::Any), Ok(()));
    assert_eq!(share.host.attributes(&node).map(|now| now.modified), Ok(old));
}

trait Terminated {
    fn split_terminator_nul(&self) -> impl Iterator<Item = &[u8]>;
}

impl Terminated for Vec<u8> {
    fn split_terminator_nul(&self) -> impl Iterator<Item = &[u8]> {
        self.split_inclusive(|&byte| byte == 0).map(|name| &name[..name.len() - 1])
    }
}

#[test]
fn times_are_set_and_change_nothing_else() {
    let share = Share::new();
    let before = share.create("file").0;
    let old = Time { seconds: 1_000_000_000, nanos: 123_456_700 };
    let node = share.hold("file");
    let change = Change { modified: Some(NewTime::At(old)), accessed: Some(NewTime::Now), ..Change::default() };
    let after = share.host.change(&node, None, &change).expect("changed");
    assert_eq!(after.modified, old);
    assert!(after.accessed.seconds >= before.accessed.seconds);
    // A time before that of its birth does not make another object of it.
    assert_eq!(after.identity, before.identity);
}

#[test]
fn f5_ranges_are_made_zero_and_found_or_refused() {
    const MIB: u64 = 1 << 20;
    let share = Share::new();
    let file = share.create("file").1;
    let node = share.hold("file");
    let size = || share.host.attributes(&node).expect("held").size;
    let range = |mode, offset, len| share.host.allocate(&file, Allocation { mode, offset, len });
    assert_eq!((range(0, 0, MIB), size()), (Ok(()), MIB));
    share.write(&file, 5, "here");
    assert!(matches!(range(3, 6, 2), Ok(()) | Err(Errno::OPNOTSUPP)));
    if range(3, 6, 2).is_ok() {
        assert_eq!(share.text(&file).as_bytes()[..10], *b"\0\0\0\0\0h\0\0e\0");
    }
    assert_eq!(range(0x80, 0, MIB), Err(Errno::OPNOTSUPP), "a mode that nobody knows");
    assert_eq!(range(0, 0, 0), Err(Errno::INVAL));
    assert_eq!(share.host.seek(&file, 5, Seek::Data), Ok(5));
    assert!(share.host.seek(&file, 5, Seek::Hole).is_ok_and(|hole| hole > 5 && hole <= MIB));
    assert_eq!(share.host.seek(&file, MIB, Seek::Data), Err(Errno::NXIO));
    assert_eq!(size(), MIB);
}
